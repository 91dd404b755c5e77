package attribution

import (
	"net/netip"
	"slices"
	"strings"
)

// modeGuess is a network mode that a node may have.
type modeGuess struct {
	mode Network
	weak bool // it rests on what is missing, or on what other plugins set too: unproven
	why  []Reason
}

// modesAt are the modes that a node may have had at a moment, and whether it is one of
// Windows. What the cluster shows comes before what the configuration says. Sources:
// Azure/karpenter-provider-azure, Azure/AgentBaker and Azure/azure-container-networking
// for labels and NodeNetworkConfig; that a podCIDR tells overlay or kubenet from the
// flat modes is the Kubernetes API's meaning, and unproven for AKS.
func (r *rules) modesAt(node string, t int64) (modes []modeGuess, windows bool) {
	add := func(g modeGuess) {
		if !slices.ContainsFunc(modes, func(have modeGuess) bool { return have.mode == g.mode && have.weak == g.weak }) {
			modes = append(modes, g)
		}
	}
	for _, p := range phasesAt(r.networks[node], t) {
		for _, g := range p.networkModes(node) {
			add(g)
		}
	}
	states := slices.DeleteFunc(phasesAt(r.nodes[node], t), func(p phase) bool { return p.state == nil })
	if len(states) == 0 { // before it was registered, or after it went: as at any other time
		states = slices.DeleteFunc(slices.Clone(r.nodes[node]), func(p phase) bool { return p.state == nil })
	}
	for _, p := range states {
		windows = windows || p.state.Get("label/kubernetes.io/os") == "windows"
		if g, ok := p.nodeMode(node); ok {
			add(g)
		}
	}
	strong := slices.ContainsFunc(modes, func(g modeGuess) bool { return !g.weak })
	if strong || r.cluster.Network != Auto {
		modes = slices.DeleteFunc(modes, func(g modeGuess) bool { return g.weak })
	}
	if r.cluster.Network != Auto {
		add(modeGuess{mode: r.cluster.Network, why: []Reason{{Says: "network in the configuration"}}})
	}
	if len(modes) == 0 {
		add(modeGuess{mode: Auto})
	}
	for _, p := range phasesAt(r.configs[upgradeConfigMap], t) {
		if p.state != nil {
			why := []Reason{{Object: "configmap kube-system/" + upgradeConfigMap, Version: p.version, Says: "an upgrade from node subnet to overlay is under way"}}
			add(modeGuess{mode: NodeSubnet, why: why})
			add(modeGuess{mode: Overlay, why: why})
		}
	}
	return modes, windows
}

// networkModes are the modes that a NodeNetworkConfig speaks for.
func (p *phase) networkModes(node string) []modeGuess {
	var out []modeGuess
	for _, f := range p.state.All("type") {
		why := []Reason{{Object: "nodenetworkconfig kube-system/" + node, Version: p.version, Says: "type " + f.Value}}
		switch strings.ToLower(f.Value) {
		case "overlay":
			out = append(out, modeGuess{mode: Overlay, why: why})
		case "vnet", "vnetblock":
			if p.nodeInPodSubnet() {
				out = append(out, modeGuess{mode: NodeSubnet, why: why})
			}
			out = append(out, modeGuess{mode: PodSubnet, why: why})
		}
	}
	return out
}

// nodeInPodSubnet says whether the node has its own address in the subnet of its pods.
func (p *phase) nodeInPodSubnet() bool {
	for _, space := range p.state.All("subnetAddressSpace") {
		for _, ip := range p.state.All("nodeIP") {
			cidr, err := netip.ParsePrefix(space.Value)
			a, bad := netip.ParseAddr(ip.Value)
			if err == nil && bad == nil && cidr.Contains(a) {
				return true
			}
		}
	}
	return false
}

// nodeMode is the mode that a node's labels and ranges speak for, or false where they
// say nothing.
func (p *phase) nodeMode(node string) (modeGuess, bool) {
	const prefix = "label/kubernetes.azure.com/"
	guess := func(mode Network, weak bool, says string) (modeGuess, bool) {
		return modeGuess{mode: mode, weak: weak, why: []Reason{{Object: "node " + node, Version: p.version, Says: says}}}, true
	}
	kind := p.state.Get(prefix + "podnetwork-type")
	switch {
	case kind == "overlay":
		return guess(Overlay, false, "label podnetwork-type=overlay")
	case p.state.Get(prefix+"azure-cni-overlay") == "true":
		return guess(Overlay, false, "label azure-cni-overlay=true")
	case kind != "":
		return guess(PodSubnet, false, "label podnetwork-type="+kind)
	}
	azure := false
	for _, f := range p.state.Fields {
		if strings.HasPrefix(f.Key, prefix+"podnetwork-") {
			return guess(PodSubnet, false, "label "+strings.TrimPrefix(f.Key, prefix)+"="+f.Value)
		}
		azure = azure || strings.HasPrefix(f.Key, prefix)
	}
	switch cidr := p.state.Get("podCIDR"); {
	case cidr != "":
		return guess(Kubenet, true, "podCIDR "+cidr+" and no label of an overlay [unproven]")
	case azure:
		return guess(NodeSubnet, true, "no podCIDR and no label of a pod network [unproven]")
	}
	return modeGuess{}, false
}
