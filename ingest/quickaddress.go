package ingest

import (
	"encoding/binary"
	"math/bits"
	"math/rand/v2"
	"net/netip"

	"github.com/whichpod/whichpod/flow"
)

const (
	leastSlots = 1 << 10
	mostSlots  = 1 << 17 // 4 MB
)

// quickAddresses knows the codes of IPv4 addresses by their text: a hash table with
// open addressing, at most half full. Nearly all addresses of a record were seen
// before, and so need not be parsed. Whoever sends packets to a cluster chooses
// addresses, so the hash is seeded.
type quickAddresses struct {
	slots []addressSlot
	used  int
	batch uint32 // that codes are asked for now
	seed  [2]uint64
}

type addressSlot struct {
	text  [2]uint64 // up to 15 bytes, zeros behind; all zero: free
	addr  [4]byte
	code  uint32
	batch uint32 // that code is for
}

// begin says which batch codes are for from now on.
func (t *quickAddresses) begin(batch uint32) {
	if t.slots == nil {
		t.slots, t.seed = make([]addressSlot, leastSlots), [2]uint64{rand.Uint64(), rand.Uint64()}
	}
	t.batch = batch
}

// textMask keeps the first n bytes of 16, by n.
var textMask = func() (m [16][2]uint64) {
	for n := range m {
		m[n] = [2]uint64{^uint64(0) >> (64 - 8*min(n, 8)), ^uint64(0) >> (64 - 8*max(n-8, 0))}
	}
	return m
}()

// code returns the code of the address in dotted decimal at [from, to). On false it is
// no such address.
func (t *quickAddresses) code(w *[quickTuple]byte, from, to int, rows *flow.Builder) (uint32, bool) {
	n := to - from
	if n < len("0.0.0.0") || n > len("255.255.255.255") {
		return 0, false
	}
	mask := &textMask[n&15]
	text := [2]uint64{binary.LittleEndian.Uint64(w[from:]) & mask[0], binary.LittleEndian.Uint64(w[from+8:]) & mask[1]}
	slot := t.find(text)
	if slot.text != text {
		f := fields{b: w[:], i: from}
		var a netip.Addr
		if !f.ipv4(&a) || f.i != to+1 {
			return 0, false
		}
		slot = t.add(slot, text, a.As4())
	}
	if slot.batch != t.batch {
		slot.code, slot.batch = rows.AddressCode(netip.AddrFrom4(slot.addr)), t.batch
	}
	return slot.code, true
}

// find returns the slot of a text, or the free one where it belongs.
func (t *quickAddresses) find(text [2]uint64) *addressSlot {
	mask := uint64(len(t.slots) - 1)
	high, low := bits.Mul64(text[0]^t.seed[0], text[1]^t.seed[1])
	for i := (high ^ low) & mask; ; i = (i + 1) & mask {
		if s := &t.slots[i]; s.text == text || s.text[0] == 0 {
			return s
		}
	}
}

// add fills a free slot, or one of a larger table.
func (t *quickAddresses) add(slot *addressSlot, text [2]uint64, addr [4]byte) *addressSlot {
	if 2*t.used >= len(t.slots) {
		t.grow()
		slot = t.find(text)
	}
	t.used++
	*slot = addressSlot{text: text, addr: addr, batch: t.batch - 1}
	return slot
}

// grow doubles the table, or empties the largest.
func (t *quickAddresses) grow() {
	old := t.slots
	if len(old) == mostSlots {
		clear(old)
		t.used = 0
		return
	}
	t.slots = make([]addressSlot, 2*len(old))
	for i := range old {
		if s := &old[i]; s.text[0] != 0 {
			*t.find(s.text) = *s
		}
	}
}
