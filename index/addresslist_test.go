package index

import (
	"net/netip"
	"slices"
	"testing"

	"github.com/whichpod/whichpod/flow"
)

// An address list gives back what was added, whichever family comes first.
func TestAddressList(t *testing.T) {
	v4, v6 := netip.MustParseAddr("10.244.3.17"), netip.MustParseAddr("2001:db8::1")
	low := netip.MustParseAddr("0.0.0.1")
	loopback := netip.IPv6Loopback() // its upper half is 0, too
	for _, want := range [][]netip.Addr{nil, {v4}, {low, v4}, {v6}, {loopback, v4}, {v4, v6}, {low, v4, loopback, v6, v4}} {
		l := newAddressList(len(want))
		for _, a := range want {
			l.add(halves(a))
		}
		var got []netip.Addr
		for i := range l.len() {
			got = append(got, l.at(i))
		}
		if !slices.Equal(got, want) {
			t.Errorf("got %v, want %v", got, want)
		}
	}
}

// A scan whose cursors have no room for addresses, and for few rows at once, reads the
// same rows.
func TestScanWithoutRoom(t *testing.T) {
	dir := t.TempDir()
	must(t, ingest(Options{}, dir, twoBlobs()))
	s := mustStore(t, dir, Options{ReadOnly: true})
	m := s.manifest()
	read := func(f Filter, window, room int) (rows []flow.Row) {
		u, err := newUnpacker()
		must(t, err)
		p := newPlan(f, m.live)
		p.window, p.addressBytes = window, room
		sc := &Scanner{ctx: t.Context(), store: s, manifest: m, unpack: u, out: newOutput(s.mem)}
		defer sc.Close()
		for _, seg := range m.segments {
			must(t, sc.add(seg, p))
		}
		for i := len(sc.heap)/2 - 1; i >= 0; i-- {
			sc.sift(i)
		}
		for len(sc.heap) > 0 {
			b, err := sc.Next()
			must(t, err)
			for i := range b.Len() {
				rows = append(rows, b.Row(i))
			}
			b.Release()
		}
		return rows
	}
	all := read(Filter{}, blockRows, scanAddressBytes)
	late := Filter{From: all[len(all)/2].Time}
	for _, f := range []Filter{{}, late, {Src: []netip.Prefix{netip.PrefixFrom(all[0].Src, all[0].Src.BitLen())}}} {
		with := read(f, blockRows, scanAddressBytes)
		for _, window := range []int{1, 7, leastWindow} {
			if without := read(f, window, 0); len(with) == 0 || !slices.Equal(with, without) {
				t.Errorf("filter %v, window %d: got %d rows without room, %d with it, or others", f, window, len(without), len(with))
			}
		}
	}
}
