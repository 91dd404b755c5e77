package index

import (
	"cmp"
	"math"
	"net/netip"
	"strings"

	"github.com/whichpod/whichpod/flow"
)

// runKey is what flow.Compare looks at first, of the rows of a run: where keys differ, rows
// are in the order of their keys. They do nearly always.
type runKey struct {
	addresses uint64 // see keyOfAddresses
	ends      uint64 // protocol, source port, destination port; 0 where addresses leave it open
}

// keyOfAddresses are two addresses, as [shorten] gives them, in a word that is in their
// order: where two words differ, addresses are in the order of their words. Where they
// are equal, so are the addresses, but for words whose lower half is all ones.
func keyOfAddresses(src, dst uint32) uint64 {
	if src == math.MaxUint32 {
		return math.MaxUint64
	}
	return uint64(src)<<32 | uint64(dst)
}

// shorten is an IPv4 address as a number; all of IPv6, which netip has behind IPv4, are
// the greatest one.
func shorten(a netip.Addr) uint32 {
	if !a.Is4() {
		return math.MaxUint32
	}
	return fourOf(a)
}

// run is rows of a cursor that follow each other and share a five-tuple and direction.
type run struct {
	runKey
	src, dst uint32 // codes in the dictionary of the scan
	ports    uint32 // the source's above the destination's
	kind     uint16 // direction above protocol
	until    int    // where its rows end
}

// setKeys fills the keys of the runs that were decoded.
func (c *cursor) setKeys() {
	short := c.addresses.scan.short
	for i := range c.runs {
		r := &c.runs[i]
		k := runKey{keyOfAddresses(short[r.src], short[r.dst]), uint64(uint8(r.kind))<<32 | uint64(r.ports)}
		if uint32(k.addresses) == math.MaxUint32 {
			k.ends = 0
		}
		r.runKey = k
	}
	c.head, c.ahead = c.runs[0].runKey, c.runs[min(1, len(c.runs)-1)].runKey
}

// key is that of the next row.
func (c *cursor) key() runKey { return c.head }

// compare is flow.Compare of a row of the next run and the next one of another cursor, of
// which the keys are equal.
func (c *cursor) compare(row int, o *cursor) int {
	mine, theirs := &c.runs[c.on], &o.runs[o.on]
	if uint32(mine.addresses) == math.MaxUint32 {
		list := c.addresses.scan.table.list
		if x := cmp.Or(
			list[mine.src].Compare(list[theirs.src]),
			list[mine.dst].Compare(list[theirs.dst]),
			cmp.Compare(uint8(mine.kind), uint8(theirs.kind)),
			cmp.Compare(mine.ports, theirs.ports),
		); x != 0 {
			return x
		}
	}
	return c.compareRest(row, o, o.at)
}

// compareRest is flow.Compare of rows of the next runs that have one five-tuple, reading
// no more of them than is needed.
func (c *cursor) compareRest(row int, o *cursor, theirs int) int {
	if x := strings.Compare(c.nic(row), o.nic(theirs)); x != 0 {
		return x
	}
	if x := cmp.Compare(c.runs[c.on].kind>>8, o.runs[o.on].kind>>8); x != 0 {
		return x
	}
	if x := cmp.Compare(c.time[row], o.time[theirs]); x != 0 {
		return x
	}
	return cmp.Or(
		cmp.Compare(flow.StateRank(c.state[row]), flow.StateRank(o.state[theirs])),
		strings.Compare(c.blob(row), o.blob(theirs)),
		cmp.Compare(c.offset[row], o.offset[theirs]),
	)
}

func (c *cursor) nic(row int) string {
	return c.texts[c.origins[c.origin[row]].texts[0]]
}

func (c *cursor) blob(row int) string {
	return c.texts[c.origins[c.origin[row]].texts[4]]
}
