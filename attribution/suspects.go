package attribution

import "net/netip"

// suspects are the addresses that two pods can have had at once. To find them, each
// pod is looked at once, by itself: the others are sure to have had one pod after the
// other, whatever else the ledger knows.
func (a *archive) suspects() []netip.Addr {
	type held struct{ first, last int64 } // from the earliest begin to the latest end
	seen := [2][]held{make([]held, len(a.v4.keys)), make([]held, len(a.v6.keys))}
	found := [2][]bool{make([]bool, len(a.v4.keys)), make([]bool, len(a.v6.keys))}
	var p pod
	for n := range a.pods {
		a.skim(n, &p)
		for i := range p.holdings {
			b := &p.holdings[i].Bounds
			begun, ended := b.began(), p.recordedBy(b)
			if begun == 0 {
				continue // nothing shows that it had it
			}
			id, _ := a.addressID(p.holdings[i].Address)
			h := &seen[id&1][id>>1]
			switch {
			case h.last == 0:
				*h = held{begun, ended}
				continue
			case begun < h.last && h.first < ended:
				found[id&1][id>>1] = true
			}
			h.first, h.last = min(h.first, begun), max(h.last, ended)
		}
	}
	var out []netip.Addr
	for family, list := range found {
		for n, is := range list {
			if is {
				out = append(out, a.addressOf(uint32(n)<<1|uint32(family)))
			}
		}
	}
	return out
}

// recordedBy is no earlier than [stay.recordedTo], from the pod alone.
func (p *pod) recordedBy(b *Bounds) int64 {
	switch {
	case minKnown(b.stopped(), p.presence.stopped()) != 0:
		return max(b.AliveAt, 1)
	case p.deleted.At != 0:
		return max(b.AliveAt, p.deleted.At, p.deleted.After, 1)
	default:
		return Open
	}
}
