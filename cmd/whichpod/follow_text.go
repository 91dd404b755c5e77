package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/whichpod/whichpod/ingest"
)

// followWriter says on standard error how following goes: on a terminal a line that
// changes, elsewhere a line a minute; and at once when a source is waited for, when it
// is back, and when an interface falls silent.
type followWriter struct {
	line   *progress
	out    io.Writer
	total  map[string]int64  // rows by source
	wait   map[string]string // why a source is waited for
	told   map[string]time.Time
	silent map[string]bool // interfaces told of
}

// tellEvery is how often a wait is told of again.
const tellEvery = time.Minute

func newFollowWriter(w io.Writer) *followWriter {
	return &followWriter{line: newProgress(w), out: w, total: map[string]int64{}, wait: map[string]string{}, told: map[string]time.Time{}, silent: map[string]bool{}}
}

func (f *followWriter) pass(p ingest.Pass) {
	f.total[p.Source] += p.Summary.Rows
	if errors.Is(p.Err, context.Canceled) {
		return // told to stop
	}
	switch why := f.wait[p.Source]; {
	case p.Err != nil && (why != p.Err.Error() || time.Since(f.told[p.Source]) >= tellEvery):
		f.wait[p.Source], f.told[p.Source] = p.Err.Error(), time.Now()
		f.print("waiting for %s since %s, trying again in %s: %s", p.Source, p.Since.UTC().Format(time.RFC3339), time.Until(p.Next).Round(time.Second), oneLine(p.Err.Error()))
	case p.Err == nil && why != "":
		delete(f.wait, p.Source)
		f.print("%s is back after %s", p.Source, p.Start.Sub(p.Since).Round(time.Second))
	}
	f.tellSilent(p)
	if p.Err == nil {
		f.line.show(func(float64) string {
			return fmt.Sprintf("following %s: %d of %d blobs changed, %d rows (%d in all) in %s, %s behind", p.Source, p.Summary.Read, p.Summary.Selected,
				p.Summary.Rows, f.total[p.Source], p.Took.Round(time.Millisecond), p.Behind.Round(time.Second))
		})
	}
}

func (f *followWriter) tellSilent(p ingest.Pass) {
	if p.Err != nil {
		return
	}
	now := make(map[string]bool)
	for _, s := range p.Silent {
		key := p.Source + " " + s.NIC
		now[key] = true
		if !f.silent[key] {
			f.silent[key] = true
			f.print("warning: interface %s fell silent: its last block came at %s", s.NIC, s.Last.UTC().Format(time.RFC3339))
		}
	}
	for key := range f.silent {
		if !now[key] {
			delete(f.silent, key)
		}
	}
}

func (f *followWriter) print(format string, args ...any) {
	f.line.done()
	fmt.Fprintf(f.out, "whichpod: "+format+"\n", args...)
}

func (f *followWriter) done() { f.line.done() }
