package attribution

import (
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/whichpod/whichpod/attribution/nat"
	"github.com/whichpod/whichpod/flow"
)

// View answers from one immutable state of the ledger under one configuration. It
// may be used by many goroutines.
type View struct {
	cfg       Config
	tolerance int64
	pods      *archive
	clusters  []*clusterView      // sorted by name
	nics      map[string]nicOwner // as configured
	lessons   atomic.Pointer[nicLessons]
	nat       *nat.Store // nil: no evidence of what nodes translated
	tracks    *tracks
	addresses *generations[netip.Addr, *addressView]
	resolved  *generations[runKey, *Resolution]
}

// What a view keeps beside tracks is bounded, in bytes, about: it can be worked out
// again, an address in microseconds for each pod that it had, a resolution in one.
const (
	addressBytes  = 6 << 20
	resolvedBytes = 4 << 20
)

type nicOwner struct {
	cluster *clusterView
	node    string
}

// clusterView is one cluster's part of the ledger.
type clusterView struct {
	Cluster
	pods          *archive                 // of all clusters
	total         clusterTotal             // of this one
	watched       coverage                 // all pods on record: what a pod's node can hide is complete
	changes       coverage                 // all changes on record: nobody got an address unseen
	nodes         map[string][]uint32      // places by the node's name
	hosts         map[netip.Addr][]uint32  // places by the addresses that pods there reported as the node's
	machines      map[string][]incarnation // nodes on record, by name
	machineSpells map[netip.Addr][]spell   // by their addresses
	rules         *rules

	once      sync.Once
	late      int64               // how late things were seen at most: just before a hole, not all may have been
	damaged   bool                // facts are missing
	suspects  func() []netip.Addr // see archive.suspects
	doubled   bool                // two pods are recorded with one address at once
	forced    bool                // a pod's object was deleted without the kubelet's word
	settled   coverage            // changes, without the time just after each hole
	tolerance int64

	mu     sync.Mutex
	spells map[netip.Addr][]spell // nodes' addresses, as far as they were asked about

	oracle   func() *clusterView // the same cluster, as Naive sees it
	everyone []*pod              // all pods, decoded: only for the oracle, else nil
}

// known works out, once, what has gone wrong in the cluster before.
func (c *clusterView) known() *clusterView {
	c.once.Do(func() {
		c.settled = c.changes.later(unseenTail)
		c.forced = c.total.forced > 0
		c.doubled = slices.ContainsFunc(c.suspects(), c.doubledAt)
	})
	return c
}

func (c *clusterView) doubledAt(a netip.Addr) bool { return doubled(c.rawStays(a), c.tolerance) }

// doubled says whether two pods had an address at once.
func doubled(stays []stay, tolerance int64) bool {
	for i := range stays {
		for j := range stays[:i] {
			if stays[i].pod != stays[j].pod && overlap(&stays[i], &stays[j], tolerance) {
				return true
			}
		}
	}
	return false
}

// exclusive says whether an address can be taken to have one holder at a time, also
// while nobody watches: nothing on record in this cluster shows otherwise.
func (c *clusterView) exclusive() bool { return !c.known().doubled }

// spell is the time in which an address was a node's, as its object or pods on it say.
type spell struct {
	node     string
	from, to int64
}

func newView(cfg Config, pods *archive, watched, changes map[string]coverage, late map[string]int64, all objects, damaged bool) *View {
	v := &View{cfg: cfg, tolerance: time.Duration(cfg.ClockTolerance).Milliseconds(), pods: pods, nics: make(map[string]nicOwner), tracks: newTracks(pods),
		addresses: newGenerations[netip.Addr, *addressView](addressBytes), resolved: newGenerations[runKey, *Resolution](resolvedBytes)}
	byName, suspects := make(map[string]*clusterView), sync.OnceValue(pods.suspects)
	cluster := func(name string) *clusterView {
		c := byName[name]
		if c == nil {
			c = &clusterView{Cluster: Cluster{Name: name, Network: Auto}, tolerance: v.tolerance, late: late[name], damaged: damaged, watched: watched[name], changes: changes[name],
				pods: pods, total: pods.clusters[name], nodes: make(map[string][]uint32), hosts: make(map[netip.Addr][]uint32), spells: make(map[netip.Addr][]spell), suspects: suspects}
			c.oracle = sync.OnceValue(c.decoded)
			byName[name] = c
			v.clusters = append(v.clusters, c)
		}
		return c
	}
	for _, c := range cfg.Clusters {
		cv := cluster(c.Name)
		cv.Cluster = c
		for mac, node := range c.NICs {
			v.nics[mac] = nicOwner{cv, node}
		}
	}
	for name := range changes {
		cluster(name)
	}
	for key := range all.byKey {
		cluster(key.cluster)
	}
	for name := range pods.clusters {
		cluster(name)
	}
	for n := range pods.known {
		byName[pods.known[n].cluster].addPlace(uint32(n))
	}
	for _, c := range v.clusters {
		c.addNodes(all)
	}
	slices.SortFunc(v.clusters, func(a, b *clusterView) int { return strings.Compare(a.Name, b.Name) })
	return v
}

