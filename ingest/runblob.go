package ingest

import (
	"errors"
	"fmt"
	"io"

	"github.com/whichpod/whichpod/flow"
)

// read reads a blob from a position, closes it and has the sink advanced, once it has
// taken the rows. An error that is not of the sink leaves the sink in order.
func (r *runner) read(b Blob, from flow.Position, body io.ReadCloser) error {
	r.from, r.appended, r.omitted, r.rejected = from, 0, 0, nil
	p, err := r.decoder.Decode(r.ctx, body, from)
	if closeErr := body.Close(); err == nil {
		err = closeErr
	}
	if err == nil && p.Length != b.Length {
		err = fmt.Errorf("read blob %q: source gave %d bytes, listed %d", b.Name, p.Length, b.Length)
	}
	if err != nil {
		if settled := r.settle(); settled != nil {
			return settled
		}
	}
	switch {
	case errors.Is(err, ErrRewritten):
		return err
	case errors.Is(err, ErrChanged):
		return r.forget(b, err)
	}
	p.ETag = b.ETag
	if err != nil {
		p.ETag, p.Length, p.Tail = "", p.Offset, "reading failed"
	}
	if advanceErr := r.advance(p, err == nil); advanceErr != nil {
		return advanceErr
	}
	return err
}

// settle waits for the sink to take what was queued. From here on, the sink is the
// runner's until something is queued again.
func (r *runner) settle() error {
	if err := r.feeder.settle(); err != nil {
		r.sinkErr = err
	}
	return r.sinkErr
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

// advance has the sink advanced. read says that p is the end of the blob.
func (r *runner) advance(p flow.Position, read bool) error {
	if r.omitted > 0 {
		r.flood.Detail = fmt.Sprintf("%d more rejections from here on", r.omitted)
		r.rejected = append(r.rejected, r.flood)
	}
	counts := taken{bytes: p.Length - r.from.Offset}
	if read {
		counts.read = 1
	}
	if err := r.feeder.advance(advance{p, r.rejected, counts}); err != nil {
		r.sinkErr = err
		return err
	}
	r.queued.add(counts)
	r.sum.Read += counts.read
	r.sum.Bytes += counts.bytes
	r.blobs++
	r.rows += r.appended
	return nil
}

func (r *runner) append(b *flow.Batch) error {
	if err := r.feeder.put(b); err != nil {
		r.sinkErr = err
		return err
	}
	r.queued.add(taken{rows: int64(b.Len())})
	r.appended += int64(b.Len())
	r.sum.Rows += int64(b.Len())
	r.progress()
	return nil
}

// stop ends the feeder, and takes rows, bytes and blobs back from the summary that the
// sink did not take.
func (r *runner) stop() {
	r.feeder.stop()
	took := r.feeder.took
	r.sum.Rows -= r.queued.rows - took.rows
	r.sum.Bytes -= r.queued.bytes - took.bytes
	r.sum.Read -= r.queued.read - took.read
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
