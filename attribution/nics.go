package attribution

import (
	"iter"
	"maps"
	"math"
	"net/netip"
	"slices"

	"github.com/whichpod/whichpod/flow"
)

// NICSighting is an address that rows showed behind a NIC: the source of those that it
// logged as outbound, the destination of those that it logged as inbound.
type NICSighting struct {
	NIC         string
	Address     netip.Addr
	First, Last int64 // event times of the rows, Unix milliseconds, both included
	Sent        int64 // outbound rows
	Received    int64 // inbound rows
	Capped      bool  // there were too many addresses to name them; only NIC is set
}

// nicReach is how long before and after a node's own address was seen behind a NIC the
// NIC is still taken to be that node's, in milliseconds: an estimate [I], far below the
// time after which a cloud gives an interface's MAC to another machine.
const nicReach = 60 * 60 * 1000

// nicTerm is a time in which a NIC was a node's.
type nicTerm struct {
	owner    nicOwner
	from, to int64
	learned  bool // by rows, not by the configuration
	// scopes says that nothing behind the NIC spoke against it, so that it can say
	// which cluster is meant. Without it the term only holds answers against the node.
	scopes bool
}

// nicLessons is what rows taught of NICs.
type nicLessons struct {
	terms   map[string][]nicTerm
	summary NICSummary
	// thorough says that contradictions are looked for.
	thorough bool
}

// NICSummary says what is known of the interfaces that logged rows.
type NICSummary struct {
	Configured, Learned, Unknown int
	Nodes                        []NICNode // what was learned, by NIC and time
	// Contradictions are the pairs of a NIC and an address behind it of which one must be
	// wrong: sorted by NIC and address.
	Contradictions []NICContradiction
}

// NICNode is a node that a NIC belongs to.
type NICNode struct {
	NIC, Cluster, Node string
	From, To           int64 // Unix milliseconds, half-open
}

// NICContradiction is an address behind a NIC that the ledger places elsewhere.
type NICContradiction struct {
	NICSighting
	Cluster, Node string // whose the NIC is, as configured or learned
	// What the ledger says of the address then: the node whose own it is, or the node of
	// the pods that had it.
	NodeAddress               bool
	LedgerCluster, LedgerNode string
}

// LearnNICs lets the view learn from rows which NIC is whose, from the sightings of all
// rows there are; a later call replaces what an earlier one taught. What the
// configuration says of a NIC wins. Contradictions are looked for where contradictions
// is set, which takes longer, or where a NIC may have to decide between clusters.
func (v *View) LearnNICs(sightings iter.Seq[NICSighting], contradictions bool) {
	lessons := &nicLessons{terms: make(map[string][]nicTerm), thorough: v.thorough(contradictions)}
	seen := make(map[string]*nicSeen)
	var one *nicSeen // the NIC of the last sighting
	for s := range sightings {
		if one == nil || s.NIC != one.nic {
			if one = seen[s.NIC]; one == nil {
				one = &nicSeen{nic: s.NIC}
				seen[s.NIC] = one
			}
		}
		one.add(v, s, lessons.thorough)
	}
	for _, nic := range slices.Sorted(maps.Keys(seen)) {
		lessons.take(v, seen[nic])
	}
	v.lessons.Store(lessons)
}

// thorough says whether contradictions are looked for.
func (v *View) thorough(contradictions bool) bool { return contradictions || len(v.clusters) > 1 }

// Telling returns a function that says whether [View.LearnNICs] may learn from a sighting
// of an address; nil: from each. From those of addresses that pods had and no node it
// learns nothing but that the NIC is there, and most are such: one for each NIC is enough.
// The function is for one goroutine.
func (v *View) Telling(contradictions bool) func(netip.Addr) bool {
	if v.thorough(contradictions) {
		return nil
	}
	const telling, plain = 1, 2 // 0: nobody asked yet
	known := [2][]uint8{make([]uint8, len(v.pods.v4.keys)), make([]uint8, len(v.pods.v6.keys))}
	return func(a netip.Addr) bool {
		id, held := v.pods.addressID(a)
		if !held {
			return true
		}
		k := &known[id&1][id>>1]
		if *k == 0 {
			*k = plain
			if slices.ContainsFunc(v.clusters, func(c *clusterView) bool { return c.isNode(a) }) {
				*k = telling
			}
		}
		return *k == telling
	}
}

// nicSeen is what was seen behind a NIC.
type nicSeen struct {
	nic    string
	capped bool
	terms  []nicTerm                    // of the nodes whose addresses were
	nobody bool                         // several nodes' at once, or it forwards for others
	behind map[netip.Addr][]NICSighting // nil unless contradictions are looked for
}

