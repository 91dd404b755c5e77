package index

import (
	"net/netip"
	"slices"
)

// addressList is addresses in little memory: four bytes each where all are IPv4. It is
// not written to once it is made, until it is reset.
type addressList struct {
	v4  []uint32
	all []netip.Addr // where any is IPv6
}

// mappedIPv4 is the upper half of the low 8 bytes of an IPv4 address mapped into IPv6.
const mappedIPv4 = 0xffff

// reset empties it for n addresses. Whoever has a list with IPv6 may keep it, and with only
// IPv4 MUST copy it.
func (l *addressList) reset(n int) { l.v4, l.all = slices.Grow(l.v4[:0], n), nil }

// clone is one that may be kept.
func (l *addressList) clone() addressList { return addressList{v4: slices.Clone(l.v4), all: l.all} }

// add appends an address by its two halves.
func (l *addressList) add(high, low uint64) {
	if l.all == nil {
		if high == 0 && low>>32 == mappedIPv4 {
			l.v4 = append(l.v4, uint32(low))
			return
		}
		l.all = make([]netip.Addr, 0, cap(l.v4))
		for i := range l.v4 {
			l.all = append(l.all, l.ipv4(i))
		}
		l.v4 = nil
	}
	l.all = append(l.all, fromHalves(high, low))
}

func (l *addressList) ipv4(i int) netip.Addr { return fromFour(l.v4[i]) }

func fromFour(a uint32) netip.Addr {
	return netip.AddrFrom4([4]byte{byte(a >> 24), byte(a >> 16), byte(a >> 8), byte(a)})
}

func (l *addressList) at(i int) netip.Addr {
	if l.all != nil {
		return l.all[i]
	}
	return l.ipv4(i)
}

func (l *addressList) len() int { return len(l.v4) + len(l.all) }
