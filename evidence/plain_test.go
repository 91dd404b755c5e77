package evidence

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"strings"
	"testing"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/ipc"
	"github.com/apache/arrow/go/v17/arrow/memory"
	"github.com/apache/arrow/go/v17/parquet/file"
	"github.com/apache/arrow/go/v17/parquet/pqarrow"
	"github.com/google/go-cmp/cmp"

	"github.com/whichpod/whichpod/flow"
	"github.com/whichpod/whichpod/query"
)

// plain writes batches of the given sizes, with nulls wherever there may be some.
func plain(t testing.TB, format string, sizes ...int) []byte {
	t.Helper()
	mem := memory.NewCheckedAllocator(memory.NewGoAllocator())
	defer mem.AssertSize(t, 0)
	var out bytes.Buffer
	w, err := NewBatchWriter(&out, format, mem)
	must(t, err)
	b := flow.NewBuilder(mem)
	defer b.Release()
	n := 0
	for _, size := range sizes {
		for range size {
			n++
			r := flow.Row{Time: int64(n) * 1001, RecordTime: 7, State: flow.Denied, Src: netip.AddrFrom4([4]byte{10, 0, byte(n >> 8), byte(n)}), Dst: flow.Unknown,
				SrcPort: uint16(n), Protocol: 6, Counters: flow.Counters{Null: flow.NullAll}, Blob: "b", Offset: int64(n)}
			if n%3 > 0 {
				r = flow.Row{Time: int64(n) * 1001, RecordTime: 7, NIC: "000D3A1B2C3D", Direction: flow.Inbound, State: flow.End, Src: netip.MustParseAddr("2001:db8::1"),
					Dst: netip.AddrFrom4([4]byte{10, 0, byte(n >> 8), byte(n)}), DstPort: 443, Protocol: 17, Encryption: "NX", Allowed: true, Rule: "é \"r\"", ACL: "a",
					Counters: flow.Counters{PacketsSent: 1, BytesSent: 1<<64 - 1, PacketsReceived: uint64(n), Null: flow.NullBytesReceived}, Blob: "b", Offset: int64(n)}
			}
			b.Append(&r)
		}
		batch := b.NewBatch()
		must(t, w.Write(batch))
		batch.Release()
	}
	must(t, w.Close())
	return out.Bytes()
}

// plainText shows a record's rows as JSON lines do.
func plainText(t testing.TB, rec arrow.Record) string {
	var out strings.Builder
	for i := range int(rec.NumRows()) {
		row := make(map[string]any)
		for c, col := range rec.Columns() {
			v := col.GetOneForMarshal(i)
			if at, ok := col.(*array.Timestamp); ok {
				v = query.Time(at.Value(i)).String()
			}
			row[rec.ColumnName(c)] = v
		}
		data, err := json.Marshal(row)
		must(t, err)
		fmt.Fprintf(&out, "%s\n", data)
	}
	return out.String()
}

// The same rows in every format, in their order, whatever the batches.
func TestPlainFormatsAgree(t *testing.T) {
	for _, sizes := range [][]int{{3}, {1, 1, 7}, {40_000, 26_000}} {
		var want strings.Builder
		for line := range bytes.Lines(plain(t, "jsonl", sizes...)) {
			var row map[string]json.RawMessage
			must(t, json.Unmarshal(line, &row))
			if len(row) != plainSchema.NumFields() {
				t.Fatalf("line has %d fields, schema %d", len(row), plainSchema.NumFields())
			}
			data, err := json.Marshal(row)
			must(t, err)
			fmt.Fprintf(&want, "%s\n", data)
		}
		r, err := ipc.NewReader(bytes.NewReader(plain(t, "arrow", sizes...)))
		must(t, err)
		var got strings.Builder
		for r.Next() {
			got.WriteString(plainText(t, r.Record()))
		}
		must(t, r.Err())
		r.Release()
		if diff := cmp.Diff(want.String(), got.String()); diff != "" {
			t.Fatalf("%v: -jsonl +arrow:\n%.2000s", sizes, diff)
		}
		f, err := file.NewParquetReader(bytes.NewReader(plain(t, "parquet", sizes...)))
		must(t, err)
		pr, err := pqarrow.NewFileReader(f, pqarrow.ArrowReadProperties{BatchSize: 1 << 20}, memory.DefaultAllocator)
		must(t, err)
		rr, err := pr.GetRecordReader(context.Background(), nil, nil)
		must(t, err)
		got.Reset()
		for rr.Next() {
			got.WriteString(plainText(t, rr.Record()))
		}
		rr.Release()
		if diff := cmp.Diff(want.String(), got.String()); diff != "" {
			t.Fatalf("%v: -jsonl +parquet:\n%.2000s", sizes, diff)
		}
	}
}

func TestPlainWithoutRows(t *testing.T) {
	if out := plain(t, "jsonl"); len(out) > 0 {
		t.Errorf("JSON lines without rows: %q", out)
	}
	r, err := ipc.NewReader(bytes.NewReader(plain(t, "arrow")))
	if err != nil || !r.Schema().Equal(plainSchema) || r.Next() {
		t.Errorf("Arrow without rows: error %v", err)
	}
	if _, err := file.NewParquetReader(bytes.NewReader(plain(t, "parquet"))); err != nil {
		t.Errorf("Parquet without rows: %v", err)
	}
	if _, err := NewBatchWriter(io.Discard, "csv", memory.DefaultAllocator); err == nil || err.Error() != `format is "csv", want arrow, parquet, jsonl` {
		t.Errorf("got error %v", err)
	}
}

// An output that fails is an error, in every format, and no panic.
func TestPlainOutputThatFails(t *testing.T) {
	b := flow.NewBuilder(memory.DefaultAllocator)
	defer b.Release()
	for i := range 1000 {
		b.Append(&flow.Row{Src: flow.Unknown, Dst: flow.Unknown, Blob: strings.Repeat("x", i%90), State: flow.Begin, Offset: int64(i)})
	}
	batch := b.NewBatch()
	defer batch.Release()
	for _, format := range PlainFormats() {
		for left := range 20 {
			w, err := NewBatchWriter(&failing{left * 100}, format, memory.DefaultAllocator)
			if err == nil {
				err = errors.Join(w.Write(batch), w.Close())
			}
			if err == nil {
				t.Errorf("%s: %d bytes are enough", format, left*100)
			}
		}
	}
}
