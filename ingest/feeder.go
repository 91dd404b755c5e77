package ingest

import "github.com/whichpod/whichpod/flow"

// queuedBatches bounds the batches between the decoder and the sink: 6 MB. They let
// reading go on while a sink sorts and compresses.
const queuedBatches = 4

// feeder appends the batches of one blob to a sink, in their order, in a goroutine of
// its own.
type feeder struct {
	queue  chan *flow.Batch
	failed chan struct{} // closed after the first error of the sink
	done   chan struct{}

	err  error // of the sink; to be read after failed or done
	rows int64 // appended; to be read after done
}

// startFeeder starts one. Its sink MUST be left alone until stop has returned, which
// MUST be called.
func startFeeder(sink Sink) *feeder {
	f := &feeder{queue: make(chan *flow.Batch, queuedBatches), failed: make(chan struct{}), done: make(chan struct{})}
	go f.run(sink)
	return f
}

// run takes all that is queued, so that put never waits for long. After an error it
// drops it.
func (f *feeder) run(sink Sink) {
	defer close(f.done)
	for b := range f.queue {
		if f.err == nil {
			if f.err = sink.Append(b); f.err != nil {
				close(f.failed)
			} else {
				f.rows += int64(b.Len())
			}
		}
		b.Release()
	}
}

// put queues a batch, of which it takes a reference, and waits while the queue is
// full. It returns the sink's error, perhaps that of an earlier batch.
func (f *feeder) put(b *flow.Batch) error {
	select {
	case <-f.failed:
		return f.err
	default:
	}
	b.Retain()
	f.queue <- b
	return nil
}

// stop waits until the sink has taken, or the feeder dropped, all that was queued. It
// returns how many rows were appended, and the sink's error.
func (f *feeder) stop() (rows int64, err error) {
	close(f.queue)
	<-f.done
	return f.rows, f.err
}
