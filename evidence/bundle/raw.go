package bundle

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"hash/crc32"
	"io"
	"os"
	"sync"
	"time"

	"github.com/whichpod/whichpod/index"
	"github.com/whichpod/whichpod/ingest"
)

// recorded is a source of just those bytes of the flow logs that a bundle rests on: of
// each blob what was taken of it, even where it has grown since.
type recorded struct {
	source ingest.Source
	blobs  map[string]*Blob

	mu      sync.Mutex
	listed  map[string]ingest.Blob // as the source has them
	digests map[string]string      // of those that were read to their end
}

func newRecorded(source ingest.Source, blobs []Blob) *recorded {
	r := &recorded{source: source, blobs: make(map[string]*Blob), listed: make(map[string]ingest.Blob), digests: make(map[string]string)}
	for i := range blobs {
		r.blobs[blobs[i].Name] = &blobs[i]
	}
	return r
}

// List implements [ingest.Source].
func (r *recorded) List(ctx context.Context, hours ingest.Hours, fn func(ingest.Blob) error) error {
	return r.source.List(ctx, hours, func(b ingest.Blob) error {
		want := r.blobs[b.Name]
		if want == nil {
			return nil
		}
		r.mu.Lock()
		r.listed[b.Name] = b
		r.mu.Unlock()
		b.Length = min(b.Length, want.Taken)
		return fn(b)
	})
}

// Open implements [ingest.Source].
func (r *recorded) Open(ctx context.Context, b ingest.Blob, offset int64) (io.ReadCloser, error) {
	r.mu.Lock()
	whole := r.listed[b.Name]
	r.mu.Unlock()
	in, err := r.source.Open(ctx, whole, offset)
	if err != nil {
		return nil, err
	}
	return &hashed{in: in, left: b.Length - offset, sum: sha256.New(), done: func(digest string) {
		r.mu.Lock()
		defer r.mu.Unlock()
		if offset == 0 {
			r.digests[b.Name] = digest
		}
	}}, nil
}

// hashed reads so many bytes and sums them up.
type hashed struct {
	in   io.ReadCloser
	left int64
	sum  hash.Hash
	done func(digest string)
}

func (h *hashed) Read(p []byte) (int, error) {
	if h.left == 0 {
		h.done(hex.EncodeToString(h.sum.Sum(nil)))
		return 0, io.EOF
	}
	n, err := h.in.Read(p[:min(int64(len(p)), h.left)])
	h.sum.Write(p[:n])
	if h.left -= int64(n); h.left == 0 {
		h.done(hex.EncodeToString(h.sum.Sum(nil)))
	}
	if errors.Is(err, io.EOF) && h.left > 0 {
		err = io.ErrUnexpectedEOF
	}
	return n, err
}

func (h *hashed) Close() error { return h.in.Close() }

// digest reads what a bundle rests on once more and notes the SHA-256 of each blob. That
// the bytes are those which the index was made from is checked by its checksum of
// their last ones, and for certain when rows are derived from them.
func digestBlobs(ctx context.Context, source ingest.Source, blobs []Blob) error {
	r := newRecorded(source, blobs)
	err := r.List(ctx, ingest.Hours{}, func(b ingest.Blob) error {
		want := r.blobs[b.Name]
		in, err := r.Open(ctx, b, 0)
		if err != nil {
			return fmt.Errorf("read blob %q: %w", b.Name, err)
		}
		tail := &tailSum{}
		_, err = io.Copy(tail, in)
		if err = errors.Join(err, in.Close()); err != nil {
			return fmt.Errorf("read blob %q: %w", b.Name, err)
		}
		if b.Length < want.Taken || tail.sum() != want.Check {
			return fmt.Errorf("read blob %q: its first %d bytes are not those that were ingested; ingest it again", b.Name, want.Taken)
		}
		want.SHA256 = r.digests[b.Name]
		return nil
	})
	if err != nil {
		return err
	}
	for i := range blobs {
		if blobs[i].SHA256 == "" {
			return fmt.Errorf("read blob %q: the source does not have it", blobs[i].Name)
		}
	}
	return nil
}

// tailSum is the checksum of the last bytes that were written to it.
type tailSum struct{ tail []byte }

func (t *tailSum) Write(p []byte) (int, error) {
	t.tail = append(t.tail, p...)
	if n := len(t.tail) - ingest.CheckBytes; n > 0 {
		t.tail = append(t.tail[:0], t.tail[n:]...)
	}
	return len(p), nil
}

func (t *tailSum) sum() uint32 { return crc32.Checksum(t.tail, crc32.MakeTable(crc32.Castagnoli)) }

// rederive reads the blobs of a bundle from a source into an index in a folder of its
// own, and calls fn with it. problems are blobs that are not as they were.
func rederive(ctx context.Context, source ingest.Source, c *Completeness, fn func(*index.Store) error) (problems []string, err error) {
	dir, err := os.MkdirTemp("", "whichpod-verify-*")
	if err != nil {
		return nil, fmt.Errorf("derive rows: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	store, err := index.Open(dir, index.Options{})
	if err != nil {
		return nil, fmt.Errorf("derive rows: %w", err)
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	w, err := store.Writer()
	if err != nil {
		return nil, fmt.Errorf("derive rows: %w", err)
	}
	r := newRecorded(source, c.Blobs)
	sum, err := ingest.Run(ctx, r, w, ingest.Options{Since: c.hours(false), Until: c.hours(true), Ahead: 4})
	if err = errors.Join(err, w.Close()); err != nil {
		return nil, fmt.Errorf("derive rows from the blobs that %s lists: %w", completenessFile, err)
	}
	skipped := make(map[string]string)
	for _, s := range sum.Skipped {
		skipped[s.Blob] = s.Reason
	}
	for i := range c.Blobs {
		b := &c.Blobs[i]
		listed, there := r.listed[b.Name]
		switch {
		case !there:
			problems = append(problems, fmt.Sprintf("blob %q is not in the source", b.Name))
		case skipped[b.Name] != "":
			problems = append(problems, fmt.Sprintf("blob %q cannot be read: %s", b.Name, skipped[b.Name]))
		case listed.Length < b.Taken:
			problems = append(problems, fmt.Sprintf("blob %q has %d bytes, had at least %d", b.Name, listed.Length, b.Taken))
		case b.SHA256 != "" && b.Taken > 0 && r.digests[b.Name] != b.SHA256:
			problems = append(problems, fmt.Sprintf("blob %q was replaced: the SHA-256 of its first %d bytes is %s, was %s", b.Name, b.Taken, r.digests[b.Name], b.SHA256))
		}
	}
	return problems, fn(store)
}

// listMargin is how far a blob's hour may be from the times of its rows.
const listMargin = 24 * time.Hour

// hours is from when, or until when, blobs are listed: the times of the rows, and a
// margin. Zero is no limit.
func (c *Completeness) hours(until bool) time.Time {
	var at time.Time
	for i := range c.Blobs {
		b := &c.Blobs[i]
		if b.Rows == 0 {
			return time.Time{}
		}
		first, last := time.UnixMilli(int64(b.First)).Add(-listMargin), time.UnixMilli(int64(b.Last)).Add(listMargin)
		switch {
		case until && (at.IsZero() || last.After(at)):
			at = last
		case !until && (at.IsZero() || first.Before(at)):
			at = first
		}
	}
	return at
}
