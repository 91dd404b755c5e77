package main

import (
	"bytes"
	"testing"
	"time"

	"github.com/whichpod/whichpod/ingest"
)

func TestProgressLine(t *testing.T) {
	sum := ingest.Summary{Selected: 9, Unchanged: 4, Read: 2, Rows: 3000, Bytes: 25e6}
	for _, tc := range []struct {
		p    progress
		sum  ingest.Summary
		want string
	}{
		{progress{}, sum, "2 of 5 blobs, 25.0 MB, 3000 rows, 300 rows/s"},
		{progress{blobs: 8, bytes: 100e6}, sum, "2 of 8 blobs, 25.0 MB, 3000 rows, 300 rows/s, 30s left"},
		{progress{blobs: 8, bytes: 20e6}, sum, "2 of 8 blobs, 25.0 MB, 3000 rows, 300 rows/s, 0s left"}, // it grew meanwhile
		{progress{blobs: 8, bytes: 20e6}, ingest.Summary{}, "0 of 8 blobs, 0.0 MB, 0 rows, 0 rows/s"},
	} {
		if got := tc.p.line(tc.sum, 10); got != tc.want {
			t.Errorf("got %q, want %q", got, tc.want)
		}
	}
}

// A terminal shows a line that is removed, a log file gets a line a minute.
func TestProgressShows(t *testing.T) {
	line := func(float64) string { return "x" }
	for _, tc := range []struct {
		name string
		p    progress
		want string
	}{
		{"terminal", progress{terminal: true}, "\r\x1b[Kx\r\x1b[K"},
		{"log file", progress{shown: time.Now().Add(-logEvery)}, "whichpod: x\n"},
		{"log file, within the minute", progress{shown: time.Now()}, ""},
	} {
		var out bytes.Buffer
		tc.p.w = &out
		tc.p.show(line)
		tc.p.done()
		if out.String() != tc.want {
			t.Errorf("%s: got %q, want %q", tc.name, out.String(), tc.want)
		}
	}
}
