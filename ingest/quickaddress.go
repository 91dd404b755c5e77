package ingest

import (
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
	slots      []addressSlot // one more than a power of two, so that each has one behind it
	used       int
	dictionary *flow.Dictionary // that codes are of
	added      int              // addresses of the dictionary that are from here and in slots; -1: not known
	seed       [2]uint64
}

// addressSlot is small, as the table is larger than the first caches.
type addressSlot struct {
	text uint64 // as textKey packs it; 0: free
	code uint32
}

// begin says which dictionary codes are of from now on.
func (t *quickAddresses) begin(d *flow.Dictionary) {
	if t.slots == nil {
		t.slots, t.seed = make([]addressSlot, leastSlots+1), [2]uint64{rand.Uint64(), rand.Uint64()}
	} else if t.dictionary == d {
		return
	}
	t.forget()
	t.dictionary, t.added = d, 0
}

// forget empties the table. It no longer knows what the dictionary has.
func (t *quickAddresses) forget() {
	clear(t.slots)
	t.used, t.added = 0, -1
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

// textKey packs the text in [from, to): of each character the low four bits, and how
// many there are. The high bits MUST be those that go with them, 2 where the low ones
// are 12 or more, as of a dot, else 3, as of digits. So no two texts have one key. It is
// 0 where they are not, or where the text is too short or too long for an address in
// dotted decimal.
func textKey(w *[quickTuple]byte, from, to int) uint64 {
	const low, each = 0x0f * ones, 0x1111111111111111
	n := to - from
	if n < len("0.0.0.0") || n > len("255.255.255.255") {
		return 0
	}
	a, b := eight(w, from), eight(w, from+8)
	mask := nibbles[n&15]
	key := (a&low | b&low<<4) & mask
	high := a>>4&low | b&^low
	dots := key >> 3 & (key >> 2) & each // a dot is 0x2e, digits are 0x30 to 0x39
	if (high^dots^3*each)&mask != 0 {
		return 0
	}
	return key | uint64(n)<<60
}

// near returns the slot of a key if that is at its place or behind it, as nearly all are.
// Which of the two is no jump, as nobody could foresee it, and what follows would wait
// until the table is read.
func (t *quickAddresses) near(key uint64, place int) *addressSlot {
	if t.slots[place].text != key {
		place++
	}
	return &t.slots[place]
}

// code returns the code of an address, wherever in the table it is, or if it is new. Its
// text begins at a place of data. On false it is no address in dotted decimal.
func (t *quickAddresses) code(key uint64, data []byte, at int, rows *flow.Builder) (uint32, bool) {
	slot := t.find(key)
	if slot.text == key {
		return slot.code, true
	}
	f := fields{b: data, i: at}
	var a netip.Addr
	if !f.ipv4(&a) || f.i != at+int(key>>60)+1 {
		return 0, false
	}
	slot = t.add(slot, key)
	if t.added == rows.AddressCount() { // all are from here, and so this one is new
		slot.code = rows.AddAddress(a)
		t.added++
	} else {
		slot.code = rows.AddressCode(a)
	}
	return slot.code, true
}

// place is where a text belongs, if that is free.
func (t *quickAddresses) place(text uint64) int {
	high, low := bits.Mul64(text^t.seed[0], t.seed[1])
	return int(high^low) & (len(t.slots) - 2)
}

// find returns the slot of a text, or the free one where it would be.
func (t *quickAddresses) find(text uint64) *addressSlot {
	for i := t.place(text); ; i++ {
		if i == len(t.slots) {
			i = 0
		}
		if s := &t.slots[i]; s.text == text || s.text == 0 {
			return s
		}
	}
}

// add fills a free slot, or one of a larger table, but for the code.
func (t *quickAddresses) add(slot *addressSlot, text uint64) *addressSlot {
	if 2*t.used >= len(t.slots) {
		t.grow()
		slot = t.find(text)
	}
	t.used++
	slot.text = text
	return slot
}

// grow doubles the table, or empties the largest.
func (t *quickAddresses) grow() {
	old := t.slots
	if len(old) > mostSlots {
		t.forget()
		return
	}
	t.slots = make([]addressSlot, 2*len(old)-1)
	for i := range old {
		if s := &old[i]; s.text != 0 {
			*t.find(s.text) = *s
		}
	}
}
