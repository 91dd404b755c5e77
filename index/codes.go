package index

import (
	"encoding/binary"
	"math/bits"
	"math/rand/v2"
	"net/netip"

	"github.com/whichpod/whichpod/flow"
)

// addressCodes gives each address of a segment a code. As long as all batches have one
// dictionary, those are its codes, and nothing is looked up. Once there is another one, a
// code is looked up for each address of a batch: nearly all are IPv4, which are in a hash
// table with open addressing, at most half full, of 8 bytes a slot. Whoever sends packets
// to a cluster chooses addresses, so the hash is seeded.
type addressCodes struct {
	list []netip.Addr // by code
	held []uint8      // by code: 1 where a row has it
	rows int          // of list, those that rows have

	dictionary *flow.Dictionary // whose codes ours are; nil: list is our own
	remap      []uint32         // else, the codes of a batch's addresses to ours
	remapOf    *flow.Dictionary // nil: of one batch only

	known int      // of list that can be looked up; the others follow when one is
	slots []uint64 // address in the high half, code + 1 in the low one, or 0; a power of two
	used  int      // slots
	six   map[netip.Addr]uint32
	seed  [2]uint64
}

const (
	leastSlots = 1 << 10
	noCode     = ^uint32(0)
)

func newAddressCodes() addressCodes {
	return addressCodes{six: make(map[netip.Addr]uint32), slots: make([]uint64, leastSlots), seed: [2]uint64{rand.Uint64(), rand.Uint64()}}
}

// begin readies the table for rows with the given addresses, which are not written to.
// Of dictionary d they are all that it has, or had earlier; nil is one of its own.
func (t *addressCodes) begin(addresses []netip.Addr, d *flow.Dictionary) {
	switch {
	case d != nil && (d == t.dictionary || len(t.list) == 0):
		t.dictionary = d
		if len(addresses) > len(t.list) {
			t.list = addresses[:len(addresses):len(addresses)] // so that add would copy it
			t.held = append(t.held, make([]uint8, len(addresses)-len(t.held))...)
		}
		return
	case d == nil || d != t.remapOf:
		t.remap, t.remapOf = t.remap[:0], d
	}
	t.dictionary = nil
	for len(t.remap) < len(addresses) {
		t.remap = append(t.remap, noCode)
	}
}

// of is our code of an address of those that begin was given, for a row to have.
func (t *addressCodes) of(addresses []netip.Addr, code uint32) uint32 {
	if t.dictionary == nil {
		if t.remap[code] == noCode {
			t.remap[code] = t.lookUp(addresses[code])
		}
		code = t.remap[code]
	}
	t.rows += int(1 - t.held[code])
	t.held[code] = 1
	return code
}

// copyCodes sets the addresses of rows, of which the batch has these codes.
func (t *addressCodes) copyCodes(rows []row, addresses []netip.Addr, src, dst []uint32) {
	src, dst = src[:len(rows)], dst[:len(rows)]
	if t.dictionary == nil {
		for i := range rows {
			rows[i].src, rows[i].dst = t.of(addresses, src[i]), t.of(addresses, dst[i])
		}
		return
	}
	held, n := t.held, 0
	for i := range rows {
		s, d := src[i], dst[i]
		rows[i].src, rows[i].dst = s, d
		n += int(1 - held[s])
		held[s] = 1
		n += int(1 - held[d])
		held[d] = 1
	}
	t.rows += n
}

// atMost is how many addresses rows would have if they had those of a batch as well.
func (t *addressCodes) atMost(b *flow.Batch) int {
	if t.dictionary != nil && t.dictionary == b.Dictionary {
		return min(t.rows+2*b.Len(), max(t.rows, len(b.Addresses)))
	}
	return t.rows + min(len(b.Addresses), 2*b.Len())
}

// lookUp returns the code of an address, which MUST be unmapped and without a zone.
func (t *addressCodes) lookUp(a netip.Addr) uint32 {
	for ; t.known < len(t.list); t.known++ {
		t.index(t.list[t.known], uint32(t.known))
	}
	if !a.Is4() {
		if code, ok := t.six[a]; ok {
			return code
		}
	} else if s := t.slots[t.find(fourOf(a))]; s != 0 {
		return uint32(s) - 1
	}
	t.list, t.held = append(t.list, a), append(t.held, 0)
	return uint32(len(t.list) - 1)
}

// index makes an address with a code one that can be looked up.
func (t *addressCodes) index(a netip.Addr, code uint32) {
	if !a.Is4() {
		t.six[a] = code
		return
	}
	if t.used++; 2*t.used > len(t.slots) {
		t.grow()
	}
	v := fourOf(a)
	t.slots[t.find(v)] = uint64(v)<<32 | uint64(code+1)
}

func fourOf(a netip.Addr) uint32 {
	four := a.As4()
	return binary.BigEndian.Uint32(four[:])
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

// reset forgets the addresses and keeps the memory, but for that of a dictionary.
func (t *addressCodes) reset() {
	clear(t.held)
	t.list, t.held, t.rows = nil, t.held[:0], 0
	t.dictionary, t.remap, t.remapOf = nil, t.remap[:0], nil
	if t.known > 0 {
		clear(t.slots)
		clear(t.six)
	}
	t.known, t.used = 0, 0
}
