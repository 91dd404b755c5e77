package bundle

import (
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/whichpod/whichpod/internal/journal/disk"
)

// files is the folder of a bundle. Names are paths below it, with forward slashes.
type files string

func (f files) path(name string) string { return filepath.Join(string(f), filepath.FromSlash(name)) }

// maxDocument bounds what is read of a file into memory at once, in bytes: the logs of
// 300 interfaces and a quarter of a year take a third of it.
const maxDocument = 1 << 30

// read returns a file that is not larger than maxDocument.
func (f files) read(name string) ([]byte, error) {
	in, err := os.Open(f.path(name))
	if err != nil {
		return nil, err
	}
	defer in.Close()
	info, err := in.Stat()
	if err != nil {
		return nil, err
	}
	if info.Size() > maxDocument {
		return nil, fmt.Errorf("%s has %d bytes, want at most %d", name, info.Size(), maxDocument)
	}
	return io.ReadAll(io.LimitReader(in, maxDocument))
}

// write makes a file that is on disk when it returns nil.
func (f files) write(name string, fill func(io.Writer) error) (err error) {
	out, err := os.OpenFile(f.path(name), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	w := bufio.NewWriterSize(out, 1<<20)
	if err := errors.Join(fill(w), w.Flush(), out.Sync(), out.Close()); err != nil {
		return fmt.Errorf("write %q: %w", name, err)
	}
	return nil
}

func (f files) writeBytes(name string, data []byte) error {
	return f.write(name, func(w io.Writer) error {
		_, err := w.Write(data)
		return err
	})
}

// list names all files, sorted. Something that is neither a file nor a folder is an error.
func (f files) list() ([]string, error) {
	var out []string
	err := filepath.WalkDir(string(f), func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		if !e.Type().IsRegular() {
			return fmt.Errorf("%q is no regular file", path)
		}
		name, err := filepath.Rel(string(f), path)
		out = append(out, filepath.ToSlash(name))
		return err
	})
	slices.Sort(out)
	return out, err
}

// digest is a file's SHA-256, in hex.
func (f files) digest(name string) (string, error) {
	in, err := os.Open(f.path(name))
	if err != nil {
		return "", err
	}
	defer in.Close()
	sum := sha256.New()
	if _, err := io.Copy(sum, in); err != nil {
		return "", err
	}
	return hex.EncodeToString(sum.Sum(nil)), nil
}

// settle makes all folders of the bundle durable.
func (f files) settle() error {
	return filepath.WalkDir(string(f), func(path string, e fs.DirEntry, err error) error {
		if err == nil && e.IsDir() {
			err = disk.OS{}.SyncDir(path)
		}
		return err
	})
}

// partial begins the names of folders in which a bundle is being written.
const partial = ".partial-"

// publish gives a folder that is complete and durable its name, which MUST be free.
func publish(from, to string) error {
	if _, err := os.Lstat(to); !errors.Is(err, fs.ErrNotExist) {
		return errors.Join(fmt.Errorf("write bundle %q: something of that name is there", to), err)
	}
	if err := os.Rename(from, to); err != nil {
		return fmt.Errorf("write bundle: %w", err)
	}
	return disk.OS{}.SyncDir(filepath.Dir(to))
}

// sweep removes what a crash left of bundles that were never there.
func sweep(out string) error {
	entries, err := os.ReadDir(out)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.IsDir() && strings.HasPrefix(e.Name(), partial) {
			if err := os.RemoveAll(filepath.Join(out, e.Name())); err != nil {
				return err
			}
		}
	}
	return nil
}
