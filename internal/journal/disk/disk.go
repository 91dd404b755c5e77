// Package disk is the few file operations that our on-disk formats rest on, behind
// an interface, so that a test can fail each of them in turn or stop the world
// before it.
//
// In: paths. Out: files and errors, exactly those of package os. [OS] is the real
// one; disktest has the one that fails. All of it is safe for concurrent use as far
// as package os is.
package disk

import (
	"io"
	"io/fs"
	"os"
	"runtime"
)

// File is the part of [os.File] that is in use.
type File interface {
	io.Reader
	io.ReaderAt
	io.Writer
	io.WriterAt
	Truncate(size int64) error
	Stat() (fs.FileInfo, error)
	Sync() error
	Close() error
	Fd() uintptr // for advisory locks
}

// FS is what a writer of durable files needs. An operation that changes a folder is
// durable after the next SyncDir of that folder, one that changes a file after Sync.
type FS interface {
	OpenFile(name string, flag int, perm fs.FileMode) (File, error)
	Rename(from, to string) error
	Remove(name string) error
	MkdirAll(name string, perm fs.FileMode) error
	ReadDir(name string) ([]fs.DirEntry, error)
	SyncDir(name string) error
}

// OS is the operating system's file system.
type OS struct{}

// OpenFile is [os.OpenFile].
func (OS) OpenFile(name string, flag int, perm fs.FileMode) (File, error) {
	f, err := os.OpenFile(name, flag, perm)
	if err != nil {
		return nil, err // not f: a nil *os.File in an interface is not nil
	}
	return f, nil
}

// Rename is [os.Rename].
func (OS) Rename(from, to string) error { return os.Rename(from, to) }

// Remove is [os.Remove].
func (OS) Remove(name string) error { return os.Remove(name) }

// MkdirAll is [os.MkdirAll].
func (OS) MkdirAll(name string, perm fs.FileMode) error { return os.MkdirAll(name, perm) }

// ReadDir is [os.ReadDir].
func (OS) ReadDir(name string) ([]fs.DirEntry, error) { return os.ReadDir(name) }

// SyncDir makes creations, renames and removals in the folder durable. Windows has
// no such call; there, NTFS journals its folders.
func (OS) SyncDir(name string) error {
	if runtime.GOOS == "windows" {
		return nil
	}
	d, err := os.Open(name)
	if err != nil {
		return err
	}
	err = d.Sync()
	if cerr := d.Close(); err == nil {
		err = cerr
	}
	return err
}
