//go:build e2e

package rig

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"

	"github.com/whichpod/whichpod/attribution"
	"github.com/whichpod/whichpod/benchmarks/scenario"
)

// Node is a node: a namespace with one network interface into the VNet.
type Node struct {
	*Namespace
	NodeConfig
}

// NodeConfig says what a node is to be.
type NodeConfig struct {
	MAC       string       // of the interface: 12 upper-case hex digits, as the flow log has it
	Addresses []netip.Addr // its own, one for each address family
	PodCIDRs  []netip.Prefix
	// Zone keeps clusters apart that use the same addresses for their pods, 0 where
	// they are the VNet's own. ClusterCIDRs are all such addresses of the cluster.
	Zone         uint16
	ClusterCIDRs []netip.Prefix
}

// NewNode makes a node. What goes to its pods is routed to it, as AKS does for all its
// modes; where they have a zone, only from the nodes of the same one.
func NewNode(t testing.TB, name string, c NodeConfig) *Node {
	t.Helper()
	n := &Node{NewNamespace(t, name), c}
	wire(t, VNet, n.Namespace, c.Addresses)
	n.Set(t, "net.ipv4.ip_forward", 1)
	n.Set(t, "net.ipv6.conf.all.forwarding", 1)
	table := "main"
	if c.Zone != 0 {
		table = fmt.Sprint(100 + c.Zone)
		VNet.Do(t, fmt.Sprintf("ip rule add iif %s lookup %s", name, table))
		VNet.Do(t, fmt.Sprintf("ip -6 rule add iif %s lookup %s", name, table))
	}
	for _, p := range c.PodCIDRs {
		for _, a := range c.Addresses {
			if a.Is4() == p.Addr().Is4() {
				VNet.Do(t, fmt.Sprintf("ip route add %s via %s dev %s onlink table %s", p, a, name, table))
			}
		}
	}
	for _, p := range c.ClusterCIDRs {
		for _, end := range []string{"-s", "-d"} {
			VNet.Do(t, fmt.Sprintf("%s -t raw -A PREROUTING -i %s %s %s -j CT --zone %d", tool(p.Addr().Is4()), name, end, p, c.Zone))
		}
	}
	return n
}

// NewPod makes a pod on the node: a namespace behind it.
func (n *Node) NewPod(t testing.TB, name string, addresses []netip.Addr) *Namespace {
	t.Helper()
	p := NewNamespace(t, name)
	wire(t, n.Namespace, p, addresses)
	return p
}

// Behind says whether the address is seen behind the node's interface.
func (n *Node) Behind(a netip.Addr) bool {
	return slices.Contains(n.Addresses, a) || slices.ContainsFunc(n.PodCIDRs, func(p netip.Prefix) bool { return p.Contains(a) })
}

// Masquerade gives a node the rules of a network mode (facts of each mode:
// attribution/masquerade.go). nonMasquerade are the destinations that its ip-masq-agent
// leaves alone; pod-subnet has no such agent.
func (n *Node) Masquerade(t testing.TB, mode attribution.Network, nonMasquerade []netip.Prefix) {
	t.Helper()
	if mode == attribution.PodSubnet {
		n.swift(t)
		return
	}
	for _, a := range n.Addresses {
		n.masqAgent(t, a.Is4(), nonMasquerade)
	}
}

// masqAgent are the rules of ip-masq-agent (Azure/ip-masq-agent-v2,
// cmd/ip-masq-agent-v2), with masqLinkLocal set, as AKS does.
func (n *Node) masqAgent(t testing.TB, four bool, nonMasquerade []netip.Prefix) {
	t.Helper()
	nat := tool(four) + " -t nat "
	n.Do(t, nat+"-N IP-MASQ-AGENT")
	n.Do(t, nat+"-A POSTROUTING -m addrtype ! --dst-type LOCAL -j IP-MASQ-AGENT")
	for _, p := range nonMasquerade {
		if p.Addr().Is4() == four {
			n.Do(t, fmt.Sprintf("%s-A IP-MASQ-AGENT -d %s -j RETURN", nat, p))
		}
	}
	n.Do(t, nat+"-A IP-MASQ-AGENT -j MASQUERADE")
}

// swift are the rules of CNS under pod-subnet (Azure/azure-container-networking,
// cns/restserver/internalapi_linux.go): only Azure's own DNS and the metadata service
// see the node's address.
func (n *Node) swift(t testing.TB) {
	t.Helper()
	const nat = "iptables -t nat "
	n.Do(t, nat+"-N SWIFT-POSTROUTING")
	n.Do(t, nat+"-A POSTROUTING -j SWIFT-POSTROUTING")
	for _, e := range scenario.Platform {
		to := fmt.Sprintf("%s -p %s --dport %d", e.Address.Addr(), e.Protocol, e.Address.Port())
		for _, p := range n.PodCIDRs {
			if p.Addr().Is4() {
				n.Do(t, fmt.Sprintf("%s-A SWIFT-POSTROUTING -m addrtype ! --dst-type LOCAL -s %s -d %s -j SNAT --to %s", nat, p, to, n.Addresses[0]))
			}
		}
	}
}

// ClearMasquerade takes a node's rules away. Connections keep what they have.
func (n *Node) ClearMasquerade(t testing.TB) {
	t.Helper()
	for _, four := range []bool{true, false} {
		n.Do(t, tool(four)+" -t nat -F")
		n.Do(t, tool(four)+" -t nat -X")
	}
}

// tool is iptables of an address family.
func tool(four bool) string {
	if four {
		return "iptables"
	}
	return "ip6tables"
}

// Track makes a namespace track connections, with counters. Those that ended are
// forgotten after a second or so, so that their ports are used again.
func (n *Namespace) Track(t testing.TB) {
	t.Helper()
	for _, four := range []bool{true, false} {
		for _, chain := range []string{"INPUT", "OUTPUT", "FORWARD"} {
			n.Do(t, tool(four)+" -A "+chain+" -m conntrack --ctstate INVALID")
		}
	}
	n.Set(t, "net.netfilter.nf_conntrack_acct", 1)
	for name, seconds := range map[string]int{"tcp_timeout_time_wait": 2, "tcp_timeout_close": 1, "tcp_timeout_close_wait": 2, "tcp_timeout_last_ack": 2, "tcp_timeout_fin_wait": 5, "udp_timeout": 3, "udp_timeout_stream": 5} {
		n.Set(t, "net.netfilter.nf_conntrack_"+name, seconds)
	}
}