// addNodes takes in what is on record of the cluster's nodes and of what they
// masquerade.
func (c *clusterView) addNodes(all objects) {
	c.machines, c.machineSpells = make(map[string][]incarnation), make(map[netip.Addr][]spell)
	for _, in := range all.incarnations(c.Name) {
		c.machines[in.node] = append(c.machines[in.node], in)
		for _, a := range in.addresses {
			c.machineSpells[a] = addSpell(c.machineSpells[a], spell{node: in.node, from: in.fromEarliest, to: in.toLatest})
		}
	}
	c.rules = newRules(&c.Cluster, all, c.isNode)
	c.PodCIDRs = c.rules.podCIDRs
}

// isNode says whether an address is, or was, a node's.
func (c *clusterView) isNode(a netip.Addr) bool {
	return len(c.hosts[a]) > 0 || len(c.machineSpells[a]) > 0
}

func (c *clusterView) addPlace(n uint32) {
	p := &c.pods.known[n]
	if p.node == "" {
		return
	}
	c.nodes[p.node] = append(c.nodes[p.node], n)
	for _, a := range p.addresses {
		c.hosts[a] = append(c.hosts[a], n)
	}
}

// spellsOf are the nodes that had an address as theirs, by name.
func (c *clusterView) spellsOf(a netip.Addr) []spell {
	places, machines := c.hosts[a], c.machineSpells[a]
	if len(places) == 0 && len(machines) == 0 {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	spells, ok := c.spells[a]
	if ok {
		return spells
	}
	for _, n := range places {
		for _, p := range c.podsIn(n) {
			s := p.presenceStay(c.watched)
			spells = addSpell(spells, spell{node: p.id.Node, from: s.fromEarliest, to: s.toLatest})
		}
	}
	for _, m := range machines {
		spells = addSpell(spells, m)
	}
	slices.SortFunc(spells, func(a, b spell) int { return strings.Compare(a.node, b.node) })
	c.spells[a] = spells
	return spells
}

func addSpell(list []spell, s spell) []spell {
	for i := range list {
		if list[i].node == s.node {
			list[i].from, list[i].to = min(list[i].from, s.from), max(list[i].to, s.to)
			return list
		}
	}
	return append(list, s)
}

// owns says whether the address can be the cluster's at all.
func (c *clusterView) owns(a netip.Addr) bool {
	return c.holds(a) || len(c.spellsOf(a)) > 0 || within(a, c.PodCIDRs)
}

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
	rules *nodeRules
	make  func(masking) *timeline
	spent *atomic.Int64 // as a timeline's

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
		if tl.spent = n.spent; n.spent != nil {
			n.spent.Add(tl.bytes())
		}
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

// address returns what is known of a: worked out at the first call for it, and again
// once the cache has let go of it.
func (v *View) address(a netip.Addr) *addressView {
	if av, ok := v.addresses.get(a); ok {
		return av
	}
	av := v.work(a)
	if len(av.owners) == 0 { // the rest of the world is not remembered
		return av
	}
	bytes := int64(0)
	av.each(func(tl *timeline) {
		tl.spent = &v.addresses.spent
		bytes += tl.bytes()
	})
	for i := range av.owners {
		for _, n := range av.owners[i].nodes {
			n.spent = &v.addresses.spent
		}
	}
	return v.addresses.put(a, av, bytes)
}

// work works out what is known of an address.
func (v *View) work(a netip.Addr) *addressView {
	av := &addressView{}
	for _, c := range v.clusters {
		if c.owns(a) || within(a, c.rules.shared) {
			av.owners = append(av.owners, c.owned(a))
		}
	}
	return av
}

// cluster is the one of this name, which MUST be there.
func (v *View) cluster(name string) *clusterView {
	i, _ := slices.BinarySearchFunc(v.clusters, name, func(c *clusterView, name string) int { return strings.Compare(c.Name, name) })
	return v.clusters[i]
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
	var with []int64
	for _, r := range c.changes {
		with = append(with, r.To-tolerance-c.late+1)
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
		if stranger && r.unheld() {
			return external
		}
		return r
	})
	return o
}

