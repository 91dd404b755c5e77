package attribution

import (
	"net/netip"
	"slices"

	"github.com/whichpod/whichpod/flow"
)

// Owners lists all stays of pods at an address, in order, each as a candidate with
// its brackets; and nodes that ever had it as theirs.
func (v *View) Owners(a netip.Addr) []Candidate {
	var out []Candidate
	for _, c := range v.clusters {
		for _, s := range c.spellsOf(a) {
			out = append(out, Candidate{Cluster: c.Name, Node: s.node, Address: a, IsNode: true,
				FromEarliest: s.from, FromLatest: s.from, ToEarliest: s.to, ToLatest: s.to})
		}
		stays := c.staysAt(a)
		for i := range stays {
			out = append(out, stays[i].candidate())
		}
	}
	slices.SortStableFunc(out, compareCandidates)
	return out
}

// PodRef names a pod to look for. An empty field matches anything.
type PodRef struct{ Cluster, Namespace, Name, UID string }

// Pods lists the pods that match, each address of theirs a candidate of its own; a
// pod without an address on record has one candidate with an invalid address.
func (v *View) Pods(ref PodRef) []Candidate {
	var out []Candidate
	match := func(want, have string) bool { return want == "" || want == have }
	for _, c := range v.clusters {
		if !match(ref.Cluster, c.Name) {
			continue
		}
		for _, p := range c.podsOf(ref.UID) {
			if match(ref.Namespace, p.id.Namespace) && match(ref.Name, p.id.Name) {
				out = append(out, c.staysOf(p)...)
			}
		}
	}
	slices.SortStableFunc(out, compareCandidates)
	return out
}

// staysOf are the addresses of one pod, as Owners would show them.
func (c *clusterView) staysOf(p *pod) []Candidate {
	if len(p.own()) == 0 {
		s := p.presenceStay(c.watched)
		cand := s.candidate()
		if p.id.HostNetwork && len(p.id.HostAddresses) > 0 {
			cand.Address = p.id.HostAddresses[0]
		}
		return []Candidate{cand}
	}
	var out []Candidate
	for i := range p.holdings {
		stays := c.staysAt(p.holdings[i].Address)
		for k := range stays {
			if stays[k].pod.filed == p.filed {
				out = append(out, stays[k].candidate())
			}
		}
	}
	return out
}

// Owning lists the clusters that can own an address, by name.
func (v *View) Owning(a netip.Addr) []string {
	var out []string
	for _, c := range v.clusters {
		if c.owns(a) || within(a, c.rules.shared) {
			out = append(out, c.Name)
		}
	}
	return out
}

// Names lists all clusters.
func (v *View) Names() []string {
	var out []string
	for _, c := range v.clusters {
		out = append(out, c.Name)
	}
	return out
}

// Holes lists the stretches in which a cluster, which MUST be one of the view's, was not
// watched, and that touch [from, to): between two that were watched as a whole, before
// and after all of them as far as from and to go, and all time where it never was.
func (v *View) Holes(cluster string, from, to int64) []Range {
	watched := v.cluster(cluster).changes
	if len(watched) == 0 {
		return []Range{{0, Open}}
	}
	first, last := min(from, watched[0].From), max(to, watched.end())
	return slices.DeleteFunc(watched.holes(first, last), func(r Range) bool { return r.To <= from || to <= r.From })
}

// Covered is from when to when clusters, each of which MUST be one of the view's, were
// watched, the holes between included; or false where they never were.
func (v *View) Covered(clusters []string) (Range, bool) {
	out := Range{From: Open}
	for _, name := range clusters {
		if w := v.cluster(name).changes; len(w) > 0 {
			out = Range{min(out.From, w[0].From), max(out.To, w.end())}
		}
	}
	return out, out.From != Open
}

// NodeAddresses lists the addresses that a node can have had: those that pods on it reported
// as the node's, those of its object, and those of which NAT evidence of the cluster tells and
// the ledger does not know whose they are.
func (v *View) NodeAddresses(cluster, node string) []netip.Addr {
	var out []netip.Addr
	for _, c := range v.clusters {
		if c.Name != cluster {
			continue
		}
		for a, places := range c.hosts {
			if slices.ContainsFunc(places, func(n uint32) bool { return c.pods.known[n].node == node }) && c.reported(a, node) {
				out = append(out, a)
			}
		}
		for a, spells := range c.machineSpells {
			if slices.ContainsFunc(spells, func(s spell) bool { return s.node == node }) {
				out = append(out, a)
			}
		}
		if v.nat != nil {
			for _, a := range v.nat.Addresses(cluster) {
				if len(c.spellsOf(a)) == 0 && slices.Contains(v.nat.Knows(a), cluster) {
					out = append(out, a)
				}
			}
		}
	}
	slices.SortFunc(out, netip.Addr.Compare)
	return slices.Compact(out)
}

