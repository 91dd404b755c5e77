package index

import (
	"cmp"
	"math/rand/v2"
	"net/netip"
	"testing"
)

// Words of addresses are in the order of addresses, and decide but where they say that
// they do not.
func TestKeyOfAddresses(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	edges := []netip.Addr{netip.MustParseAddr("0.0.0.0"), netip.MustParseAddr("255.255.255.255"), netip.MustParseAddr("255.255.255.254"),
		netip.IPv6Unspecified(), netip.IPv6Loopback(), netip.MustParseAddr("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff")}
	any := func() netip.Addr {
		if r.IntN(2) == 0 {
			return edges[r.IntN(len(edges))]
		}
		return randomAddress(r)
	}
	undecided := 0
	for range 20_000 {
		a, b := [2]netip.Addr{any(), any()}, [2]netip.Addr{any(), any()}
		if r.IntN(3) == 0 {
			a[0] = b[0]
		}
		want := cmp.Or(a[0].Compare(b[0]), a[1].Compare(b[1]))
		x, y := keyOfAddresses(shorten(a[0]), shorten(a[1])), keyOfAddresses(shorten(b[0]), shorten(b[1]))
		switch {
		case x == y && uint32(x) == 1<<32-1:
			undecided++
		case cmp.Compare(x, y) != want:
			t.Fatalf("%v and %v compare as %d, their words %x and %x as %d", a, b, want, x, y, cmp.Compare(x, y))
		}
	}
	if undecided == 0 {
		t.Error("no words leave it open")
	}
}