func (n *nicSeen) add(v *View, s NICSighting, thorough bool) {
	if s.Capped {
		n.capped = true
		return
	}
	if thorough {
		if n.behind == nil {
			n.behind = make(map[netip.Addr][]NICSighting)
		}
		n.behind[s.Address] = append(n.behind[s.Address], s)
	}
	if n.nobody {
		return
	}
	switch owners := v.nodesAt(s.Address, s.First, s.Last); {
	case len(owners) > 1:
		n.nobody = true
	case len(owners) == 1:
		n.terms = addTerm(n.terms, nicTerm{owner: owners[0], from: s.First, to: s.Last + 1, learned: true})
	case s.Sent > 0 && !v.knows(s.Address):
		n.nobody = true // it sends for somebody outside of all clusters
	}
}

// NICs is what is known of the interfaces that rows showed; of none before
// [View.LearnNICs].
func (v *View) NICs() NICSummary {
	if l := v.lessons.Load(); l != nil {
		return l.summary
	}
	return NICSummary{}
}

func (l *nicLessons) take(v *View, seen *nicSeen) {
	nic := seen.nic
	own, configured := v.nics[nic]
	var terms []nicTerm
	switch {
	case configured:
		l.summary.Configured++
		terms = []nicTerm{{owner: own, from: 0, to: Open}}
	case seen.capped:
	default:
		terms = seen.inTurn(v.tolerance)
	}
	if len(terms) == 0 {
		l.summary.Unknown++
		return
	}
	var odd []NICContradiction
	for _, a := range slices.SortedFunc(maps.Keys(seen.behind), netip.Addr.Compare) {
		odd = append(odd, v.oddities(terms, a, seen.behind[a])...)
	}
	l.summary.Contradictions = append(l.summary.Contradictions, odd...)
	if configured {
		return
	}
	l.summary.Learned++
	for i := range terms {
		terms[i].scopes = l.thorough && len(odd) == 0
		l.summary.Nodes = append(l.summary.Nodes, NICNode{nic, terms[i].owner.cluster.Name, terms[i].owner.node, terms[i].from, terms[i].to})
	}
	l.terms[nic] = terms
}

// inTurn are the times in which the rows of a NIC show it to be a node's; none where they
// show several nodes at once, or that it forwards for others.
func (n *nicSeen) inTurn(tolerance int64) []nicTerm {
	terms := n.terms
	if n.nobody {
		return nil
	}
	slices.SortFunc(terms, func(a, b nicTerm) int { return int(min(1, max(-1, a.from-b.from))) })
	for i := 1; i < len(terms); i++ {
		if terms[i].from < terms[i-1].to+tolerance {
			return nil
		}
	}
	if len(terms) == 1 {
		terms[0].from, terms[0].to = terms[0].from-nicReach, terms[0].to+nicReach
	}
	return terms
}

func addTerm(terms []nicTerm, one nicTerm) []nicTerm {
	for i := range terms {
		if t := &terms[i]; t.owner == one.owner {
			t.from, t.to = min(t.from, one.from), max(t.to, one.to)
			return terms
		}
	}
	return append(terms, one)
}

// nodesAt are the nodes that can have had an address as theirs in a time.
func (v *View) nodesAt(a netip.Addr, from, to int64) []nicOwner {
	var out []nicOwner
	for _, c := range v.clusters {
		for _, s := range c.spellsOf(a) {
			if s.holds(flow.Span{From: from - v.tolerance, To: to + v.tolerance}) {
				out = append(out, nicOwner{c, s.node})
			}
		}
	}
	return out
}

// knows says whether the address can be any cluster's.
func (v *View) knows(a netip.Addr) bool {
	return slices.ContainsFunc(v.clusters, func(c *clusterView) bool { return c.owns(a) })
}

// oddities are the sightings of an address that contradict whose the NIC is, as one
// for each place where the ledger has the address.
func (v *View) oddities(terms []nicTerm, a netip.Addr, list []NICSighting) []NICContradiction {
	var out []NICContradiction
	stays := make(map[*clusterView][]stay)
	for i := range terms {
		if c := terms[i].owner.cluster; stays[c] == nil {
			stays[c] = c.staysAt(a)
		}
	}
	for _, s := range list {
		for _, t := range terms {
			if s.Last < t.from || s.First >= t.to {
				continue
			}
			odd, ok := v.oddity(&t, &s, stays[t.owner.cluster])
			if !ok {
				continue
			}
			same := slices.IndexFunc(out, func(o NICContradiction) bool {
				return o.Cluster == odd.Cluster && o.Node == odd.Node && o.LedgerCluster == odd.LedgerCluster && o.LedgerNode == odd.LedgerNode
			})
			if same < 0 {
				out = append(out, odd)
				continue
			}
			o := &out[same]
			o.First, o.Last, o.Sent, o.Received = min(o.First, s.First), max(o.Last, s.Last), o.Sent+s.Sent, o.Received+s.Received
		}
	}
	return out
}

