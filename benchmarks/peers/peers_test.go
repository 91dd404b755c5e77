package main

import (
	"strings"
	"testing"
	"time"
)

// A report has the median of the rounds, sums what counts together, and leaves out what
// was not measured.
func TestReport(t *testing.T) {
	r := &results{rounds: 3, versions: map[string]string{"whichpod": "v1"}}
	add := func(system, step string, seconds, peak float64) {
		r.add(measured{system: system, step: step, tuples: 2e6, rows: 2e6, disk: 2e7,
			usage: usage{wall: time.Duration(seconds * 1e9), peak: peak}})
	}
	for _, s := range []float64{1, 9, 2} {
		add("whichpod", stepIngest, s, 100)
		add("whichpod", stepExport, 3, 120)
		add("duckdb", stepIngest, 10*s, 1000)
	}
	text := r.report([]int64{2e6, 3e6})
	for _, want := range []string{
		"## 2.0 million tuples",
		"with their as-of join | 2 s | – | 20 s | – | 10.0 |",
		"attributed Parquet of every row | 5 s | – | 20 s | – | 4.0 |",
		"peak memory, export included | 120 MiB | – | 1e+03 MiB | – | 8.3 |",
		"| 2.0 million | 2.00 s | 100 MiB | 10.0 B |",
		"ClickHouse: not run",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is not in\n%s", want, text)
		}
	}
	var line strings.Builder
	r.writeLine(&line, &r.all[0])
	if got := line.String(); !strings.HasPrefix(got, "BenchmarkPeers/ingest/tuples=2000000/whichpod-") || !strings.Contains(got, " 1 1000000000 ns/op ") {
		t.Errorf("got the line %q", got)
	}
}

func TestFlags(t *testing.T) {
	for _, bad := range []struct {
		sizes, systems, steps string
		rounds                int
	}{{"x", "whichpod", "raw", 1}, {"0", "whichpod", "raw", 1}, {"1", "mysql", "raw", 1}, {"1", "duckdb", "join", 1}, {"1", "duckdb", "raw", 0}} {
		c := config{rounds: bad.rounds}
		if c.set(bad.sizes, bad.systems, bad.steps) == nil {
			t.Errorf("%v is taken", bad)
		}
	}
	c := config{rounds: 1}
	if err := c.set("1,20", "duckdb,whichpod", "raw"); err != nil || len(c.sizes) != 2 || c.systems[0] != "duckdb" {
		t.Errorf("got %+v, error %v", c, err)
	}
}
