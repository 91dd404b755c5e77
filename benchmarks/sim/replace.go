package sim

import "fmt"

// How a node is replaced, in milliseconds: no pod comes to it any more, then it is drained,
// then deleted. Later another comes, with another name, interface and UID; its addresses are
// those that became free, and so is the range of its pods: both are handed out again
// (that AKS gives a range again is unproven).
const (
	cordoned = 90_000  // before the drain: longer than any pod takes to come up
	deletion = 60_000  // after the drain: longer than any pod takes to go
	absence  = 180_000 // from the deletion to the next node: records of the last are written then
)

// Life is a node that had the addresses of a [NIC], for all of the run or a part of it.
type Life struct {
	Name, MAC string
	From, To  int64 // true Unix ms, half open; 0 and far away where it has no end
}

// replaceNodes plans whose place is taken, spread over the run. It draws nothing.
func replaceNodes(cfg *Config, nics []NIC) {
	length := cfg.endMS() - cfg.startMS()
	for i := range cfg.Replaced {
		n := &nics[i]
		gone := cfg.startMS() + length*int64(i+1)/int64(cfg.Replaced+1) + deletion
		n.next = &Life{
			Name: fmt.Sprintf("%s%06d", n.Name[:len(n.Name)-6], cfg.Nodes+i),
			MAC:  "6045BD" + n.MAC[6:], From: gone + absence, To: forever,
		}
	}
}

// Lives are the node, or the machine, and the one that took its place, if any did.
func (n *NIC) Lives() []Life {
	gone, ok := n.gone()
	if !ok {
		return []Life{n.at(0)}
	}
	first := n.at(0)
	first.To = gone
	return []Life{first, *n.next}
}

// at is the node, or the machine, of a moment; between two it is the one that was.
func (n *NIC) at(t int64) Life {
	if n.next != nil && t >= n.next.From {
		return *n.next
	}
	return Life{n.Name, n.MAC, 0, forever}
}

// gone is when the node is deleted, or false.
func (n *NIC) gone() (int64, bool) {
	if n.next == nil {
		return 0, false
	}
	return n.next.From - absence, true
}

// closed says whether no pod can be placed on the node at a moment, and until when.
func (n *NIC) closed(t int64) (until int64, closed bool) {
	gone, ok := n.gone()
	until = gone + absence
	return until, ok && t >= gone-deletion-cordoned && t < until
}

// away says whether the node of a flow that began then knows nothing of it at a moment.
func (n *NIC) away(begin, t int64) bool {
	gone, ok := n.gone()
	return ok && t >= gone && (t < gone+absence || begin < gone)
}

// place moves a new pod away from a node that takes none; a DaemonSet's waits for the next.
func (s slot) place(cfg *Config, nics []NIC, p *Pod, at int64) int64 {
	until, closed := nics[p.Node].closed(at)
	if closed && s.kind == daemon {
		at = until + 1000 + int64(s.number%7)*300
	} else if closed {
		p.Node = (p.Node + 1) % cfg.Nodes
	}
	p.NodeName = nics[p.Node].at(at).Name
	return at
}

// drain ends a pod that lives when its node is drained. It returns when the slot's next pod
// is created, which is next for one that is not.
func (s slot) drain(cfg *Config, nics []NIC, p *Pod, next int64) int64 {
	gone, ok := nics[p.Node].gone()
	at := gone - deletion
	if !ok || p.created >= at || p.last().To <= at || p.finished <= at {
		if ok && s.kind == job && p.created < at && p.deleted > gone {
			p.deleted = gone + 40_000 + int64(s.number)*10 // the collector of pods whose node is gone
			p.asked = p.deleted - 2
		}
		return next
	}
	r := stream(cfg.Seed, "drain", uint64(s.number))
	p.firstWord = 0
	p.remove(r, at+between(r, 0, 3000))
	if s.kind == daemon {
		return gone
	}
	return p.asked + between(r, 5, 500)
}

// cut ends a flow one of whose ends goes with its node. It returns false where there is no
// node to begin it with. Who calls an address that it had heard of does not notice.
func (o *opener) cut(f *flowRecord) bool {
	for _, i := range []int32{f.srcNIC, f.dstNIC} {
		if i < 0 || f.class == ToStale {
			continue
		}
		n := &o.world.NICs[i]
		gone, ok := n.gone()
		switch {
		case !ok:
		case f.begin >= gone && n.away(f.begin, f.begin):
			return false
		case f.begin < gone && f.last >= gone:
			f.last = gone - 1
			f.end = f.last + ms(o.cfg.Traffic.IdleTimeout)
			if f.again > f.last {
				f.again = 0
			}
		}
	}
	return true
}
