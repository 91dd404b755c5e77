package query

import (
	"errors"
	"io"

	"github.com/whichpod/whichpod/flow"
	"github.com/whichpod/whichpod/index"
)

// ahead reads a scan on a goroutine of its own, a few batches ahead of who takes them, who
// takes many at once and then none for a while.
type ahead struct {
	scan    *index.Scanner
	batches chan scanned // closed at the end, or after an error
	stop    chan struct{}
}

// scanned is a batch, which who receives it MUST release, or why there is none.
type scanned struct {
	batch *flow.Batch
	err   error
}

// batchesAhead is how many batches wait to be taken, of about 1 MB each.
const batchesAhead = 2

// readAhead takes over the scan. The caller MUST close what it returns.
func readAhead(scan *index.Scanner) *ahead {
	a := &ahead{scan: scan, batches: make(chan scanned, batchesAhead), stop: make(chan struct{})}
	go a.read()
	return a
}

func (a *ahead) read() {
	defer close(a.batches)
	for {
		b, err := a.scan.Next()
		if errors.Is(err, io.EOF) {
			return
		}
		select {
		case a.batches <- scanned{b, err}:
		case <-a.stop:
			if b != nil {
				b.Release()
			}
			return
		}
		if err != nil {
			return
		}
	}
}

// close ends the scan, and releases batches that nobody took.
func (a *ahead) close() error {
	close(a.stop)
	for s := range a.batches {
		if s.batch != nil {
			s.batch.Release()
		}
	}
	return a.scan.Close()
}
