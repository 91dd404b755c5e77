package ingest

import (
	"bytes"
	"context"
	"testing"

	"github.com/apache/arrow/go/v17/arrow/memory"

	"github.com/whichpod/whichpod/flow"
)

// BenchmarkDecode decodes a blob of 16 MB, 600 tuples a record, into batches.
func BenchmarkDecode(b *testing.B) {
	b.Run("usual", func(b *testing.B) { benchmarkDecode(b, false) })
	b.Run("tolerant", func(b *testing.B) { benchmarkDecode(b, true) })
}

func benchmarkDecode(b *testing.B, tolerant bool) {
	blob := blobText(16<<20, 7)
	rows := 0
	d := NewDecoder(memory.NewGoAllocator(), func(batch *flow.Batch) error { rows += batch.Len(); return nil },
		func(r flow.Rejection) { b.Fatal(r) })
	defer d.Close()
	d.fast.off = tolerant
	b.SetBytes(int64(len(blob)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := d.Decode(context.Background(), bytes.NewReader(blob), flow.Position{Blob: testBlob}); err != nil {
			b.Fatal(err)
		}
	}
	if rows < 100_000 {
		b.Fatalf("%d rows, want many", rows)
	}
	b.ReportMetric(float64(rows)/b.Elapsed().Seconds(), "rows/s")
}

// BenchmarkFrame only splits and checks the same blob.
func BenchmarkFrame(b *testing.B) {
	blob := blobText(16<<20, 7)
	d := NewDecoder(memory.NewGoAllocator(), nil, func(r flow.Rejection) { b.Fatal(r) })
	defer d.Close()
	b.SetBytes(int64(len(blob)))
	for b.Loop() {
		d.frames.start(flow.Position{})
		if err := d.frames.win.start(context.Background(), bytes.NewReader(blob), flow.Position{}); err != nil {
			b.Fatal(err)
		}
		for {
			ok, err := d.frames.next()
			if err == nil && ok {
				_, err = d.frames.record()
			}
			if err != nil {
				b.Fatal(err)
			}
			if !ok {
				break
			}
		}
	}
}

// BenchmarkTuple parses one tuple, without a batch.
func BenchmarkTuple(b *testing.B) {
	t := []byte("1795439007719,10.244.0.16,203.0.113.66,55628,8443,6,O,E,NX,6,476,6,436\"" + recordTail)
	var p tupleParser
	var row flow.Row
	b.SetBytes(int64(len(t)))
	for b.Loop() {
		if _, ok := p.parse(vnetTuple, t, &row); !ok {
			b.Fatal(explainTuple(vnetTuple, t))
		}
	}
}
