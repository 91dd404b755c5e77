package index

import (
	"cmp"
	"math"
	"net/netip"
	"slices"
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

// keyedRun is where the rows of a run end, and what comes first of them.
type keyedRun struct {
	runKey
	until int
}

// setRuns fills the runs that were decoded.
func (c *cursor) setRuns() {
	short := c.addresses.scan.short
	c.runs = slices.Grow(c.runs[:0], len(c.src))[:len(c.src)]
	for run, src := range c.src {
		k := runKey{keyOfAddresses(short[src], short[c.dst[run]]), uint64(c.protocol[run])<<32 | uint64(c.srcPort[run])<<16 | uint64(c.dstPort[run])}
		if uint32(k.addresses) == math.MaxUint32 {
			k.ends = 0
		}
		c.runs[run].runKey = k
	}
	for i, run := range c.run {
		c.runs[run].until = i + 1
	}
}

// key is that of the next row.
func (c *cursor) key() runKey { return c.runs[c.on].runKey }

// compare is flow.Compare of a row and the next one of another cursor, of which the keys
// are equal.
func (c *cursor) compare(row int, o *cursor) int {
	run, theirs := c.run[row], o.run[o.at]
	if uint32(c.runs[run].addresses) == math.MaxUint32 {
		list := c.addresses.scan.table.list
		if x := cmp.Or(
			list[c.src[run]].Compare(list[o.src[theirs]]),
			list[c.dst[run]].Compare(list[o.dst[theirs]]),
			cmp.Compare(c.protocol[run], o.protocol[theirs]),
			cmp.Compare(c.srcPort[run], o.srcPort[theirs]),
			cmp.Compare(c.dstPort[run], o.dstPort[theirs]),
		); x != 0 {
			return x
		}
	}
	return c.compareRest(row, o, o.at)
}

// compareRest is flow.Compare of rows that have one five-tuple, reading no more of them
// than is needed.
func (c *cursor) compareRest(row int, o *cursor, theirs int) int {
	if x := strings.Compare(c.nic(row), o.nic(theirs)); x != 0 {
		return x
	}
	if x := cmp.Compare(c.direction[c.run[row]], o.direction[o.run[theirs]]); x != 0 {
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
