// Package disktest is a file system that stops before each operation and asks what
// should happen: the way to test what a crash or a full disk leaves behind.
//
// In: a hook. Out: the real file system's results, or the hook's error instead.
// Only operations that change something are asked about. Not safe for concurrent
// use beyond what the hook is.
package disktest

import (
	"errors"
	"io/fs"
	"os"

	"github.com/whichpod/whichpod/internal/journal/disk"
)

// ErrShort, returned by a hook for a write, lets half of it happen.
var ErrShort = errors.New("no space left (injected, half was written)")

// Op is one operation that is about to happen.
type Op struct {
	Name string // create, write, truncate, sync, rename, remove, mkdir, syncdir
	Path string
}

// FS asks Hook before each changing operation. An error from it is what the caller
// gets, and the operation does not happen.
type FS struct {
	disk.OS
	Hook func(Op) error
}

// OpenFile asks when the file may be created or cut.
func (f *FS) OpenFile(name string, flag int, perm fs.FileMode) (disk.File, error) {
	if flag&(os.O_CREATE|os.O_TRUNC) != 0 {
		if err := f.Hook(Op{"create", name}); err != nil {
			return nil, err
		}
	}
	inner, err := f.OS.OpenFile(name, flag, perm)
	if err != nil {
		return nil, err
	}
	return &file{File: inner, fs: f, path: name}, nil
}

// Rename asks first.
func (f *FS) Rename(from, to string) error {
	if err := f.Hook(Op{"rename", to}); err != nil {
		return err
	}
	return f.OS.Rename(from, to)
}

// Remove asks first.
func (f *FS) Remove(name string) error {
	if err := f.Hook(Op{"remove", name}); err != nil {
		return err
	}
	return f.OS.Remove(name)
}

// MkdirAll asks first.
func (f *FS) MkdirAll(name string, perm fs.FileMode) error {
	if err := f.Hook(Op{"mkdir", name}); err != nil {
		return err
	}
	return f.OS.MkdirAll(name, perm)
}

// SyncDir asks first.
func (f *FS) SyncDir(name string) error {
	if err := f.Hook(Op{"syncdir", name}); err != nil {
		return err
	}
	return f.OS.SyncDir(name)
}

type file struct {
	disk.File
	fs   *FS
	path string
}

func (f *file) Write(p []byte) (int, error) {
	return f.write(p, f.File.Write)
}

func (f *file) WriteAt(p []byte, off int64) (int, error) {
	return f.write(p, func(p []byte) (int, error) { return f.File.WriteAt(p, off) })
}

func (f *file) write(p []byte, write func([]byte) (int, error)) (int, error) {
	err := f.fs.Hook(Op{"write", f.path})
	switch {
	case errors.Is(err, ErrShort):
		n, werr := write(p[:len(p)/2])
		return n, errors.Join(err, werr)
	case err != nil:
		return 0, err
	}
	return write(p)
}

func (f *file) Truncate(size int64) error {
	if err := f.fs.Hook(Op{"truncate", f.path}); err != nil {
		return err
	}
	return f.File.Truncate(size)
}

func (f *file) Sync() error {
	if err := f.fs.Hook(Op{"sync", f.path}); err != nil {
		return err
	}
	return f.File.Sync()
}