// Stats counts what the view rests on.
func (v *View) Stats() []ClusterStats {
	var out []ClusterStats
	for _, c := range v.clusters {
		out = append(out, ClusterStats{Name: c.Name, Pods: c.total.pods, Addresses: c.countAddresses(), Nodes: c.countNodes(), Watched: c.changes, ChangesOnly: c.changesOnly()})
	}
	return out
}

// changesOnly is when changes were on record, and pods that did not change were not.
func (c *clusterView) changesOnly() []Range {
	var out []Range
	for _, r := range c.changes {
		out = append(out, c.watched.holes(r.From, r.To)...)
	}
	return out
}

func compareCandidates(a, b Candidate) int {
	switch {
	case a.FromEarliest < b.FromEarliest:
		return -1
	case a.FromEarliest > b.FromEarliest:
		return 1
	default:
		return 0
	}
}

// Stretch is a half-open time in which the answer for an address is the same.
type Stretch struct {
	From, To   int64 // Unix milliseconds
	Resolution *Resolution
	// Unwatched, of a Gap: nobody watched in a part of it, or so shortly before that somebody
	// unseen may still have been there. Else it is for the clocks' tolerance at most.
	Unwatched bool
}

// History is what can be said of an address over [from, to), stretch by stretch. A
// node's address counts as one behind which pods can hide.
func (v *View) History(a netip.Addr, from, to int64) []Stretch {
	var out []Stretch
	av := v.address(a)
	starts := append([]int64{from}, av.boundsIn(from, to)...)
	for i, start := range starts {
		end := to
		if i+1 < len(starts) {
			end = starts[i+1]
		}
		r := av.resolve(v, &Question{Address: a, Begin: flow.Span{From: start, To: start}, Sent: true})
		if n := len(out); n > 0 && out[n-1].Resolution.Same(r) && slices.Equal(out[n-1].Resolution.Notes, r.Notes) {
			out[n-1].To = end
			continue
		}
		out = append(out, Stretch{From: start, To: end, Resolution: r})
	}
	for _, name := range v.Owning(a) {
		holes := v.Holes(name, from-unseenTail, to)
		for i := range out {
			s := &out[i]
			s.Unwatched = s.Unwatched || (s.Resolution.Verdict == Gap && slices.ContainsFunc(holes, func(hole Range) bool { return v.cluster(name).leaves(hole, s.From, s.To) }))
		}
	}
	return out
}

// leaves says whether a hole in what was watched leaves [from, to) open in part: it is in it, or
// was so shortly before it that somebody unseen may go on.
func (c *clusterView) leaves(hole Range, from, to int64) bool {
	if hole.From < to && from < hole.To {
		return true
	}
	return hole.To+c.tolerance < to && from < hole.To+unseenTail
}

// boundsIn are the times inside (from, to) at which an answer can change.
func (av *addressView) boundsIn(from, to int64) []int64 {
	var out []int64
	add := func(tl *timeline) {
		if tl == nil {
			return
		}
		for _, b := range tl.bounds {
			if b > from && b < to {
				out = append(out, b)
			}
		}
	}
	for i := range av.owners {
		add(av.owners[i].pods)
		for k := range av.owners[i].nodes {
			add(av.owners[i].nodes[k].timeline(masking{can: true}))
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// Extent is the time about which the ledger can say anything of an address: from the
// first stay or watch to the last, or false where there is none.
func (v *View) Extent(a netip.Addr) (from, to int64, ok bool) {
	from, to = Open, 0
	if w, ok := v.Covered(v.Owning(a)); ok {
		from, to = w.From, w.To
	}
	for _, c := range v.Owners(a) {
		if c.FromEarliest > 0 {
			from, to = min(from, c.FromEarliest), max(to, c.FromEarliest+1)
		}
		if c.ToLatest != Open {
			to = max(to, c.ToLatest)
		}
	}
	return from, to, from < to
}
