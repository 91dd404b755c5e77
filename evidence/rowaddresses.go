package evidence

import (
	"net/netip"

	"github.com/whichpod/whichpod/flow"
	"github.com/whichpod/whichpod/internal/parquet"
)

// addressCodes numbers the addresses of a column. Batches nearly always share their
// dictionary: then an address has its number from its code there.
type addressCodes struct {
	addresses  []netip.Addr // by number
	dictionary *flow.Dictionary
	numbers    []uint32              // by code in the dictionary, or unset
	known      map[netip.Addr]uint32 // numbers of addresses, from the second dictionary on
}

func (t *addressCodes) reset() {
	t.addresses, t.numbers, t.dictionary = t.addresses[:0], t.numbers[:0], nil
	clear(t.known)
}

// begin readies it for codes of a batch's dictionary.
func (t *addressCodes) begin(b *flow.Batch) {
	if t.dictionary == nil || t.dictionary != b.Dictionary {
		t.numbers, t.dictionary = t.numbers[:0], b.Dictionary
		for n, a := range t.addresses {
			if t.known == nil {
				t.known = make(map[netip.Addr]uint32)
			}
			t.known[a] = uint32(n)
		}
	}
	more := extend(&t.numbers, max(0, len(b.Addresses)-len(t.numbers)))
	for i := range more {
		more[i] = unset
	}
}

// number gives an address without a number one.
func (t *addressCodes) number(a netip.Addr) uint32 {
	n, ok := t.known[a]
	if !ok {
		n = uint32(len(t.addresses))
		t.addresses = append(t.addresses, a)
	}
	return n
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
func (g *rowGroup) addAddresses(side int, codes []uint32, batch *flow.Batch) {
	t, c := &g.addresses[side], &g.chunks[[2]int{colSrcIP, colDstIP}[side]]
	t.begin(batch)
	out := extend(&c.Codes, len(codes))
	for i, code := range codes {
		n := t.numbers[code]
		if n == unset {
			n = parquet.None
			if a := batch.Addresses[code]; a != flow.Unknown || side == 0 {
				n = t.number(a)
			}
			t.numbers[code] = n
		}
		out[i] = n
	}
}
