package sim

import (
	"math/rand/v2"
	"net/netip"
	"slices"

	"github.com/whichpod/whichpod/benchmarks/scenario"
)

// keepsSource says whether a pod's packet to dst leaves the node with the pod's
// address.
func (c *Config) keepsSource(dst netip.Addr, port uint16) bool {
	if slices.ContainsFunc(scenario.Platform, func(e scenario.Endpoint) bool { return e.Address == netip.AddrPortFrom(dst, port) }) {
		return false
	}
	keep, all := c.Mode.Unmasqueraded()
	return all || slices.ContainsFunc(keep, func(p netip.Prefix) bool { return p.Contains(dst) })
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
