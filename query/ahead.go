package query

import (
	"errors"
	"io"

	"github.com/whichpod/whichpod/flow"
	"github.com/whichpod/whichpod/index"
)

// ahead reads a scan and finds its flows on a goroutine of its own, a few batches ahead of
// who takes them, who takes many at once and then none for a while.
type ahead struct {
	scan    *index.Scanner
	batches chan flows // closed at the end, or after an error
	spare   chan flows // of batches that are done with: their slices are used again
	stop    chan struct{}
}

// flows is a batch, which who receives it MUST release, with what is known of the flows of
// its rows; or why there is none.
type flows struct {
	batch    *flow.Batch
	begins   []flow.Span // of each row, when its flow began
	answered []bool      // and whether its destination is known to have sent something back
	err      error
}

// batchesAhead is how many batches wait to be taken, of about 1 MB each: as many as make up
// a group of an export, so that the scan goes on while whoever takes them waits for room.
const batchesAhead = 8

// readAhead takes over the scan. The caller MUST close what it returns.
func readAhead(scan *index.Scanner) *ahead {
	a := &ahead{scan: scan, batches: make(chan flows, batchesAhead), spare: make(chan flows, batchesAhead+2), stop: make(chan struct{})}
	go a.read()
	return a
}

// read hands each batch on once it has the one after it: a begin is looked at together with
// the row that follows it.
func (a *ahead) read() {
	defer close(a.batches)
	var begins flow.Begins
	var held *flow.Batch
	for {
		next, err := a.scan.Next()
		if err != nil && !errors.Is(err, io.EOF) {
			if held != nil {
				held.Release()
			}
			a.hand(flows{err: err})
			return
		}
		if held != nil {
			f := a.room()
			f.batch, f.begins, f.answered = held, begins.Of(held, f.begins[:0]), flow.Answered(held, next, f.answered[:0])
			if !a.hand(f) {
				if next != nil {
					next.Release()
				}
				return
			}
		}
		if held = next; held == nil {
			return
		}
	}
}

// hand hands a batch on, unless nobody wants any more.
func (a *ahead) hand(f flows) bool {
	select {
	case a.batches <- f:
		return true
	case <-a.stop:
		if f.batch != nil {
			f.batch.Release()
		}
		return false
	}
}

// room is what is left of a batch that is done with, or nothing.
func (a *ahead) room() flows {
	select {
	case f := <-a.spare:
		return f
	default:
		return flows{}
	}
}

// done takes back a batch, and releases it.
func (a *ahead) done(f flows) {
	f.batch.Release()
	f.batch = nil
	select {
	case a.spare <- f:
	default:
	}
}

// close ends the scan, and releases batches that nobody took.
func (a *ahead) close() error {
	close(a.stop)
	for f := range a.batches {
		if f.batch != nil {
			f.batch.Release()
		}
	}
	return a.scan.Close()
}
