package index

import (
	"math"
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
	window              int // how many rows each cursor may hold decoded
	addressBytes        int // what each cursor may keep of addresses
}

// What the cursors of a scan hold together: decoded rows, of about 100 bytes, as long as
// there are not so many cursors that each has leastWindow of them; and addresses. What
// is beyond that is read again when its turn comes.
const (
	scanRows         = 192 << 10
	leastWindow      = 128
	scanAddressBytes = 64 << 20
)

// share parts what a scan may hold among its cursors.
func (p *plan) share(cursors int) {
	p.addressBytes = scanAddressBytes / max(1, cursors)
	for p.window = blockRows; p.window > leastWindow && p.window*cursors > scanRows; {
		p.window /= 2
	}
}

func newPlan(f Filter, live ordinalSet) *plan {
	p := &plan{from: f.From, to: f.To, srcPort: f.SrcPort, dstPort: f.DstPort, nics: f.NICs, live: live, window: blockRows, addressBytes: scanAddressBytes}
	if p.to == 0 {
		p.to = math.MaxInt64
	}
	if f.From == 0 && f.To == 0 {
		p.from = math.MinInt64
	}
	p.addresses, p.src, p.dst = masked(f.Addresses), masked(f.Src), masked(f.Dst)
	return p
}

// whole says that all rows are wanted.
func (p *plan) whole() bool {
	return p.from == math.MinInt64 && p.to == math.MaxInt64 && len(p.addresses)+len(p.src)+len(p.dst)+len(p.nics) == 0 && p.srcPort <= 0 && p.dstPort <= 0
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

// segmentPlan is a plan in terms of one segment's address codes.
type segmentPlan struct {
	*plan
	addresses, src, dst codeRanges // nil is every code
}

// all says that every run matches.
func (p *segmentPlan) all() bool {
	return p.addresses == nil && p.src == nil && p.dst == nil && p.srcPort <= 0 && p.dstPort <= 0
}
