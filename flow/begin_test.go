package flow

import (
	"math/rand/v2"
	"net/netip"
	"testing"

	"github.com/apache/arrow/go/v17/arrow/memory"
	"github.com/google/go-cmp/cmp"
)

func TestBeginsOfOneFiveTuple(t *testing.T) {
	type row struct {
		at    int64
		state byte
	}
	const minute = 60_000
	for _, c := range []struct {
		name string
		rows []row
		want []Span
	}{
		{"begin and end", []row{{10, 'B'}, {50, 'E'}}, []Span{{10, 10}, {10, 10}}},
		{"continued", []row{{10, 'B'}, {5 * minute, 'C'}, {6 * minute, 'E'}}, []Span{{10, 10}, {10, 10}, {10, 10}}},
		{"two in turn", []row{{10, 'B'}, {50, 'E'}, {60, 'B'}, {70, 'E'}}, []Span{{10, 10}, {10, 10}, {60, 60}, {60, 60}}},
		{"within a millisecond, or an unseen flow programmed anew", []row{{10, 'E'}, {10, 'B'}, {20, 'E'}}, []Span{{10 - MaxIdle, 10}, {10 - MaxIdle, 10}, {10 - MaxIdle, 10}}},
		{"denied is no flow", []row{{10, 'B'}, {20, 'D'}, {20, 'D'}, {50, 'E'}}, []Span{{10, 10}, {20, 20}, {20, 20}, {10, 10}}},
		{"unseen begin", []row{{100, 'E'}}, []Span{{100 - MaxIdle, 100}}},
		{"unseen begin, continued", []row{{100, 'C'}, {200, 'E'}}, []Span{{100 - MaxIdle, 100}, {100 - MaxIdle, 100}}},
		{"programmed anew", []row{{10, 'B'}, {50, 'E'}, {50, 'B'}, {90, 'E'}}, []Span{{10, 10}, {10, 10}, {10, 50}, {10, 50}}},
		{"two open, one end", []row{{10, 'B'}, {50, 'B'}, {60, 'E'}, {70, 'E'}}, []Span{{10, 10}, {50, 50}, {10, 50}, {10, 50}}},
		{"logged twice", []row{{10, 'B'}, {10, 'B'}, {50, 'E'}, {50, 'E'}, {60, 'B'}, {70, 'E'}}, []Span{{10, 10}, {10, 10}, {10, 10}, {10, 10}, {60, 60}, {60, 60}}},
		{"end after end", []row{{10, 'B'}, {50, 'E'}, {90, 'E'}}, []Span{{10, 10}, {10, 10}, {10, 90}}},
		{"end lost, port used again much later", []row{{10, 'B'}, {31*minute + 1, 'B'}, {32 * minute, 'E'}}, []Span{{10, 10}, {31*minute + 1, 31*minute + 1}, {31*minute + 1, 31*minute + 1}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			mem := memory.NewCheckedAllocator(memory.DefaultAllocator)
			defer mem.AssertSize(t, 0)
			for size := 1; size <= len(c.rows); size++ { // however the rows are cut into batches
				b := NewBuilder(mem)
				var begins Begins
				var got []Span
				for i, r := range c.rows {
					b.Append(&Row{Time: r.at, State: r.state, Src: netip.MustParseAddr("10.0.0.1"), Dst: netip.MustParseAddr("::1"), NIC: "000D3A00BEEF"})
					if b.Len() == size || i == len(c.rows)-1 {
						batch := b.NewBatch()
						got = begins.Of(batch, got)
						batch.Release()
					}
				}
				b.Release()
				if diff := cmp.Diff(c.want, got); diff != "" {
					t.Errorf("batches of %d rows: -want +got:\n%s", size, diff)
				}
			}
		})
	}
}

