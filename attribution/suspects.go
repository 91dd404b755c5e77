package attribution

import (
	"iter"
	"net/netip"
	"slices"
)

// suspicion is which addresses were suspects in a state in which all pods were looked at,
// by their numbers, and which addresses pods have that changed since: one may be listed more
// than once. The zero value knows nothing. Copies share its lists, which are only appended to.
type suspicion struct {
	known    bool
	suspects []uint32
	changed  []uint32
}

// note takes in that a pod changed that has, or had, an address. Of more changes than
// there are addresses nothing is kept: then all pods are looked at again.
func (s *suspicion) note(id uint32, addresses int) {
	switch {
	case !s.known:
	case len(s.changed) >= addresses:
		*s = suspicion{}
	default:
		s.changed = append(s.changed, id)
	}
}

// suspects are the addresses that two pods can have had at once. To find them, each
// pod is looked at once, by itself: the others are sure to have had one pod after the
// other, whatever else the ledger knows.
func (a *archive) suspects() []netip.Addr {
	var out []netip.Addr
	for _, id := range a.suspectIDs() {
		out = append(out, a.addressOf(id))
	}
	return out
}

// suspectIDs are their numbers. Where a checkpoint told of them, only pods that have
// addresses of those that changed since are looked at.
func (a *archive) suspectIDs() []uint32 {
	if !a.suspicion.known {
		return a.look(a.every(), func(uint32) bool { return true })
	}
	changed := make(map[uint32]bool)
	var pods []uint32
	for _, id := range a.suspicion.changed {
		if !changed[id] {
			changed[id] = true
			a.eachOf(id, func(n uint32) bool {
				pods = append(pods, n)
				return true
			})
		}
	}
	slices.Sort(pods)
	old := slices.DeleteFunc(slices.Clone(a.suspicion.suspects), func(id uint32) bool { return changed[id] })
	return append(old, a.look(slices.Values(slices.Compact(pods)), func(id uint32) bool { return changed[id] })...)
}

// every are the numbers of all pods.
func (a *archive) every() iter.Seq[uint32] {
	return func(yield func(uint32) bool) {
		for n := uint32(0); n < a.pods && yield(n); n++ {
		}
	}
}

// look finds the suspects among some addresses. Pods MUST be all that have one of them, in
// the order of their numbers.
func (a *archive) look(pods iter.Seq[uint32], among func(id uint32) bool) []uint32 {
	type held struct{ first, last int64 } // from the earliest begin to the latest end
	seen := [2][]held{make([]held, len(a.v4.keys)), make([]held, len(a.v6.keys))}
	found := [2][]bool{make([]bool, len(a.v4.keys)), make([]bool, len(a.v6.keys))}
	var p pod
	var b Bounds
	for n := range pods {
		d := a.skim(n, &p)
		for range d.uint() {
			id := uint32(d.uint())
			d.boundsLike(&b, &p.presence)
			begun, ended := b.began(), p.recordedBy(&b)
			if begun == 0 || !among(id) {
				continue // nothing shows that it had it
			}
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
	var out []uint32
	for family, list := range found {
		for n, is := range list {
			if is {
				out = append(out, uint32(n)<<1|uint32(family))
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
