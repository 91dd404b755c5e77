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
type addressCodes struct {
	seed      maphash.Seed
	addresses []netip.Addr // by code
	slots     []uint32     // a code and 1 more; 0 is free. A power of two, and at most half of them are in use
}

func newAddressCodes() addressCodes { return addressCodes{seed: maphash.MakeSeed()} }

func (t *addressCodes) reset() {
	t.addresses = t.addresses[:0]
	clear(t.slots)
}

// code is the number of an address.
func (t *addressCodes) code(a netip.Addr) uint32 {
	if 2*len(t.addresses) >= len(t.slots) {
		t.grow()
	}
	slot := t.slot(a)
	if *slot == 0 {
		t.addresses = append(t.addresses, a)
		*slot = uint32(len(t.addresses))
	}
	return *slot - 1
}

// slot is where an address is or would be.
func (t *addressCodes) slot(a netip.Addr) *uint32 {
	b := a.As16()
	at := maphash.Bytes(t.seed, b[:]) % uint64(len(t.slots))
	for t.slots[at] != 0 && t.addresses[t.slots[at]-1] != a {
		at = (at + 1) % uint64(len(t.slots))
	}
	return &t.slots[at]
}

func (t *addressCodes) grow() {
	t.slots = make([]uint32, max(1<<10, 2*len(t.slots)))
	for i, a := range t.addresses {
		*t.slot(a) = uint32(i + 1)
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
	out := extend(&c.Codes, len(codes))
	for i, n := range codes {
		if table[n] == unset {
			table[n] = parquet.None
			if batch[n] != flow.Unknown || side == 0 {
				table[n] = g.addresses[side].code(batch[n])
			}
		}
		out[i] = table[n]
	}
}
