package flow

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"

	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/memory"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// What comes out of a batch is what went in, batch after batch from one builder, and
// all memory is given back.
func TestBuilderKeepsRows(t *testing.T) {
	mem := memory.NewCheckedAllocator(memory.NewGoAllocator())
	defer mem.AssertSize(t, 0)
	r := rand.New(rand.NewPCG(1, 1))
	b := NewBuilder(mem)
	defer b.Release()
	if b.NewBatch() != nil {
		t.Error("a batch without rows")
	}
	for _, n := range []int{1, 7, 8, 9, 511, 512, 513, 1, 5000, MaxBatchRows, 3, MaxBatchRows + 1} {
		rows := randomRows(r, n)
		for i := range rows {
			b.Append(&rows[i])
		}
		if b.Len() != n {
			t.Errorf("builder has %d rows, want %d", b.Len(), n)
		}
		batch := b.NewBatch()
		var got []Row
		for i := range batch.Len() {
			got = append(got, batch.Row(i))
		}
		seen := map[netip.Addr]bool{}
		for _, a := range batch.Addresses {
			if seen[a] {
				t.Errorf("address %v is in the dictionary twice", a)
			}
			seen[a] = true
		}
		if nics, _ := batch.NICs(); len(nics) > min(n, 3) {
			t.Errorf("NICs are %q, want those of %d rows", nics, n)
		}
		batch.Release()
		if diff := cmp.Diff(rows, got, cmpopts.EquateComparable(netip.Addr{})); diff != "" {
			t.Fatalf("%d rows (-want +got):\n%s", n, diff)
		}
	}
}

// Groups of tuples come out as rows that were appended one by one do, whatever their sizes,
// also where some are dropped again.
func TestBuilderTakesTuples(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	b := NewBuilder(memory.NewGoAllocator())
	defer b.Release()
	for range 50 {
		var want []Row
		for range r.IntN(30) {
			group := randomRows(r, 1+r.IntN(1+r.IntN(70)))
			g := Group{NIC: group[0].NIC, Rule: group[0].Rule, ACL: group[0].ACL, Blob: group[0].Blob, RecordTime: r.Int64N(1e12)}
			b.SetGroup(g)
			for i := range group {
				x := &group[i]
				x.State = []byte{Begin, Continue, End, Denied}[r.IntN(4)]
				x.Allowed, x.NIC, x.Rule, x.ACL, x.Blob, x.RecordTime = x.State != Denied, g.NIC, g.Rule, g.ACL, g.Blob, g.RecordTime
			}
			want = append(want, group...)
			for len(group) > 0 {
				room := b.Room(1 + r.IntN(len(group)))
				for i := range room.Time {
					x := &group[i]
					room.Time[i], room.Offset[i], room.Encryption[i] = x.Time, x.Offset, b.EncryptionCode(x.Encryption)
					room.Src[i], room.Dst[i], room.SrcPort[i], room.DstPort[i] = b.AddressCode(x.Src), b.AddressCode(x.Dst), x.SrcPort, x.DstPort
					room.Protocol[i], room.Direction[i], room.State[i], room.Null[i] = x.Protocol, x.Direction, x.State, x.Counters.Null
					for k, c := range []uint64{x.Counters.PacketsSent, x.Counters.BytesSent, x.Counters.PacketsReceived, x.Counters.BytesReceived} {
						room.Counters[k][i] = c
					}
				}
				b.Took(len(room.Time))
				group = group[len(room.Time):]
			}
			if r.IntN(4) == 0 {
				want = want[:r.IntN(len(want)+1)]
				b.Truncate(len(want))
			}
			if r.IntN(4) == 0 {
				rows := randomRows(r, 1+r.IntN(10))
				for i := range rows {
					b.Append(&rows[i])
				}
				want = append(want, rows...)
			}
		}
		batch := b.NewBatch()
		if batch == nil {
			if len(want) > 0 {
				t.Fatalf("no batch, want %d rows", len(want))
			}
			continue
		}
		var got []Row
		for i := range batch.Len() {
			got = append(got, batch.Row(i))
		}
		batch.Release()
		if diff := cmp.Diff(want, got, cmpopts.EquateComparable(netip.Addr{})); diff != "" {
			t.Fatalf("%d rows (-want +got):\n%s", len(want), diff)
		}
	}
}

