package index

import (
	"cmp"
	"math/bits"
	"net/netip"
	"slices"
	"strings"

	"github.com/whichpod/whichpod/flow"
)

// sorter finds the flow order of a segment's rows. Its memory is kept from one
// segment to the next.
type sorter struct {
	keys, keys2 []uint64
	rows, rows2 []uint32

	nicRank  []uint32 // by setting code
	pathRank []uint32 // by ordinal code; equal paths have equal ranks
}

// sort ranks the addresses, so that the code of an address is its place in the order
// of netip.Addr.Compare, and returns the rows' numbers in flow order. The result is
// valid until the next call.
//
// A key of 64 bits takes source, destination, protocol and the source port, which
// leaves few ties in traffic: a radix sort over the bits in use, then the ties
// compared in full.
func (s *sorter) sort(c *columns) []uint32 {
	rankAddresses(c)
	s.rank(c)
	n := c.len()
	s.keys, s.keys2 = slices.Grow(s.keys[:0], n)[:n], slices.Grow(s.keys2[:0], n)[:n]
	s.rows, s.rows2 = slices.Grow(s.rows[:0], n)[:n], slices.Grow(s.rows2[:0], n)[:n]
	width := max(bits.Len(uint(len(c.addresses)-1)), 1) // at most 20: segmentRows is 2^19
	for i := range n {
		r := &c.rows[i]
		s.keys[i] = (uint64(r.src)<<width|uint64(r.dst))<<24 | uint64(r.protocol)<<16 | uint64(r.srcPort)
		s.rows[i] = uint32(i)
	}
	s.radix(2*width + 24)
	for from := 0; from < n; {
		to := from + 1
		for to < n && s.keys[to] == s.keys[from] {
			to++
		}
		s.sortTied(c, s.rows[from:to])
		from = to
	}
	return s.rows
}

// digit is how many bits the radix sort takes at once: its counts fit into the
// fastest cache.
const digit = 11

// radix sorts rows by keys, from the lowest digit up; a digit that is the same
// everywhere is passed over.
func (s *sorter) radix(width int) {
	const mask = 1<<digit - 1
	passes := (width + digit - 1) / digit
	var counts [(64 + digit - 1) / digit][1 << digit]uint32
	for _, k := range s.keys {
		for p := range passes {
			counts[p][k>>(digit*p)&mask]++
		}
	}
	for p := range passes {
		count := &counts[p]
		if int(count[s.keys[0]>>(digit*p)&mask]) == len(s.keys) {
			continue
		}
		at := uint32(0)
		for v, n := range count {
			count[v] = at
			at += n
		}
		for i, k := range s.keys {
			v := k >> (digit * p) & mask
			to := count[v]
			count[v]++
			s.keys2[to], s.rows2[to] = k, s.rows[i]
		}
		s.keys, s.keys2, s.rows, s.rows2 = s.keys2, s.keys, s.rows2, s.rows
	}
}

// sortTied sorts rows of one key. There are few, as a rule, and in order already: a
// flow's rows come in the order of time.
func (s *sorter) sortTied(c *columns, rows []uint32) {
	if len(rows) > 12 {
		slices.SortFunc(rows, func(a, b uint32) int { return s.compareTied(c, a, b) })
		return
	}
	for i := 1; i < len(rows); i++ {
		for k := i; k > 0 && s.compareTied(c, rows[k-1], rows[k]) > 0; k-- {
			rows[k-1], rows[k] = rows[k], rows[k-1]
		}
	}
}

// compareTied is the rest of flow.Compare.
func (s *sorter) compareTied(c *columns, i, j uint32) int {
	a, b := &c.rows[i], &c.rows[j]
	if a.dstPort != b.dstPort {
		return cmp.Compare(a.dstPort, b.dstPort)
	}
	ga, gb := &c.groups[a.group], &c.groups[b.group]
	if x := cmp.Compare(s.nicRank[ga.setting], s.nicRank[gb.setting]); x != 0 {
		return x
	}
	if a.direction != b.direction {
		return cmp.Compare(a.direction, b.direction)
	}
	if a.time != b.time {
		return cmp.Compare(a.time, b.time)
	}
	return cmp.Or(
		cmp.Compare(flow.StateRank(a.state), flow.StateRank(b.state)),
		cmp.Compare(s.pathRank[ga.ordinal], s.pathRank[gb.ordinal]),
		cmp.Compare(a.offset, b.offset),
	)
}

func (s *sorter) rank(c *columns) {
	nics := make([]string, len(c.settings))
	for i, x := range c.settings {
		nics[i] = x.nic
	}
	s.nicRank = rankTexts(nics)
	s.pathRank = rankTexts(c.paths)
}

func rankTexts(list []string) []uint32 {
	sorted := slices.Clone(list)
	slices.SortFunc(sorted, strings.Compare)
	sorted = slices.Compact(sorted)
	ranks := make([]uint32, len(list))
	for i, t := range list {
		k, _ := slices.BinarySearch(sorted, t)
		ranks[i] = uint32(k)
	}
	return ranks
}

// rankAddresses sorts the dictionary and gives the rows the new codes. Addresses
// that no row holds any more are dropped.
func rankAddresses(c *columns) {
	used := make([]bool, len(c.addresses))
	for i := range c.rows {
		used[c.rows[i].src], used[c.rows[i].dst] = true, true
	}
	order := make([]uint32, 0, len(c.addresses))
	for code, u := range used {
		if u {
			order = append(order, uint32(code))
		}
	}
	slices.SortFunc(order, func(a, b uint32) int { return c.addresses[a].Compare(c.addresses[b]) })
	rank := make([]uint32, len(c.addresses))
	sorted := make([]netip.Addr, len(order))
	for i, code := range order {
		rank[code] = uint32(i)
		sorted[i] = c.addresses[code]
	}
	for i := range c.rows {
		r := &c.rows[i]
		r.src, r.dst = rank[r.src], rank[r.dst]
	}
	c.addresses = sorted
}
