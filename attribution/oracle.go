package attribution

import (
	"net/netip"
	"slices"

	"github.com/whichpod/whichpod/attribution/nat"
)

// Naive answers like Resolve, but straight from the definitions: for every moment at
// which the answer can change within the question's span, every interval of the
// ledger is looked at. It shares the brackets of single stays with the fast way, and
// none of its indexes, caches or searches. It is what the fast way is tested against.
func (v *View) Naive(q Question) *Resolution {
	r := v.checked(v.naive(q), &q)
	if v.nat == nil || !q.Sent || q.Protocol == 0 {
		return r
	}
	known := v.nat.Knows(q.Address)
	if len(known) == 0 {
		return r
	}
	ask, ok := v.evidenceFor(v.work(q.Address), known, &q)
	if !ok {
		return r.unasked(known)
	}
	found, err := v.nat.Naive(&ask)
	if err != nil {
		found.Damaged = true
	}
	r, _ = v.among(r, &found, &ask, &q, v.naivePod)
	return r
}

// naivePod resolves the address before a translation.
func (v *View) naivePod(clusterName string, f *nat.Flow, q *Question) *Resolution {
	ask := Question{Address: f.Original.Src, Begin: v.beginOf(f, q), Sent: true, Destination: f.Original.Dst, DestinationPort: f.Original.DstPort}
	for _, c := range v.clusters {
		if o := c.oracle(); c.Name == clusterName && o.naiveOwns(&ask) && o.owned(ask.Address).pods != nil {
			return o.naive(&ask)
		}
	}
	return external
}

func (v *View) naive(q Question) *Resolution {
	var clusters []*clusterView
	for _, c := range v.clusters {
		if c.oracle().naiveOwns(&q) {
			clusters = append(clusters, c)
		}
	}
	if t, ok := v.ownerOf(&q); ok && t.scopes && len(clusters) > 1 && (q.Near || t.owner.cluster.owns(q.Address)) {
		if own := t.owner.cluster; slices.Contains(clusters, own) && t.decides(&q, own.oracle().naive) {
			clusters = []*clusterView{own}
		}
	}
	if len(clusters) == 0 {
		return external
	}
	var all []*Resolution
	for _, c := range clusters {
		all = append(all, c.oracle().naive(&q))
	}
	if len(all) == 1 {
		return all[0]
	}
	return acrossClusters(all, q.end())
}

// decoded is the cluster without indexes: all pods are decoded, once, and looked
// through for each question.
func (c *clusterView) decoded() *clusterView {
	o := &clusterView{Cluster: c.Cluster, pods: c.pods, total: c.total, watched: c.watched, changes: c.changes, nodes: c.nodes, hosts: c.hosts,
		machines: c.machines, machineSpells: c.machineSpells, rules: c.rules,
		late: c.late, damaged: c.damaged, nat: c.nat, tolerance: c.tolerance, spells: make(map[netip.Addr][]spell), everyone: c.podsOf("")}
	o.once.Do(func() {
		o.doubled, o.settled = o.everDoubled(), c.changes.later(unseenTail)
		o.forced = slices.ContainsFunc(o.everyone, (*pod).forced)
	})
	return o
}

// everDoubled looks at every address of every pod.
func (c *clusterView) everDoubled() bool {
	holders := make(map[netip.Addr][]*pod)
	for _, p := range c.everyone {
		for i := range p.holdings {
			holders[p.holdings[i].Address] = append(holders[p.holdings[i].Address], p)
		}
	}
	for a, pods := range holders {
		var stays []stay
		for _, p := range pods {
			stays = append(stays, c.rawStay(p, a))
		}
		if doubled(stays, c.tolerance) {
			return true
		}
	}
	return false
}

func (c *clusterView) naiveOwns(q *Question) bool {
	if within(q.Address, c.PodCIDRs) || within(q.Address, c.rules.shared) {
		return true
	}
	for _, machines := range c.machines {
		for _, in := range machines {
			if slices.Contains(in.addresses, q.Address) {
				return true
			}
		}
	}
	for _, p := range c.everyone {
		for _, h := range p.holdings {
			if h.Address == q.Address {
				return true
			}
		}
		for _, a := range p.id.HostAddresses {
			if a == q.Address && p.id.Node != "" {
				return true
			}
		}
	}
	return false
}

// naive resolves every moment of the span at which something begins or ends.
func (c *clusterView) naive(q *Question) *Resolution {
	own := c.owned(q.Address) // fresh timelines: nothing is cached, only their bounds are used
	moments := []int64{q.Begin.From}
	add := func(tl *timeline) {
		if tl == nil {
			return
		}
		for _, b := range tl.bounds {
			if b > q.Begin.From && b <= q.Begin.To {
				moments = append(moments, b)
			}
		}
	}
	add(own.pods)
	for _, n := range own.nodes {
		add(n.timeline(n.masking(q, c.tolerance)))
	}
	pods := c.naiveOver(own.pods, moments, q.end())
	if len(own.nodes) == 0 {
		return pods
	}
	var all []*Resolution
	inside := false
	for i := range own.nodes {
		inside = inside || own.nodes[i].holds(q.Begin)
	}
	if pods != nil {
		if all = append(all, pods); !inside && !pods.Vacant() {
			return pods
		}
	}
	for _, n := range own.nodes {
		if inside && !n.holds(q.Begin) {
			continue
		}
		all = append(all, c.naiveOver(n.timeline(n.masking(q, c.tolerance)), moments, sender))
	}
	return combine(all)
}

// naiveOver scans all stays of a timeline at each moment.
func (c *clusterView) naiveOver(tl *timeline, moments []int64, as end) *Resolution {
	if tl == nil {
		return nil
	}
	var all []*Resolution
	for _, t := range moments {
		var possible []*stay
		for i := range tl.stays {
			if s := &tl.stays[i]; s.possibleFrom(c.tolerance) <= t && t < s.possibleTo(c.tolerance) {
				possible = append(possible, s)
			}
		}
		all = append(all, tl.at(t, possible).at(as))
	}
	if len(all) == 1 {
		return all[0]
	}
	return combine(all)
}

// Same says whether two resolutions say the same.
func (r *Resolution) Same(o *Resolution) bool {
	if r.Verdict != o.Verdict || len(r.Candidates) != len(o.Candidates) {
		return false
	}
	for i := range r.Candidates {
		a, b := r.Candidates[i], o.Candidates[i]
		if a.UID != b.UID || a.Cluster != b.Cluster || a.Node != b.Node || a.FromEarliest != b.FromEarliest || a.ToLatest != b.ToLatest {
			return false
		}
	}
	return true
}
