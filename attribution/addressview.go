package attribution

import (
	"net/netip"
	"slices"
	"sync"
)

// addressView is what a view knows of one address.
type addressView struct {
	owners []ownedAddress // one per cluster that can own it; none: external

	once     sync.Once
	evidence []string // clusters with evidence of a node at it
}

// ownedAddress is an address in one cluster.
type ownedAddress struct {
	cluster *clusterView
	pods    *timeline    // nil where no pod ever had it and it is in no pod range
	nodes   []*nodeSpell // empty where it never was a node's
}

// nodeSpell is an address of a node. What can be behind it hangs on where a flow went.
type nodeSpell struct {
	spell
	rules   *nodeRules
	make    func(masking) *timeline
	*weight // the address's

	mu        sync.Mutex
	timelines map[masking]*timeline
}

// timeline is the one for what the node did with a flow.
func (n *nodeSpell) timeline(m masking) *timeline {
	n.mu.Lock()
	defer n.mu.Unlock()
	tl := n.timelines[m]
	if tl == nil {
		tl = n.make(m)
		n.timelines[m] = tl
		tl.weight = n.weight
		n.add(tl.bytes())
	}
	return tl
}

// masking is what the node can have done with the flow of a question.
func (n *nodeSpell) masking(q *Question, tolerance int64) masking {
	if !q.Sent {
		return masking{}
	}
	return n.rules.masking(q.Destination, q.DestinationPort, q.Begin, tolerance)
}

// each calls yield with all timelines of pods' addresses.
func (av *addressView) each(yield func(*timeline)) {
	for i := range av.owners {
		o := &av.owners[i]
		if o.pods != nil {
			yield(o.pods)
		}
	}
}

func (c *clusterView) owned(a netip.Addr) ownedAddress {
	o := ownedAddress{cluster: c}
	tolerance := c.tolerance
	for _, s := range c.spellsOf(a) {
		o.nodes = append(o.nodes, &nodeSpell{spell: s, rules: c.rules.of(s.node), make: func(m masking) *timeline { return c.nodeTimeline(s.node, a, m) }, timelines: make(map[masking]*timeline)})
	}
	if len(o.nodes) > 0 && !c.holds(a) {
		return o
	}
	stays := c.staysAt(a)
	// Never on record, and in a range that pods share with other machines: outside
	// of it only while somebody watched.
	stranger := len(stays) == 0 && !within(a, c.PodCIDRs)
	// A node's too, by evidence: while no pod held it, somebody may have sent.
	lent := len(o.nodes) == 0 && c.nat != nil && len(c.nat.Knows(a)) > 0
	var with []int64
	for _, r := range c.changes {
		with = append(with, r.To-tolerance-c.late+1, r.To+1)
		if c.known().forced {
			with = append(with, r.From+unseenTail+tolerance)
		}
	}
	for _, r := range c.watched {
		with = append(with, r.From+tolerance, r.To-tolerance+1)
	}
	for i := range stays {
		with = append(with, stays[i].disputedBounds(tolerance)...)
		if to := stays[i].possibleTo(tolerance); to != Open {
			with = append(with, to+afterglow)
		}
	}
	o.pods = newTimeline(stays, c.changes, with, tolerance, c.late, func(t int64, possible []*stay) *Resolution {
		r := c.addressAt(t, possible, stays)
		switch {
		case !r.Vacant():
		case stranger:
			return external
		case lent:
			r.Notes = []string{noteLent}
		}
		return r
	})
	return o
}

func (av *addressView) resolve(v *View, q *Question) *Resolution {
	return v.checked(av.unchecked(v, q), q)
}

func (av *addressView) unchecked(v *View, q *Question) *Resolution {
	owners := av.scoped(v, q)
	switch len(owners) {
	case 0:
		return external
	case 1:
		return owners[0].resolve(q)
	}
	all := make([]*Resolution, len(owners))
	for i := range owners {
		all[i] = owners[i].resolve(q)
	}
	return acrossClusters(all, q.end())
}

// acrossClusters is the resolution for an address that several clusters may own. Who
// sends has the address; but what was sent to it may have gone to the cluster in which
// nobody has it, or in which who had it last refused.
func acrossClusters(all []*Resolution, as end) *Resolution {
	r := combine(all)
	if r.Verdict == Exact && as != sender && slices.ContainsFunc(all, (*Resolution).Vacant) {
		return &Resolution{Verdict: Boundary, Candidates: r.Candidates, Notes: []string{noteElsewhere, noteVacant}}
	}
	if r.Verdict == Boundary && !slices.Contains(all, r) {
		// At once in two clusters, not one after the other.
		return &Resolution{Verdict: Ambiguous, Candidates: r.Candidates, Notes: []string{noteClusters}}
	}
	return r
}

const (
	noteClusters  = "the address is in use in several clusters, and the interface of the row names none of them"
	noteElsewhere = "the address is another cluster's too, and the interface of the row names none of them"
)

// scoped narrows the owners to the cluster of the row's NIC. Behind the NIC is
// nobody else; and addresses that clusters share reach each other only within one.
func (av *addressView) scoped(v *View, q *Question) []ownedAddress {
	if len(av.owners) < 2 || q.NIC == "" {
		return av.owners
	}
	t, ok := v.ownerOf(q)
	if !ok || !t.scopes || !(q.Near || t.owner.cluster.owns(q.Address)) {
		return av.owners
	}
	for i := range av.owners {
		if o := &av.owners[i]; o.cluster == t.owner.cluster && t.decides(q, o.resolve) {
			return av.owners[i : i+1]
		}
	}
	return av.owners
}

func (o *ownedAddress) resolve(q *Question) *Resolution {
	var all []*Resolution
	if o.pods != nil {
		r := o.pods.over(q.Begin, q.end())
		if len(o.nodes) == 0 {
			return r
		}
		all = append(all, r)
	}
	inside := false
	for i := range o.nodes {
		inside = inside || o.nodes[i].holds(q.Begin)
	}
	if o.pods != nil && !inside && !all[0].Vacant() {
		return all[0]
	}
	for _, n := range o.nodes {
		if inside && !n.holds(q.Begin) {
			continue
		}
		all = append(all, n.timeline(n.masking(q, o.cluster.tolerance)).over(q.Begin, sender))
	}
	return combine(all)
}
