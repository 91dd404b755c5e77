package attribution

import (
	"maps"
	"net/netip"
	"slices"
	"sort"
	"strings"
	"sync"

	"github.com/whichpod/whichpod/flow"
)

// Reason is something that a conclusion rests on.
type Reason struct {
	Object  string // kind and name; empty for what the configuration says
	Version uint64 // its resource version; 0: none
	Says    string
}

// rules are what the nodes of a cluster put their own address on, in time.
type rules struct {
	cluster  *Cluster
	podCIDRs []netip.Prefix // the configuration's, else the nodes'
	shared   []netip.Prefix // ranges in which pods have addresses among other machines
	isNode   func(netip.Addr) bool
	nodes    map[string][]phase
	networks map[string][]phase // NodeNetworkConfigs, by node
	configs  map[string][]phase // ConfigMaps as an agent sees them, by name
	ends     map[Kind]int64     // when each kind was watched last; absent: never
	bounds   []int64            // of configs

	mu     sync.Mutex
	byNode map[string]*nodeRules
}

// nodeRules are the policies that one node may have had, at each time.
type nodeRules struct {
	*rules
	name   string
	bounds []int64    // sorted, distinct; interval i is [bounds[i-1], bounds[i])
	sets   [][]policy // of each interval
}

// newRules takes what the ledger holds of one cluster's objects.
func newRules(c *Cluster, all objects, isNode func(netip.Addr) bool) *rules {
	r := &rules{cluster: c, isNode: isNode, nodes: make(map[string][]phase), networks: make(map[string][]phase), configs: make(map[string][]phase), byNode: make(map[string]*nodeRules), ends: make(map[Kind]int64)}
	phases := func(kind Kind, o *object) []phase {
		key := coverageKey{c.Name, kind}
		return o.phases(all.watched[key], all.late[key])
	}
	for _, kind := range Kinds() {
		if end := all.watched[coverageKey{c.Name, kind}].end(); end != 0 {
			r.ends[kind] = end
		}
	}
	for _, name := range append(slices.Clone(masqConfigMaps), ciliumConfigMap, upgradeConfigMap) {
		o := all.byKey[objectKey{c.Name, ConfigMaps, "kube-system", name}]
		r.configs[name] = agentPhases(phases(ConfigMaps, o))
	}
	for _, list := range r.configs {
		r.bounds = appendBounds(r.bounds, list)
	}
	for key, o := range all.byKey {
		switch {
		case key.cluster != c.Name:
		case key.kind == Nodes:
			r.nodes[key.name] = phases(Nodes, o)
		case key.kind == NodeNetworks:
			r.networks[key.name] = phases(NodeNetworks, o)
		}
	}
	r.podCIDRs = c.PodCIDRs
	if len(r.podCIDRs) == 0 {
		r.podCIDRs = r.nodeCIDRs()
	}
	r.shared = r.flatRanges()
	return r
}

// private are the ranges that a virtual network is made of, as a rule
// (RFC 1918, RFC 6598, RFC 4193).
var private = append(slices.Clone(defaultMasqCIDRs), netip.MustParsePrefix("100.64.0.0/10"), netip.MustParsePrefix("fc00::/7"))

// flatRanges are the ranges in which the pods of a flat network have their addresses.
// Of one that nobody described, where NodeNetworkConfigs do not name the subnets, that
// is any private address.
func (r *rules) flatRanges() []netip.Prefix {
	c := r.cluster
	if c.Network != Auto || len(c.PodCIDRs) > 0 {
		if c.flat() && len(c.PodCIDRs) == 0 {
			return c.VNetCIDRs
		}
		return nil
	}
	flat := false
	for name, phases := range r.nodes {
		for _, p := range phases {
			if p.state != nil {
				guess, ok := p.nodeMode(name)
				flat = flat || (ok && (guess.mode == PodSubnet || guess.mode == NodeSubnet))
			}
		}
	}
	var subnets []netip.Prefix
	for _, phases := range r.networks {
		for _, p := range phases {
			for _, f := range p.state.All("subnetAddressSpace") {
				if cidr, err := netip.ParsePrefix(f.Value); err == nil && !slices.Contains(subnets, cidr.Masked()) {
					subnets = append(subnets, cidr.Masked())
				}
			}
		}
	}
	switch {
	case len(c.VNetCIDRs) > 0 && (flat || len(subnets) > 0):
		return c.VNetCIDRs
	case flat && len(subnets) == 0:
		return private
	}
	slices.SortFunc(subnets, func(a, b netip.Prefix) int { return strings.Compare(a.String(), b.String()) })
	return subnets
}

// nodeCIDRs are the ranges that nodes have, or had, for their pods.
func (r *rules) nodeCIDRs() []netip.Prefix {
	found := make(map[netip.Prefix]bool)
	for _, phases := range r.nodes {
		for _, p := range phases {
			for _, f := range p.state.All("podCIDR") {
				if cidr, err := netip.ParsePrefix(f.Value); err == nil {
					found[cidr.Masked()] = true
				}
			}
		}
	}
	return slices.SortedFunc(maps.Keys(found), func(a, b netip.Prefix) int { return strings.Compare(a.String(), b.String()) })
}

func appendBounds(bounds []int64, phases []phase) []int64 {
	for _, p := range phases {
		bounds = append(bounds, p.from)
		if p.to != Open {
			bounds = append(bounds, p.to)
		}
	}
	return bounds
}

