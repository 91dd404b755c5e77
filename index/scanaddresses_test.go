package index

import (
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"

	"github.com/apache/arrow/go/v17/arrow/memory"

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
	const never, always, later = 0, 1, 2 // when the dictionary begins anew
	read := func(f Filter, window, room, renewed int) (rows []flow.Row) {
		u, err := newUnpacker()
		must(t, err)
		p := newPlan(f, m.live)
		p.window, p.addressBytes = window, room
		sc := s.newScanner(t.Context(), m, u)
		defer sc.Close()
		if renewed == always {
			sc.addresses.limit = 0
		}
		for _, seg := range m.segments {
			must(t, sc.add(seg, p))
		}
		if n := len(sc.addresses.table.list); renewed == always && n > 2*window*len(m.segments) {
			t.Errorf("%d addresses before the first row, which %d rows of each of %d segments cannot have", n, window, len(m.segments))
		}
		sc.contest.settle()
		dictionaries := make(map[*flow.Dictionary][]netip.Addr)
		for sc.contest.first() != nil {
			if renewed != never {
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
		if many := len(dictionaries) > 1; len(rows) > firstRows && many != (renewed != never) {
			t.Errorf("%d dictionaries, renewed: %d", len(dictionaries), renewed)
		}
		return rows
	}
	all := read(Filter{}, blockRows, scanAddressBytes, never)
	late := Filter{From: all[len(all)/2].Time}
	for _, f := range []Filter{{}, late, {Src: []netip.Prefix{netip.PrefixFrom(all[0].Src, all[0].Src.BitLen())}}} {
		with := read(f, blockRows, scanAddressBytes, never)
		for _, window := range []int{1, 7, leastWindow} {
			for _, room := range []int{0, scanAddressBytes} {
				for _, renewed := range []int{never, always, later} {
					if without := read(f, window, room, renewed); len(with) == 0 || !slices.Equal(with, without) {
						t.Errorf("filter %v, window %d, room %d, renewed %d: got %d rows, %d with room, or others", f, window, room, renewed, len(without), len(with))
					}
				}
			}
		}
	}
}

// Narrow codes are those that they were made of, and are made only where they are enough.
func TestNarrowCodes(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(5, 8))
	for _, most := range []uint32{1, 1 << 15, 1 << 16, 1<<narrowBits - 1, 1 << narrowBits, 1 << 31} {
		p := &codePage{codes: make([]uint32, 1+r.IntN(pageAddresses))}
		for i := range p.codes {
			p.codes[i] = r.Uint32N(most)
		}
		p.codes[r.IntN(len(p.codes))] = most
		want, wide := slices.Clone(p.codes), p.bytes()
		p.narrow()
		if narrow := p.codes == nil; narrow != (most < 1<<narrowBits) || narrow != (p.low != nil) || narrow != (p.bytes() < wide) {
			t.Errorf("codes up to %d: narrow: %v, in %d bytes in place of %d", most, narrow, p.bytes(), wide)
		}
		for n, code := range want {
			if got := p.code(uint32(n)); got != code {
				t.Fatalf("codes up to %d: code %d is %d, want %d", most, n, got, code)
			}
		}
		if p.widen(); !slices.Equal(p.codes, want) || p.low != nil || p.bytes() != wide {
			t.Errorf("codes up to %d are others once they are wide again", most)
		}
	}
}

// Pages take no more than there is room for, with whatever codes, also once a dictionary
// began anew; and addresses keep their codes in it.
func TestRoomForCodes(t *testing.T) {
	t.Parallel()
	const room, pages = 60_000, 300
	for _, whole := range []bool{false, true} {
		r := rand.New(rand.NewPCG(6, 8))
		s := newScanAddresses(memory.DefaultAllocator)
		address := func(code uint32) netip.Addr {
			if code%(7*pageAddresses) == 5 {
				return netip.AddrFrom16([16]byte{0xfd, byte(code >> 16), byte(code >> 8), byte(code)})
			}
			return netip.AddrFrom4([4]byte{10, byte(code >> 16), byte(code >> 8), byte(code)})
		}
		c := newAddressCoder(s, pages, room, func(page int) (l addressList, err error) {
			for i := range uint32(pageAddresses) {
				if a := address(uint32(page)*pageAddresses + i); page%7 == 0 {
					l.all = append(l.all, a)
				} else {
					l.v4 = append(l.v4, fourOf(a))
				}
			}
			return l, nil
		})
		c.whole = whole
		kept, narrow := 0, 0
		for round := range 200 {
			codes := make([]uint32, 200)
			for i := range codes {
				codes[i] = r.Uint32N(pages * pageAddresses)
			}
			got := slices.Clone(codes)
			must(t, c.encode(got))
			for i, code := range codes {
				if a := s.table.list[got[i]]; a != address(code) {
					t.Fatalf("round %d: %v has the code of %v", round, address(code), a)
				}
			}
			held := 0
			for _, p := range c.pages {
				if p != nil {
					held, kept = held+p.bytes(), kept+1
					if p.low != nil {
						narrow++
					}
				}
			}
			if held+c.room != room || c.room < 0 {
				t.Fatalf("round %d: pages take %d bytes, and there is room for %d more of %d", round, held, c.room, room)
			}
			if round%50 == 49 {
				s.renew([]*cursor{{addresses: c}})
			}
		}
		if kept == 0 || whole != (narrow > 0) {
			t.Errorf("whole: %v: %d pages were kept, %d narrow", whole, kept, narrow)
		}
	}
}
