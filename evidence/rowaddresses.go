package evidence

import (
	"net/netip"
	"slices"

	"github.com/whichpod/whichpod/flow"
	"github.com/whichpod/whichpod/internal/parquet"
)

// addressCodes numbers the addresses of a column. Batches nearly always share their
// dictionary: then an address has its number from its code there.
type addressCodes struct {
	addresses  []netip.Addr // by number
	dictionary *flow.Dictionary
	numbers    []uint32              // by code in the dictionary, or unset
	codes      []uint32              // in the dictionary, of those that got their number from it
	known      map[netip.Addr]uint32 // numbers of addresses, from the second dictionary on
}

// reset forgets all numbers. What it has of a dictionary is good for the next group, which
// nearly always has the same one.
func (t *addressCodes) reset() {
	for _, code := range t.codes {
		t.numbers[code] = unset
	}
	t.addresses, t.codes = t.addresses[:0], t.codes[:0]
	if len(t.known) > 0 {
		t.numbers, t.dictionary = t.numbers[:0], nil
		clear(t.known)
	}
}

// begin readies it for codes of a batch's dictionary.
func (t *addressCodes) begin(b *flow.Batch) {
	if t.dictionary == nil || t.dictionary != b.Dictionary {
		t.numbers, t.codes, t.dictionary = t.numbers[:0], t.codes[:0], b.Dictionary
		for n, a := range t.addresses {
			if t.known == nil {
				t.known = make(map[netip.Addr]uint32)
			}
			t.known[a] = uint32(n)
		}
	}
	for _, a := range b.Addresses[min(len(t.numbers), len(b.Addresses)):] {
		n, ok := t.known[a]
		if !ok {
			n = unset
		}
		t.numbers = append(t.numbers, n)
	}
}

// append appends numbers of addresses: of codes in a batch, for which it is ready. The
// unknown one has none if it is to be null.
func (t *addressCodes) append(numbers, codes []uint32, addresses []netip.Addr, null bool) []uint32 {
	had, before := len(t.codes), len(t.addresses)
	t.codes = numberNew(t.numbers, codes, t.codes, uint32(before))
	fresh := t.codes[had:]
	for _, code := range fresh {
		t.addresses = append(t.addresses, addresses[code])
	}
	if unknown := slices.Index(t.addresses[before:], flow.Unknown); null && unknown >= 0 {
		for _, code := range fresh { // once for a dictionary: begin again, and know its code
			t.numbers[code] = unset
		}
		t.numbers[fresh[unknown]] = parquet.None
		t.codes, t.addresses = t.codes[:had], t.addresses[:before]
		return t.append(numbers, codes, addresses, null)
	}
	translate(extend(&numbers, len(codes)), codes, t.numbers)
	return numbers
}

// appendTexts appends the text of each address: parts of one string.
func (w *groupWriter) appendTexts(texts []string, addresses []netip.Addr) []string {
	w.text, w.textEnds = w.text[:0], w.textEnds[:0]
	for _, a := range addresses {
		w.text = a.AppendTo(w.text)
		w.textEnds = append(w.textEnds, len(w.text))
	}
	all, from := string(w.text), 0
	for _, to := range w.textEnds {
		texts = append(texts, all[from:to])
		from = to
	}
	return texts
}

// addAddresses takes in the addresses of a side, 0 or 1: their codes in the batch.
func (t *gatherer) addAddresses(side int, codes []uint32, batch *flow.Batch) {
	a, c := &t.addresses[side], &t.group.chunks[[2]int{colSrcIP, colDstIP}[side]]
	a.begin(batch)
	c.Codes = a.append(c.Codes, codes, batch.Addresses, side == 1)
}
