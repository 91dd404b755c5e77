package attribution

import (
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/whichpod/whichpod/flow"
)

// View answers from one immutable state of the ledger under one configuration. It
// may be used by many goroutines.
type View struct {
	tolerance int64
	clusters  []*clusterView // sorted by name
	nics      map[string]nicOwner

	mu        sync.Mutex
	addresses map[netip.Addr]*addressView
}

type nicOwner struct {
	cluster *clusterView
	node    string
}

// clusterView is one cluster's part of the ledger, by address and by node.
type clusterView struct {
	Cluster
	voices    map[string][]*pod // of pods that several sources know, by UID: what each says
	watched   coverage          // all pods on record: what a pod's node can hide is complete
	changes   coverage          // all changes on record: nobody got an address unseen
	pods      []*pod            // sorted by UID
	byAddress map[netip.Addr][]*pod
	byNode    map[string][]*pod
	spells    map[netip.Addr][]spell   // nodes' addresses
	machines  map[string][]incarnation // nodes on record, by name
	rules     *rules

	once      sync.Once
	late      int64    // how late things were seen at most: just before a hole, not all may have been
	damaged   bool     // facts are missing
	doubled   bool     // two pods are recorded with one address at once
	forced    bool     // a pod's object was deleted without the kubelet's word
	settled   coverage // changes, without the time just after each hole
	tolerance int64
}

// known works out, once, what has gone wrong in the cluster before.
func (c *clusterView) known() *clusterView {
	c.once.Do(func() {
		c.settled = c.changes.later(unseenTail)
		for _, p := range c.pods {
			c.forced = c.forced || (p.deleted.At != 0 && p.presence.stopped() == 0)
		}
		for a, pods := range c.byAddress {
			if len(pods) > 1 && !c.doubled {
				c.doubled = c.doubledAt(a)
			}
		}
	})
	return c
}

