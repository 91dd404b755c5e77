package bundle

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/whichpod/whichpod/internal/journal"
)

// Destination is where the bundles of a chain are kept: a [Folder] or a [Container].
// A bundle is there whole, and durable, or not at all; one that is there is never
// touched again.
type Destination interface {
	// Lock keeps other writers away until it is closed. The error matches
	// [journal.ErrLocked] where another is at work.
	Lock() (io.Closer, error)
	// Chain lists the bundles, in the order in which they were written.
	Chain(ctx context.Context) ([]Link, error)
	// Fetch returns the folder of one of them, to read, until done is called.
	Fetch(ctx context.Context, b Ref) (dir string, done func() error, err error)
	// Workspace makes the empty folder in which the next bundle is put together.
	Workspace(name string) (string, error)
	// Publish takes a complete and durable folder out of a workspace and makes it the
	// bundle of that name. It fails with [ErrTaken] where another writer was faster.
	Publish(ctx context.Context, dir, name string) error
	// Notes is the path of a file on this machine where a schedule notes what it looked
	// at; empty for none. It may go missing, or not be writable.
	Notes() string
}

// ErrTaken says that another writer wrote a bundle of the same number meanwhile.
var ErrTaken = errors.New("another whichpod wrote a bundle of this number meanwhile; this one is not there")

// lockMagic tells the file that is locked while a bundle is written.
var lockMagic = [4]byte{'w', 'p', 'b', 'l'}

// lockFile is in a folder of bundles, and in no bundle.
const lockFile = ".lock"

// Folder keeps each bundle in a folder of its name.
type Folder string

var _ Destination = Folder("")

// Lock implements [Destination]. It makes the folder where it is not there.
func (f Folder) Lock() (io.Closer, error) {
	if err := os.MkdirAll(string(f), 0o755); err != nil {
		return nil, fmt.Errorf("write bundle: %w", err)
	}
	lock, err := journal.Open(f.path(lockFile), lockMagic, 1, func(int64, []byte) error { return nil })
	if err != nil {
		return nil, fmt.Errorf("write bundle: %w", err)
	}
	return lock, nil
}

// Chain implements [Destination]. A folder that is not there has no bundles.
func (f Folder) Chain(context.Context) ([]Link, error) {
	entries, err := os.ReadDir(string(f))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list bundles: %w", err)
	}
	var list []Link
	for _, e := range entries {
		if !e.IsDir() || e.Name()[0] == '.' {
			continue
		}
		link, err := readLink(f.path(e.Name()))
		if err != nil {
			return nil, fmt.Errorf("list bundles: %w", err)
		}
		list = append(list, *link)
	}
	return list, nil
}

// Fetch implements [Destination].
func (f Folder) Fetch(_ context.Context, b Ref) (string, func() error, error) {
	return f.path(b.Name), func() error { return nil }, nil
}

// Notes implements [Destination].
func (f Folder) Notes() string { return f.path(".looked") }

// Workspace implements [Destination]. It removes what a crash left of bundles that
// were never there.
func (f Folder) Workspace(name string) (string, error) {
	if err := sweep(string(f)); err != nil {
		return "", err
	}
	dir := f.path(partial + name)
	return dir, os.Mkdir(dir, 0o755)
}

// Publish implements [Destination].
func (f Folder) Publish(_ context.Context, dir, name string) error {
	return publish(dir, f.path(name))
}

func (f Folder) path(name string) string { return filepath.Join(string(f), name) }
