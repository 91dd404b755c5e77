package attribution

import (
	"cmp"
	"slices"
	"strings"
)

// Exclusion is a pod that was on a node around the time of a flow, and can not have
// been behind the node's address.
type Exclusion struct {
	Candidate
	Reason string
}

// excludedAround is how far from a flow's begin a pod may have come or gone to be named
// among those that can not have sent it, in milliseconds.
const excludedAround = 10 * 60 * 1000

// Excluded lists the pods around a node that narrow the resolution of a question about
// the node's address, each with the reason why it is no candidate. It is empty for
// other addresses.
func (v *View) Excluded(q Question) []Exclusion {
	var out []Exclusion
	for _, o := range v.address(q.Address).scoped(v, &q) {
		for _, n := range o.nodes {
			if n.holds(q.Begin) {
				out = append(out, o.cluster.excluded(n, &q)...)
			}
		}
	}
	slices.SortStableFunc(out, func(a, b Exclusion) int {
		return cmp.Or(strings.Compare(a.Reason, b.Reason), cmp.Compare(a.FromEarliest, b.FromEarliest), strings.Compare(a.UID, b.UID))
	})
	return out
}

func (c *clusterView) excluded(n *nodeSpell, q *Question) []Exclusion {
	var out []Exclusion
	m := n.masking(q, c.tolerance)
	for _, p := range c.podsOn(n.node, false) {
		s := p.presenceStay(c.watched)
		from, to := s.possibleFrom(c.tolerance), s.possibleTo(c.tolerance)
		if from > q.Begin.To+excludedAround || to <= q.Begin.From-excludedAround {
			continue
		}
		reason := c.excludes(&s, q.Address, m)
		switch {
		case from > q.Begin.To:
			reason = whyAfter
		case to <= q.Begin.From:
			reason = whyBefore
		}
		if reason != "" {
			cand := s.candidate()
			cand.Address = p.addressLike(q.Address)
			out = append(out, Exclusion{cand, reason})
		}
	}
	return out
}

// Contradicts says whether a row speaks against what is known of masquerading: its
// source is a pod's own address, and the pod's node surely puts its own in its place
// on the way there. The row is evidence, and the rules are theory: the resolution
// stands, and whoever describes the cluster should look.
func (v *View) Contradicts(q Question, r *Resolution) bool {
	if r.Verdict != Exact || !q.Sent || !q.Destination.IsValid() {
		return false
	}
	pod := r.Candidates[0]
	if pod.HostNetwork || pod.Node == "" || pod.Address != q.Address {
		return false
	}
	for _, c := range v.clusters {
		if c.Name == pod.Cluster {
			return c.rules.of(pod.Node).certain(q.Destination, q.DestinationPort, q.Begin, v.tolerance)
		}
	}
	return false
}