// oddity is where the ledger has an address that was seen behind a node's NIC, if not
// there: for a pod's, when the first or the last of its rows was logged. A row stands
// for a flow that can have begun some minutes before it.
func (v *View) oddity(t *nicTerm, s *NICSighting, stays []stay) (NICContradiction, bool) {
	out := NICContradiction{NICSighting: *s, Cluster: t.owner.cluster.Name, Node: t.owner.node}
	owners := v.nodesAt(s.Address, s.First, s.Last)
	if len(owners) > 0 {
		out.NodeAddress, out.LedgerCluster, out.LedgerNode = true, owners[0].cluster.Name, owners[0].node
		return out, !slices.Contains(owners, t.owner)
	}
	own := t.owner.cluster
	for _, at := range []int64{s.First, s.Last} {
		if node := t.missed(stays, at, v.tolerance); node != "" && t.from <= at && at < t.to {
			out.LedgerCluster, out.LedgerNode = own.Name, node
			return out, true
		}
	}
	if own.owns(s.Address) {
		return out, false // nobody is recorded with it then
	}
	for _, c := range v.clusters {
		if c.owns(s.Address) {
			out.LedgerCluster = c.Name
			return out, true
		}
	}
	return out, false
}

// missed is another node that had all who can have had an address where a row of then
// shows it behind the NIC; empty where one may have been on the NIC's node, or nobody
// is recorded with it.
func (t *nicTerm) missed(stays []stay, at, tolerance int64) (node string) {
	for i := range stays {
		st := &stays[i]
		if st.possibleFrom(tolerance) > at || st.possibleTo(tolerance) <= at-flow.MaxIdle-afterglow {
			continue
		}
		if node = st.pod.id.Node; node == t.owner.node || node == "" {
			return ""
		}
	}
	return node
}

// InterfaceGone says whether the node behind an interface, as configured, else as last
// learned, is on record as one that was gone by then.
func (v *View) InterfaceGone(nic string, at int64) bool {
	owner, known := v.nics[nic]
	if l := v.lessons.Load(); !known && l != nil {
		for _, t := range l.terms[nic] {
			owner, known = t.owner, true
		}
	}
	if !known {
		return false
	}
	machines := owner.cluster.machines[owner.node]
	for i := range machines {
		if machines[i].possible(at, v.tolerance) {
			return false
		}
	}
	return len(machines) > 0
}

// ownerOf is the node of a row's NIC, as configured, else as learned for the time in
// which the row's flow began.
func (v *View) ownerOf(q *Question) (nicTerm, bool) {
	if q.NIC == "" {
		return nicTerm{}, false
	}
	if own, ok := v.nics[q.NIC]; ok {
		return nicTerm{owner: own, scopes: true}, true
	}
	l := v.lessons.Load()
	if l == nil {
		return nicTerm{}, false
	}
	return termAt(l.terms[q.NIC], q.Begin)
}

// termAt is the term in which a flow began.
func termAt(terms []nicTerm, begin flow.Span) (nicTerm, bool) {
	for i := range terms {
		if t := &terms[i]; t.from <= begin.From && begin.To < t.to {
			return *t, true
		}
	}
	return nicTerm{}, false
}

// termsFor are the terms of a NIC, for ownerOf's answer at any time.
func (v *View) termsFor(nic string) []nicTerm {
	if nic == "" {
		return nil
	}
	if own, ok := v.nics[nic]; ok {
		return []nicTerm{{owner: own, from: math.MinInt64, to: math.MaxInt64, scopes: true}}
	}
	if l := v.lessons.Load(); l != nil {
		return l.terms[nic]
	}
	return nil
}

// elsewhere says whether the node of the term is another than the pod's.
func (t *nicTerm) elsewhere(c *Candidate) bool {
	return t.owner.cluster.Name != c.Cluster || (t.owner.node != c.Node && c.Node != "")
}

// decides says whether the NIC's cluster is the one that is meant: as configured
// always; as learned, at an end near the NIC, only where what that cluster says of the
// address is of the NIC's node.
func (t *nicTerm) decides(q *Question, says func(*Question) *Resolution) bool {
	if !t.learned || !q.Near {
		return true
	}
	r := says(q)
	return r.Verdict != External && r.Verdict != Gap && !slices.ContainsFunc(r.Candidates, func(c *Candidate) bool {
		return c.Cluster != t.owner.cluster.Name || c.Node != t.owner.node
	})
}
