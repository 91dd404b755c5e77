package sim

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
)

// kind is what owns a pod, which decides how it lives, ends and is followed.
type kind int

const (
	job        kind = iota // runs, finishes, object stays; the next has another name
	stateful               // deleted, and made again under the same name
	deployment             // the next comes before the last is deleted
	daemon                 // host network, one on each node
)

// slot is a place for one pod at a time.
type slot struct {
	kind   kind
	number int
	node   int // home
	app    string
}

// makeSlots spreads the workloads: of ten pods four are jobs, three StatefulSet pods,
// three of Deployments; two host-network DaemonSets run on every node.
func makeSlots(cfg *Config) []slot {
	var out []slot
	for i := range cfg.Nodes * cfg.PodsPerNode {
		s := slot{number: i, node: i % cfg.Nodes}
		switch n := i / cfg.Nodes % 10; {
		case n%5 < 2:
			s.kind, s.app = job, "batch"
		case n%3 == 0 || n == 4:
			s.kind, s.app = stateful, "db"
		default:
			s.kind, s.app = deployment, "api"
		}
		out = append(out, s)
	}
	for i := range cfg.Nodes * 2 {
		app := []string{"node-exporter", "log-shipper"}[i%2]
		out = append(out, slot{kind: daemon, number: len(out), node: i / 2, app: app})
	}
	return out
}

// makePods lives every slot's pods from before the start to the end of the run,
// without addresses yet. Pods are in the order of their creation.
func makePods(cfg *Config, nics []NIC) []*Pod {
	var out []*Pod
	for _, s := range makeSlots(cfg) {
		out = append(out, s.run(cfg, nics)...)
	}
	slices.SortStableFunc(out, func(a, b *Pod) int { return int(a.created - b.created) })
	return out
}

func (s slot) run(cfg *Config, nics []NIC) []*Pod {
	r := stream(cfg.Seed, "slot", uint64(s.number))
	faults := stream(cfg.Seed, "slot faults", uint64(s.number))
	var out []*Pod
	at := cfg.bornMS() + between(r, 0, min(ms(cfg.MeanLifetime), ms(cfg.Warmup)))
	for n := 0; at < cfg.endMS(); n++ {
		p := s.pod(cfg, r, n)
		at = s.place(cfg, nics, p, at)
		p.schedule(r, at)
		p.Sandboxes = []Sandbox{bringUp(r, p.acked+mountWait(r, cfg.SlowMounts))}
		next := s.drain(cfg, nics, p, s.end(cfg, r, p))
		s.breakIt(cfg, faults, p)
		if s.kind == stateful {
			next = p.deleted + between(r, 5, 400) // the controller waits for it to go
		}
		out = append(out, p)
		at = next
	}
	return out
}

// pod names the n-th pod of the slot and places it: mostly at home.
func (s slot) pod(cfg *Config, r *rand.Rand, n int) *Pod {
	p := &Pod{UID: uuid(r), Node: s.node}
	if chance(r, 0.25) && s.kind != daemon {
		p.Node = r.IntN(cfg.Nodes)
	}
	set := s.number / cfg.Nodes
	switch s.kind {
	case job:
		p.Namespace, p.OwnerKind = "batch", "Job"
		p.Owner = fmt.Sprintf("batch-%d-%d", s.number, n)
		p.Name, p.port = p.Owner+"-"+suffix(r, 5), 9000
	case stateful:
		p.Namespace, p.OwnerKind, p.Owner = "data", "StatefulSet", fmt.Sprintf("db-%d", set)
		p.Name, p.port = fmt.Sprintf("%s-%d", p.Owner, s.number%cfg.Nodes), 5432
	case deployment:
		p.Namespace, p.OwnerKind = "web", "ReplicaSet"
		p.Owner = fmt.Sprintf("api-%d-%s", set, suffix(r, 10))
		p.Name, p.port = p.Owner+"-"+suffix(r, 5), 8080
	case daemon:
		p.Namespace, p.OwnerKind, p.Owner = "kube-system", "DaemonSet", s.app
		p.Name, p.port, p.HostNetwork = s.app+"-"+suffix(r, 5), 9100+uint16(s.number%2), true
	}
	return p
}

// end plans the pod's end and returns when the slot's next pod is created.
func (s slot) end(cfg *Config, r *rand.Rand, p *Pod) int64 {
	mean := ms(cfg.MeanLifetime)
	up := p.last()
	switch s.kind {
	case job:
		p.finish(r, up.sendFrom+around(r, mean*2/3, 150))
		return p.finished + between(r, 0, 5000)
	case stateful:
		p.remove(r, up.reported+around(r, mean*5/4, 500))
		return p.deleted
	case deployment:
		out := up.reported + around(r, mean, 500)
		p.remove(r, out+between(r, 800, 4000))
		return out
	default:
		p.remove(r, up.reported+around(r, mean*20, 60_000))
		return p.deleted + between(r, 50, 500)
	}
}

// breakIt draws the faults of one pod. It always draws the same number of times.
func (s slot) breakIt(cfg *Config, r *rand.Rand, p *Pod) {
	f := &cfg.Faults
	one := rand.New(rand.NewPCG(r.Uint64(), r.Uint64()))
	doubled, remade, forced := chance(r, f.DoubledAddress), chance(r, f.RemadeSandbox), chance(r, f.ForcedDeletion)
	if s.kind == daemon {
		return
	}
	p.last().Doubled = doubled // a wish, until an address is found
	if remade {
		p.remake(one)
	}
	if forced && s.kind != job {
		p.force(one, ms(f.ForcedFor))
	}
}

// hostAddresses gives host-network pods their node's addresses.
func hostAddresses(pods []*Pod, nics []NIC) {
	for _, p := range pods {
		for i := range p.Sandboxes {
			if p.HostNetwork {
				p.Sandboxes[i].Addr, p.Sandboxes[i].Addr6 = nics[p.Node].IP, nics[p.Node].IP6
			}
		}
	}
}

// address returns the sandbox's address of one family.
func (s *Sandbox) address(v6 bool) netip.Addr {
	if v6 {
		return s.Addr6
	}
	return s.Addr
}
