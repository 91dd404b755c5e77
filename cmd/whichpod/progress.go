package main

import (
	"fmt"
	"io"
	"os"
	"time"

	"github.com/whichpod/whichpod/ingest"
)

// progress shows how far long work is: on a terminal in a line that changes,
// elsewhere in a line a minute.
type progress struct {
	w        io.Writer
	terminal bool
	start    time.Time
	shown    time.Time
	total    int64

	blobs int   // that are to be read, where it is known
	bytes int64 // of these, that are new
}

const (
	showEvery = 200 * time.Millisecond // keeps the line readable
	logEvery  = time.Minute
)

func newProgress(w io.Writer) *progress {
	now := time.Now()
	p := &progress{w: w, terminal: isTerminal(w), start: now}
	if !p.terminal {
		p.shown = now
	}
	return p
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	if err != nil || info.Mode()&os.ModeCharDevice == 0 {
		return false
	}
	nothing, err := os.Stat(os.DevNull)
	return err != nil || !os.SameFile(info, nothing)
}

func (p *progress) ingest(s ingest.Summary) {
	p.show(func(seconds float64) string { return p.line(s, seconds) })
}

// line says how far an ingest is after so many seconds, and how long the rest will
// take where it is known how much that is.
func (p *progress) line(s ingest.Summary, seconds float64) string {
	of, left := s.Selected-s.Unchanged, ""
	if p.bytes > 0 {
		of = p.blobs
		if s.Bytes > 0 {
			rest := max(0, seconds*(float64(p.bytes)/float64(s.Bytes)-1))
			left = fmt.Sprintf(", %s left", time.Duration(rest*float64(time.Second)).Round(time.Second))
		}
	}
	return fmt.Sprintf("%d of %d blobs, %.1f MB, %d rows, %.0f rows/s%s", s.Read, of, float64(s.Bytes)/1e6, s.Rows, float64(s.Rows)/seconds, left)
}

func (p *progress) hours(done, of int) {
	p.show(func(float64) string { return fmt.Sprintf("%d of %d blobs", done, of) })
}

func (p *progress) rows(n int64) {
	p.total += n
	p.show(func(seconds float64) string {
		return fmt.Sprintf("%d rows, %.0f rows/s", p.total, float64(p.total)/seconds)
	})
}

func (p *progress) show(line func(seconds float64) string) {
	every := logEvery
	if p.terminal {
		every = showEvery
	}
	if time.Since(p.shown) < every {
		return
	}
	p.shown = time.Now()
	text := line(time.Since(p.start).Seconds())
	if p.terminal {
		fmt.Fprintf(p.w, "\r\x1b[K%s", text)
	} else {
		fmt.Fprintf(p.w, "whichpod: %s\n", text)
	}
}

// done removes the line.
func (p *progress) done() {
	if p.terminal && !p.shown.IsZero() {
		fmt.Fprint(p.w, "\r\x1b[K")
		p.shown = time.Time{}
	}
}
