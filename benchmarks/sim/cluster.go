package sim

import (
	"fmt"
	"math/rand/v2"
	"net/netip"

	"github.com/whichpod/whichpod/benchmarks/scenario"
)

// NIC is an interface that writes a flow log: a node's, or that of a VM in the VNet.
type NIC struct {
	MAC  string // 12 upper-case hex digits
	Name string // node or VM
	Node bool   // of the cluster
	IP   netip.Addr
	IP6  netip.Addr // invalid without dual stack
	Skew int64      // ms that the log's host clock is ahead of the API server's
	// KubeletSkew is the same of the clock inside the node. The two differ: one is the
	// host's, the other the VM's own.
	KubeletSkew int64

	next        *Life // the node that takes this one's place, or nil
	recordPhase int64 // ms after the minute at which its records are written
}

// maxPerNode is how many addresses a /24 has for pods: without the network, the
// bridge and the broadcast address, rounded down.
const maxPerNode = 250

// What no other scenario has.
var (
	scanners  = scenario.Others{scenario.Addresses("198.51.100.201", "203.0.113.250", "192.0.2.199"), scenario.Addresses("2001:db8:bad::1")}
	apiServer = netip.MustParseAddr("20.42.65.90")
)

const numVMs = 3

// families returns the prefixes that are in use: the IPv6 one only with dual stack.
func (c *Config) families(both []netip.Prefix) []netip.Prefix {
	if c.DualStack {
		return both
	}
	return both[:1]
}

// podCIDRs are where the mode's pods have their addresses.
func (c *Config) podCIDRs() []netip.Prefix {
	switch c.Mode {
	case NodeSubnet:
		return c.families(scenario.NodesSubnet)
	case PodSubnet:
		return c.families(scenario.PodsSubnet)
	default:
		return c.families(scenario.PodCIDRs)
	}
}

// makeNICs returns the nodes' interfaces, then those of the VMs.
func makeNICs(cfg *Config) []NIC {
	r := stream(cfg.Seed, "nics", 0)
	skews := stream(cfg.Seed, "clocks", 0)
	pool := between(r, 10000000, 49999999)
	var out []NIC
	for i := range cfg.Nodes + numVMs {
		n := NIC{
			MAC:         fmt.Sprintf("000D3A%02X%04X", r.IntN(256), 0x1000+cfg.NodesFrom+i),
			recordPhase: between(r, 0, 59999),
			Skew:        skew(skews, cfg), KubeletSkew: skew(skews, cfg),
		}
		if i < cfg.Nodes {
			n.Name, n.Node = fmt.Sprintf("aks-np1-%d-vmss%06d", pool, i), true
			n.IP = plus(scenario.NodesSubnet[0], 4+cfg.NodesFrom+i)
			n.IP6 = plus(scenario.NodesSubnet[1], 4+cfg.NodesFrom+i)
		} else {
			n.Name = fmt.Sprintf("vm-%d", i-cfg.Nodes)
			n.IP = plus(scenario.VMsSubnet[0], 4+cfg.NodesFrom+i-cfg.Nodes)
			n.IP6 = plus(scenario.VMsSubnet[1], 4+cfg.NodesFrom+i-cfg.Nodes)
		}
		if !cfg.DualStack {
			n.IP6 = netip.Addr{}
		}
		out = append(out, n)
	}
	replaceNodes(cfg, out)
	return out
}

// skew draws a clock's error; it draws even when it is zero, so that switching the
// fault on shifts nothing else.
func skew(r *rand.Rand, cfg *Config) int64 {
	return int64((2*r.Float64() - 1) * float64(ms(cfg.Faults.ClockSkew)))
}

// plus returns the n-th address of a prefix, n below 65,536.
func plus(p netip.Prefix, n int) netip.Addr {
	if p.Addr().Is4() {
		a := p.Addr().As4()
		a[2] += byte(n >> 8)
		a[3] += byte(n)
		return netip.AddrFrom4(a)
	}
	a := p.Addr().As16()
	a[14] += byte(n >> 8)
	a[15] += byte(n)
	return netip.AddrFrom16(a)
}

// podAddress is address number n of a pool: of a node's /24, or of the whole subnet.
func (c *Config) podAddress(node, n int) (v4, v6 netip.Addr) {
	switch c.Mode {
	case NodeSubnet: // above the nodes, which have the first 256
		v4, v6 = plus(scenario.NodesSubnet[0], 256+n), plus(scenario.NodesSubnet[1], 256+n)
	case PodSubnet:
		v4, v6 = plus(scenario.PodsSubnet[0], 4+n), plus(scenario.PodsSubnet[1], 4+n)
	default: // .0 is the network, .1 the bridge
		v4, v6 = plus(scenario.PodCIDRs[0], node<<8+2+n), plus(scenario.PodCIDRs[1], node<<8+2+n)
	}
	if !c.DualStack {
		v6 = netip.Addr{}
	}
	return v4, v6
}