// staysAt are all stays of pods at an address, sorted, each bounded by its neighbours
// as far as their order is certain.
func (c *clusterView) staysAt(a netip.Addr) []stay {
	stays := c.rawStays(a)
	for i := range stays {
		stays[i].disputes = c.disputesAt(stays[i].pod, a)
	}
	closeLingering(stays, c.exclusive(), c.changes, c.tolerance)
	delayBegins(stays, c.tolerance)
	sortStays(stays)
	return stays
}

func (c *clusterView) rawStays(a netip.Addr) []stay {
	var stays []stay
	for _, p := range c.podsAt(a) {
		if !p.id.HostNetwork { // an inventory does not tell, and may take the node's address for the pod's
			stays = append(stays, c.rawStay(p, a))
		}
	}
	return stays
}

// rawStay is a pod's stay at an address that it had, as the pod itself tells it.
func (c *clusterView) rawStay(p *pod, a netip.Addr) stay {
	stays := p.addressStays(c.watched)
	s := stays[slices.IndexFunc(stays, func(s stay) bool { return s.address == a })]
	s.sampled = p.sources == 1<<Inventory && !within(a, c.PodCIDRs)
	if s.live() {
		s.recorded = s.lasted(c.late, c.changes)
	}
	return s
}

var external = &Resolution{Verdict: External}

// Question asks who sent, or received, a flow at one of its ends.
type Question struct {
	Address netip.Addr
	Begin   flow.Span // when the flow began
	// NIC is the interface that logged the row, and Near says whether the address is
	// behind it: the source of an outbound row, the destination of an inbound one.
	// Without a NIC, all clusters count.
	NIC  string
	Near bool
	// Sent is set for the flow's source. Only then can the address be a node's in
	// place of a pod's, depending on where the flow went.
	Sent            bool
	Destination     netip.Addr // with Sent; invalid is unknown
	DestinationPort uint16
	// With Sent: what NAT evidence is found by. Protocol 0 is unknown.
	SourcePort uint16
	Protocol   uint8
	// Answered is set for the other end where it sent packets back: then somebody
	// had the address.
	Answered bool
}

// end is a role in a flow.
type end uint8

const (
	sender   end = iota // it sent, so it had its address
	answerer            // it was called, and sent something back
	called              // it was called
)

func (q *Question) end() end {
	switch {
	case q.Sent:
		return sender
	case q.Answered:
		return answerer
	default:
		return called
	}
}

// Resolve answers a question.
func (v *View) Resolve(q Question) *Resolution {
	if t, id := v.track(q.Address); t != nil {
		if r := v.along(t, id, q.Begin, q.end()); r != nil {
			return v.checked(r, &q)
		}
	}
	av := v.address(q.Address)
	r, _ := v.lift(av, av.resolve(v, &q), &q)
	return r
}

func (av *addressView) resolve(v *View, q *Question) *Resolution {
	return v.checked(av.unchecked(v, q), q)
}

// checked holds an exact resolution against the row's interface: who is behind it is
// on its node. Where the two contradict each other, one of them is wrong.
func (v *View) checked(r *Resolution, q *Question) *Resolution {
	if r.Verdict != Exact || !q.Near || !v.elsewhere(&r.Candidates[0], q) {
		return r
	}
	return r.contradict()
}

// elsewhere says whether the interface of q is known to be of another node, or of
// another cluster's, than the pod.
func (v *View) elsewhere(c *Candidate, q *Question) bool {
	t, ok := v.ownerOf(q)
	return ok && (t.owner.cluster.Name != c.Cluster || (t.owner.node != c.Node && c.Node != ""))
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
	if r.Verdict == Exact && as != sender && slices.ContainsFunc(all, (*Resolution).unheld) {
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
	if o.pods != nil && !inside && !all[0].unheld() {
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

func (s *spell) holds(span flow.Span) bool { return s.from <= span.To && span.From < s.to }
