package index

import (
	"encoding/binary"
	"math/bits"
	"math/rand/v2"
	"net/netip"
	"slices"
)

// addressTable gives addresses codes, in the order in which they are first looked up.
// Nearly all are IPv4: those are in a hash table with open addressing, at most half full,
// of 8 bytes a slot. Whoever sends packets to a cluster chooses addresses, so the hash is
// seeded.
type addressTable struct {
	list  []netip.Addr // by code
	known int          // of list that can be looked up; the others follow when one is
	slots []uint64     // address in the high half, code + 1 in the low one, or 0; a power of two
	used  int          // slots
	six   map[netip.Addr]uint32
	seed  [2]uint64
}

const leastSlots = 1 << 10

func newAddressTable() addressTable {
	return addressTable{six: make(map[netip.Addr]uint32), slots: make([]uint64, leastSlots), seed: [2]uint64{rand.Uint64(), rand.Uint64()}}
}

// lookUp returns the code of an address, which MUST be unmapped and without a zone.
func (t *addressTable) lookUp(a netip.Addr) uint32 {
	for ; t.known < len(t.list); t.known++ {
		t.index(t.list[t.known], uint32(t.known))
	}
	if a.Is4() {
		return t.lookUpFour(fourOf(a))
	}
	code, ok := t.six[a]
	if !ok {
		code = t.add(a)
		t.six[a] = code
	}
	return code
}

// lookUpFour is lookUp of an IPv4 address, where all of list can be looked up.
func (t *addressTable) lookUpFour(v uint32) uint32 {
	i := t.find(v)
	if s := t.slots[i]; s != 0 {
		return uint32(s) - 1
	}
	code := t.add(fromFour(v))
	t.put(i, v, code)
	return code
}

// add gives an address the next code. The caller makes it one that can be looked up.
func (t *addressTable) add(a netip.Addr) uint32 {
	t.list = append(t.list, a)
	t.known = len(t.list)
	return uint32(t.known - 1)
}

// near is what stands where an address is looked for first.
func (t *addressTable) near(a netip.Addr) uint64 {
	if !a.Is4() {
		return 0
	}
	return t.nearFour(fourOf(a))
}

func (t *addressTable) nearFour(a uint32) uint64 { return t.slots[t.hash(a)&uint64(len(t.slots)-1)] }

// index makes an address with a code one that can be looked up.
func (t *addressTable) index(a netip.Addr, code uint32) {
	if !a.Is4() {
		t.six[a] = code
		return
	}
	v := fourOf(a)
	t.put(t.find(v), v, code)
}

// put puts an IPv4 address into the free slot where it belongs.
func (t *addressTable) put(i uint64, v, code uint32) {
	t.slots[i] = uint64(v)<<32 | uint64(code+1)
	if t.used++; 2*t.used > len(t.slots) {
		t.resize(2 * len(t.slots))
	}
}

func fourOf(a netip.Addr) uint32 {
	four := a.As4()
	return binary.BigEndian.Uint32(four[:])
}

// find returns where an address stands, or the free slot where it belongs.
func (t *addressTable) find(v uint32) uint64 {
	mask := uint64(len(t.slots) - 1)
	i := t.hash(v) & mask
	for t.slots[i] != 0 && uint32(t.slots[i]>>32) != v {
		i = (i + 1) & mask
	}
	return i
}

func (t *addressTable) hash(v uint32) uint64 {
	high, low := bits.Mul64(uint64(v)^t.seed[0], t.seed[1])
	return high ^ low
}

// resize makes it one of so many slots, a power of two.
func (t *addressTable) resize(slots int) {
	old := t.slots
	t.slots = make([]uint64, slots)
	for _, s := range old {
		if s != 0 {
			t.slots[t.find(uint32(s>>32))] = s
		}
	}
}

// reserve makes room for so many addresses.
func (t *addressTable) reserve(n int) {
	t.list = slices.Grow(t.list, n)
	if slots := 1 << bits.Len(uint(2*n)); slots > len(t.slots) {
		t.resize(slots)
	}
}

// reset forgets the addresses and keeps the memory.
func (t *addressTable) reset() {
	t.list = t.list[:0]
	if t.known > 0 {
		clear(t.slots)
		clear(t.six)
	}
	t.known, t.used = 0, 0
}
