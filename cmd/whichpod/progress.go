package main

import (
	"fmt"
	"io"
	"os"
	"time"

	"github.com/whichpod/whichpod/ingest"
)

// progress shows on a terminal how far long work is. Elsewhere it is silent.
type progress struct {
	w     io.Writer // nil where it is no terminal
	start time.Time
	shown time.Time
	total int64
}

// showEvery keeps the line readable.
const showEvery = 200 * time.Millisecond

func newProgress(w io.Writer) *progress {
	p := &progress{start: time.Now()}
	if isTerminal(w) {
		p.w = w
	}
	return p
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

func (p *progress) ingest(s ingest.Summary) {
	p.show(func(seconds float64) string {
		return fmt.Sprintf("%d of %d blobs, %.1f MB, %d rows, %.0f rows/s", s.Read+s.Unchanged, s.Selected, float64(s.Bytes)/1e6, s.Rows, float64(s.Rows)/seconds)
	})
}

func (p *progress) rows(n int64) {
	p.total += n
	p.show(func(seconds float64) string {
		return fmt.Sprintf("%d rows, %.0f rows/s", p.total, float64(p.total)/seconds)
	})
}

func (p *progress) show(line func(seconds float64) string) {
	if p.w == nil || time.Since(p.shown) < showEvery {
		return
	}
	p.shown = time.Now()
	fmt.Fprintf(p.w, "\r\x1b[K%s", line(time.Since(p.start).Seconds()))
}

func (p *progress) done() {
	if p.w != nil && !p.shown.IsZero() {
		fmt.Fprint(p.w, "\r\x1b[K")
	}
}
