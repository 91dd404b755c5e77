package attribution

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"net/netip"
	"slices"
	"strings"

	"github.com/whichpod/whichpod/flow"
)

// Pool is what the network of a node pool lets a flow log show at a moment.
type Pool struct {
	Cluster, Name string
	Nodes         int
	Modes         []Network // more than one where it is not certain; Auto: not known
	Unproven      bool      // the mode rests on what other plugins set too
	Unwatched     bool      // nobody watched all ConfigMaps about masquerading then
	Reasons       []Reason
	Shows         []Shown
	// MeanPods is how many pods are behind a node's address on average where it
	// masquerades, those on the host's network among them, and MeanBits log2 of all
	// candidates, the node itself too. Nodes whose address is not known do not count.
	MeanPods, MeanBits float64
}

// Shown is what the flow log shows as the source of a pod's traffic.
type Shown struct {
	Destination Class
	Source      Appears
	Unproven    bool           // no public row shows it (docs/verdicts.md)
	Except      []netip.Prefix // destinations of the class that are listed, and show the pod
}

// Class is where traffic goes.
type Class string

// The classes, in the order of docs/verdicts.md.
const (
	SameNode  Class = "pod on the same node"
	OtherNode Class = "pod on another node"
	NodeOwn   Class = "another node's address"
	InVNet    Class = "machine in the VNet"
	Beyond    Class = "peered VNet or on premises"
	Internet  Class = "internet"
	Platform  Class = "Azure's DNS and metadata"
)

// Appears is what stands in a row as its source.
type Appears string

const (
	ShowsPod     Appears = "pod"
	ShowsNode    Appears = "node"
	ShowsNothing Appears = "none" // there is no row at all
	ShowsUnknown Appears = "unknown"
)

// Posture says for each node pool of a cluster, or of all where its name is empty, what
// the flow log shows at a moment, sorted by cluster and pool.
func (v *View) Posture(cluster string, at int64) []Pool {
	var out []Pool
	for _, c := range v.clusters {
		if cluster != "" && c.Name != cluster {
			continue
		}
		pools := make(map[string][]string)
		for _, node := range c.nodesAt(at) {
			name := c.poolOf(node)
			pools[name] = append(pools[name], node)
		}
		for _, name := range slices.Sorted(maps.Keys(pools)) {
			out = append(out, v.pool(c, name, pools[name], at))
		}
	}
	return out
}

// nodesAt are the nodes that were there at a moment: those on record, and those that
// pods name.
func (c *clusterView) nodesAt(at int64) []string {
	var out []string
	for node, phases := range c.rules.nodes {
		if slices.ContainsFunc(phasesAt(phases, at), func(p phase) bool { return p.state != nil }) {
			out = append(out, node)
		}
	}
	for node := range c.nodes {
		if len(c.rules.nodes[node]) > 0 {
			continue
		}
		there := func(p *pod) bool {
			s := p.presenceStay(c.watched)
			return s.possibleFrom(c.tolerance) <= at && at < s.possibleTo(c.tolerance)
		}
		if slices.ContainsFunc(c.podsOn(node, false), there) {
			out = append(out, node)
		}
	}
	slices.Sort(out)
	return out
}

// poolOf is the name of a node's pool: by its label, else by the name that AKS gives
// the nodes of a scale set (aks-POOL-NUMBER-vmss…); "" where neither tells.
func (c *clusterView) poolOf(node string) string {
	for _, p := range c.rules.nodes[node] {
		for _, label := range []string{"label/kubernetes.azure.com/agentpool", "label/agentpool"} {
			if pool := p.state.Get(label); pool != "" {
				return pool
			}
		}
	}
	if parts := strings.Split(node, "-"); len(parts) == 4 && parts[0] == "aks" {
		return parts[1]
	}
	return ""
}

