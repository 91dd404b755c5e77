package attribution

import (
	"net/netip"
	"slices"
)

// nodeTimeline says, for each time, who can hide behind the address of a node: any pod
// on it where it can have masqueraded, else those on its network, and those that were
// there when it last could have; the node itself always. Every pod counts from the
// moment at which its kubelet took it on, with or without an address of its own on
// record; but for those that have none of the address's family.
func (c *clusterView) nodeTimeline(node string, a netip.Addr, m masking) *timeline {
	var stays []stay
	for _, p := range c.podsOn(node, !m.can && m.until == 0) {
		s := p.presenceStay(c.watched)
		if c.excludes(&s, a, m) == "" {
			stays = append(stays, s)
		}
	}
	watched := c.watchedNode()
	var with []int64
	for _, seen := range []coverage{watched, c.watched, c.changes} {
		for _, r := range seen {
			with = append(with, r.From+c.tolerance, r.To-c.tolerance-c.late+1)
		}
	}
	machines := c.machines[node]
	selves := make([]*Candidate, len(machines)+1)
	for i := range machines {
		self := machines[i].candidate(c.Name, a)
		selves[i] = &self
		with = append(with, machines[i].fromEarliest-c.tolerance)
		if to := machines[i].toLatest; to != Open {
			with = append(with, to+c.tolerance)
		}
	}
	selves[len(machines)] = &Candidate{Cluster: c.Name, Node: node, Address: a, IsNode: true, FromLatest: Open, ToEarliest: Open, ToLatest: Open}
	tl := newTimeline(stays, watched, with, c.tolerance, c.late, func(t int64, possible []*stay) *Resolution {
		r := &Resolution{Verdict: Host, Candidates: slices.Grow(c.itself(node, t, selves), len(possible))}
		if m.can {
			r.Verdict = Masked
		}
		for _, s := range possible {
			r.Candidates = append(r.Candidates, s.named())
			if !s.pod.id.HostNetwork {
				r.Verdict = Masked
			}
		}
		if m.note != "" && (m.note != noteOld || r.Verdict == Masked) {
			r.Notes = append(r.Notes, m.note)
		}
		if !watched.has(t-c.tolerance, t+c.tolerance+c.late) {
			r.Verdict = Gap // a pod that was never seen may be the one
			note := noteUnwatched
			if from, to := t-c.tolerance, t+c.tolerance+c.late; c.changes.has(from, to) && !c.watched.has(from, to) {
				note = noteSilent
			}
			r.Notes = append([]string{note}, r.Notes...)
		}
		return r
	})
	for i := range tl.stays {
		tl.stays[i].shared.Address = tl.stays[i].pod.addressLike(a)
	}
	return tl
}

// Reasons why a pod on a node can not be behind the node's address.
const (
	whyNotMasked = "the node does not masquerade this destination"
	whySince     = "the node did not masquerade this destination any more when the pod came"
	whyFamily    = "the pod has addresses, and none of this family"
	whyAfter     = "the pod came to the node after the flow began"
	whyBefore    = "the pod was gone from the node before the flow began"
)

// excludes is why a pod on a node can not be behind its address a at any time, or "".
func (c *clusterView) excludes(s *stay, a netip.Addr, m masking) string {
	switch {
	case s.pod.id.HostNetwork:
		return ""
	case !m.can && m.until == 0:
		return whyNotMasked
	case !m.can && s.possibleFrom(c.tolerance) >= m.until:
		return whySince
	case s.pod.lacks(a):
		return whyFamily
	}
	return ""
}

// lacks says whether the pod can not send from an address of a's family: it has
// addresses of its own, and a kubelet reports those of both families at once
// (kubernetes/api core/v1 PodStatus.podIPs). An inventory shows one address only.
func (p *pod) lacks(a netip.Addr) bool {
	if len(p.holdings) == 0 || p.sources&(1<<Inventory) != 0 {
		return false
	}
	for i := range p.holdings {
		if p.holdings[i].Address.Is4() == a.Is4() {
			return false
		}
	}
	return true
}

// itself is the node as a candidate: of several machines that had the name one after
// the other, those that can have been it then. selves are they, and last the node of
// which no machine is on record.
func (c *clusterView) itself(node string, t int64, selves []*Candidate) []*Candidate {
	var out []*Candidate
	machines := c.machines[node]
	for i := range machines {
		if machines[i].possible(t, c.tolerance) {
			out = append(out, selves[i])
		}
	}
	if len(out) == 0 {
		out = append(out, selves[len(machines)])
	}
	return out
}

// unseenTail is how long after a time that nobody watched a pod may go on sending
// that was made and deleted by force in it, in milliseconds: the kubelet gives it the
// default grace period of 30 seconds once it learns that the pod is gone, and as much
// again is allowed for that.
const unseenTail = 60 * 1000

// watchedNode is when all pods on a node can be taken to be on record: while the
// cluster was watched, but, where pods are deleted by force, not just after a time in
// which it was not.
func (c *clusterView) watchedNode() coverage {
	if !c.known().forced {
		return c.watched
	}
	return c.watched.later(unseenTail)
}

// addressLike is the pod's own address of the same family as a, the latest on
// record, or for a pod on the host's network a itself.
func (p *pod) addressLike(a netip.Addr) netip.Addr {
	if p.id.HostNetwork {
		return a
	}
	var best netip.Addr
	var version uint64
	for i := range p.holdings {
		if h := &p.holdings[i]; h.Address.Is4() == a.Is4() && (!best.IsValid() || h.Bounds.LastVersion > version) {
			best, version = h.Address, h.Bounds.LastVersion
		}
	}
	return best
}
