package ingest

import (
	"encoding/binary"
	"math"
	"math/bits"
	"math/rand/v2"
	"net/netip"

	"github.com/whichpod/whichpod/flow"
)

const (
	leastSlots = 1 << 10
	mostSlots  = 1 << 18 // 4 MB
)

// quickAddresses knows the codes of IPv4 addresses by their text: a hash table with
// open addressing, at most half full. Nearly all addresses of a record were seen
// before, and so need not be parsed. Whoever sends packets to a cluster chooses
// addresses, so the hash is seeded.
type quickAddresses struct {
	slots []addressSlot
	used  int
	batch uint32 // of the builder, that codes are asked for now
	round uint16 // what stands for batch in slots: never 0
	added int    // addresses of the batch that are from here and in slots; -1: not known
	seed  [2]uint64
}

// addressSlot is small, as the table is larger than the first caches.
type addressSlot struct {
	text  uint64 // as textKey packs it; 0: free
	addr  [4]byte
	code  uint16
	round uint16 // that code is for
}

// begin says which batch codes are for from now on.
func (t *quickAddresses) begin(batch uint32) {
	if t.slots == nil {
		t.slots, t.seed = make([]addressSlot, leastSlots), [2]uint64{rand.Uint64(), rand.Uint64()}
	} else if t.batch == batch {
		return
	}
	t.batch, t.added = batch, 0
	if t.round++; t.round == 0 { // slots may be as old as that
		t.forget()
	}
}

// forget empties the table. It no longer knows what the batch has.
func (t *quickAddresses) forget() {
	clear(t.slots)
	t.used, t.round, t.added = 0, 1, -1
}

// nibbles is, for each length of a text, what of a packed text is its characters.
var nibbles = func() (m [16]uint64) {
	for n := range m {
		for i := range n {
			m[n] |= 0xf << (8*(i%8) + 4*(i/8))
		}
	}
	return m
}()

// textKey packs the text of n characters, at most 15, that starts at from: of each the
// low four bits, and n. The high bits MUST be those that go with them, 2 where the low
// ones are 12 or more, as of a dot, else 3, as of digits: on false they are not. So no
// two texts have one key.
func textKey(w *[quickTuple]byte, from, n int) (uint64, bool) {
	const low, each = 0x0f * ones, 0x1111111111111111
	a, b := binary.LittleEndian.Uint64(w[from:]), binary.LittleEndian.Uint64(w[from+8:])
	mask := nibbles[n&15]
	key := (a&low | b&low<<4) & mask
	high := a>>4&low | b&^low
	dots := key >> 3 & (key >> 2) & each // a dot is 0x2e, digits are 0x30 to 0x39
	return key | uint64(n)<<60, (high^dots^3*each)&mask == 0
}

// code returns the code of the address in dotted decimal at [from, to). On false it is
// no such address.
func (t *quickAddresses) code(w *[quickTuple]byte, from, to int, rows *flow.Builder) (uint32, bool) {
	n := to - from
	if n < len("0.0.0.0") || n > len("255.255.255.255") {
		return 0, false
	}
	text, ok := textKey(w, from, n)
	if !ok {
		return 0, false
	}
	slot := t.find(text)
	if slot.text != text {
		f := fields{b: w[:], i: from}
		var a netip.Addr
		if !f.ipv4(&a) || f.i != to+1 {
			return 0, false
		}
		slot = t.add(slot, text, a.As4())
	}
	if slot.round == t.round {
		return uint32(slot.code), true
	}
	return t.first(slot, rows), true
}

// first returns the code of an address that is not known to be in the batch.
func (t *quickAddresses) first(slot *addressSlot, rows *flow.Builder) (code uint32) {
	if a := netip.AddrFrom4(slot.addr); t.added == rows.AddressCount() { // all are from here, and so this one is new
		code = rows.AddAddress(a)
		t.added++
	} else {
		code = rows.AddressCode(a)
	}
	if code > math.MaxUint16 { // a batch has fewer, but for those of records that were not taken
		t.added = -1
		return code
	}
	slot.code, slot.round = uint16(code), t.round
	return code
}

// find returns the slot of a text, or the free one where it belongs.
func (t *quickAddresses) find(text uint64) *addressSlot {
	mask := uint64(len(t.slots) - 1)
	high, low := bits.Mul64(text^t.seed[0], t.seed[1])
	for i := (high ^ low) & mask; ; i = (i + 1) & mask {
		if s := &t.slots[i]; s.text == text || s.text == 0 {
			return s
		}
	}
}

// add fills a free slot, or one of a larger table.
func (t *quickAddresses) add(slot *addressSlot, text uint64, addr [4]byte) *addressSlot {
	if 2*t.used >= len(t.slots) {
		t.grow()
		slot = t.find(text)
	}
	t.used++
	*slot = addressSlot{text: text, addr: addr, round: t.round - 1}
	return slot
}

// grow doubles the table, or empties the largest.
func (t *quickAddresses) grow() {
	old := t.slots
	if len(old) == mostSlots {
		t.forget()
		return
	}
	t.slots = make([]addressSlot, 2*len(old))
	for i := range old {
		if s := &old[i]; s.text != 0 {
			*t.find(s.text) = *s
		}
	}
}
