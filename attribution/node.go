package attribution

import "net/netip"

// nodeTimeline says, for each time, who can hide behind the address of a node: with
// Masked any pod on it, with Host only those on its network; the node itself always.
// Every pod counts from the moment at which its kubelet took it on, with or without
// an address of its own on record.
func (c *clusterView) nodeTimeline(node string, a netip.Addr, verdict Verdict) *timeline {
	var stays []stay
	for _, p := range c.byNode[node] {
		if verdict == Masked || p.id.HostNetwork {
			stays = append(stays, p.presenceStay(c.watched))
		}
	}
	watched := c.watchedNode()
	var with []int64
	for _, r := range watched {
		with = append(with, r.To-c.tolerance-c.late+1)
	}
	itself := Candidate{Cluster: c.Name, Node: node, Address: a, IsNode: true, FromLatest: Open, ToEarliest: Open, ToLatest: Open}
	return newTimeline(stays, watched, with, c.tolerance, c.late, func(t int64, possible []*stay) *Resolution {
		r := &Resolution{Verdict: verdict, Candidates: []Candidate{itself}}
		for _, s := range possible {
			cand := s.candidate()
			cand.Address = s.pod.addressLike(a)
			r.Candidates = append(r.Candidates, cand)
		}
		if verdict == Masked && c.Network == Auto && len(c.NonMasqueradeCIDRs) == 0 {
			r.Notes = append(r.Notes, noteMode)
		}
		if !watched.has(t-c.tolerance, t+c.tolerance+c.late) {
			r.Verdict = Gap // a pod that was never seen may be the one
			r.Notes = append([]string{noteUnwatched}, r.Notes...)
		}
		return r
	})
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

const noteMode = "the cluster's network mode is not known; the answer assumes that its nodes masquerade"

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