// of are the rules of a node.
func (r *rules) of(node string) *nodeRules {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := r.byNode[node]
	if n == nil {
		n = &nodeRules{rules: r, name: node}
		n.bounds = appendBounds(appendBounds(slices.Clone(r.bounds), r.nodes[node]), r.networks[node])
		slices.Sort(n.bounds)
		n.bounds = slices.Compact(n.bounds)
		n.sets = make([][]policy, len(n.bounds)+1)
		for i := range n.sets {
			t := int64(-1)
			if i > 0 {
				t = n.bounds[i-1]
			}
			n.sets[i] = r.policiesAt(node, t)
		}
		r.byNode[node] = n
	}
	return n
}

// policiesAt are all policies that a node may have had at a moment.
func (r *rules) policiesAt(node string, t int64) []policy {
	c := r.cluster
	if len(c.NonMasqueradeCIDRs) > 0 {
		return []policy{{mode: c.Network, list: c.NonMasqueradeCIDRs, rest: Always, local4: true, local6: true, why: []Reason{{Says: "nonMasqueradeCIDRs in the configuration"}}}}
	}
	modes, windows := r.modesAt(node, t)
	cilium := r.remoteNodesAt(node, t)
	var out []policy
	for _, config := range masqConfigsAt(r.configs, t) {
		for _, m := range modes {
			p := r.policy(m, &config)
			if windows {
				p.list, p.rest, p.vague = nil, Perhaps, true // HNS translates; its rules are not known
			}
			p.nodes = cilium
			out = append(out, p)
		}
	}
	return out
}

// policy is what a node of a mode does with a config.
func (r *rules) policy(m modeGuess, config *masqConfig) policy {
	p := r.cluster.named(m.mode, r.podCIDRs)
	p.unwatched, p.weak = config.unwatched, m.weak
	p.why = append(slices.Clip(m.why), config.why...)
	switch {
	case config.valid && m.mode == PodSubnet:
		// The mode needs no agent. Where there is a list, perhaps somebody runs one.
		p.list, p.rest = config.list, Perhaps
		p.local4, p.local6 = config.local4 || config.unwatched, config.local6 || config.unwatched
	case config.valid:
		p.list, p.rest, p.vague = config.list, Always, false
		p.local4, p.local6 = config.local4 || config.unwatched, config.local6 || config.unwatched
		p.hosts = m.weak || m.mode == Auto
	case m.weak:
		p.list, p.rest, p.vague = nil, Perhaps, true
	}
	return p
}

// remoteNodesAt says whether traffic to other nodes may be masqueraded whatever the
// lists say: where Cilium is, and its flag is not known to be off.
func (r *rules) remoteNodesAt(node string, t int64) bool {
	cilium, on := false, false
	for _, p := range phasesAt(r.nodes[node], t) {
		cilium = cilium || p.state.Get("label/kubernetes.azure.com/ebpf-dataplane") == "cilium"
	}
	for _, p := range phasesAt(r.configs[ciliumConfigMap], t) {
		cilium = cilium || p.state != nil
		on = on || p.unknown || p.state.Get("data/enable-remote-node-masquerade") == "true"
	}
	return cilium && on
}

// masking says whether a node may have put its address in place of a pod's.
type masking struct {
	can bool
	// until is, where it can not have, when it may have last before: connections that
	// were opened then keep their translation. 0: never.
	until int64
	note  string
}

// certain says whether a node surely put its own address in place of a pod's.
func (n *nodeRules) certain(to netip.Addr, port uint16, span flow.Span, tolerance int64) bool {
	node := n.isNode(to)
	for k := n.interval(span.From - tolerance); k <= n.interval(span.To+tolerance); k++ {
		for p := range n.sets[k] {
			if policy := &n.sets[k][p]; policy.masks(to, port, node) != Always {
				return false
			}
		}
	}
	return true
}

// masking is what can be said of a flow that began in a span. tolerance widens it.
func (n *nodeRules) masking(to netip.Addr, port uint16, span flow.Span, tolerance int64) masking {
	node := to.IsValid() && n.isNode(to)
	i, j := n.interval(span.From-tolerance), n.interval(span.To+tolerance)
	var m masking
	always, vague, unwatched := true, false, false
	for k := i; k <= j; k++ {
		for p := range n.sets[k] {
			policy := &n.sets[k][p]
			does := Always
			if to.IsValid() {
				does = policy.masks(to, port, node)
			}
			m.can = m.can || does != Never
			always = always && does == Always
			vague, unwatched = vague || policy.vague, unwatched || policy.unwatched
		}
	}
	switch {
	case m.can && vague:
		m.note = noteMode
	case !m.can && unwatched:
		m.note = noteRules
	case m.can && !always:
		m.note = notePerhaps
	}
	for k := i - 1; k >= 0 && !m.can; k-- {
		if slices.ContainsFunc(n.sets[k], func(p policy) bool { return p.masks(to, port, node) != Never }) {
			m.until = n.bounds[k]
			break
		}
	}
	if m.until != 0 && m.note == "" {
		m.note = noteOld
	}
	return m
}

func (n *nodeRules) interval(t int64) int {
	return sort.Search(len(n.bounds), func(i int) bool { return n.bounds[i] > t })
}

const (
	noteMode    = "the cluster's network mode is not known; the answer assumes that its nodes masquerade"
	noteRules   = "nobody watched the ConfigMaps about masquerading then; the answer rests on the network mode's default"
	notePerhaps = "whether the node masqueraded this then is not certain; the answer assumes that it did"
	noteOld     = "the node did not masquerade this then, but had before: connections from then keep its address"
)
