package index

import (
	"net/netip"
	"slices"
)

// Filter chooses rows; all that is set must hold. The zero value is every row.
//
// A prefix of IPv4 addresses mapped into IPv6 means the IPv4 prefix. Otherwise an
// IPv6 prefix holds no IPv4 address, not even ::/0.
type Filter struct {
	From, To  int64          // event time in Unix milliseconds, half-open; To of 0 is without end
	Addresses []netip.Prefix // either end is inside any of them; empty is every address
	Src, Dst  []netip.Prefix // the same for one end
	SrcPort   int            // 0 and below is every port: a row without ports has 0 and cannot be asked for
	DstPort   int
	NICs      []string // MACs as in the rows; empty is every NIC
}

// plan is a filter made ready.
type plan struct {
	from, to            int64
	addresses, src, dst []netip.Prefix
	srcPort, dstPort    int
	nics                []string
	live                ordinalSet
}

func newPlan(f Filter, live ordinalSet) *plan {
	p := &plan{from: f.From, to: f.To, srcPort: f.SrcPort, dstPort: f.DstPort, nics: f.NICs, live: live}
	if p.to == 0 {
		p.to = 1<<63 - 1
	}
	if f.From == 0 && f.To == 0 {
		p.from = -1 << 63
	}
	p.addresses, p.src, p.dst = masked(f.Addresses), masked(f.Src), masked(f.Dst)
	return p
}

func masked(list []netip.Prefix) []netip.Prefix {
	out := make([]netip.Prefix, 0, len(list))
	for _, p := range list {
		if p.Addr().Is4In6() && p.Bits() >= 96 {
			p = netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96)
		}
		out = append(out, p.Masked())
	}
	return out
}

// wants says whether the segment may hold a row of the plan, from the manifest alone.
func (p *plan) wants(s *segment) bool {
	return s.last >= p.from && s.first < p.to &&
		slices.ContainsFunc(s.ordinals, p.live.has) &&
		mayHold(p.addresses, s) && mayHold(p.src, s) && mayHold(p.dst, s)
}

// mayHold: a prefix is a range of addresses, so it meets another range if it holds
// its begin or begins inside it.
func mayHold(list []netip.Prefix, s *segment) bool {
	for _, p := range list {
		if p.Contains(s.low) || p.Addr().Compare(s.low) >= 0 && p.Addr().Compare(s.high) <= 0 {
			return true
		}
	}
	return len(list) == 0
}

// segmentPlan is a plan in terms of one segment's dictionaries.
type segmentPlan struct {
	*plan
	addresses, src, dst codeSet // nil is every code
	nics, blobs         codeSet
	batches             uint64 // one bit for each that may hold a row
}

// codeSet is a set of dictionary codes.
type codeSet []bool

func (p *plan) forSegment(s *segment, o *opened) *segmentPlan {
	q := &segmentPlan{plan: p, batches: 1<<len(s.batches) - 1}
	var mask uint64
	if q.addresses, mask = codesOf(p.addresses, o, o.asSource, o.asDest); q.addresses != nil {
		q.batches &= mask
	}
	if q.src, mask = codesOf(p.src, o, o.asSource); q.src != nil {
		q.batches &= mask
	}
	if q.dst, mask = codesOf(p.dst, o, o.asDest); q.dst != nil {
		q.batches &= mask
	}
	for i := range s.batches {
		if b := &s.batches[i]; b.last < p.from || b.first >= p.to {
			q.batches &^= 1 << i
		}
	}
	if len(p.nics) > 0 {
		q.nics = make(codeSet, len(o.texts[dictNIC]))
		for i, nic := range o.texts[dictNIC] {
			q.nics[i] = slices.Contains(p.nics, nic)
		}
	}
	all := true
	q.blobs = make(codeSet, len(s.ordinals))
	for i, ordinal := range s.ordinals {
		q.blobs[i] = p.live.has(ordinal)
		all = all && q.blobs[i]
	}
	if all {
		q.blobs = nil
	}
	return q
}

// codesOf is the addresses inside the prefixes, and the batches that hold any of
// them by the given postings. Without prefixes both are nothing.
func codesOf(list []netip.Prefix, o *opened, postings ...[]uint64) (codeSet, uint64) {
	if len(list) == 0 {
		return nil, 0
	}
	set := make(codeSet, len(o.addresses))
	mask := uint64(0)
	for _, p := range list {
		at, _ := slices.BinarySearchFunc(o.addresses, p.Addr(), netip.Addr.Compare)
		for ; at < len(o.addresses) && p.Contains(o.addresses[at]); at++ {
			set[at] = true
			for _, words := range postings {
				mask |= words[at]
			}
		}
	}
	return set, mask
}