// What is known of a begin in logs whose times say less.
func TestBeginsOfCoarseTimes(t *testing.T) {
	b := NewBuilder(memory.DefaultAllocator)
	defer b.Release()
	for _, r := range []Row{
		{Time: 7_000, State: Begin, NIC: "A", SrcPort: 1}, // a second
		{Time: 7_000, State: Denied, NIC: "A", SrcPort: 2},
		{Time: 7_001, State: Begin, NIC: "A", SrcPort: 3},
		{Time: 100_001, State: Begin, SrcPort: 4}, // a firewall's
		{Time: 100_001, State: Denied, SrcPort: 5},
		{Time: 101_000, State: Begin, SrcPort: 6},
	} {
		r.Src, r.Dst = netip.MustParseAddr("10.0.0.1"), Unknown
		b.Append(&r)
	}
	batch := b.NewBatch()
	defer batch.Release()
	var begins Begins
	want := []Span{{7_000, 7_999}, {7_000, 7_999}, {7_001, 7_001}, {40_001, 100_001}, {40_001, 100_001}, {41_000, 101_999}}
	if diff := cmp.Diff(want, begins.Of(batch, nil)); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestBeginsKeepsFlowsApart(t *testing.T) {
	base := Row{Src: netip.MustParseAddr("10.0.0.1"), Dst: netip.MustParseAddr("10.0.0.2"), SrcPort: 1, DstPort: 2, Protocol: 6, NIC: "A", Direction: Outbound}
	for name, change := range map[string]func(*Row){
		"source": func(r *Row) { r.Src = netip.MustParseAddr("10.0.0.3") }, "destination": func(r *Row) { r.Dst = netip.MustParseAddr("10.0.0.3") },
		"source port": func(r *Row) { r.SrcPort = 9 }, "destination port": func(r *Row) { r.DstPort = 9 },
		"protocol": func(r *Row) { r.Protocol = 17 }, "interface": func(r *Row) { r.NIC = "B" }, "direction": func(r *Row) { r.Direction = Inbound },
	} {
		first, second := base, base
		first.Time, first.State, second.Time, second.State = 10, Begin, 20, End
		change(&second)
		b := NewBuilder(memory.DefaultAllocator)
		b.Append(&first)
		b.Append(&second)
		var begins Begins
		batch := b.NewBatch()
		if got := begins.Of(batch, nil)[1]; got.Exactly() {
			t.Errorf("an end of another %s took the begin %v", name, got)
		}
		batch.Release()
		b.Release()
	}
}

// Whether rows follow each other hangs on each part of the key and on nothing else.
func TestFollows(t *testing.T) {
	mem := memory.NewCheckedAllocator(memory.DefaultAllocator)
	defer mem.AssertSize(t, 0)
	r := rand.New(rand.NewPCG(7, 1))
	b := NewBuilder(mem)
	defer b.Release()
	row := Row{State: Begin}
	for range 40 {
		for range 1 + r.IntN(300) {
			few := func() uint16 { return uint16(r.IntN(3)) }
			for range r.IntN(3) { // parts that change: often to what they were
				switch r.IntN(7) {
				case 0:
					row.Src = netip.AddrFrom4([4]byte{10, 0, 0, byte(few())})
				case 1:
					row.Dst = netip.AddrFrom4([4]byte{10, 0, 0, byte(few())})
				case 2:
					row.SrcPort = few()
				case 3:
					row.DstPort = few()
				case 4:
					row.Protocol = byte(few())
				case 5:
					row.Direction = byte(few())
				default:
					row.NIC = []string{"", "000D3A00BEEF", "000D3A00BEEE"}[few()]
				}
			}
			row.Time++
			if !row.Src.IsValid() || !row.Dst.IsValid() {
				row.Src, row.Dst = netip.IPv6Unspecified(), netip.IPv6Unspecified()
			}
			b.Append(&row)
		}
		batch := b.NewBatch()
		follows := batch.Follows()
		for i, same := range follows {
			if want := i > 0 && batch.keyOf(i-1) == batch.keyOf(i); same != want {
				t.Errorf("row %d follows the one before it: %t, want %t", i, same, want)
			}
		}
		if len(follows) != batch.Len() {
			t.Errorf("%d answers for %d rows", len(follows), batch.Len())
		}
		batch.Release()
	}
}
