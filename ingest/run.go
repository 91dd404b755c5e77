package ingest

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"io"
	"strings"
	"time"

	"github.com/apache/arrow/go/v17/arrow/memory"

	"github.com/whichpod/whichpod/flow"
)

const (
	// commitBlobs and commitRows bound what a crash makes us read again, while an
	// hour's many small blobs still share the cost of one commit.
	commitBlobs = 64
	commitRows  = 4 << 20

	// maxRejections bounds the rejections of one blob that a sink sees one by one.
	maxRejections = 1000

	// maxFailures is how many blobs in a row may fail to be read before Run gives up:
	// then it is the source that is out of order, not a blob.
	maxFailures = 10
)

// Sink takes what [Run] reads. Calls come one after the other, those of Append from
// another goroutine than the rest.
type Sink interface {
	// Position returns the position that was committed for a blob.
	Position(blob string) (flow.Position, bool)

	// Restart makes the sink forget all rows of a blob, committed or not, and its
	// position, with the next Commit: it was rewritten and is read again from 0.
	Restart(blob string) error

	// Append adds rows of one blob. It takes no reference: the sink MUST Retain a
	// batch that it keeps.
	Append(b *flow.Batch) error

	// Advance says that the rows of p.Blob that were appended since its last Advance
	// or Restart reach to p, and what was rejected on the way.
	Advance(p flow.Position, rejected []flow.Rejection) error

	// Commit makes all that was advanced durable, together. It is never called
	// between the first Append of a blob and the Advance or Restart that follows.
	Commit() error
}

// Options of [Run]. The zero value reads all blobs.
type Options struct {
	Since, Until time.Time        // rows of [Since, Until) are wanted; zero is open
	Shard        Shard            // of the blobs, by NIC
	Memory       memory.Allocator // of batches, for concurrent use; nil is Go's
	Progress     func(Summary)    // after each blob and batch, not to be kept; nil for none
	CommitBlobs  int              // commit after so many blobs; 0 is 64
	CommitRows   int64            // or after the blob that makes it so many rows; 0 is 4 Mi
	Ahead        int              // blobs to open before their turn, of 256 KiB each; 0 is none

	// Patient leaves a blob that changes while it is read to the next run, without a
	// second listing.
	Patient bool
}

// Summary counts what a run did.
type Summary struct {
	Listed    int // blobs that the source has
	Selected  int // of those, in the time and the shard asked for
	Unchanged int // of those, not opened because nothing is new
	Read      int // of those, read to their end
	Resumed   int // of those read, continued behind an earlier position
	Rewritten int // of those read, read again from the start
	Changed   int // left for the next run because they changed while they were read

	Rows     int64            // appended
	Bytes    int64            // of blobs, that were new
	Rejected map[string]int64 // by reason; exact, even past the limit of single rejections
	Skipped  []Skip           // blobs that were not read to their end
}

// Skip is a blob left for the next run.
type Skip struct{ Blob, Reason string }

// Run reads the new part of each blob of src into sink.
//
// A blob of which the sink has the ETag, or where one side knows none the length, is
// not opened. One that grew is continued behind the last whole record; one whose
// bytes before that changed, or that shrank, is read again from the start. A blob
// that changes while it is read is tried once more after a second listing.
//
// Blobs that could not be read to their end are in Summary.Skipped; what was read of
// them is kept, up to the last whole record. The error is of the source's listing,
// the sink ([SinkError]), the context, or of too many blobs in a row. After one that
// is not the sink's, what was read is committed all the same.
func Run(ctx context.Context, src Source, sink Sink, opts Options) (Summary, error) {
	sel, err := newSelection(opts)
	if err != nil {
		return Summary{}, err
	}
	if opts.Memory == nil {
		opts.Memory = memory.DefaultAllocator
	}
	if opts.CommitBlobs == 0 {
		opts.CommitBlobs = commitBlobs
	}
	if opts.CommitRows == 0 {
		opts.CommitRows = commitRows
	}
	r := &runner{ctx: ctx, src: src, sink: sink, opts: opts, seed: maphash.MakeSeed(), again: map[string]bool{}}
	r.sum.Rejected = map[string]int64{}
	batches := &pool{mem: opts.Memory}
	defer batches.close()
	r.decoder = NewDecoder(batches, r.append, r.reject)
	defer r.decoder.Close()
	err = r.run(&sel)
	r.abandon()
	var broken *SinkError
	if err != nil && !errors.As(err, &broken) {
		err = errors.Join(err, r.commit(true))
	}
	return r.sum, err
}

