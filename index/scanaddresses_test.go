package index

import (
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"

	"github.com/whichpod/whichpod/flow"
)

// A scan whose cursors have no room for addresses, and for few rows at once, or that begins
// a dictionary anew with each batch, reads the same rows.
func TestScanWithoutRoom(t *testing.T) {
	dir := t.TempDir()
	r := rand.New(rand.NewPCG(5, 6))
	blobs := map[string][]flow.Row{"a": randomRows(r, "a", 2000, 0), "b": randomRows(r, "b", 4000, 0)}
	for i := range blobs["a"] { // pages of IPv4 only, and some of both
		row := &blobs["a"][i]
		row.Src, row.Dst = netip.AddrFrom4([4]byte{10, 1, byte(r.IntN(2)), byte(i)}), netip.AddrFrom4([4]byte{10, 2, byte(r.IntN(3)), byte(i)})
	}
	must(t, ingest(Options{}, dir, blobs))
	s := mustStore(t, dir, Options{ReadOnly: true})
	m := s.manifest()
	read := func(f Filter, window, room int, renewed bool) (rows []flow.Row) {
		u, err := newUnpacker()
		must(t, err)
		p := newPlan(f, m.live)
		p.window, p.addressBytes = window, room
		sc := s.newScanner(t.Context(), m, u)
		defer sc.Close()
		if renewed {
			sc.addresses.limit = 0
		}
		for _, seg := range m.segments {
			must(t, sc.add(seg, p))
		}
		if n := len(sc.addresses.table.list); renewed && n > 2*window*len(m.segments) {
			t.Errorf("%d addresses before the first row, which %d rows of each of %d segments cannot have", n, window, len(m.segments))
		}
		sc.contest.settle()
		dictionaries := make(map[*flow.Dictionary][]netip.Addr)
		for sc.contest.first() != nil {
			if renewed {
				sc.addresses.limit = 0
			}
			b, err := sc.Next()
			must(t, err)
			must(t, checkBatch(b))
			if before := dictionaries[b.Dictionary]; !slices.Equal(before, b.Addresses[:len(before)]) {
				t.Fatalf("a dictionary has %v, and later %v", before, b.Addresses)
			}
			dictionaries[b.Dictionary] = b.Addresses
			for i := range b.Len() {
				rows = append(rows, b.Row(i))
			}
			b.Release()
		}
		if many := len(dictionaries) > 1; len(rows) > firstRows && many != renewed {
			t.Errorf("%d dictionaries, renewed: %v", len(dictionaries), renewed)
		}
		return rows
	}
	all := read(Filter{}, blockRows, scanAddressBytes, false)
	late := Filter{From: all[len(all)/2].Time}
	for _, f := range []Filter{{}, late, {Src: []netip.Prefix{netip.PrefixFrom(all[0].Src, all[0].Src.BitLen())}}} {
		with := read(f, blockRows, scanAddressBytes, false)
		for _, window := range []int{1, 7, leastWindow} {
			for _, room := range []int{0, scanAddressBytes} {
				for _, renewed := range []bool{false, true} {
					if without := read(f, window, room, renewed); len(with) == 0 || !slices.Equal(with, without) {
						t.Errorf("filter %v, window %d, room %d, renewed %v: got %d rows, %d with room, or others", f, window, room, renewed, len(without), len(with))
					}
				}
			}
		}
	}
}
