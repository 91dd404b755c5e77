package sim

import (
	"cmp"
	"math/rand/v2"
	"net/netip"
	"slices"

	"github.com/whichpod/whichpod/benchmarks/scenario"
)

// flowRecord is a flow as it is on the wire, with its two ends' truth.
type flowRecord struct {
	shape
	begin    int64
	src, dst netip.Addr // as on the wire: the node's address where masqueraded
	dport    uint16
	wanted   uint16 // source port at the sender, before masquerading
	class    Class
	masked   bool
	srcPod   int32 // index into Pods, -1 for none
	srcBox   int32
	dstPod   int32
	srcNIC   int32 // index into NICs, -1 outside of the VNet
	dstNIC   int32
	salt     uint64
	rule     uint8 // of the source's NIC
	dstRule  uint8 // of the destination's
	gone     int64 // when the first of its pods is
	silent   bool  // nobody has the destination: nothing comes back
}

// opener turns intents into flows, in the order of time.
type opener struct {
	cfg     *Config
	world   *World
	ports   ports
	alive   [][]target         // per node, pods that serve
	dead    []target           // latest to go, a ring
	recent  map[route][]uint16 // source ports lately used
	holders map[netip.Addr][]Hold
	index   map[string]int32 // UID to index
	moves   []move
}

// target is a sandbox that can be called.
type target struct{ pod, box int32 }

// move is a target that comes (or goes) at a moment.
type move struct {
	at    int64
	leave bool
	target
}

func newOpener(w *World) *opener {
	o := &opener{
		cfg: &w.Config, world: w, ports: ports{busy: map[tuple]int64{}},
		alive: make([][]target, w.Config.Nodes), recent: map[route][]uint16{},
		holders: map[netip.Addr][]Hold{}, index: map[string]int32{},
	}
	for _, h := range w.Holds {
		if !h.Host {
			o.holders[h.Addr] = append(o.holders[h.Addr], h)
		}
	}
	for i, p := range w.Pods {
		o.index[p.UID] = int32(i)
		for j, s := range p.Sandboxes {
			t := target{int32(i), int32(j)}
			o.moves = append(o.moves, move{s.sendFrom, false, t}, move{s.sendTo, true, t})
		}
	}
	slices.SortStableFunc(o.moves, func(a, b move) int { return cmp.Compare(a.at, b.at) })
	return o
}

// open turns all intents into flows.
func (o *opener) open(all []intent) []flowRecord {
	out := make([]flowRecord, 0, len(all))
	for i := range all {
		in := &all[i]
		o.advance(in.at)
		r := rand.New(rand.NewPCG(in.salt, 1))
		if f, ok := o.flow(r, in); ok {
			out = append(out, f)
		}
	}
	return out
}

// advance brings the list of callable pods up to a moment.
func (o *opener) advance(at int64) {
	for len(o.moves) > 0 && o.moves[0].at <= at {
		m := o.moves[0]
		o.moves = o.moves[1:]
		node := o.world.Pods[m.pod].Node
		if !m.leave {
			o.alive[node] = append(o.alive[node], m.target)
			continue
		}
		i := slices.Index(o.alive[node], m.target)
		o.alive[node] = slices.Delete(o.alive[node], i, i+1)
		if !o.world.Pods[m.pod].HostNetwork {
			o.dead = append(o.dead, m.target)
			o.dead = o.dead[max(0, len(o.dead)-16):]
		}
	}
}

// flow opens one flow; false if there is nobody to call, or if it never leaves its node.
func (o *opener) flow(r *rand.Rand, in *intent) (flowRecord, bool) {
	f := flowRecord{begin: in.at, class: in.class, salt: in.salt, srcPod: in.pod, srcBox: in.box, dstPod: -1,
		srcNIC: in.node, dstNIC: -1}
	stop := int64(forever)
	if in.pod >= 0 {
		stop = o.world.Pods[in.pod].Sandboxes[in.box].sendTo
	}
	choice := rand.New(rand.NewPCG(in.salt, 2))
	// Who is called is chosen before the shape, since the flow ends with either end.
	to := o.callee(choice, in)
	if to.pod >= 0 {
		stop = min(stop, o.world.Pods[to.pod].Sandboxes[to.box].sendTo)
	}
	f.gone = stop
	f.shape = shapeOf(o.cfg, r, in, stop)
	if in.site > 0 {
		f.denied, f.v6 = false, false
	}
	if !o.address(choice, in, &f, to) {
		return f, false
	}
	if !o.cut(&f) {
		return f, false
	}
	f.denied = f.denied && in.class == ToInternet || in.class == Scan && chance(choice, 0.85)
	o.port(choice, &f, to.pod)
	if f.srcNIC == f.dstNIC {
		o.world.Unlogged[f.class]++
		return f, false
	}
	o.translate(choice, &f)
	f.rule, f.dstRule = rules(&f)
	o.world.Flows[f.class]++
	return f, true
}

