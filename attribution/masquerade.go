package attribution

import "net/netip"

// azureHosts are Azure's own service addresses at every virtual machine: DNS with
// DHCP and health probes, and the instance metadata service
// (https://learn.microsoft.com/azure/virtual-network/what-is-ip-address-168-63-129-16).
// Under pod-subnet, the node's chain SWIFT-POSTROUTING masquerades exactly these
// destinations (Azure/azure-container-networking cns/restserver/internalapi_linux.go).
var azureHosts = []struct {
	addr netip.Addr
	port uint16
}{
	{netip.AddrFrom4([4]byte{168, 63, 129, 16}), 53},
	{netip.AddrFrom4([4]byte{169, 254, 169, 254}), 80},
}

// masquerades says whether a node of the cluster may put its own address in place of
// a pod's on the way to this destination. Where that is unknown the answer is yes:
// `masked` names more candidates than `host`. So too for link-local destinations,
// which ip-masq-agent leaves alone unless masqLinkLocal is set, as AKS does.
func (c *Cluster) masquerades(to netip.Addr, port uint16) bool {
	if len(c.NonMasqueradeCIDRs) > 0 {
		return !within(to, c.NonMasqueradeCIDRs)
	}
	switch c.Network {
	case Kubenet, Overlay:
		return !within(to, c.PodCIDRs)
	case NodeSubnet:
		return !within(to, c.VNetCIDRs)
	case PodSubnet:
		for _, h := range azureHosts {
			if h.addr == to && h.port == port {
				return true
			}
		}
		return false
	default:
		return true
	}
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
