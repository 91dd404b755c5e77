package flow

import (
	"encoding/binary"
	"math/bits"
	"math/rand/v2"
	"net/netip"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/memory"
)

// DictionaryAddresses is up to how many addresses a [Builder] keeps its dictionary for
// the next batch: more than nearly all logs of an hour have, and 5 MB.
const DictionaryAddresses = 1 << 17

// Dictionary tells dictionaries of addresses apart. Batches with the same one have
// dictionaries of which the longer begins with the shorter: one code is one address.
type Dictionary struct{ _ byte } // not of size 0, so that each has a place of its own

// addressTable gives each address a code, in order of appearance. Two look-ups a row
// make it worth being faster than a map: a hash table with open addressing, at most
// half full. Whoever sends packets to a cluster chooses addresses, so the hash is
// seeded.
type addressTable struct {
	mem        memory.Allocator
	dictionary *Dictionary
	list       []netip.Addr   // by code, shared with batches: entries never change
	values     *memory.Buffer // the same as 16 bytes each, and room for more
	known      int            // of list that are in slots; the others follow when one is looked up
	slots      []uint32       // code + 1, or 0; a power of two
	seed       [2]uint64
}

func newAddressTable(mem memory.Allocator) addressTable {
	return addressTable{mem: mem, dictionary: new(Dictionary), seed: [2]uint64{rand.Uint64(), rand.Uint64()}}
}

// add gives a new address, which is unmapped and has no zone, its code.
func (t *addressTable) add(a netip.Addr) uint32 {
	n := len(t.list)
	t.list = append(t.list, a)
	if t.values == nil || 16*n == t.values.Len() {
		t.grow(max(256, 2*n))
	}
	v := a.As16()
	copy(t.values.Bytes()[16*n:], v[:])
	return uint32(n)
}

// grow makes room for so many addresses. Batches keep the memory that they know.
func (t *addressTable) grow(addresses int) {
	buf := memory.NewResizableBuffer(t.mem)
	buf.Resize(16 * addresses)
	if t.values != nil {
		copy(buf.Bytes(), t.values.Bytes())
		t.values.Release()
	}
	t.values = buf
}

func (t *addressTable) code(a netip.Addr) uint32 {
	a = a.Unmap().WithZone("")
	if t.known < len(t.list) || len(t.slots) == 0 {
		t.index()
	}
	mask := uint64(len(t.slots) - 1)
	i := t.hash(a) & mask
	for ; t.slots[i] != 0; i = (i + 1) & mask {
		if c := t.slots[i] - 1; t.list[c] == a {
			return c
		}
	}
	return t.add(a)
}

func (t *addressTable) hash(a netip.Addr) uint64 {
	v := a.As16()
	high, low := bits.Mul64(binary.LittleEndian.Uint64(v[:8])^t.seed[0], binary.LittleEndian.Uint64(v[8:])^t.seed[1])
	return high ^ low
}

// index puts those in slots that were added.
func (t *addressTable) index() {
	if 2*len(t.list) >= len(t.slots) {
		t.slots = make([]uint32, max(1024, 2<<bits.Len(uint(len(t.list)))))
		t.known = 0
	}
	mask := uint64(len(t.slots) - 1)
	for ; t.known < len(t.list); t.known++ {
		i := t.hash(t.list[t.known]) & mask
		for t.slots[i] != 0 {
			i = (i + 1) & mask
		}
		t.slots[i] = uint32(t.known) + 1
	}
}

// array returns the addresses. The caller MUST Release it.
func (t *addressTable) array() arrow.Array {
	t.values.Retain() // for the array
	return newArray(address.ValueType, len(t.list), 0, nil, t.values)
}

// renew begins another dictionary where this one has more addresses than it may keep.
func (t *addressTable) renew() {
	if len(t.list) <= DictionaryAddresses {
		return
	}
	t.release()
	clear(t.slots)
	t.dictionary, t.list, t.known = new(Dictionary), nil, 0
}

func (t *addressTable) release() {
	if t.values != nil {
		t.values.Release()
		t.values = nil
	}
}
