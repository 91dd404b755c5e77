package attribution

import (
	"net/netip"
	"slices"
	"strings"
	"sync"

	"github.com/whichpod/whichpod/attribution/nat"
	"github.com/whichpod/whichpod/flow"
)

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
	nat       *nat.Store          // evidence of what nodes of all clusters translated, or nil
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
	return within(a, c.PodCIDRs) || c.holds(a) || len(c.spellsOf(a)) > 0
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
	pods := c.podsAt(a)
	stays := make([]stay, 0, len(pods))
	for _, p := range pods {
		if !p.id.HostNetwork { // an inventory does not tell, and may take the node's address for the pod's
			stays = append(stays, c.rawStay(p, a))
		}
	}
	return stays
}

// rawStay is a pod's stay at an address that it had, as the pod itself tells it.
func (c *clusterView) rawStay(p *pod, a netip.Addr) stay {
	var room [2]stay // most have one
	stays := p.addressStays(room[:], c.watched)
	s := stays[slices.IndexFunc(stays, func(s stay) bool { return s.address == a })]
	s.sampled = p.sources == 1<<Inventory && !within(a, c.PodCIDRs)
	if s.live() {
		s.recorded = s.lasted(c.late, c.changes)
	}
	return s
}

func (s *spell) holds(span flow.Span) bool { return s.from <= span.To && span.From < s.to }
