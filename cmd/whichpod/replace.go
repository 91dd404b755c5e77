package main

import (
	"bufio"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// toPath calls write with what is at a path. A file there is replaced by one that gets
// its name once it is complete and on disk; of a link, what it leads to. A pipe, a
// terminal and the like stay, and are written to.
func toPath(path string, write func(io.Writer) error) error {
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return replace(target(path), write)
	case err != nil:
		return err
	case info.IsDir():
		return errors.New("it is a folder, want a file")
	case info.Mode().IsRegular():
		if path, err = filepath.EvalSymlinks(path); err != nil {
			return err
		}
		return replace(path, write)
	case info.Mode()&(fs.ModeNamedPipe|fs.ModeCharDevice) != 0:
		f, err := os.OpenFile(path, os.O_WRONLY, 0)
		if err != nil {
			return err
		}
		return errors.Join(buffered(f, 1<<16, write), f.Close())
	default:
		return errors.New("it is no file and no pipe")
	}
}

// target is what a link leads to where nothing is yet, or the path itself. The system would not
// follow more links than maxLinks either (path_resolution(7)).
func target(path string) string {
	for range maxLinks {
		to, err := os.Readlink(path)
		if err != nil {
			return path
		}
		if !filepath.IsAbs(to) {
			to = filepath.Join(filepath.Dir(path), to)
		}
		path = to
	}
	return path
}

const maxLinks = 40

// replace calls write with a file that gets its name once it is complete and on disk.
func replace(path string, write func(io.Writer) error) (err error) {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			os.Remove(f.Name())
		}
	}()
	disk := newWriteback(f)
	err = errors.Join(buffered(disk, 1<<20, write), f.Chmod(0o644), disk.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	return err
}

// buffered calls write with a buffer of so many bytes before w.
func buffered(w io.Writer, size int, write func(io.Writer) error) error {
	b := bufio.NewWriterSize(w, size)
	err := write(b)
	if cut := b.Flush(); !errors.Is(err, cut) {
		err = errors.Join(err, cut)
	}
	return err
}