const forever = int64(1) << 60

var nobody = target{-1, -1}

// callee picks the pod that is called, if the class calls one. The choice depends on
// who lives, not on addresses.
func (o *opener) callee(r *rand.Rand, in *intent) target {
	node := int(in.node)
	other := (node + 1 + r.IntN(max(1, o.cfg.Nodes-1))) % o.cfg.Nodes
	roll, host := r.Float64(), chance(r, 0.5)
	switch in.class {
	case ToOtherNode:
		return o.serving(other, roll, false)
	case ToSameNode, FromVM:
		return o.serving(node, roll, false)
	case ToNodeAddress:
		if host {
			return o.serving(other, roll, true)
		}
	case FromNode:
		if roll < 0.4 {
			return o.serving(other, roll/0.4, false)
		}
	case Scan:
		if host {
			return o.serving(node, roll, false)
		}
	case ToStale:
		if len(o.dead) > 0 {
			return o.dead[int(roll*float64(len(o.dead)))]
		}
	}
	return nobody
}

// serving picks a pod of a node that is up, with or without host network.
func (o *opener) serving(node int, roll float64, host bool) target {
	var some []target
	for _, t := range o.alive[node] {
		if o.world.Pods[t.pod].HostNetwork == host {
			some = append(some, t)
		}
	}
	if len(some) == 0 {
		return nobody
	}
	return some[int(roll*float64(len(some)))]
}

// address sets the ends of the flow but for the source port; false if there is no destination.
func (o *opener) address(r *rand.Rand, in *intent, f *flowRecord, to target) bool {
	w := o.world
	other := (int(in.node) + 1 + r.IntN(max(1, o.cfg.Nodes-1))) % o.cfg.Nodes
	if in.class == ToPlatform || in.class == FromNode && to == nobody {
		f.v6 = false
	}
	f.src = w.NICs[in.node].ip(f.v6)
	if in.pod >= 0 {
		f.src = w.Pods[in.pod].Sandboxes[in.box].address(f.v6)
	}
	if in.site > 0 {
		o.toSite(f, in)
		return true
	}
	switch in.class {
	case ToOtherNode, ToSameNode:
		return o.toPod(f, to)
	case ToNodeAddress:
		if to != nobody {
			return o.toPod(f, to)
		}
		f.dst, f.dport, f.dstNIC = w.NICs[other].ip(f.v6), 10250, int32(other)
		return o.cfg.Nodes > 1
	case ToVM:
		vm := o.cfg.Nodes + r.IntN(numVMs)
		f.dst, f.dport, f.dstNIC = w.NICs[vm].ip(f.v6), pick(r, []uint16{5432, 443}), int32(vm)
	case ToPlatform:
		f.dst, f.dport = scenario.Metadata, 80
		if f.udp {
			f.dst, f.dport = scenario.WireDNS, 53
		}
	case ToStale:
		return o.toStale(f, to)
	case FromNode:
		if to != nobody {
			return o.toPod(f, to)
		}
		f.dst, f.dport = apiServer, 443
		if abroad := o.cfg.Traffic.NodeAbroad; abroad > 0 && chance(r, abroad) {
			f.dst, f.dport = pick(r, scenario.Internet[family(f.v6)]), pick(r, []uint16{443, 443, 8443})
		}
	case FromVM, Scan:
		return o.fromOutside(r, in, f, to)
	default:
		o.toOutside(r, f)
		if in.to.IsValid() {
			f.dst, f.dport = in.to.Addr(), in.to.Port()
		}
	}
	return true
}

// toOutside sends to a peered network, on premises, or the internet.
func (o *opener) toOutside(r *rand.Rand, f *flowRecord) {
	list := map[Class]*scenario.Others{ToPeered: &scenario.Peered, ToOnPrem: &scenario.Premises, ToInternet: &scenario.Internet}[f.class]
	f.dst = pick(r, list[family(f.v6)])
	f.dport = pick(r, []uint16{443, 443, 8443})
	if f.denied && f.class == ToInternet {
		f.dport = 25 // outbound mail is what gets denied
	}
}

func family(v6 bool) int {
	if v6 {
		return 1
	}
	return 0
}

func (o *opener) toPod(f *flowRecord, to target) bool {
	if to == nobody {
		return false
	}
	p := o.world.Pods[to.pod]
	f.dst, f.dport = p.Sandboxes[to.box].address(f.v6), p.port
	f.dstPod, f.dstNIC = to.pod, int32(p.Node)
	return true
}

