package bundle

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// Blobs are those of one container that hold bundles. All methods MUST be safe for
// concurrent use.
type Blobs interface {
	// String names the container, without a secret.
	String() string
	// Names lists the blobs whose names end in suffix, in any order. Those of deeper
	// folders, with a slash in their name, are left out or not.
	Names(ctx context.Context, suffix string) ([]string, error)
	// Open reads a blob from its first byte.
	Open(ctx context.Context, name string) (io.ReadCloser, error)
	// Put makes a blob of what r gives, whole or not at all. One that is there stays as
	// it is: then the error matches [fs.ErrExist]. download is the file name that a
	// browser saves it under.
	Put(ctx context.Context, name, download string, r io.Reader) error
}

// Container keeps each bundle in one blob, a tar file named after its number: a service
// that makes no blob twice lets no two bundles have one number.
// Safe for concurrent use.
type Container struct {
	Blobs     Blobs
	NotesPath string   // see [Destination]
	links     sync.Map // by blob: a manifest is read once, for it never changes
}

var _ Destination = (*Container)(nil)

// tarSuffix ends the names of blobs and files that are a bundle.
const tarSuffix = ".tar"

// linksAtOnce is how many manifests are read at a time: a chain has thousands of them,
// each a request of some milliseconds.
const linksAtOnce = 16

// Lock implements [Destination]. There is nothing to lock: of two writers, the second
// one's Publish fails.
func (c *Container) Lock() (io.Closer, error) { return io.NopCloser(nil), nil }

// Chain implements [Destination]. Blobs with other names than a bundle's are passed over.
func (c *Container) Chain(ctx context.Context) ([]Link, error) {
	names, err := c.names(ctx)
	if err != nil {
		return nil, err
	}
	links, errs := make([]Link, len(names)), make([]error, len(names))
	turn := make(chan struct{}, linksAtOnce)
	var wait sync.WaitGroup
	for i, name := range names {
		turn <- struct{}{}
		wait.Go(func() {
			defer func() { <-turn }()
			l, err := c.link(ctx, name)
			if errs[i] = err; err == nil {
				links[i] = *l
			}
		})
	}
	wait.Wait()
	if err := errors.Join(errs...); err != nil {
		return nil, fmt.Errorf("list bundles in %s: %w", c.Blobs, err)
	}
	return links, nil
}

// names are those of the blobs, in the chain's order.
func (c *Container) names(ctx context.Context) ([]string, error) {
	names, err := c.Blobs.Names(ctx, tarSuffix)
	if err != nil {
		return nil, err
	}
	names = slices.DeleteFunc(names, func(n string) bool { return n != tarName(sequenceOf(n)) })
	slices.SortFunc(names, func(a, b string) int { return cmp.Compare(sequenceOf(a), sequenceOf(b)) })
	return names, nil
}

func (c *Container) link(ctx context.Context, blob string) (*Link, error) {
	if l, ok := c.links.Load(blob); ok {
		return l.(*Link), nil
	}
	data, err := c.manifest(ctx, blob)
	if err != nil {
		return nil, err
	}
	l, err := parseLink(data)
	if err != nil {
		return nil, fmt.Errorf("read manifest of blob %q: %w", blob, err)
	}
	if blob != tarName(l.Sequence) {
		return nil, fmt.Errorf("blob %q holds bundle %q", blob, l.Name)
	}
	c.links.Store(blob, l)
	return l, nil
}

// Fetch implements [Destination], into a temporary folder.
func (c *Container) Fetch(ctx context.Context, b Ref) (dir string, done func() error, err error) {
	tmp, err := os.MkdirTemp("", "whichpod-fetch-")
	if err != nil {
		return "", nil, err
	}
	done = func() error { return os.RemoveAll(tmp) }
	in, err := c.Blobs.Open(ctx, tarName(sequenceOf(b.Name)))
	if err == nil {
		dir, err = unpack(in, tmp)
		err = errors.Join(err, in.Close())
	}
	if err != nil {
		return "", nil, errors.Join(err, done())
	}
	return dir, done, nil
}

// Notes implements [Destination].
func (c *Container) Notes() string { return c.NotesPath }

// manifest reads the manifest of a bundle, and no more than the begin of its blob.
func (c *Container) manifest(ctx context.Context, blob string) ([]byte, error) {
	in, err := c.Blobs.Open(ctx, blob)
	if err != nil {
		return nil, err
	}
	data, err := tarFile(in, manifestFile, maxManifest)
	if err != nil {
		err = fmt.Errorf("read manifest of blob %q: %w", blob, err)
	}
	return data, errors.Join(err, in.Close())
}

// fetch writes a blob into a new file.
func (c *Container) fetch(ctx context.Context, blob, path string) error {
	in, err := c.Blobs.Open(ctx, blob)
	if err != nil {
		return err
	}
	return errors.Join(unpackFile(in, path), in.Close())
}

// Workspace implements [Destination], in the folder for temporary files: what lies there
// after a crash counts for nothing.
func (c *Container) Workspace(name string) (string, error) {
	return os.MkdirTemp("", "whichpod-"+name+"-")
}

// Publish implements [Destination]. Where the upload was finished and only the answer
// was lost, it succeeds.
func (c *Container) Publish(ctx context.Context, dir, name string) error {
	blob := tarName(sequenceOf(name))
	pr, pw := io.Pipe()
	go func() {
		w := bufio.NewWriterSize(pw, 1<<20)
		err := pack(w, files(dir), name)
		pw.CloseWithError(errors.Join(err, w.Flush()))
	}()
	err := c.Blobs.Put(ctx, blob, name+tarSuffix, pr)
	pr.Close()
	if errors.Is(err, fs.ErrExist) {
		err = c.ours(ctx, blob, files(dir))
	}
	if err != nil {
		return fmt.Errorf("write bundle %q: %w", name, err)
	}
	return os.RemoveAll(dir)
}

// ours wants the blob that is there to hold the bundle that was to be written.
func (c *Container) ours(ctx context.Context, blob string, f files) error {
	there, err := c.manifest(ctx, blob)
	if err != nil {
		return err
	}
	mine, err := f.read(manifestFile)
	if err == nil && string(mine) != string(there) {
		err = ErrTaken
	}
	return err
}

// tarName is the name of the blob of a bundle.
func tarName(sequence int64) string { return fmt.Sprintf("%06d%s", sequence, tarSuffix) }

// sequenceOf is the number that a bundle's name begins with, or 0.
func sequenceOf(name string) int64 {
	digits, _, _ := strings.Cut(strings.TrimSuffix(name, tarSuffix), "-")
	n, err := strconv.ParseInt(digits, 10, 64)
	if err != nil {
		return 0
	}
	return n
}
