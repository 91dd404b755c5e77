package index

import (
	"encoding/binary"
	"math/bits"
	"math/rand/v2"
	"net/netip"
)

// addressCodes gives each address of a segment a code, in order of appearance. Nearly
// all addresses are IPv4: those are in a hash table with open addressing, at most half
// full, of 8 bytes a slot. Whoever sends packets to a cluster chooses addresses, so the
// hash is seeded.
type addressCodes struct {
	list  []netip.Addr // by code
	slots []uint64     // address in the high half, code + 1 in the low one, or 0; a power of two
	used  int          // slots
	six   map[netip.Addr]uint32
	seed  [2]uint64
}

const leastSlots = 1 << 10

func newAddressCodes() addressCodes {
	return addressCodes{six: make(map[netip.Addr]uint32), slots: make([]uint64, leastSlots), seed: [2]uint64{rand.Uint64(), rand.Uint64()}}
}

// of returns the code of an address, which MUST be unmapped and without a zone.
func (t *addressCodes) of(a netip.Addr) uint32 {
	if !a.Is4() {
		return t.ofSix(a)
	}
	four := a.As4()
	v := binary.BigEndian.Uint32(four[:])
	i := t.find(v)
	if s := t.slots[i]; s != 0 {
		return uint32(s) - 1
	}
	if t.used++; 2*t.used > len(t.slots) {
		t.grow()
		i = t.find(v)
	}
	t.list = append(t.list, a)
	t.slots[i] = uint64(v)<<32 | uint64(len(t.list))
	return uint32(len(t.list) - 1)
}

func (t *addressCodes) ofSix(a netip.Addr) uint32 {
	code, ok := t.six[a]
	if !ok {
		code = uint32(len(t.list))
		t.six[a] = code
		t.list = append(t.list, a)
	}
	return code
}

// find returns where an address stands, or the free slot where it belongs.
func (t *addressCodes) find(v uint32) uint64 {
	mask := uint64(len(t.slots) - 1)
	high, low := bits.Mul64(uint64(v)^t.seed[0], t.seed[1])
	i := (high ^ low) & mask
	for t.slots[i] != 0 && uint32(t.slots[i]>>32) != v {
		i = (i + 1) & mask
	}
	return i
}

func (t *addressCodes) grow() {
	old := t.slots
	t.slots = make([]uint64, 2*len(old))
	for _, s := range old {
		if s != 0 {
			t.slots[t.find(uint32(s>>32))] = s
		}
	}
}

// reset forgets the addresses and keeps the memory.
func (t *addressCodes) reset() {
	t.list, t.used = t.list[:0], 0
	clear(t.slots)
	clear(t.six)
}
