package index

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"

	"github.com/apache/arrow/go/v17/arrow/memory"

	"github.com/whichpod/whichpod/flow"
)

// randomRows makes rows of a blob with few distinct values, so that ties of every
// length occur. Offsets count up from start.
func randomRows(r *rand.Rand, blob string, n int, start int64) []flow.Row {
	rows := make([]flow.Row, n)
	for i := range rows {
		row := flow.Row{
			Time: 1_700_000_000_000 + r.Int64N(50), NIC: fmt.Sprintf("000D3A00000%d", r.IntN(3)),
			Direction: "IO"[r.IntN(2)], State: "BCED"[r.IntN(4)],
			Src: randomAddress(r), Dst: randomAddress(r), SrcPort: uint16(r.IntN(3)), DstPort: uint16(440 + r.IntN(3)),
			Protocol: []uint8{6, 17}[r.IntN(2)], Encryption: []string{"NX", "X"}[r.IntN(2)], Allowed: r.IntN(2) == 0,
			Rule: []string{"", "allow", "deny"}[r.IntN(3)], ACL: "acl",
			RecordTime: 1_700_000_000_000 + r.Int64N(5), Blob: blob, Offset: start + int64(i)*7,
		}
		row.Counters.Null = flow.Nulls(r.IntN(16))
		for k, c := range []*uint64{&row.Counters.PacketsSent, &row.Counters.BytesSent, &row.Counters.PacketsReceived, &row.Counters.BytesReceived} {
			if row.Counters.Null&(1<<k) == 0 {
				*c = r.Uint64() >> r.IntN(64)
			}
		}
		rows[i] = row
	}
	return rows
}

func randomAddress(r *rand.Rand) netip.Addr {
	if r.IntN(4) == 0 {
		return netip.AddrFrom16([16]byte{0: 0xfd * byte(r.IntN(2)), 15: byte(r.IntN(8))})
	}
	return netip.AddrFrom4([4]byte{10, 0, byte(r.IntN(3)), byte(r.IntN(8))})
}

func batchOf(mem memory.Allocator, rows []flow.Row) *flow.Batch {
	b := flow.NewBuilder(mem)
	defer b.Release()
	for i := range rows {
		b.Append(&rows[i])
	}
	return b.NewBatch()
}

func mustStore(t testing.TB, dir string, opt Options) *Store {
	t.Helper()
	s, err := Open(dir, opt)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func mustWriter(t testing.TB, s *Store) *Writer {
	t.Helper()
	w, err := s.Writer()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.Close() })
	return w
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// appendRows appends without advancing, in batches of odd sizes.
func appendRows(t testing.TB, w *Writer, rows []flow.Row) {
	t.Helper()
	for chunk := range slices.Chunk(rows, 777) {
		b := batchOf(memory.DefaultAllocator, chunk)
		err := w.Append(b)
		b.Release()
		must(t, err)
	}
}

func position(blob string, offset int64) flow.Position {
	return flow.Position{Blob: blob, ETag: "e", Length: offset + 1, Offset: offset, Check: uint32(offset)}
}

func scan(s *Store, f Filter) ([]flow.Row, error) {
	sc, err := s.Scan(context.Background(), f)
	if err != nil {
		return nil, err
	}
	defer sc.Close()
	var rows []flow.Row
	for {
		b, err := sc.Next()
		if errors.Is(err, io.EOF) {
			return rows, nil
		}
		if err != nil {
			return rows, err
		}
		err = checkBatch(b)
		for i := range b.Len() {
			rows = append(rows, b.Row(i))
		}
		b.Release()
		if err != nil {
			return rows, err
		}
	}
}

// checkBatch looks at a batch of a scan, which was assembled without a look at its
// rows: it is the one that [flow.NewBatch] makes of its record, and its dictionary has
// no address twice.
func checkBatch(b *flow.Batch) error {
	read, err := flow.NewBatch(b.Record())
	if err != nil {
		return err
	}
	defer read.Release()
	for i := range b.Len() {
		if got, want := b.Row(i), read.Row(i); got != want {
			return fmt.Errorf("row %d of a batch is %+v, its record says %+v", i, got, want)
		}
	}
	if !slices.Equal(b.Follows(), read.Follows()) {
		return fmt.Errorf("rows follow one another as in %v, their columns say %v", b.Follows(), read.Follows())
	}
	if !slices.Equal(b.Addresses, read.Addresses) {
		return fmt.Errorf("batch has addresses %v, its record %v", b.Addresses, read.Addresses)
	}
	once := make(map[netip.Addr]bool)
	for _, a := range b.Addresses {
		once[a] = true
	}
	if len(once) != len(b.Addresses) {
		return fmt.Errorf("dictionary has %d addresses, %d of them different", len(b.Addresses), len(once))
	}
	return nil
}

func mustScan(t testing.TB, s *Store, f Filter) []flow.Row {
	t.Helper()
	rows, err := scan(s, f)
	must(t, err)
	return rows
}

func sorted(rows []flow.Row) []flow.Row {
	rows = slices.Clone(rows)
	slices.SortFunc(rows, func(a, b flow.Row) int { return flow.Compare(&a, &b) })
	return rows
}

func checkRows(t testing.TB, what string, got, want []flow.Row) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%s: %d rows, want %d", what, len(got), len(want))
	}
	for i := range got {
		if got[i] != want[i] {
			t.Fatalf("%s: row %d is\n%+v\nwant\n%+v", what, i, got[i], want[i])
		}
	}
}
