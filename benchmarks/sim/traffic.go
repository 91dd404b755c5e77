package sim

import (
	"cmp"
	"math/rand/v2"
	"net/netip"
	"slices"
)

// Class is what kind of traffic a flow is: who sends, and where to.
type Class uint8

// The classes. The first nine are sent by pods, in the order of [Mix].
const (
	ToOtherNode   Class = iota // pod → pod on another node
	ToSameNode                 // pod → pod on its own node: never logged
	ToNodeAddress              // pod → another node's own address
	ToVM                       // pod → VM in the VNet
	ToPeered                   // pod → VM in a peered VNet
	ToOnPrem                   // pod → beyond a gateway
	ToInternet                 // pod → internet
	ToPlatform                 // pod → Azure's DNS or instance metadata
	ToStale                    // pod → address that another pod has just left
	FromNode                   // node's own process → API server or pod
	FromVM                     // VM in the VNet → pod
	Scan                       // internet → pod or node
	numClasses
)

var classNames = [numClasses]string{"pod-other-node", "pod-same-node", "node-address", "vnet-vm", "peered",
	"on-prem", "internet", "platform", "stale", "from-node", "from-vm", "scan"}

func (c Class) String() string { return classNames[c] }

// intent is a flow that somebody wants to open: the same under every mode.
type intent struct {
	at    int64
	salt  uint64 // all further choices derive from it
	pod   int32  // sender's index; -1 if the sender is no pod
	box   int32  // sender's sandbox
	node  int32  // sender's node, or the target's for Scan and FromVM
	class Class
	site  int32          // of an incident, from 1; 0: it is none
	to    netip.AddrPort // where to, of one that is planted
}

func (m *Mix) weights() []float64 {
	return []float64{m.OtherNode, m.SameNode, m.NodeAddress, m.VNetVM, m.Peered, m.OnPrem, m.Internet, m.Platform, m.Stale}
}

// draw picks a class by weight.
func (m *Mix) draw(r *rand.Rand) Class {
	weights, sum := m.weights(), 0.0
	for _, w := range weights {
		sum += w
	}
	x := r.Float64() * sum
	for i, w := range weights {
		if x < w {
			return Class(i)
		}
		x -= w
	}
	return ToInternet
}

// intents lists all flows of a run in the order in which they begin.
func intents(cfg *Config, pods []*Pod, nics []NIC) []intent {
	var out []intent
	for i, p := range pods {
		r := stream(cfg.Seed, "pod traffic "+p.UID, 0)
		for j := range p.Sandboxes {
			out = podIntents(cfg, r, out, i, j, p)
		}
	}
	for n := range cfg.Nodes {
		out = nodeIntents(cfg, out, n, FromNode, cfg.Traffic.NodeFlows)
		out = nodeIntents(cfg, out, n, FromVM, cfg.Traffic.FromVMs)
		out = nodeIntents(cfg, out, n, Scan, cfg.Traffic.Scans)
	}
	out = slices.DeleteFunc(out, func(in intent) bool { return nics[in.node].away(in.at, in.at) })
	out = append(out, incidents(cfg, pods)...)
	for i := range cfg.Planted {
		out = plant(cfg, out, i, pods)
	}
	slices.SortFunc(out, func(a, b intent) int {
		return cmp.Or(cmp.Compare(a.at, b.at), cmp.Compare(a.pod, b.pod), cmp.Compare(a.node, b.node), cmp.Compare(a.salt, b.salt))
	})
	return out
}

// podIntents adds what one sandbox sends: a Poisson stream, and often a word at once after
// the start and one just before the end, since edges are where answers go wrong.
func podIntents(cfg *Config, r *rand.Rand, out []intent, i, j int, p *Pod) []intent {
	s := &p.Sandboxes[j]
	add := func(at int64) {
		out = append(out, intent{at: at, salt: r.Uint64(), pod: int32(i), box: int32(j),
			node: int32(p.Node), class: cfg.Traffic.Mix.draw(r)})
	}
	if cfg.Traffic.FlowsPerSecond <= 0 {
		return out
	}
	end := min(s.sendTo, cfg.endMS())
	if chance(r, 0.6) && s.sendFrom+2 < end {
		add(s.sendFrom + between(r, 0, 2))
	}
	gap := 1000 / cfg.Traffic.FlowsPerSecond
	for at := float64(s.sendFrom); ; {
		at += r.ExpFloat64() * gap
		if int64(at) >= end {
			break
		}
		add(int64(at))
	}
	if chance(r, 0.5) && s.sendTo-10 > s.sendFrom && s.sendTo <= cfg.endMS() {
		add(s.sendTo - between(r, 1, 10))
	}
	return out
}

// plant adds the flow that a Planted asks for.
func plant(cfg *Config, out []intent, number int, pods []*Pod) []intent {
	want := &cfg.Planted[number]
	at := cfg.startMS() + ms(want.After)
	for i, p := range pods {
		for j := range p.Sandboxes {
			if s := &p.Sandboxes[j]; p.Namespace == want.Namespace && s.sendFrom+1000 <= at && at+10_000 < s.sendTo {
				return append(out, intent{at: at, salt: stream(cfg.Seed, "planted", uint64(number)).Uint64(), pod: int32(i), box: int32(j),
					node: int32(p.Node), class: ToInternet, to: want.To})
			}
		}
	}
	return out
}

func nodeIntents(cfg *Config, out []intent, node int, class Class, perSecond float64) []intent {
	if perSecond <= 0 {
		return out
	}
	r := stream(cfg.Seed, class.String(), uint64(node))
	gap := 1000 / perSecond
	for at := float64(cfg.bornMS()); ; {
		at += r.ExpFloat64() * gap
		if int64(at) >= cfg.endMS() {
			return out
		}
		out = append(out, intent{at: int64(at), salt: r.Uint64(), pod: -1, node: int32(node), class: class})
	}
}

// shape is how a flow goes on once it has begun.
type shape struct {
	last   int64 // last packet
	end    int64 // the log's E row
	udp    bool
	v6     bool
	denied bool
	noE    bool  // never gets its E row
	again  int64 // when it is programmed anew, 0 means never
	sport  uint16
}

// shapeOf draws a flow's shape. stop is when the first of its two ends is gone.
func shapeOf(cfg *Config, r *rand.Rand, in *intent, stop int64) shape {
	t := &cfg.Traffic
	long, noFIN, silent := chance(r, t.Long), chance(r, t.NoFIN), chance(r, 0.4)
	s := shape{
		v6: chance(r, t.V6) && cfg.DualStack, denied: chance(r, t.Denied), noE: chance(r, t.LostEnd),
		last: in.at + between(r, 5, 3000),
	}
	udp, again, where := chance(r, 0.5), chance(r, t.Reprogrammed), r.Float64()
	lingers, closing := around(r, ms(t.LongMean), 1000), between(r, 0, 20)
	switch {
	case in.class == ToPlatform && udp:
		s.udp, s.last = true, in.at+between(r, 1, 40)
	case long:
		s.last = in.at + lingers
	}
	if s.last >= stop {
		// Its end died first: its kernel may say so (RST), or nobody does.
		s.last = max(in.at, stop-1)
		noFIN = noFIN || silent
	}
	s.end = s.last + closing
	if noFIN || s.udp {
		s.end = s.last + ms(t.IdleTimeout)
	}
	s.denied = s.denied && !in.to.IsValid()
	if again && s.last-in.at > 40 && s.end-in.at < continueEvery {
		s.again = in.at + 20 + int64(where*float64(s.last-in.at-20))
	}
	return s
}
