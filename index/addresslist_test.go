package index

import (
	"net/netip"
	"slices"
	"testing"
)

// An address list gives back what was added, whichever family comes first.
func TestAddressList(t *testing.T) {
	v4, v6 := netip.MustParseAddr("10.244.3.17"), netip.MustParseAddr("2001:db8::1")
	low := netip.MustParseAddr("0.0.0.1")
	loopback := netip.IPv6Loopback() // its upper half is 0, too
	for _, want := range [][]netip.Addr{nil, {v4}, {low, v4}, {v6}, {loopback, v4}, {v4, v6}, {low, v4, loopback, v6, v4}} {
		var l addressList
		l.reset(len(want))
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
