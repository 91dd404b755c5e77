//go:build e2e

package nat_test

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/whichpod/whichpod/attribution"
	"github.com/whichpod/whichpod/benchmarks/scenario"
	"github.com/whichpod/whichpod/e2e/process"
	"github.com/whichpod/whichpod/e2e/rig"
)

// Who is in the VNet besides the clusters, or behind it.
const (
	client     = "10.224.0.98" // a VM that calls a node's port
	service    = "10.0.0.10"   // the address of a service of each cluster
	nodePort   = 30080
	podPort    = 8080
	nodeServer = 9100 // of a server on the nodes
)

// internet6 is what others have over IPv6.
const internet6 = attribution.Internet + ", IPv6"

// others are the servers that are no pods, by what they are, in the words of "bench plugins".
var others = map[attribution.Class][]string{
	attribution.Internet: {at("tcp", scenario.Internet[0][0], 443), at("udp", scenario.Internet[0][0], 443)},
	internet6:            {at("tcp", scenario.Internet[1][0], 443)},
	attribution.Beyond:   {at("tcp", scenario.Peered[0][0], 443), at("tcp", scenario.Premises[0][0], 443)},
	attribution.InVNet:   {at("tcp", scenario.VMsSubnet[0].Addr().Next(), 5432)},
	attribution.Platform: platform(),
}

func at(protocol string, a netip.Addr, port uint16) string {
	return scenario.Endpoint{Protocol: protocol, Address: netip.AddrPortFrom(a, port)}.String()
}

func platform() (out []string) {
	for _, e := range scenario.Platform {
		out = append(out, e.String())
	}
	return out
}

// plan is what a cluster is to be.
type plan struct {
	mode attribution.Network
	// pods are the address ranges of the pods on its two nodes.
	pods [2]string
	// zone is not 0 where other clusters may have the same.
	zone uint16
}

// Kubenet and Overlay have the same addresses for their pods.
var plans = []plan{
	{attribution.Kubenet, [2]string{"10.244.1.0/24 fd12:3456:789a::1:0/112", "10.244.2.0/24 fd12:3456:789a::2:0/112"}, 1},
	{attribution.Overlay, [2]string{"10.244.1.0/24 fd12:3456:789a::1:0/112", "10.244.2.0/24 fd12:3456:789a::2:0/112"}, 2},
	{attribution.NodeSubnet, [2]string{"10.224.101.0/24", "10.224.102.0/24"}, 0},
	{attribution.PodSubnet, [2]string{"10.225.1.0/24", "10.225.2.0/24"}, 0},
}

const podsPerNode = 5

// ports are the ranges from which everybody on a node takes the ports of outgoing
// connections. On both nodes the pods often have the same port, to the same server:
// then the node gives one of them another, and later the first one's to the other.
// Linux has 28,000 ports for this, and keeps one for two minutes after its connection;
// here it is seconds. With few ports, many are given on in the moment in which they
// become free, which is closer than clocks can be told apart: it must be said of no
// row that it is exact and wrong, but many must stay masked.
var ports = [2]struct{ name, low, high string }{{", few ports", "40000", "40031"}, {"", "32768", "40959"}}

// cluster is a cluster with what runs in it.
type cluster struct {
	*rig.Cluster
	plan
	nodeServers []*rig.Server      // on the nodes themselves
	hosts       []*process.Process // callers there
}

// newCluster makes a cluster, without pods.
func newCluster(t *testing.T, number int, p plan) *cluster {
	t.Helper()
	c := &cluster{Cluster: &rig.Cluster{Name: string(p.mode), Mode: p.mode}, plan: p}
	for i := range p.pods {
		host := number*10 + 4 + i
		config := rig.NodeConfig{MAC: fmt.Sprintf("000D3A0%d0%d00", number, i), Zone: p.zone, PodCIDRs: prefixes(p.pods[i]),
			Addresses: []netip.Addr{netip.AddrFrom4([4]byte{10, 224, 0, byte(host)}), netip.MustParseAddr(fmt.Sprintf("fd00:224::%d", host))}}
		if p.zone != 0 {
			config.ClusterCIDRs = scenario.PodCIDRs
		}
		n := rig.NewNode(t, fmt.Sprintf("%s-%d", p.mode, i), config)
		n.Track(t)
		n.Set(t, "net.ipv4.ip_local_port_range", ports[i].low+" "+ports[i].high)
		keep, _ := scenario.Mode(p.mode).Unmasqueraded()
		n.Masquerade(t, p.mode, keep)
		c.nodeServers = append(c.nodeServers, n.Serve(t, "", fmt.Sprintf("tcp/%s:%d", n.Addresses[0], nodeServer)))
		c.Nodes = append(c.Nodes, n)
	}
	return c
}

// fill makes the pods. Until they begin to call, only the nodes themselves do.
func (c *cluster) fill(t *testing.T) {
	t.Helper()
	for _, n := range c.Nodes {
		c.hosts = append(c.hosts, n.Call(t, "", []string{"-every", "600ms"}, others[attribution.Internet]...))
	}
	for slot := range podsPerNode {
		for i := range c.Nodes {
			p := c.newPod(t, i, slot)
			if slot == 0 {
				p.Serve(t, podPort)
			}
		}
	}
	for i := range c.Nodes {
		c.expose(t, i)
	}
}

