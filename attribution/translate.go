package attribution

import (
	"net/netip"
	"slices"

	"github.com/whichpod/whichpod/attribution/nat"
	"github.com/whichpod/whichpod/flow"
)

// Notes about evidence of translations.
const (
	noteNATOdd      = "what a node translated and the ledger contradict each other, or two recordings of the node do"
	noteNATClusters = "several clusters have NAT evidence of a node at this address, and the interface of the row names none of them"
	noteNATDamaged  = "NAT evidence is damaged: none of the cluster's counts"
)

// WithNAT adds evidence of what nodes translated, and returns v. It MUST be called
// before the first question. The caller keeps and closes the evidence.
func (v *View) WithNAT(evidence *nat.Store) *View {
	if evidence != nil && !evidence.Empty() {
		v.nat = evidence
		for _, c := range v.clusters {
			c.nat = evidence
		}
	}
	return v
}

// NAT is the evidence of translations, or nil.
func (v *View) NAT() *nat.Store { return v.nat }

// translates lists the clusters with evidence of a node at the address, of which av is what
// the view knows.
func (v *View) translates(av *addressView, a netip.Addr) []string {
	if v.nat == nil {
		return nil
	}
	av.once.Do(func() { av.evidence = v.nat.Knows(a) })
	return av.evidence
}

// lift looks behind a node's address: where the evidence leaves one pod only, it is
// exact. The flow is what the node translated, and nil where r stays what it is.
func (v *View) lift(av *addressView, r *Resolution, q *Question) (*Resolution, *nat.Flow) {
	if !q.Sent || q.Protocol == 0 {
		return r, nil
	}
	known := v.translates(av, q.Address)
	if len(known) == 0 {
		return r, nil
	}
	ask, ok := v.evidenceFor(av, known, q)
	if !ok {
		return r.unasked(known), nil
	}
	found, err := v.nat.Senders(&ask)
	if err != nil {
		found.Damaged = true
	}
	return v.among(r, &found, &ask, q, v.pod)
}

// among is what is said where the evidence found names the senders that there can be.
// pod resolves one of them. An answer that names pods by the ledger stands, unless one of the
// senders is somebody else.
func (v *View) among(r *Resolution, found *nat.Senders, ask *nat.Asked, q *Question, pod func(string, *nat.Flow, *Question) *Resolution) (*Resolution, *nat.Flow) {
	if !r.hides() {
		for i := range found.Flows {
			if !r.explains(&found.Flows[i], func(f *nat.Flow) *Resolution { return pod(ask.Cluster, f, q) }) {
				return r.doubted(noteNATOdd), nil
			}
		}
		return r, nil
	}
	switch {
	case found.Damaged:
		return r.doubted(noteNATDamaged), nil
	case found.Contradicted:
		return r.doubted(noteNATOdd), nil
	}
	one, odd := soleSender(ask.Cluster, found.Flows, q, pod)
	switch {
	case odd:
		return r.doubted(noteNATOdd), nil
	case one == nil || !found.Certain:
		return r, nil
	}
	lifted := v.checked(one.lifted(), q)
	if lifted.Verdict != Exact {
		return r.doubted(noteNATOdd), nil
	}
	return lifted, &found.Flows[0]
}

// explains says whether a connection is of one of the candidates: of its own address, left as
// it was made on its node, or translated and by what pod says its own.
func (r *Resolution) explains(f *nat.Flow, pod func(*nat.Flow) *Resolution) bool {
	if !f.Translated() {
		return slices.ContainsFunc(r.Candidates, func(c *Candidate) bool { return c.Node == f.Node })
	}
	one := pod(f)
	return one.Verdict == Exact && slices.ContainsFunc(r.Candidates, func(c *Candidate) bool { return c.identity() == one.Candidates[0].identity() })
}

// hides says whether a pod may stand behind a node's address; also where the ledger
// knows nothing of that node.
func (r *Resolution) hides() bool {
	switch r.Verdict {
	case Masked, Host, Gap, External:
		return true
	default:
		return false
	}
}

// evidenceFor is the question for the senders, if just one cluster can have the answer.
func (v *View) evidenceFor(av *addressView, known []string, q *Question) (nat.Asked, bool) {
	ask := nat.Asked{
		Key:       nat.Key{Src: q.Address, Dst: q.Destination, Protocol: q.Protocol, SrcPort: q.SourcePort, DstPort: q.DestinationPort},
		From:      q.Begin.From - v.tolerance,
		To:        q.Begin.To + v.tolerance,
		Tolerance: v.tolerance,
	}
	owners := av.scoped(v, q)
	// That only one cluster's ledger knows the address does not make it that one's.
	if len(owners) > 1 || (len(known) > 1 && (len(owners) == 0 || (len(av.owners) == 1 && !v.scopes(owners[0].cluster, q)))) {
		return ask, false
	}
	ask.Cluster = known[0]
	if len(owners) == 1 {
		ask.Cluster = owners[0].cluster.Name
		for _, n := range owners[0].nodes {
			if n.holds(flow.Span{From: ask.From, To: ask.To}) {
				ask.Nodes = append(ask.Nodes, n.node)
			}
		}
	}
	return ask, slices.Contains(known, ask.Cluster)
}