// toStale calls the address of a pod that is gone: a client that has not heard. Whoever
// holds the address now gets the call; where nobody does, it is not answered.
func (o *opener) toStale(f *flowRecord, gone target) bool {
	if !o.toPod(f, gone) {
		return false
	}
	f.dstPod = -1
	if !o.cfg.Mode.PerNode() {
		f.dstNIC = -1 // no NIC has an unassigned address of a shared subnet
	}
	for _, h := range o.holders[f.dst] {
		if h.From <= f.begin && f.begin < h.To {
			f.dstPod, f.dstNIC = o.index[h.UID], int32(h.Node)
			return true
		}
	}
	f.silent = true
	f.last = f.begin + 1000
	f.end, f.again = f.last+ms(o.cfg.Traffic.IdleTimeout), 0
	return true
}

// fromOutside is traffic to the cluster. Where pods' addresses cannot be reached from
// outside, it goes to the node (a node port, whose way on is not seen here), and its
// receiver is the node.
func (o *opener) fromOutside(r *rand.Rand, in *intent, f *flowRecord, to target) bool {
	w := o.world
	f.srcNIC, f.dstNIC = -1, in.node
	f.src = pick(r, scanners[family(f.v6)])
	f.dst, f.dport = w.NICs[in.node].ip(f.v6), pick(r, []uint16{22, 23, 80, 443, 3389, 6379})
	vm := o.cfg.Nodes + r.IntN(numVMs)
	if in.class == FromVM {
		f.srcNIC, f.src, f.dport = int32(vm), w.NICs[vm].ip(f.v6), 30080
	}
	if to == nobody || o.cfg.Mode.PerNode() {
		return true
	}
	if in.class == FromVM {
		f.dport = w.Pods[to.pod].port
	}
	f.dst, f.dstPod = w.Pods[to.pod].Sandboxes[to.box].address(f.v6), to.pod
	return true
}

// route is a way from a node to a destination, named alike under every mode.
type route struct {
	nic, pod int32
	dst      netip.Addr // where the destination is no pod
	dport    uint16
}

// recentPorts is how many source ports of a route are remembered: those of a few
// minutes, so that some are still taken and some free.
const recentPorts = 24

// port gives the sender's own source port: from the ephemeral range, at times one that
// another flow of the same route has lately used. Masquerading must then pick another,
// or, if the first flow is forgotten, the same tuple comes again under another pod.
func (o *opener) port(r *rand.Rand, f *flowRecord, called int32) {
	want := uint16(between(r, ephemeralLow, ephemeralHigh))
	again, which := chance(r, o.cfg.Traffic.PortReuse), r.Float64()
	if f.srcNIC >= 0 {
		by := route{nic: f.srcNIC, pod: called, dport: f.dport}
		if called < 0 {
			by.dst = f.dst
		}
		ring := o.recent[by]
		if again && len(ring) > 0 {
			want = ring[int(which*float64(len(ring)))]
		} else {
			o.recent[by] = append(ring[max(0, len(ring)-recentPorts+1):], want)
		}
	}
	t := tuple{f.src, f.dst, want, f.dport, f.udp}
	f.sport = o.ports.own(t, f.begin)
	f.wanted = f.sport
	t.sport = f.sport
	until := f.taken()
	if f.srcPod < 0 || o.world.Pods[f.srcPod].HostNetwork {
		until += o.cfg.timeWait() // shares the node's tuples with what is masqueraded
	}
	o.ports.hold(t, f.begin, until)
}

// taken is until when the log may still have an entry for the flow.
func (f *flowRecord) taken() int64 {
	until := max(f.end, f.last) + afterlife
	if f.noE {
		until += 300_000
	}
	if f.denied {
		until += 10_000 // retries
	}
	return until
}

// translate masquerades a pod's flow where the mode says so.
func (o *opener) translate(r *rand.Rand, f *flowRecord) {
	if f.srcPod < 0 || o.world.Pods[f.srcPod].HostNetwork || o.cfg.keepsSource(f.dst, f.dport) || o.cfg.userKeeps(int(f.srcNIC), f.dst, f.begin) {
		return
	}
	f.masked = true
	f.src = o.world.NICs[f.srcNIC].ip(f.v6)
	t := tuple{f.src, f.dst, f.wanted, f.dport, f.udp}
	f.sport = o.ports.masquerade(r, t, f.begin)
	t.sport = f.sport
	o.ports.hold(t, f.begin, f.taken()+o.cfg.timeWait())
}

func (n *NIC) ip(v6 bool) netip.Addr {
	if v6 {
		return n.IP6
	}
	return n.IP
}