// begin lets the pods call.
func (c *cluster) begin(t *testing.T) {
	t.Helper()
	for i, p := range c.Pods {
		c.call(t, p, i/len(c.Nodes))
	}
}

// newPod makes the pod of a slot. Who follows another in it has the same addresses.
func (c *cluster) newPod(t *testing.T, node, slot int) *rig.Pod {
	t.Helper()
	var addresses []netip.Addr
	for _, p := range c.Nodes[node].PodCIDRs {
		a := p.Addr()
		for range 10 + slot {
			a = a.Next()
		}
		addresses = append(addresses, a)
	}
	p := c.NewPod(t, c.Nodes[node], fmt.Sprintf("%s-%d-%d", []string{"api", "web", "long", "batch", "job"}[slot], node, len(c.Pods)), addresses)
	p.Set(t, "net.ipv4.ip_local_port_range", ports[node].low+" "+ports[node].high)
	return p
}

// server is the pod on a node that serves.
func (c *cluster) server(node int) *rig.Pod { return c.Pods[node] }

// expose does for a node what kube-proxy does: the service's address is another for
// the server on the other node, and so is a port of the node itself, for which the
// caller gets the node's address.
func (c *cluster) expose(t *testing.T, node int) {
	t.Helper()
	const nat = "iptables -t nat "
	n, to := c.Nodes[node], fmt.Sprintf("%s:%d", c.server(1 - node).Addresses[0], podPort)
	n.Do(t, fmt.Sprintf(nat+"-A PREROUTING -p tcp -d %s --dport 80 -j DNAT --to-destination %s", service, to))
	n.Do(t, fmt.Sprintf(nat+"-A PREROUTING -p tcp -d %s --dport %d -j MARK --set-mark 0x4000", n.Addresses[0], nodePort))
	n.Do(t, fmt.Sprintf(nat+"-A PREROUTING -p tcp -d %s --dport %d -j DNAT --to-destination %s", n.Addresses[0], nodePort, to))
	n.Do(t, nat+"-I POSTROUTING -m mark --mark 0x4000 -j MASQUERADE")
}

// call lets a pod call everybody. Those of one slot hold on.
func (c *cluster) call(t *testing.T, p *rig.Pod, slot int) {
	t.Helper()
	node := 0
	if p.Node == c.Nodes[1] {
		node = 1
	}
	var targets []string
	for _, list := range others {
		for _, target := range list {
			if len(p.Addresses) > 1 || !strings.Contains(target, "[") {
				targets = append(targets, target)
			}
		}
	}
	for _, a := range c.server(1 - node).Addresses {
		targets = append(targets, "tcp/"+netip.AddrPortFrom(a, podPort).String())
	}
	if slot > 0 { // who serves does not call itself
		targets = append(targets, "tcp/"+netip.AddrPortFrom(c.server(node).Addresses[0], podPort).String())
	}
	targets = append(targets, fmt.Sprintf("tcp/%s:80", service), fmt.Sprintf("tcp/%s:%d", c.Nodes[1-node].Addresses[0], nodeServer))
	p.Call(t, []string{"-every", "900ms"}, targets...)
	if slot == 2 {
		p.Call(t, []string{"-every", "1s", "-hold", "12s"}, others[attribution.Internet]...)
	}
}

// class is what a destination is, for a caller on a node.
func (c *cluster) class(n *rig.Node, to netip.AddrPort) attribution.Class {
	for class, list := range others {
		for _, target := range list {
			if _, address, _ := strings.Cut(target, "/"); netip.MustParseAddrPort(address) == to {
				return class
			}
		}
	}
	switch a := to.Addr(); {
	case a == c.Nodes[0].Addresses[0] || a == c.Nodes[1].Addresses[0]:
		return attribution.NodeOwn
	case n.Behind(a):
		return attribution.SameNode
	default:
		return attribution.OtherNode
	}
}

// local says whether a call is of a pod to another on the same node.
func (c *cluster) local(call rig.Call) bool {
	var from, to *rig.Node
	for _, p := range c.Pods {
		if p.UID == call.UID {
			from = p.Node
		}
		if p.UID == call.Server {
			to = p.Node
		}
	}
	return from != nil && from == to
}

// prefixes reads CIDRs.
func prefixes(text string) []netip.Prefix {
	var out []netip.Prefix
	for _, f := range strings.Fields(text) {
		out = append(out, netip.MustParsePrefix(f))
	}
	return out
}

// end ends the pods of the last slot.
func (c *cluster) end(t *testing.T) {
	t.Helper()
	for i := range c.Nodes {
		c.Pods[(podsPerNode-1)*len(c.Nodes)+i].End(t)
	}
}

// replace makes others in their place.
func (c *cluster) replace(t *testing.T) {
	t.Helper()
	for i := range c.Nodes {
		c.call(t, c.newPod(t, i, podsPerNode-1), podsPerNode-1)
	}
}

// servers are those in the cluster.
func (c *cluster) servers() []*rig.Server {
	out := c.nodeServers
	for _, p := range c.Pods {
		if p.Server != nil {
			out = append(out, p.Server)
		}
	}
	return out
}
