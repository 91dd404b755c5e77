package index

import (
	"cmp"
	"math"
	"net/netip"
	"sort"
	"strings"

	"github.com/whichpod/whichpod/flow"
)

// runKey is what flow.Compare looks at first, of the rows of a run. Two words decide
// nearly always.
type runKey struct {
	addresses uint64 // see keyOfAddresses
	ends      uint64 // protocol, source port, destination port
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

// setKeys fills the keys of runs that were decoded.
func (c *cursor) setKeys() {
	short := c.addresses.scan.short
	c.keys = c.keys[:0]
	for run, src := range c.src {
		ends := uint64(c.protocol[run])<<32 | uint64(c.srcPort[run])<<16 | uint64(c.dstPort[run])
		c.keys = append(c.keys, runKey{keyOfAddresses(short[src], short[c.dst[run]]), ends})
	}
}

// head is the row that a cursor of a scan stands before.
type head struct {
	runKey
	c *cursor
}

func (c *cursor) head() head { return head{c.keys[c.run[c.at]], c} }

// before says whether the row of h precedes that of o.
func (h *head) before(o *head) bool {
	if h.addresses != o.addresses {
		return h.addresses < o.addresses
	}
	return h.c.compareRow(h.c.at, o) < 0
}

// compareRow is flow.Compare of a row that was decoded and that of a head.
func (c *cursor) compareRow(row int, o *head) int {
	run := c.run[row]
	k := &c.keys[run]
	if k.addresses != o.addresses {
		return cmp.Compare(k.addresses, o.addresses)
	}
	theirs := o.c.run[o.c.at]
	if uint32(k.addresses) == math.MaxUint32 {
		list := c.addresses.scan.table.list
		if x := list[c.src[run]].Compare(list[o.c.src[theirs]]); x != 0 {
			return x
		}
		if x := list[c.dst[run]].Compare(list[o.c.dst[theirs]]); x != 0 {
			return x
		}
	}
	if k.ends != o.ends {
		return cmp.Compare(k.ends, o.ends)
	}
	return c.compareRest(row, o.c, o.c.at)
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

// precede is how many rows from the next one on precede limit, at most the given number
// and at least one: the next one does. The end is looked for in steps that double, so
// that both a short stretch and a long one are cheap.
func (c *cursor) precede(limit *head, most int) int {
	most = min(most, c.len()-c.at)
	if limit == nil {
		return most
	}
	low, step := 1, 1 // low rows precede limit
	for low+step <= most && c.compareRow(c.at+low+step-1, limit) < 0 {
		low += step
		step *= 2
	}
	high := min(low+step-1, most) // not more than these do
	return low + sort.Search(high-low, func(n int) bool { return c.compareRow(c.at+low+n, limit) >= 0 })
}
