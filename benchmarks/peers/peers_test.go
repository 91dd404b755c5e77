package main

import (
	"context"
	"hash/crc32"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/apache/arrow/go/v17/arrow/memory"

	"github.com/whichpod/whichpod/flow"
	"github.com/whichpod/whichpod/ingest"
)

// A blob has as many tuples as it says, all valid, and the address that is asked for as
// often as it says; whoever is no address outside is a pod's.
func TestGenerate(t *testing.T) {
	dir := t.TempDir()
	traffic, err := Generate(dir, 1)
	if err != nil {
		t.Fatal(err)
	}
	blobs, err := filepath.Glob(traffic.Logs + "/*/*/*/*/*/*/*/*/*/PT1H.json")
	if err != nil || len(blobs) != 1 || traffic.Blobs != 1 {
		t.Fatalf("got blobs %v, error %v, want one", blobs, err)
	}
	file, err := os.Open(blobs[0])
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	rows, needles, odd := int64(0), 0, 0
	needle, pods, world := netip.MustParseAddr(Needle), netip.MustParsePrefix("10.244.0.0/16"), netip.MustParsePrefix("20.0.0.0/8")
	d := ingest.NewDecoder(memory.NewGoAllocator(), func(b *flow.Batch) error {
		for i := range b.Len() {
			src, dst := b.Addresses[b.Src[i]], b.Addresses[b.Dst[i]]
			switch {
			case dst == needle:
				needles++
			case !pods.Contains(src) && !pods.Contains(dst), !pods.Contains(src) && !world.Contains(src), !pods.Contains(dst) && !world.Contains(dst):
				odd++
			}
		}
		rows += int64(b.Len())
		return nil
	}, func(r flow.Rejection) { t.Errorf("rejected: %+v", r) })
	defer d.Close()
	p, err := d.Decode(context.Background(), file, flow.Position{Blob: "b"})
	if err != nil || p.Length != traffic.Bytes || rows != traffic.Tuples || needles != NeedleRows || odd > 0 {
		t.Errorf("error %v, %d bytes, %d rows, %d of them asked for, %d with odd addresses; want %+v", err, p.Length, rows, needles, odd, traffic)
	}
}

func TestGenerateEqually(t *testing.T) {
	sum := func() (sums [3]uint32) {
		dir := t.TempDir()
		traffic, err := Generate(dir, 1)
		if err != nil {
			t.Fatal(err)
		}
		blobs, _ := filepath.Glob(traffic.Logs + "/*/*/*/*/*/*/*/*/*/PT1H.json")
		for i, path := range append(blobs, traffic.Journal, traffic.Pods) {
			raw, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			sums[i] = crc32.ChecksumIEEE(raw)
		}
		return sums
	}
	if a, b := sum(), sum(); a != b || a[0] == 0 || a[1] == 0 {
		t.Errorf("equal sizes gave files with sums %x and %x", a, b)
	}
}

// Nobody holds an address while another does.
func TestClusterPassesAddressesOn(t *testing.T) {
	c := newCluster(3)
	for n := range c.slots {
		for _, slot := range c.slots[n] {
			for i := 1; i < len(slot); i++ {
				if slot[i].from <= slot[i-1].to || slot[i].address != slot[0].address || slot[i].uid == slot[i-1].uid {
					t.Fatalf("%+v follows %+v", slot[i], slot[i-1])
				}
			}
		}
	}
}

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
