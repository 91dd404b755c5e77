package attribution

import (
	"net/netip"
)

// azureHosts are Azure's own service addresses at every virtual machine: DNS with
// DHCP and health probes, and the instance metadata service
// (https://learn.microsoft.com/azure/virtual-network/what-is-ip-address-168-63-129-16).
// Under pod-subnet, the node's chain SWIFT-POSTROUTING masquerades exactly these
// destinations (Azure/azure-container-networking cns/restserver/internalapi_linux.go).
var azureHosts = []netip.AddrPort{
	netip.AddrPortFrom(netip.AddrFrom4([4]byte{168, 63, 129, 16}), 53),
	netip.AddrPortFrom(netip.AddrFrom4([4]byte{169, 254, 169, 254}), 80),
}

func isAzureHost(to netip.Addr, port uint16) bool {
	for _, h := range azureHosts {
		if h == netip.AddrPortFrom(to, port) {
			return true
		}
	}
	return false
}

// everywhere are all addresses.
var everywhere = []netip.Prefix{netip.PrefixFrom(netip.IPv4Unspecified(), 0), netip.PrefixFrom(netip.IPv6Unspecified(), 0)}

// Masks says whether a node puts its own address in place of a pod's.
type Masks uint8

const (
	Never Masks = iota
	Perhaps
	Always
)

// policy is one set of rules that a node may have had.
type policy struct {
	mode Network // Auto: not known

	list   []netip.Prefix // destinations that are not masqueraded
	rest   Masks          // what holds for all others
	local4 bool           // 169.254.0.0/16 is no exception
	local6 bool           // nor is fe80::/10
	hosts  bool           // azureHosts are masqueraded, whatever the list says
	nodes  bool           // other nodes may be, whatever the list says: Cilium's enable-remote-node-masquerade

	weak      bool // the mode is unproven
	vague     bool // the mode is not certain, and no list tells
	unwatched bool // nobody saw the ConfigMaps that may have said otherwise
	why       []Reason
}

// masks says what the policy does on the way to a destination. node says whether that
// is a node's address.
//
// Sources: Azure/ip-masq-agent-v2 cmd/ip-masq-agent-v2/ip-masq-agent.go (the test is on
// the destination only); for Cilium Azure/azure-container-networking
// test/integration/manifests/cilium.
func (p *policy) masks(to netip.Addr, port uint16, node bool) Masks {
	switch {
	case p.hosts && isAzureHost(to, port):
		return Always
	case to.IsLinkLocalUnicast() && to.Is4() && !p.local4, to.IsLinkLocalUnicast() && to.Is6() && !p.local6:
		return Never
	case !within(to, p.list):
		return p.rest
	case p.nodes && node:
		return Perhaps
	default:
		return Never
	}
}

// named is the policy that a mode's name stands for: where neither the configuration
// nor a ConfigMap says more.
func (c *Cluster) named(mode Network, podCIDRs []netip.Prefix) policy {
	p := policy{mode: mode, rest: Always, local4: true, local6: true}
	switch mode {
	case Kubenet, Overlay:
		p.list = podCIDRs
	case NodeSubnet:
		p.list = c.VNetCIDRs
		if len(p.list) == 0 {
			p.rest = Perhaps
		}
	case PodSubnet:
		p.list, p.hosts = everywhere, true
	default:
		p.rest, p.vague = Perhaps, true
	}
	return p
}

// flat says whether pods have addresses of the virtual network.
func (c *Cluster) flat() bool { return c.Network == NodeSubnet || c.Network == PodSubnet }

func within(a netip.Addr, prefixes []netip.Prefix) bool {
	for _, p := range prefixes {
		if p.Contains(a) {
			return true
		}
	}
	return false
}