// scopes says whether the row's interface is known to be of the cluster, and the address
// behind it.
func (v *View) scopes(c *clusterView, q *Question) bool {
	t, ok := v.ownerOf(q)
	return ok && t.scopes && q.Near && t.owner.cluster == c
}

// unasked is a resolution where several clusters have evidence, of which one may be the row's.
func (r *Resolution) unasked(known []string) *Resolution {
	if len(known) < 2 || !r.hides() {
		return r
	}
	return r.doubted(noteNATClusters)
}

// soleSender is the one pod that all flows come from, exactly; or nil. odd says that a
// flow cannot be what the evidence says under what the ledger knows.
func soleSender(clusterName string, flows []nat.Flow, q *Question, pod func(string, *nat.Flow, *Question) *Resolution) (one *Resolution, odd bool) {
	sole := true
	for i := range flows {
		f := &flows[i]
		if !f.Translated() {
			sole = false // the node's own
			continue
		}
		r := pod(clusterName, f, q)
		switch {
		case r.Verdict == Exact && f.Node != "" && r.Candidates[0].Node != "" && r.Candidates[0].Node != f.Node:
			if !f.Redirected() {
				return nil, true
			}
			sole = false // forwarded for another node's pod, which called a port of the node
		case r.Verdict == External:
			sole = false // forwarded for somebody outside, or a range that is not known
		case r.Verdict != Exact || r.Candidates[0].HostNetwork || r.Candidates[0].Node == "":
			sole = false
		case one == nil:
			one = r
		case one.Candidates[0].UID != r.Candidates[0].UID:
			sole = false
		}
	}
	if !sole {
		return nil, false
	}
	return one, false
}

// pod resolves the address before a translation, at the begin of the row's flow: who
// had it then sent the packet. That need not be who had it when the translation began.
// The kernel keeps one for minutes after its last packet, and a pod that gets the
// address and uses the same port goes on with it.
func (v *View) pod(clusterName string, f *nat.Flow, q *Question) *Resolution {
	begin := v.beginOf(f, q)
	if t, id := v.track(f.Original.Src); t != nil {
		if r := v.saidBy(t, id).over(begin, sender); r != nil {
			return r.of(clusterName)
		}
	}
	av := v.address(f.Original.Src)
	for i := range av.owners {
		if o := &av.owners[i]; o.cluster.Name == clusterName && o.pods != nil {
			return o.resolve(&Question{Address: f.Original.Src, Begin: begin, Sent: true, Destination: f.Original.Dst, DestinationPort: f.Original.DstPort})
		}
	}
	return external
}

// beginOf is when the row's flow can have begun, if it is what the node translated.
func (v *View) beginOf(f *nat.Flow, q *Question) flow.Span {
	from := min(max(q.Begin.From, f.FromEarliest-v.tolerance), q.Begin.To)
	return flow.Span{From: from, To: max(from, min(q.Begin.To, later(f.ToLatest, v.tolerance)))}
}

// of is the resolution of an address in one cluster, where it may be another's.
func (r *Resolution) of(clusterName string) *Resolution {
	if len(r.Candidates) > 0 && r.Candidates[0].Cluster != clusterName {
		return external
	}
	return r
}

func later(t, by int64) int64 {
	if t == nat.NoEnd {
		return t
	}
	return t + by
}

// lifted is an exact resolution that rests on NAT evidence.
func (r *Resolution) lifted() *Resolution {
	if l := r.translated.Load(); l != nil && l.Verdict == Exact {
		return l
	}
	c := *r.Candidates[0]
	c.Ledger, c.Sources = c.Sources, 1<<NAT
	l := &Resolution{Verdict: Exact, Candidates: []*Candidate{&c}, Notes: r.Notes}
	r.translated.Store(l)
	return l
}

// doubted is a resolution with a note about the evidence. An exact one is none any more.
func (r *Resolution) doubted(note string) *Resolution {
	if d := r.translated.Load(); d != nil && slices.Contains(d.Notes, note) {
		return d
	}
	verdict := r.Verdict
	if verdict == Exact {
		verdict = Boundary
	}
	d := &Resolution{Verdict: verdict, Candidates: r.Candidates, Before: r.Before, After: r.After, Notes: append(slices.Clone(r.Notes), note)}
	r.translated.Store(d)
	return d
}

// Contradicted are those of the sources for which the ledger has no pod with that
// address on that node at that time, while it was watched; and those of addresses that
// it gives to pods of other nodes then.
func (v *View) Contradicted(sources []nat.Source) []nat.Source {
	var out []nat.Source
	for _, s := range sources {
		i := slices.IndexFunc(v.clusters, func(c *clusterView) bool { return c.Name == s.Cluster })
		if i >= 0 && v.clusters[i].contradicts(&s) {
			out = append(out, s)
		}
	}
	return out
}

func (c *clusterView) contradicts(s *nat.Source) bool {
	stays, elsewhere := c.staysAt(s.Address), false
	for i := range stays {
		if st := &stays[i]; st.possibleFrom(c.tolerance) <= s.Last && s.First < st.possibleTo(c.tolerance) {
			if on := st.pod.id.Node; on == "" || s.Node == "" || on == s.Node {
				return false
			}
			elsewhere = true
		}
	}
	// Others than pods are forwarded too; only an address of the pods' range must be one.
	return elsewhere || (within(s.Address, c.PodCIDRs) && c.changes.has(s.First-c.tolerance, s.Last+c.tolerance))
}