func (v *View) pool(c *clusterView, name string, nodes []string, at int64) Pool {
	p := Pool{Cluster: c.Name, Name: name, Nodes: len(nodes)}
	shown := make(map[Class]*Shown)
	said := make(map[string]int) // reasons, by kind of object and what it says
	for _, node := range nodes {
		rules := c.rules.of(node)
		for i := range rules.sets[rules.interval(at)] {
			policy := &rules.sets[rules.interval(at)][i]
			if !slices.Contains(p.Modes, policy.mode) {
				p.Modes = append(p.Modes, policy.mode)
			}
			p.Unproven, p.Unwatched = p.Unproven || policy.weak, p.Unwatched || policy.unwatched
			for _, r := range policy.why {
				kind, _, _ := strings.Cut(r.Object, " ")
				if key := kind + "\x00" + r.Says; said[key] == 0 {
					p.Reasons = append(p.Reasons, r)
					said[key]++
				}
			}
			for _, s := range c.shows(policy, c.addressOf(node, at)) {
				if have := shown[s.Destination]; have == nil {
					shown[s.Destination] = &s
				} else if have.Source != s.Source {
					have.Source = ShowsUnknown
				} else if !slices.Equal(have.Except, s.Except) {
					have.Except = nil
				}
			}
		}
		v.hidden(&p, c, node, at)
	}
	slices.Sort(p.Modes)
	slices.SortStableFunc(p.Reasons, func(a, b Reason) int {
		return cmp.Or(strings.Compare(a.Object, b.Object), strings.Compare(a.Says, b.Says))
	})
	for _, class := range []Class{SameNode, OtherNode, NodeOwn, InVNet, Beyond, Internet, Platform} {
		if s := shown[class]; s != nil {
			p.Shows = append(p.Shows, *s)
		}
	}
	if n := float64(len(nodes)); n > 0 {
		p.MeanPods, p.MeanBits = p.MeanPods/n, p.MeanBits/n
	}
	return p
}

// hidden adds what is behind a node's address where it masquerades.
func (v *View) hidden(p *Pool, c *clusterView, node string, at int64) {
	a := c.addressOf(node, at)
	if !a.IsValid() {
		return
	}
	r := c.nodeTimeline(node, a, masking{can: true}).over(flow.Span{From: at, To: at}, sender)
	for i := range r.Candidates {
		if !r.Candidates[i].IsNode {
			p.MeanPods++
		}
	}
	p.MeanBits += math.Log2(float64(max(1, len(r.Candidates))))
}

// addressOf is an address of a node, IPv4 where it has one, or none.
func (c *clusterView) addressOf(node string, at int64) netip.Addr {
	var all []netip.Addr
	for i := range c.machines[node] {
		if in := &c.machines[node][i]; in.possible(at, c.tolerance) {
			all = append(all, in.addresses...)
		}
	}
	if len(all) == 0 {
		for _, p := range c.podsOn(node, false) {
			all = append(all, p.id.HostAddresses...)
		}
	}
	slices.SortFunc(all, func(a, b netip.Addr) int { return cmp.Or(cmp.Compare(a.BitLen(), b.BitLen()), a.Compare(b)) })
	if len(all) == 0 {
		return netip.Addr{}
	}
	return all[0]
}

