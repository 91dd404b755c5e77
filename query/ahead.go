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
	begins  flow.Begins
	held    *flow.Batch     // read, and not handed on yet
	handed  int             // batches
	batches chan scanned    // closed at the end, or after an error
	spare   chan Attributed // of batches that are done with: their slices are used again
	stop    chan struct{}
}

// scanned is a batch that is not joined yet, which who receives it MUST release; or why
// there is none.
type scanned struct {
	Attributed
	err error
}

// batchesAhead is how many batches wait to be taken, of about 1 MB each: as many as make up
// a group of an export, so that the scan goes on while whoever takes them waits for room.
const batchesAhead = 8

// fewRows is below how many rows all of an answer's are few. An address's track says what is
// known at some five times for each pod that it had, which for a hundred pods are as many.
const fewRows = 512

// readAhead takes over the scan. The caller MUST close what it returns. Nobody could do
// anything before the first batch is there, so that is read at once; often it is the last.
func readAhead(scan *index.Scanner) *ahead {
	a := &ahead{scan: scan, batches: make(chan scanned, batchesAhead), spare: make(chan Attributed, batchesAhead+2), stop: make(chan struct{})}
	if a.read() && a.read() {
		go func() {
			for a.read() {
			}
		}()
	}
	return a
}

// read reads a batch, and hands on the one before it: a begin is looked at together with
// the row that follows it. It returns false at the end.
func (a *ahead) read() (more bool) {
	defer func() {
		if !more {
			close(a.batches)
		}
	}()
	next, err := a.scan.Next()
	if err != nil && !errors.Is(err, io.EOF) {
		if a.held != nil {
			a.held.Release()
		}
		a.hand(scanned{err: err})
		return false
	}
	if a.held != nil {
		r := a.room()
		r.few = a.handed == 0 && next == nil && a.held.Len() < fewRows
		r.Batch, r.Begins, r.Answered = a.held, a.begins.Of(a.held, r.Begins[:0]), flow.Answered(a.held, next, r.Answered[:0])
		if a.handed++; !a.hand(scanned{Attributed: r}) {
			if next != nil {
				next.Release()
			}
			return false
		}
	}
	a.held = next
	return next != nil
}

// hand hands a batch on, unless nobody wants any more.
func (a *ahead) hand(s scanned) bool {
	select {
	case a.batches <- s:
		return true
	case <-a.stop:
		if s.Batch != nil {
			s.Release()
		}
		return false
	}
}

// room is what is left of a batch that is done with, or nothing.
func (a *ahead) room() Attributed {
	select {
	case r := <-a.spare:
		return r
	default:
		return Attributed{}
	}
}

// done takes back a batch, and releases it.
func (a *ahead) done(r *Attributed) {
	r.Release()
	select {
	case a.spare <- Attributed{Begins: r.Begins, Answered: r.Answered}:
	default:
	}
}

// close ends the scan, and releases batches that nobody took.
func (a *ahead) close() error {
	close(a.stop)
	for s := range a.batches {
		if s.Batch != nil {
			s.Release()
		}
	}
	return a.scan.Close()
}
