// Package scenario is what simulated clusters (benchmarks/sim) and those in a real
// kernel (e2e/nat) have in common: the network modes with the destinations that they do
// not masquerade, the address plan, and whom pods call. So a cell of one table means
// what the same cell of the other does.
//
// It restates public sources and shares nothing with the code that is judged. Nothing
// here is changed; any number of goroutines may read it.
package scenario

import "net/netip"

// Mode says how pods get addresses and which destinations see a node's address
// instead (https://learn.microsoft.com/azure/aks/concepts-network-cni-overview).
type Mode string

// The four modes of AKS.
const (
	Kubenet    Mode = "kubenet"     // a range per node outside the VNet, routed
	Overlay    Mode = "overlay"     // Azure CNI Overlay: the same, by the platform
	NodeSubnet Mode = "node-subnet" // pods have addresses of the nodes' subnet
	PodSubnet  Mode = "pod-subnet"  // pods have addresses of their own subnet
)

// Modes are all modes, in the order of reports.
var Modes = []Mode{Kubenet, Overlay, NodeSubnet, PodSubnet}

// PerNode says whether each node has an address range of its own for its pods.
func (m Mode) PerNode() bool { return m == Kubenet || m == Overlay }

// The address plan, IPv4 and IPv6. AKS's own defaults where it has some: pods
// 10.244.0.0/16 and fd12:3456:789a::/64, VNet 10.224.0.0/12
// (https://learn.microsoft.com/azure/aks/azure-cni-overlay).
var (
	VNet        = Prefixes("10.224.0.0/12", "fd00:224::/48")
	NodesSubnet = Prefixes("10.224.0.0/16", "fd00:224:0:1::/64")
	PodsSubnet  = Prefixes("10.225.0.0/16", "fd00:224:0:2::/64")
	VMsSubnet   = Prefixes("10.230.0.0/16", "fd00:224:0:30::/64")
	PodCIDRs    = Prefixes("10.244.0.0/16", "fd12:3456:789a::/64") // of modes with a range per node
)

// Unmasqueraded are the destinations to which a pod's packet leaves its node with the
// pod's address; with all these are all but [Platform]. The rule is ip-masq-agent's:
// everything outside the non-masquerade CIDRs is masqueraded
// (https://github.com/Azure/ip-masq-agent-v2). The CIDRs are those that AKS sets per mode:
//
//   - kubenet, overlay: the pod CIDR only: "Traffic from a pod to any destination
//     outside the pod CIDR block uses SNAT to set the source IP to the IP of the node"
//     (https://learn.microsoft.com/azure/aks/concepts-network-azure-cni-overlay);
//   - node subnet: the VNet: "Systems in the same virtual network as the AKS cluster
//     see the pod IP … Systems outside the AKS cluster virtual network see the node IP"
//     (https://learn.microsoft.com/azure/aks/concepts-network-legacy-cni);
//   - pod subnet: everything: "the pod IP is always the source address" (same page).
func (m Mode) Unmasqueraded() (list []netip.Prefix, all bool) {
	switch m {
	case PodSubnet:
		return nil, true
	case NodeSubnet:
		return VNet, false
	default:
		return PodCIDRs, false
	}
}

// Endpoint is a port of an address that pods call.
type Endpoint struct {
	Protocol string // tcp or udp
	Address  netip.AddrPort
}

func (e Endpoint) String() string { return e.Protocol + "/" + e.Address.String() }

// Azure's own addresses.
var (
	WireDNS  = netip.MustParseAddr("168.63.129.16") // DNS and health probes
	Metadata = netip.MustParseAddr("169.254.169.254")
)

// Platform are Azure's DNS and instance metadata, which see the node's address under all
// modes: pod subnet has a rule for these (Azure/azure-container-networking,
// cns/restserver/internalapi_linux.go).
var Platform = []Endpoint{
	{"udp", netip.AddrPortFrom(WireDNS, 53)},
	{"tcp", netip.AddrPortFrom(WireDNS, 53)},
	{"tcp", netip.AddrPortFrom(Metadata, 80)},
}

// Others are machines outside of the VNet, IPv4 and IPv6.
type Others [2][]netip.Addr

// Who is outside of the VNet. Where one will do, it is the first.
var (
	Peered   = Others{Addresses("10.100.0.4", "10.100.0.5", "10.101.2.9"), Addresses("fd00:100::4", "fd00:100::5")}
	Premises = Others{Addresses("192.168.50.10", "192.168.51.20", "172.16.4.4"), Addresses("fd00:192::10")}
	Internet = Others{
		Addresses("203.0.113.66", "203.0.113.7", "198.51.100.23", "198.51.100.24", "192.0.2.80"),
		Addresses("2001:db8:beef::66", "2001:db8:beef::7"),
	}
)

// Addresses parses addresses; it panics where one is none.
func Addresses(texts ...string) []netip.Addr {
	out := make([]netip.Addr, len(texts))
	for i, t := range texts {
		out[i] = netip.MustParseAddr(t)
	}
	return out
}

// Prefixes parses prefixes; it panics where one is none.
func Prefixes(texts ...string) []netip.Prefix {
	out := make([]netip.Prefix, len(texts))
	for i, t := range texts {
		out[i] = netip.MustParsePrefix(t)
	}
	return out
}
