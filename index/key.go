package index

import (
	"cmp"
	"net/netip"
	"sort"
	"strings"

	"github.com/whichpod/whichpod/flow"
)

// key is what flow.Compare looks at, of the row at the head of a cursor.
type key struct {
	src, dst  netip.Addr
	ends      uint64 // protocol, source port, destination port
	nic       string
	direction byte
	rank      uint8
	time      int64
	blob      string
	offset    int64
}

func (c *cursor) setHead() {
	i := c.rows[c.at]
	c.head = key{
		src: c.addresses[c.src[i]], dst: c.addresses[c.dst[i]], ends: c.endsAt(i),
		nic: c.text(dictNIC, i), direction: c.data[flow.ColDirection][i], rank: flow.StateRank(c.data[flow.ColState][i]),
		time: c.time[i], blob: c.text(dictBlob, i), offset: c.offset[i],
	}
}

func (c *cursor) endsAt(i uint32) uint64 {
	return uint64(c.data[flow.ColProtocol][i])<<32 | uint64(c.srcPort[i])<<16 | uint64(c.dstPort[i])
}

func (c *cursor) text(dict int, i uint32) string {
	return c.texts[dict][c.codes[dict][i]]
}

// compare is flow.Compare.
func (k *key) compare(o *key) int {
	if c := k.src.Compare(o.src); c != 0 {
		return c
	}
	if c := k.dst.Compare(o.dst); c != 0 {
		return c
	}
	if k.ends != o.ends {
		return cmp.Compare(k.ends, o.ends)
	}
	return cmp.Or(
		strings.Compare(k.nic, o.nic),
		cmp.Compare(k.direction, o.direction),
		cmp.Compare(k.time, o.time),
		cmp.Compare(k.rank, o.rank),
		strings.Compare(k.blob, o.blob),
		cmp.Compare(k.offset, o.offset),
	)
}

// compareRow compares row i of the batch with a key, reading no more of it than is
// needed.
func (c *cursor) compareRow(i uint32, k *key) int {
	if x := c.addresses[c.src[i]].Compare(k.src); x != 0 {
		return x
	}
	if x := c.addresses[c.dst[i]].Compare(k.dst); x != 0 {
		return x
	}
	if e := c.endsAt(i); e != k.ends {
		return cmp.Compare(e, k.ends)
	}
	return cmp.Or(
		strings.Compare(c.text(dictNIC, i), k.nic),
		cmp.Compare(c.data[flow.ColDirection][i], k.direction),
		cmp.Compare(c.time[i], k.time),
		cmp.Compare(flow.StateRank(c.data[flow.ColState][i]), k.rank),
		strings.Compare(c.text(dictBlob, i), k.blob),
		cmp.Compare(c.offset[i], k.offset),
	)
}

// run is how many rows from the head on precede limit, at most the given number and
// at least one: the head does. The end is looked for in steps that double, so that
// both a short run and a whole batch are cheap.
func (c *cursor) run(limit *key, most int) int {
	most = min(most, len(c.rows)-c.at)
	if limit == nil {
		return most
	}
	low, step := 1, 1 // low rows precede limit
	for low+step <= most && c.compareRow(c.rows[c.at+low+step-1], limit) < 0 {
		low += step
		step *= 2
	}
	high := min(low+step-1, most) // not more than these do
	return low + sort.Search(high-low, func(n int) bool { return c.compareRow(c.rows[c.at+low+n], limit) >= 0 })
}
