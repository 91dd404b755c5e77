package index

import (
	"math"
	"testing"

	"github.com/apache/arrow/go/v17/arrow/memory"

	"github.com/whichpod/whichpod/flow"
)

// TestWideRows keeps rows next to one another of which a number just fits, or just does
// not.
func TestWideRows(t *testing.T) {
	base := flow.Row{Time: 1_700_000_000_000, RecordTime: 1_700_000_000_000, Offset: 1 << 40, NIC: "000D3A000001", Blob: "wide",
		Direction: flow.Outbound, State: flow.Continue, Src: pod(1, 1), Dst: pod(1, 2)}
	rows := []flow.Row{base}
	add := func(change func(*flow.Row)) {
		rows = append(rows, base)
		change(&rows[len(rows)-1])
	}
	distances := []int64{math.MinInt32, math.MaxInt32, math.MinInt32 - 1, math.MaxInt32 + 1, math.MinInt64 / 2, math.MaxInt64 / 2}
	for _, d := range distances {
		add(func(r *flow.Row) { r.Time += d })
		add(func(r *flow.Row) { r.Offset += d })
	}
	packets := []uint64{1, math.MaxUint16, math.MaxUint16 + 1, 1 << 63, math.MaxUint64}
	bytes := []uint64{1, math.MaxUint32, math.MaxUint32 + 1, 1 << 63, math.MaxUint64}
	for i := range packets {
		add(func(r *flow.Row) { r.Counters.PacketsSent = packets[i] })
		add(func(r *flow.Row) { r.Counters.BytesSent = bytes[i] })
		add(func(r *flow.Row) { r.Counters.PacketsReceived = packets[i] })
		add(func(r *flow.Row) { r.Counters.BytesReceived = bytes[i]; r.Counters.Null = 7 })
	}
	c := newColumns()
	b := batchOf(memory.DefaultAllocator, rows)
	defer b.Release()
	src := newSource(b)
	c.append(&src, 0, len(rows), []uint32{1})
	if want := 8 + 12; len(c.wide) != want {
		t.Errorf("%d rows are wide, want %d", len(c.wide), want)
	}
	for i, want := range rows {
		r := &c.rows[i]
		if got := c.place(r); got != (rowPlace{want.Time, want.Offset}) {
			t.Errorf("row %d was at %+v, want %d and %d", i, got, want.Time, want.Offset)
		}
		var got, none flow.Counters
		got.PacketsSent, got.BytesSent, got.PacketsReceived, got.BytesReceived = c.counted(r)
		got.Null, none.Null = want.Counters.Null, want.Counters.Null
		if got != want.Counters || (r.flags&flagQuiet != 0) != (got == none) {
			t.Errorf("row %d has counters %+v and flags %x, want %+v", i, got, r.flags, want.Counters)
		}
	}
	s := mustStore(t, t.TempDir(), Options{})
	w := mustWriter(t, s)
	appendRows(t, w, rows)
	must(t, w.Advance(position("wide", 1), nil))
	must(t, w.Commit())
	checkRows(t, "all", mustScan(t, s, Filter{}), sorted(rows))
}