// shows is what a policy lets the flow log show, by class. near is an address of the
// node's own subnet, which stands for the VNet where that is not described.
func (c *clusterView) shows(p *policy, near netip.Addr) []Shown {
	inPods, inVNet := c.rules.podCIDRs, c.VNetCIDRs
	if p.mode == NodeSubnet || p.mode == PodSubnet {
		inPods = inVNet
		if p.mode == PodSubnet && len(inPods) == 0 {
			inPods = private
		}
	}
	if len(inVNet) == 0 && near.IsValid() {
		inVNet = []netip.Prefix{netip.PrefixFrom(near, near.BitLen())}
	}
	if len(inPods) == 0 && p.mode == NodeSubnet {
		inPods = inVNet
	}
	native := p.mode == Kubenet || p.mode == Overlay
	one := []netip.Prefix{}
	if near.IsValid() {
		one = append(one, netip.PrefixFrom(near, near.BitLen()))
	}
	out := []Shown{
		{Destination: SameNode, Source: ShowsNothing},
		{Destination: OtherNode, Source: p.source(inPods, false), Unproven: native},
		{Destination: NodeOwn, Source: p.source(one, true), Unproven: p.mode == Kubenet},
		{Destination: InVNet, Source: p.source(inVNet, false)},
		{Destination: Beyond, Source: p.source(private, false), Except: p.listed(func(l netip.Prefix) bool {
			return inside(l, private) && !overlaps(l, c.rules.podCIDRs) && !overlaps(l, inVNet)
		})},
		{Destination: Internet, Source: p.source(everywhere[:1], false), Except: p.listed(func(l netip.Prefix) bool {
			return !inside(l, private) && !overlaps(l, c.rules.podCIDRs) && !overlaps(l, inVNet)
		})},
		{Destination: Platform, Source: ShowsNode, Unproven: true},
	}
	if does := p.masks(azureHosts[0].Addr(), azureHosts[0].Port(), false); does != Always {
		out[len(out)-1].Source = sourceOf(does)
	}
	if near.IsValid() && len(c.VNetCIDRs) == 0 && p.mode == NodeSubnet {
		out[4].Except = nil // which of the list are the VNet is not known
	}
	for i := range out {
		if out[i].Source != ShowsNode {
			out[i].Except = nil
		}
	}
	return out
}

// source is what shows of traffic to ranges as a whole, but for parts that are listed.
func (p *policy) source(ranges []netip.Prefix, node bool) Appears {
	if len(ranges) == 0 {
		return ShowsUnknown
	}
	for _, r := range ranges {
		if !inside(r, p.list) {
			return sourceOf(p.rest)
		}
	}
	if p.nodes && node {
		return ShowsUnknown
	}
	return ShowsPod
}

func sourceOf(m Masks) Appears {
	switch m {
	case Never:
		return ShowsPod
	case Always:
		return ShowsNode
	default:
		return ShowsUnknown
	}
}

// listed are the prefixes of the list that pass, sorted.
func (p *policy) listed(pass func(netip.Prefix) bool) []netip.Prefix {
	var out []netip.Prefix
	for _, l := range p.list {
		if pass(l) && !slices.Contains(out, l) {
			out = append(out, l)
		}
	}
	slices.SortFunc(out, func(a, b netip.Prefix) int { return strings.Compare(a.String(), b.String()) })
	return out
}

// inside says whether a prefix lies in one of several.
func inside(p netip.Prefix, in []netip.Prefix) bool {
	return slices.ContainsFunc(in, func(o netip.Prefix) bool {
		return o.Addr().BitLen() == p.Addr().BitLen() && o.Bits() <= p.Bits() && o.Contains(p.Addr())
	})
}

// overlaps says whether a prefix has an address in common with one of several.
func overlaps(p netip.Prefix, with []netip.Prefix) bool { return slices.ContainsFunc(with, p.Overlaps) }

// Unwatched lists the kinds of objects of a cluster that nobody ever watched.
func (v *View) Unwatched(cluster string) []Kind {
	for _, c := range v.clusters {
		if c.Name == cluster {
			return slices.DeleteFunc(Kinds(), func(k Kind) bool { return c.rules.ends[k] != 0 })
		}
	}
	return nil
}

// String is the reason as a person reads it.
func (r Reason) String() string {
	switch {
	case r.Object == "":
		return r.Says
	case r.Version == 0:
		return r.Object + ": " + r.Says
	}
	return fmt.Sprintf("%s (version %d): %s", r.Object, r.Version, r.Says)
}

// LastSettled is the last moment of a cluster's watch, or of all where its name is
// empty, of which all is on record: what comes late has come. 0: nobody watched.
func (v *View) LastSettled(cluster string) int64 {
	var last int64
	for _, c := range v.clusters {
		end := c.changes.end()
		if end == 0 || (cluster != "" && c.Name != cluster) {
			continue
		}
		settled := end
		for _, watched := range c.rules.ends {
			if watched > end-MaxSilence { // it ended with that of the pods
				settled = min(settled, watched)
			}
		}
		last = max(last, settled-max(reportLag, c.late)-1)
	}
	return last
}
