package ingest

import (
	"context"
	"errors"
	"hash/maphash"
	"time"

	"github.com/apache/arrow/go/v17/arrow/memory"

	"github.com/whichpod/whichpod/flow"
)

const (
	// commitBlobs and commitRows bound what a crash makes us read again, while an
	// hour's many small blobs still share the cost of one commit.
	commitBlobs = 64
	commitRows  = 16 << 20 // some seconds

	// maxRejections bounds the rejections of one blob that a sink sees one by one.
	maxRejections = 1000

	// maxFailures is how many blobs in a row may fail to be read before Run gives up:
	// then it is the source that is out of order, not a blob.
	maxFailures = 10
)

// Sink takes what [Run] reads. Calls come one after the other, but from more than one
// goroutine, and Position perhaps while Append is at work.
type Sink interface {
	// Position returns the position that was committed for a blob, or that it was
	// advanced to.
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
	CommitRows   int64            // or after the blob that makes it so many rows; 0 is 16 Mi
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
// them is kept, up to the last whole record. After an error of the sink, Rows, Bytes and
// Read are what it took. The error is of the source's listing,
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
	r := &runner{ctx: ctx, src: src, sink: sink, feeder: startFeeder(sink), opts: opts, seed: maphash.MakeSeed(), again: map[string]bool{}}
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
	r.stop()
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
