package ingest

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"io"
	"strings"

	"github.com/whichpod/whichpod/flow"
)

// runner is one call of Run.
type runner struct {
	ctx     context.Context
	src     Source
	sink    Sink
	opts    Options
	decoder *Decoder
	sum     Summary

	seed     maphash.Seed
	ahead    []*ahead        // blobs whose turn will come, the next one first
	again    map[string]bool // blobs that changed while they were read
	failures int             // in a row

	feeder  *feeder
	queued  taken // by the feeder, so far
	blobs   int   // of those, since the last commit
	rows    int64 // of those, since the last commit
	sinkErr error

	// of the blob under way
	from     flow.Position
	appended int64 // queued
	rejected []flow.Rejection
	flood    flow.Rejection
	omitted  int64
}

func (r *runner) run(sel *selection) error {
	seen := make(map[uint64]struct{}) // hashes: a container may hold a million names
	err := r.src.List(r.ctx, sel.hours, func(b Blob) error {
		r.sum.Listed++
		if !sel.has(b.Name) {
			return nil
		}
		r.sum.Selected++
		h := maphash.String(r.seed, b.Name)
		if _, ok := seen[h]; ok {
			r.skip(b, fmt.Sprintf("another blob of the same name was listed before %q", b.Path))
			return nil
		}
		seen[h] = struct{}{}
		return r.blob(b, false)
	})
	if err == nil {
		err = r.drain(false)
	}
	if err == nil && len(r.again) > 0 {
		err = r.changed(sel.hours)
	}
	if err != nil {
		return err
	}
	return r.commit(true)
}

// changed lists again and reads the blobs that changed while they were read.
func (r *runner) changed(hours Hours) error {
	if err := r.commit(true); err != nil { // so that Position knows them
		return err
	}
	err := r.src.List(r.ctx, hours, func(b Blob) error {
		if !r.again[b.Name] {
			return nil
		}
		delete(r.again, b.Name)
		return r.blob(b, true)
	})
	if err == nil {
		err = r.drain(true)
	}
	for name := range r.again {
		r.skip(Blob{Name: name}, "it is gone")
	}
	return err
}

// blob has what is new in a blob read, now or when its turn comes.
func (r *runner) blob(b Blob, last bool) error {
	from, known := r.feeder.position(b.Name)
	if known && unchanged(from, b) {
		r.sum.Unchanged++
		r.progress()
		return nil
	}
	a := &ahead{blob: b, from: flow.Position{Blob: b.Name}}
	switch {
	case known && b.Length <= from.Length && (b.Length < from.Length || otherVersion(from, b)):
		a.rewritten = true
	case known:
		a.from = from
	}
	openAhead(r.ctx, r.src, a, r.opts.Ahead > 0)
	if r.ahead = append(r.ahead, a); len(r.ahead) <= r.opts.Ahead {
		return nil
	}
	return r.next(last)
}

// drain reads the blobs whose turn is still to come.
func (r *runner) drain(last bool) error {
	for len(r.ahead) > 0 {
		if err := r.next(last); err != nil {
			return err
		}
	}
	return nil
}

// abandon closes them.
func (r *runner) abandon() {
	for _, a := range r.ahead {
		a.abandon()
	}
	r.ahead = nil
}

// next reads the blob whose turn it is.
func (r *runner) next(last bool) error {
	a := r.ahead[0]
	r.ahead = r.ahead[1:]
	body, err := a.wait()
	switch {
	case err != nil:
	case a.rewritten:
		err = r.anew(a.blob, body)
	default:
		err = r.read(a.blob, a.from, body)
	}
	if errors.Is(err, ErrRewritten) {
		if body, err = r.src.Open(r.ctx, a.blob, 0); err == nil {
			err = r.anew(a.blob, body)
		}
	} else if err == nil && a.from.Offset > 0 {
		r.sum.Resumed++
	}
	return r.done(a.blob, err, last)
}

// anew reads a blob that was rewritten from its start, once it is open: until then its
// old rows stay.
func (r *runner) anew(b Blob, body io.ReadCloser) error {
	r.sum.Rewritten++
	if err := r.settle(); err != nil {
		return errors.Join(err, body.Close())
	}
	if err := r.sink.Restart(b.Name); err != nil {
		r.sinkErr = &SinkError{errors.Join(fmt.Errorf("restart blob %q: %w", b.Name, err), body.Close())}
		return r.sinkErr
	}
	return r.read(b, flow.Position{Blob: b.Name}, body)
}

// unchanged says that a listed blob is the version at p, as far as can be told without
// reading it.
func unchanged(p flow.Position, b Blob) bool {
	return p.Length == b.Length && (p.ETag == b.ETag || p.ETag != "" && !otherVersion(p, b))
}

// otherVersion says that a listed blob is surely not the version at p. An ETag tells
// nothing about one of another kind of source: a mirror of a container.
func otherVersion(p flow.Position, b Blob) bool {
	sameKind := strings.HasPrefix(p.ETag, fileETag) == strings.HasPrefix(b.ETag, fileETag)
	return p.ETag != "" && b.ETag != "" && sameKind && p.ETag != b.ETag
}

// done decides what an error of read means for the run.
func (r *runner) done(b Blob, err error, last bool) error {
	switch {
	case r.sinkErr != nil:
		return r.sinkErr
	case r.ctx.Err() != nil:
		return r.ctx.Err()
	case err == nil:
		r.failures = 0
	case errors.Is(err, ErrChanged) && r.opts.Patient:
		r.sum.Changed++
	case errors.Is(err, ErrChanged) && !last:
		r.again[b.Name] = true
	default:
		r.skip(b, err.Error())
		if r.failures++; r.failures == maxFailures {
			return fmt.Errorf("%d blobs in a row could not be read: %w", maxFailures, err)
		}
	}
	r.progress()
	return r.commit(false)
}

// commit commits when enough was advanced, or all where asked.
func (r *runner) commit(all bool) error {
	if !all && r.blobs < r.opts.CommitBlobs && r.rows < r.opts.CommitRows {
		return nil
	}
	if err := r.settle(); err != nil {
		return err
	}
	if err := r.sink.Commit(); err != nil {
		return &SinkError{fmt.Errorf("commit: %w", err)}
	}
	r.blobs, r.rows = 0, 0
	return nil
}

func (r *runner) skip(b Blob, reason string) {
	r.sum.Skipped = append(r.sum.Skipped, Skip{Blob: b.Name, Reason: reason})
}

func (r *runner) progress() {
	if r.opts.Progress != nil {
		r.opts.Progress(r.sum)
	}
}
