//go:build unix

package index

import (
	"context"
	"errors"
	"io"
	"net/netip"
	"slices"
	"syscall"
	"testing"

	"github.com/apache/arrow/go/v17/arrow/memory"

	"github.com/whichpod/whichpod/flow"
)

const (
	benchBlobs = 20
	blobRows   = 250_000
)

// blobBatches is a blob's rows as ingest hands them over.
func blobBatches(blob int) (list []*flow.Batch) {
	for chunk := range slices.Chunk(traffic(blob, blobRows), flow.MaxBatchRows) {
		list = append(list, batchOf(memory.DefaultAllocator, chunk))
	}
	return list
}

// fill writes blobs to a new store and commits once.
func fill(b *testing.B, dir string, blobs [][]*flow.Batch) *Store {
	s, err := Open(dir, Options{})
	must(b, err)
	w, err := s.Writer()
	must(b, err)
	for _, batches := range blobs {
		for _, batch := range batches {
			must(b, w.Append(batch))
		}
		last := batches[len(batches)-1]
		must(b, w.Advance(flow.Position{Blob: last.Blob(0), Offset: 1}, nil))
	}
	must(b, w.Commit())
	must(b, w.Close())
	return s
}

// BenchmarkWrite is batches in memory to a durable commit.
func BenchmarkWrite(b *testing.B) {
	blobs := make([][]*flow.Batch, benchBlobs)
	for i := range blobs {
		blobs[i] = blobBatches(i)
	}
	var st Stats
	start := cpuTime(b)
	for b.Loop() {
		s := fill(b, b.TempDir(), blobs)
		st = s.Stats()
		must(b, s.Close())
	}
	b.ReportMetric(float64(st.Rows)*float64(b.N)/b.Elapsed().Seconds(), "rows/s")
	b.ReportMetric(float64(cpuTime(b)-start)/float64(b.N)/float64(st.Rows), "cpu-ns/row")
	b.ReportMetric(float64(st.Bytes)/float64(st.Rows), "bytes/row")
}

// cpuTime is what this process has used so far, in ns: steadier than the clock where
// others use the machine too.
func cpuTime(b *testing.B) int64 {
	var u syscall.Rusage
	must(b, syscall.Getrusage(syscall.RUSAGE_SELF, &u))
	return u.Utime.Nano() + u.Stime.Nano()
}

func drain(b *testing.B, s *Store, f Filter) (rows int) {
	sc, err := s.Scan(context.Background(), f)
	must(b, err)
	defer sc.Close()
	for {
		batch, err := sc.Next()
		if errors.Is(err, io.EOF) {
			return rows
		}
		must(b, err)
		rows += batch.Len()
		batch.Release()
	}
}

func benchStore(b *testing.B) *Store {
	blobs := make([][]*flow.Batch, benchBlobs)
	for i := range blobs {
		blobs[i] = blobBatches(i)
	}
	s := fill(b, b.TempDir(), blobs)
	b.Cleanup(func() { s.Close() })
	return s
}

func BenchmarkScan(b *testing.B) {
	s := benchStore(b)
	one := []netip.Prefix{netip.PrefixFrom(pod(3, 7), 32)}
	outside := []netip.Prefix{netip.MustParsePrefix("203.1.9.77/32")}
	for _, c := range []struct {
		name string
		f    Filter
	}{
		{"all", Filter{}},
		{"pod", Filter{Addresses: one}},
		{"pod-as-source", Filter{Src: one}},
		{"outside", Filter{Addresses: outside}},
		{"unknown", Filter{Addresses: []netip.Prefix{netip.MustParsePrefix("203.1.250.250/32")}}},
	} {
		b.Run(c.name, func(b *testing.B) {
			rows, start := 0, cpuTime(b)
			for b.Loop() {
				rows = drain(b, s, c.f)
			}
			b.ReportMetric(float64(cpuTime(b)-start)/float64(b.N)/1e6, "cpu-ms/op")
			b.ReportMetric(float64(rows), "rows")
			b.ReportMetric(float64(rows)*float64(b.N)/b.Elapsed().Seconds(), "rows/s")
		})
	}
}
