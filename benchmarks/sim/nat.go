package sim

import (
	"math/rand/v2"
	"net/netip"
)

// keepsSource says whether a pod's packet to dst leaves the node with the pod's
// address. The rule is ip-masq-agent's: everything outside the non-masquerade CIDRs is
// masqueraded (https://github.com/Azure/ip-masq-agent-v2). The CIDRs are those that AKS
// sets per mode:
//
//   - kubenet, overlay: the pod CIDR only: "Traffic from a pod to any destination
//     outside the pod CIDR block uses SNAT to set the source IP to the IP of the node"
//     (https://learn.microsoft.com/azure/aks/concepts-network-azure-cni-overlay);
//   - node subnet: the VNet: "Systems in the same virtual network as the AKS cluster
//     see the pod IP … Systems outside the AKS cluster virtual network see the node IP"
//     (https://learn.microsoft.com/azure/aks/concepts-network-legacy-cni);
//   - pod subnet: everything: "the pod IP is always the source address" (same page).
//
// Azure's DNS and instance metadata see the node's address under all: pod subnet has a rule
// for these two hosts (Azure/azure-container-networking, cns/restserver/internalapi_linux.go).
func (c *Config) keepsSource(dst netip.Addr, port uint16) bool {
	if dst == wireDNS && port == 53 || dst == imds && port == 80 {
		return false
	}
	var keep []netip.Prefix
	switch c.Mode {
	case PodSubnet:
		return true
	case NodeSubnet:
		keep = vnetCIDRs
	default:
		keep = overlayCIDRs
	}
	for _, p := range keep {
		if p.Contains(dst) {
			return true
		}
	}
	return false
}

// tuple is what tells one connection from another on the wire.
type tuple struct {
	src, dst     netip.Addr
	sport, dport uint16
	udp          bool
}

// ports remembers which tuples are taken until when: open flows, and closed ones that
// a kernel or the log still has an entry for.
type ports struct {
	busy  map[tuple]int64 // taken until, Unix ms
	sweep int64
}

// Port ranges: Linux's default for connect (ip_local_port_range), and what masquerading
// picks from when the wanted port at or above 1024 is taken (nf_nat_core.c).
const (
	ephemeralLow, ephemeralHigh = 32768, 60999
	translatedLow               = 1024

	// linuxTimeWait is how long conntrack keeps a closed connection
	// (nf_conntrack_tcp_timeout_time_wait), so that its port is still taken.
	linuxTimeWait = 120_000
	// afterlife keeps a tuple from being used again in the moment in which the log ends it.
	afterlife = 1000
)

// timeWait is how long the nodes' kernels keep a closed connection, in milliseconds.
func (c *Config) timeWait() int64 {
	if c.Traffic.TimeWait == 0 {
		return linuxTimeWait
	}
	return ms(c.Traffic.TimeWait)
}

func (p *ports) free(t tuple, at int64) bool { return p.busy[t] <= at }

// hold takes a tuple until a moment, and forgets old ones now and then.
func (p *ports) hold(t tuple, at, until int64) {
	p.busy[t] = until
	if at-p.sweep < 60_000 {
		return
	}
	p.sweep = at
	for k, until := range p.busy {
		if until <= at {
			delete(p.busy, k)
		}
	}
}

// own finds a source port for a sender's own socket: the wanted one, or the next free.
func (p *ports) own(t tuple, at int64) uint16 {
	for range ephemeralHigh - ephemeralLow + 1 {
		if p.free(t, at) {
			return t.sport
		}
		t.sport++
		if t.sport > ephemeralHigh {
			t.sport = ephemeralLow
		}
	}
	panic("sim: no source port is free")
}

// masquerade finds the port that the kernel gives a masqueraded connection: its own,
// unless another connection of the node to the same destination has it; then any free one.
func (p *ports) masquerade(r *rand.Rand, t tuple, at int64) uint16 {
	if p.free(t, at) {
		return t.sport
	}
	const span = 65536 - translatedLow
	start := r.IntN(span)
	for i := range span {
		t.sport = uint16(translatedLow + (start+i)%span)
		if p.free(t, at) {
			return t.sport
		}
	}
	panic("sim: no port is free for masquerading")
}
