package sim

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
)

// Hold is one stretch of truth: a pod held an address in [From, To), true Unix ms. It can
// lie partly outside of the run: pods of the warm-up, and those that outlive the run.
type Hold struct {
	UID     string
	Addr    netip.Addr
	From    int64
	To      int64
	Node    int  // index into World.NICs
	Host    bool // host network: the address is the node's
	Doubled bool // by fault, another pod held it already; that one's Hold is not marked
}

// pool is what hands out the addresses of a node, or of the whole cluster.
type pool struct {
	holders []int // per address, how many pods have it: two only by fault
	next    int   // where round-robin goes on
	limit   int
}

// take returns a free address other than avoid. A pool that is full grows rather than
// delay a pod: a pod's times must not depend on the mode.
func (p *pool) take(r *rand.Rand, order Allocation, avoid int) int {
	free := make([]int, 0, len(p.holders))
	for i := range p.holders {
		if n := (p.next + i) % len(p.holders); p.holders[n] == 0 && n != avoid {
			free = append(free, n)
		}
	}
	draw := r.Float64() // always once
	n := len(p.holders)
	switch {
	case len(free) == 0 && n >= p.limit:
		panic(fmt.Sprintf("sim: all %d addresses of a pool are taken: the Config wants too many pods at once", n))
	case len(free) == 0:
		p.holders = append(p.holders, 0)
	case order == RoundRobin:
		n = free[0]
	default:
		n = free[int(draw*float64(len(free)))]
	}
	p.next = n + 1
	p.holders[n]++
	return n
}

// change is one end of a sandbox's life.
type change struct {
	at   int64
	free bool
	pod  int
	box  *Sandbox
}

// changes lists all address changes in order of time; what is freed comes before what is taken
// in the same millisecond, so an address can change hands within it.
func changes(pods []*Pod) []change {
	var out []change
	for i, p := range pods {
		for j := range p.Sandboxes {
			if s := &p.Sandboxes[j]; !p.HostNetwork {
				out = append(out, change{s.From, false, i, s}, change{s.To, true, i, s})
			}
		}
	}
	slices.SortStableFunc(out, func(a, b change) int {
		if a.at != b.at {
			return cmp.Compare(a.at, b.at)
		}
		if a.free != b.free {
			if a.free {
				return -1
			}
			return 1
		}
		return cmp.Compare(a.pod, b.pod)
	})
	return out
}

// allocator hands out the addresses of a run.
type allocator struct {
	cfg    *Config
	pods   []*Pod
	pools  []*pool      // one a node, or one
	living [][]*Sandbox // per node, the sandboxes that hold an address
	order  *rand.Rand
	faults *rand.Rand
	owner  map[*Sandbox]*pool
}

// allocate gives every sandbox its addresses, in the order of time.
func allocate(cfg *Config, pods []*Pod) {
	a := &allocator{
		cfg: cfg, pods: pods, living: make([][]*Sandbox, cfg.Nodes),
		order: stream(cfg.Seed, "allocation", 0), faults: stream(cfg.Seed, "doubled", 0),
		owner: map[*Sandbox]*pool{},
	}
	size, limit, number := cfg.AddressesPerNode, maxPerNode, cfg.Nodes
	if !cfg.Mode.PerNode() {
		size, limit, number = size*cfg.Nodes, maxPerNode*cfg.Nodes, 1
	}
	for range number {
		a.pools = append(a.pools, &pool{holders: make([]int, size), limit: limit})
	}
	for _, c := range changes(pods) {
		if c.free {
			a.release(c)
		} else {
			a.give(c)
		}
	}
}

func (a *allocator) give(c change) {
	node := a.pods[c.pod].Node
	from := a.pools[node%len(a.pools)]
	if victim := a.victim(node, c.box.Doubled); victim != nil {
		c.box.index = victim.index
		from.holders[victim.index]++
	} else {
		c.box.Doubled = false
		avoid := -1 // a sandbox that is made again gets another address
		if boxes := a.pods[c.pod].Sandboxes; c.box != &boxes[0] {
			avoid = boxes[0].index
		}
		c.box.index = from.take(a.order, a.cfg.order(), avoid)
	}
	a.owner[c.box] = from
	c.box.Addr, c.box.Addr6 = a.cfg.podAddress(node, c.box.index)
	a.living[node] = append(a.living[node], c.box)
}

// victim finds who shares its address: a pod on the same node, or, where the pool is
// the cluster's, in half the cases one on any node.
func (a *allocator) victim(node int, wanted bool) *Sandbox {
	elsewhere, which := a.faults.Float64() < 0.5, a.faults.Float64()
	if !wanted {
		return nil
	}
	from := a.living[node]
	if elsewhere && !a.cfg.Mode.PerNode() {
		from = slices.Concat(a.living...)
	}
	if len(from) == 0 {
		return nil
	}
	return from[int(which*float64(len(from)))]
}

func (a *allocator) release(c change) {
	node := a.pods[c.pod].Node
	i := slices.Index(a.living[node], c.box)
	a.living[node] = slices.Delete(a.living[node], i, i+1)
	a.owner[c.box].holders[c.box.index]--
}

// holds lists who held what, ordered by address and time.
func holds(pods []*Pod) []Hold {
	var out []Hold
	for _, p := range pods {
		for _, s := range p.Sandboxes {
			for _, addr := range []netip.Addr{s.Addr, s.Addr6} {
				if addr.IsValid() {
					out = append(out, Hold{p.UID, addr, s.From, s.To, p.Node, p.HostNetwork, s.Doubled})
				}
			}
		}
	}
	slices.SortStableFunc(out, func(a, b Hold) int {
		return cmp.Or(a.Addr.Compare(b.Addr), cmp.Compare(a.From, b.From))
	})
	return out
}
