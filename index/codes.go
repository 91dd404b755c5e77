package index

import (
	"net/netip"

	"github.com/whichpod/whichpod/flow"
)

// addressCodes gives each address of a segment a code. As long as all batches have one
// dictionary, those are its codes, and nothing is looked up. Once there is another one, a
// code is looked up for each address of a batch.
type addressCodes struct {
	addressTable
	held []uint8 // by code: 1 where a row has it
	rows int     // of the addresses, those that rows have

	dictionary *flow.Dictionary // whose codes ours are; nil: list is our own
	remap      []uint32         // else, the codes of a batch's addresses to ours
	remapOf    *flow.Dictionary // nil: of one batch only
}

const noCode = ^uint32(0)

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
			t.held = append(t.held, make([]uint8, len(t.list)-len(t.held))...)
		}
		code = t.remap[code]
	}
	t.rows += int(1 - t.held[code])
	t.held[code] = 1
	return code
}

// copyCodes sets the ends of rows, of which the batch has these codes.
func (t *addressCodes) copyCodes(rows []ends, addresses []netip.Addr, src, dst []uint32) {
	src, dst = src[:len(rows)], dst[:len(rows)]
	if t.dictionary == nil {
		for i := range rows {
			rows[i] = ends{t.of(addresses, src[i]), t.of(addresses, dst[i])}
		}
		return
	}
	held, n := t.held, 0
	for i := range rows {
		s, d := src[i], dst[i]
		rows[i] = ends{s, d}
		n += int(1 - held[s])
		held[s] = 1
		n += int(1 - held[d])
		held[d] = 1
	}
	t.rows += n
}

// atMost is how many addresses rows have at most, once they have those of a batch as
// well: no row of it has more than two new ones, nor all together more than there are.
func (t *addressCodes) atMost(b *flow.Batch) int {
	if t.dictionary != nil && t.dictionary == b.Dictionary {
		return min(t.rows+2*b.Len(), max(len(t.list), len(b.Addresses)))
	}
	return t.rows + min(len(b.Addresses), 2*b.Len())
}

// reset forgets the addresses and keeps the memory, but for a list that is shared.
func (t *addressCodes) reset() {
	clear(t.held)
	t.held, t.rows = t.held[:0], 0
	t.dictionary, t.remap, t.remapOf = nil, t.remap[:0], nil
	t.list = nil
	t.addressTable.reset()
}