func (c *clusterView) doubledAt(a netip.Addr) bool {
	stays := c.rawStays(a)
	for i := range stays {
		for j := range stays[:i] {
			if stays[i].pod != stays[j].pod && overlap(&stays[i], &stays[j], c.tolerance) {
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

func newView(cfg Config, pods []*pod, voices map[podKey][]*pod, watched, changes map[string]coverage, late map[string]int64, all objects, damaged bool) *View {
	v := &View{
		tolerance: time.Duration(cfg.ClockTolerance).Milliseconds(),
		nics:      make(map[string]nicOwner),
		addresses: make(map[netip.Addr]*addressView),
	}
	byName := make(map[string]*clusterView)
	cluster := func(name string) *clusterView {
		c := byName[name]
		if c == nil {
			c = &clusterView{Cluster: Cluster{Name: name, Network: Auto}, tolerance: v.tolerance, late: late[name], damaged: damaged, watched: watched[name], changes: changes[name],
				byAddress: make(map[netip.Addr][]*pod), byNode: make(map[string][]*pod), spells: make(map[netip.Addr][]spell), voices: make(map[string][]*pod)}
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
	slices.SortFunc(pods, func(a, b *pod) int { return strings.Compare(a.uid, b.uid) }) // so that an answer does not hang on a map's order
	for _, p := range pods {
		cluster(p.cluster).add(p)
	}
	for key, list := range voices {
		cluster(key.cluster).voices[key.uid] = list
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
	c.machines = make(map[string][]incarnation)
	for _, in := range all.incarnations(c.Name) {
		c.machines[in.node] = append(c.machines[in.node], in)
		for _, a := range in.addresses {
			c.addSpell(a, spell{node: in.node, from: in.fromEarliest, to: in.toLatest})
		}
	}
	c.rules = newRules(&c.Cluster, all, c.isNode)
	c.PodCIDRs = c.rules.podCIDRs
}

// isNode says whether an address is, or was, a node's.
func (c *clusterView) isNode(a netip.Addr) bool { return len(c.spells[a]) > 0 }

func (c *clusterView) add(p *pod) {
	c.pods = append(c.pods, p)
	for i := range p.holdings {
		a := p.holdings[i].Address
		c.byAddress[a] = append(c.byAddress[a], p)
	}
	if p.id.Node == "" {
		return
	}
	c.byNode[p.id.Node] = append(c.byNode[p.id.Node], p)
	if len(p.id.HostAddresses) == 0 {
		return
	}
	s := p.presenceStay(c.watched)
	for _, a := range p.id.HostAddresses {
		c.addSpell(a, spell{node: p.id.Node, from: s.fromEarliest, to: s.toLatest})
	}
}

func (c *clusterView) addSpell(a netip.Addr, s spell) {
	list := c.spells[a]
	for i := range list {
		if list[i].node == s.node {
			list[i].from, list[i].to = min(list[i].from, s.from), max(list[i].to, s.to)
			return
		}
	}
	c.spells[a] = append(list, s)
}

// owns says whether the address can be the cluster's at all.
func (c *clusterView) owns(a netip.Addr) bool {
	return len(c.byAddress[a]) > 0 || len(c.spells[a]) > 0 || within(a, c.PodCIDRs)
}

// addressView is what a view knows of one address.
type addressView struct {
	owners []ownedAddress // one per cluster that can own it; none: external
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

// address returns what is known of a, made at the first call for it.
func (v *View) address(a netip.Addr) *addressView {
	v.mu.Lock()
	defer v.mu.Unlock()
	if av := v.addresses[a]; av != nil {
		return av
	}
	av := &addressView{}
	for _, c := range v.clusters {
		if c.owns(a) || within(a, c.rules.shared) {
			av.owners = append(av.owners, c.owned(a))
		}
	}
	if len(av.owners) > 0 { // the rest of the world is not remembered
		v.addresses[a] = av
	}
	return av
}

func (c *clusterView) owned(a netip.Addr) ownedAddress {
	o := ownedAddress{cluster: c}
	tolerance := c.tolerance
	for _, s := range c.spells[a] {
		o.nodes = append(o.nodes, &nodeSpell{spell: s, rules: c.rules.of(s.node), make: func(m masking) *timeline { return c.nodeTimeline(s.node, a, m) }, timelines: make(map[masking]*timeline)})
	}
	if len(o.nodes) > 0 && len(c.byAddress[a]) == 0 {
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
		stays[i].disputes = slices.DeleteFunc(c.disputes(stays[i].pod), func(d Dispute) bool { return !d.about(a) })
	}
	closeLingering(stays, c.exclusive(), c.tolerance)
	delayBegins(stays, c.tolerance)
	sortStays(stays)
	return stays
}

func (c *clusterView) rawStays(a netip.Addr) []stay {
	var stays []stay
	for _, p := range c.byAddress[a] {
		for _, s := range p.addressStays(c.watched) {
			if s.address == a {
				if s.live() {
					s.recorded = s.lasted(c.late, c.changes)
				}
				stays = append(stays, s)
			}
		}
	}
	return stays
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
	return v.address(q.Address).resolve(v, &q)
}

func (av *addressView) resolve(v *View, q *Question) *Resolution {
	return v.checked(av.unchecked(v, q), q)
}

// checked holds an exact resolution against the row's interface: who is behind it is
// on its node. Where the two contradict each other, one of them is wrong.
func (v *View) checked(r *Resolution, q *Question) *Resolution {
	if r.Verdict != Exact || !q.Near || q.NIC == "" {
		return r
	}
	own, ok := v.nics[q.NIC]
	if c := &r.Candidates[0]; !ok || (own.cluster.Name == c.Cluster && (own.node == c.Node || c.Node == "")) {
		return r
	}
	return r.contradict()
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
	return acrossClusters(all)
}

// acrossClusters is the resolution for an address that several clusters may own.
func acrossClusters(all []*Resolution) *Resolution {
	r := combine(all)
	if r.Verdict == Boundary && !slices.Contains(all, r) {
		// At once in two clusters, not one after the other.
		return &Resolution{Verdict: Ambiguous, Candidates: r.Candidates, Notes: []string{noteClusters}}
	}
	return r
}

const noteClusters = "the address is in use in several clusters, and the interface of the row names none of them"

// scoped narrows the owners to the cluster of the row's NIC. Behind the NIC is
// nobody else; and addresses that clusters share reach each other only within one.
func (av *addressView) scoped(v *View, q *Question) []ownedAddress {
	if len(av.owners) < 2 || q.NIC == "" {
		return av.owners
	}
	own, ok := v.nics[q.NIC]
	if !ok || !(q.Near || own.cluster.owns(q.Address)) {
		return av.owners
	}
	for i := range av.owners {
		if av.owners[i].cluster == own.cluster {
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