// A mapped address is the one that it maps.
func TestBuilderUnmaps(t *testing.T) {
	b := NewBuilder(memory.DefaultAllocator)
	defer b.Release()
	b.Append(&Row{Src: netip.MustParseAddr("10.0.0.1"), Dst: netip.MustParseAddr("::ffff:10.0.0.1")})
	batch := b.NewBatch()
	defer batch.Release()
	if len(batch.Addresses) != 1 || batch.Row(0).Dst != netip.MustParseAddr("10.0.0.1") {
		t.Errorf("got addresses %v", batch.Addresses)
	}
}

// randomRows are rows with everything that varies: nulls in some batches and not in
// others, empty texts, addresses of both families.
func randomRows(r *rand.Rand, n int) []Row {
	rows := make([]Row, n)
	nulls := Nulls(r.Uint32()) & NullAll
	pick := func(of ...string) string { return of[r.IntN(len(of))] }
	for i := range rows {
		row := Row{
			Time: r.Int64(), NIC: pick("A", "B", "C"), Direction: Inbound, State: Continue, Src: randomAddress(r), Dst: randomAddress(r),
			SrcPort: uint16(r.Uint32()), DstPort: uint16(r.Uint32()), Protocol: uint8(r.Uint32()), Encryption: pick("", "NX"), Allowed: r.IntN(2) == 0,
			Rule: pick("", "r", "rule"), ACL: fmt.Sprint(r.IntN(100)), RecordTime: r.Int64(), Blob: pick("blob", "other"), Offset: r.Int64(),
			Counters: Counters{Null: Nulls(r.Uint32()) & nulls},
		}
		for k, c := range []*uint64{&row.Counters.PacketsSent, &row.Counters.BytesSent, &row.Counters.PacketsReceived, &row.Counters.BytesReceived} {
			if row.Counters.Null>>k&1 == 0 {
				*c = r.Uint64()
			}
		}
		rows[i] = row
	}
	return rows
}

func randomAddress(r *rand.Rand) netip.Addr {
	k := r.Uint32N(1 << 20)
	if r.IntN(2) == 0 {
		return netip.AddrFrom4([4]byte{10, byte(k >> 16), byte(k >> 8), byte(k)})
	}
	return netip.AddrFrom16([16]byte{0: 0xfd, 1: byte(k >> 16), 14: byte(k >> 8), 15: byte(k)})
}

// The dictionary of addresses grows from batch to batch, in the record too, and begins
// anew once it has enough. Batches that others hold stay as they were.
func TestDictionaryGrows(t *testing.T) {
	mem := memory.NewCheckedAllocator(memory.NewGoAllocator())
	defer mem.AssertSize(t, 0)
	r := rand.New(rand.NewPCG(2, 1))
	b := NewBuilder(mem)
	defer b.Release()
	var before *Batch
	var want []Row
	grown, renewed := 0, 0
	for range 40 {
		rows := randomRows(r, 1+r.IntN(MaxBatchRows))
		for i := range rows {
			b.Append(&rows[i])
		}
		batch := b.NewBatch()
		for _, col := range []int{ColSrc, ColDst} {
			values := batch.Record().Column(col).(*array.Dictionary).Dictionary().(*array.FixedSizeBinary)
			if values.Len() != len(batch.Addresses) {
				t.Fatalf("record has %d addresses, batch %d", values.Len(), len(batch.Addresses))
			}
			for i, a := range batch.Addresses {
				if addressOf(values.Value(i)) != a {
					t.Fatalf("address %d is %v in the record, %v in the batch", i, addressOf(values.Value(i)), a)
				}
			}
		}
		if before != nil {
			if before.Dictionary == batch.Dictionary {
				grown++
				if !slices.Equal(before.Addresses, batch.Addresses[:len(before.Addresses)]) {
					t.Fatal("codes of the batch before stand for other addresses")
				}
			} else if renewed++; len(before.Addresses) <= DictionaryAddresses {
				t.Fatalf("another dictionary after %d addresses", len(before.Addresses))
			}
			for i := range want {
				if before.Row(i) != want[i] {
					t.Fatalf("row %d of the batch before is now %+v, was %+v", i, before.Row(i), want[i])
				}
			}
			before.Release()
		}
		before, want = batch, rows
	}
	before.Release()
	if grown == 0 || renewed == 0 {
		t.Errorf("dictionary grew %d times and was renewed %d times, want both", grown, renewed)
	}
}