// Survey lists src and returns how many blobs [Run] would read, and about how many
// bytes of them are new.
func Survey(ctx context.Context, src Source, sink Sink, opts Options) (blobs int, bytes int64, err error) {
	sel, err := newSelection(opts)
	if err != nil {
		return 0, 0, err
	}
	err = src.List(ctx, sel.hours, func(b Blob) error {
		if !sel.has(b.Name) {
			return nil
		}
		p, known := sink.Position(b.Name)
		if known && unchanged(p, b) {
			return nil
		}
		blobs++
		bytes += b.Length
		if p.Offset < b.Length {
			bytes -= p.Offset
		}
		return nil
	})
	return blobs, bytes, err
}

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

	blobs int   // advanced since the last commit
	rows  int64 // advanced since the last commit

	// of the blob under way
	from     flow.Position
	feeder   *feeder
	appended int64 // queued, and after fed appended
	rejected []flow.Rejection
	flood    flow.Rejection
	omitted  int64
	sinkErr  error
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
	from, known := r.sink.Position(b.Name)
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

// read reads a blob from a position, closes it and advances the sink. An error that is
// not of the sink leaves the sink in order.
func (r *runner) read(b Blob, from flow.Position, body io.ReadCloser) error {
	r.from, r.appended, r.omitted, r.rejected = from, 0, 0, nil
	r.feeder = startFeeder(r.sink)
	p, err := r.decoder.Decode(r.ctx, body, from)
	r.fed()
	if closeErr := body.Close(); err == nil {
		err = closeErr
	}
	if err == nil && p.Length != b.Length {
		err = fmt.Errorf("read blob %q: source gave %d bytes, listed %d", b.Name, p.Length, b.Length)
	}
	switch {
	case r.sinkErr != nil:
		return r.sinkErr
	case errors.Is(err, ErrRewritten):
		return err
	case errors.Is(err, ErrChanged):
		return r.forget(b, err)
	}
	p.ETag = b.ETag
	if err != nil {
		p.ETag, p.Length, p.Tail = "", p.Offset, "reading failed"
	}
	if advanceErr := r.advance(p); advanceErr != nil {
		return advanceErr
	}
	return err
}

// forget drops the rows of a blob that changed under way: some may be of neither
// version.
func (r *runner) forget(b Blob, err error) error {
	if r.appended == 0 {
		return err
	}
	if restartErr := r.sink.Restart(b.Name); restartErr != nil {
		r.sinkErr = &SinkError{fmt.Errorf("restart blob %q: %w", b.Name, restartErr)}
		return r.sinkErr
	}
	r.sum.Rows -= r.appended
	return err
}

func (r *runner) advance(p flow.Position) error {
	if r.omitted > 0 {
		r.flood.Detail = fmt.Sprintf("%d more rejections from here on", r.omitted)
		r.rejected = append(r.rejected, r.flood)
	}
	if err := r.sink.Advance(p, r.rejected); err != nil {
		r.sinkErr = &SinkError{fmt.Errorf("advance blob %q: %w", p.Blob, err)}
		return r.sinkErr
	}
	r.sum.Bytes += p.Length - r.from.Offset
	r.blobs++
	r.rows += r.appended
	return nil
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
		r.sum.Read++
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
	if err := r.sink.Commit(); err != nil {
		return &SinkError{fmt.Errorf("commit: %w", err)}
	}
	r.blobs, r.rows = 0, 0
	return nil
}

func (r *runner) append(b *flow.Batch) error {
	if err := r.feeder.put(b); err != nil {
		return err
	}
	r.appended += int64(b.Len())
	r.sum.Rows += int64(b.Len())
	r.progress()
	return nil
}

// fed waits for the sink to take what the decoder emitted. From here on, the sink is
// the runner's again.
func (r *runner) fed() {
	rows, err := r.feeder.stop()
	r.sum.Rows -= r.appended - rows // of batches that were dropped
	r.appended = rows
	if err != nil {
		r.sinkErr = &SinkError{fmt.Errorf("append rows of blob %q: %w", r.from.Blob, err)}
	}
}

// reject keeps a rejection for Advance. The bytes behind an earlier position that
// were no record then were counted then: they are not counted again.
func (r *runner) reject(x flow.Rejection) {
	if r.from.Tail != "" && x.Offset < r.from.Length && x.Reason != ReasonTuple && x.Reason != ReasonUnsupported {
		return
	}
	r.sum.Rejected[x.Reason]++
	if len(r.rejected) < maxRejections {
		r.rejected = append(r.rejected, x)
		return
	}
	if r.omitted == 0 {
		r.flood = flow.Rejection{Blob: x.Blob, Offset: x.Offset, Reason: ReasonFlood}
	}
	r.omitted++
}

func (r *runner) skip(b Blob, reason string) {
	r.sum.Skipped = append(r.sum.Skipped, Skip{Blob: b.Name, Reason: reason})
}

func (r *runner) progress() {
	if r.opts.Progress != nil {
		r.opts.Progress(r.sum)
	}
}
