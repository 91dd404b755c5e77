package evidence

import (
	"hash/maphash"
	"net/netip"

	"github.com/whichpod/whichpod/flow"
	"github.com/whichpod/whichpod/internal/parquet"
)

// addressCodes numbers the addresses of a column. A map of Go's would take several times
// as long, and each batch of rows asks for each address of its dictionary. As those are
// chosen by others, too, nobody may know which ones meet in a slot: seed is a secret.
//
// Slots are far away in memory, and what they hold can not be foreseen. So a slot has a
// part of the hash beside the code, which tells nearly always without a look at an address
// that it is another one; and slots of many addresses are read before the first is used,
// as then the processor waits for them all at once.
type addressCodes struct {
	seed      maphash.Seed
	addresses []netip.Addr // by code
	slots     []uint64     // the upper half of a hash, and in the lower one a code and 1 more; 0 is free. A power of two, and at most half of them are in use
	hashes    []uint64     // of the addresses under way
	touched   uint64       // what was read ahead: that it is kept makes it read
}

func newAddressCodes() addressCodes { return addressCodes{seed: maphash.MakeSeed()} }

func (t *addressCodes) reset() {
	t.addresses = t.addresses[:0]
	clear(t.slots)
}

// number sets in table the codes of some addresses of a batch.
func (t *addressCodes) number(which []uint32, batch []netip.Addr, table []uint32) {
	for 2*(len(t.addresses)+len(which)) > len(t.slots) {
		t.grow()
	}
	t.hashes = t.hashes[:0]
	for _, n := range which {
		t.hashes = append(t.hashes, t.hash(batch[n]))
	}
	mask, touched := uint64(len(t.slots)-1), uint64(0)
	for _, hash := range t.hashes { // nothing else, so that many are under way
		touched |= t.slots[hash&mask]
	}
	t.touched = touched
	for i, n := range which {
		table[n] = t.code(batch[n], t.hashes[i])
	}
}

// code is the number of an address. There MUST be a free slot.
func (t *addressCodes) code(a netip.Addr, hash uint64) uint32 {
	mask := uint64(len(t.slots) - 1)
	for at := hash; ; at++ {
		slot := &t.slots[at&mask]
		if *slot == 0 {
			t.addresses = append(t.addresses, a)
			*slot = hash&^maxCode | uint64(len(t.addresses))
			return uint32(len(t.addresses) - 1)
		}
		if code := uint32(*slot) - 1; (*slot^hash)&^maxCode == 0 && t.addresses[code] == a {
			return code
		}
	}
}

const maxCode = 1<<32 - 1 // and 1 more

func (t *addressCodes) hash(a netip.Addr) uint64 {
	b := a.As16()
	return maphash.Bytes(t.seed, b[:])
}

// grow doubles the slots, and gives each address its code again.
func (t *addressCodes) grow() {
	t.slots = make([]uint64, max(1<<10, 2*len(t.slots)))
	known := t.addresses
	t.addresses = t.addresses[:0]
	for _, a := range known {
		t.code(a, t.hash(a))
	}
}

// appendTexts appends the text of each address: parts of one string.
func (g *rowGroup) appendTexts(texts []string, addresses []netip.Addr) []string {
	g.text, g.textEnds = g.text[:0], g.textEnds[:0]
	for _, a := range addresses {
		g.text = a.AppendTo(g.text)
		g.textEnds = append(g.textEnds, len(g.text))
	}
	all, from := string(g.text), 0
	for _, to := range g.textEnds {
		texts = append(texts, all[from:to])
		from = to
	}
	return texts
}

// addAddresses takes in the addresses of a side, 0 or 1: their codes in the batch.
func (g *rowGroup) addAddresses(side int, codes []uint32, batch []netip.Addr) {
	table, c := g.unsetTable(len(batch)), &g.chunks[[2]int{colSrcIP, colDstIP}[side]]
	g.used = g.used[:0]
	for _, n := range codes {
		if table[n] == unset {
			table[n] = parquet.None
			if batch[n] != flow.Unknown || side == 0 {
				g.used = append(g.used, n)
			}
		}
	}
	g.addresses[side].number(g.used, batch, table)
	out := extend(&c.Codes, len(codes))
	for i, n := range codes {
		out[i] = table[n]
	}
}
