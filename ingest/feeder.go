package ingest

import (
	"fmt"
	"sync"

	"github.com/whichpod/whichpod/flow"
)

// queuedBatches bounds the batches between the decoder and the sink: 8 MB. They let
// reading go on while a sink sorts and compresses.
const queuedBatches = 6

// feeder hands a run's batches and positions to its sink, in their order, in a goroutine
// of its own. So the next blob is decoded while the sink takes the end of the one before.
type feeder struct {
	sink   Sink
	queue  chan fed
	failed chan struct{} // closed after the first error of the sink
	done   chan struct{}

	calls sync.Mutex // held in calls of the sink, but for Append

	// To be read after failed, after settle or after stop.
	err  error // of the sink
	took taken
}

// fed is one of three: a batch, a position, or somebody who waits.
type fed struct {
	batch   *flow.Batch
	advance *advance
	reached chan struct{} // closed when all before it was taken
}

// advance is what [Sink.Advance] is called with.
type advance struct {
	position flow.Position
	rejected []flow.Rejection
	counts   taken
}

// taken counts what a sink took.
type taken struct {
	rows  int64
	bytes int64 // of blobs, that were advanced past
	read  int   // blobs, to their end
}

func (t *taken) add(more taken) {
	t.rows, t.bytes, t.read = t.rows+more.rows, t.bytes+more.bytes, t.read+more.read
}

// startFeeder starts one. Of its sink only Position may be called by others, through
// position, until settle has returned and before the next put. stop MUST be called.
func startFeeder(sink Sink) *feeder {
	f := &feeder{sink: sink, queue: make(chan fed, queuedBatches), failed: make(chan struct{}), done: make(chan struct{})}
	go f.run()
	return f
}

// run takes all that is queued, so that put never waits for long. After an error it
// drops it.
func (f *feeder) run() {
	defer close(f.done)
	for x := range f.queue {
		if x.reached != nil {
			close(x.reached)
			continue
		}
		if f.err == nil {
			if f.err = f.take(&x); f.err != nil {
				close(f.failed)
			}
		}
		if x.batch != nil {
			x.batch.Release()
		}
	}
}

func (f *feeder) take(x *fed) error {
	if b := x.batch; b != nil {
		if err := f.sink.Append(b); err != nil {
			return &SinkError{fmt.Errorf("append rows of blob %q: %w", b.Blob(0), err)}
		}
		f.took.add(taken{rows: int64(b.Len())})
		return nil
	}
	f.calls.Lock()
	defer f.calls.Unlock()
	if err := f.sink.Advance(x.advance.position, x.advance.rejected); err != nil {
		return &SinkError{fmt.Errorf("advance blob %q: %w", x.advance.position.Blob, err)}
	}
	f.took.add(x.advance.counts)
	return nil
}

// position asks the sink, perhaps while it appends.
func (f *feeder) position(blob string) (flow.Position, bool) {
	f.calls.Lock()
	defer f.calls.Unlock()
	return f.sink.Position(blob)
}

// put queues a batch, of which it takes a reference, and waits while the queue is
// full. It returns the sink's error, perhaps that of something earlier.
func (f *feeder) put(b *flow.Batch) error {
	b.Retain()
	err := f.add(fed{batch: b})
	if err != nil {
		b.Release()
	}
	return err
}

// advance queues a position that all rows before it, which were put, reach to.
func (f *feeder) advance(a advance) error { return f.add(fed{advance: &a}) }

func (f *feeder) add(x fed) error {
	select {
	case <-f.failed:
		return f.err
	default:
	}
	f.queue <- x
	return nil
}

// settle waits until the sink has taken, or the feeder dropped, all that was queued. It
// returns the sink's error.
func (f *feeder) settle() error {
	reached := make(chan struct{})
	f.queue <- fed{reached: reached}
	<-reached
	return f.err
}

// stop ends it, once all that was queued is taken.
func (f *feeder) stop() {
	close(f.queue)
	<-f.done
}
