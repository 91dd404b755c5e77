package sim

import (
	"math/rand/v2"
	"net/netip"
)

// Pod is one pod, that is one UID. Times are true Unix milliseconds, in the API
// server's clock; those after the end of the run are what was to come.
type Pod struct {
	UID, Namespace, Name string
	OwnerKind, Owner     string
	Node                 int // index into World.NICs
	NodeName             string
	HostNetwork          bool
	// Sandboxes are the pod's network lives, in order: one, or more with a re-made one.
	Sandboxes []Sandbox

	created   int64
	scheduled int64
	acked     int64 // the kubelet took it on: status.startTime
	asked     int64 // deletion requested; 0 means never
	grace     int64 // seconds
	finished  int64 // containers gone
	firstWord int64 // status patch: containers terminated, sandbox still there; 0 means none
	terminal  int64 // status patch: Succeeded or Failed, sandbox gone; 0 means none
	deleted   int64 // object gone; 0 means never
	forced    bool
	failed    bool
	port      uint16 // that it serves
}

// Sandbox is one network namespace of a pod with its addresses.
type Sandbox struct {
	From, To  int64      // when the pod held the addresses, [From, To)
	Addr      netip.Addr // the node's own for a host-network pod
	Addr6     netip.Addr // invalid without dual stack
	Doubled   bool       // by fault, somebody else had the addresses already
	sendFrom  int64      // containers started
	sendTo    int64      // containers gone
	ready     int64      // the kubelet saw the sandbox
	readySaid int64      // its status patch
	reported  int64      // status patch with podIP
	lossSaid  int64      // status patch: sandbox gone, while re-making; 0 means none
	index     int        // in the pool
}

// schedule makes the pod known: created, bound to a node, taken on by its kubelet.
func (p *Pod) schedule(r *rand.Rand, at int64) {
	p.created = at
	p.scheduled = at + between(r, 5, 60)
	p.acked = p.scheduled + between(r, 10, 80)
}

// bringUp starts a sandbox after the given wait. The order is the kubelet's: sandbox
// with its address, containers, and only then a patch that tells the address
// (KEP-3085 has the condition; facts of timing: half a second on an idle node).
func bringUp(r *rand.Rand, after int64) Sandbox {
	s := Sandbox{From: after}
	s.ready = s.From + between(r, 5, 250)
	s.readySaid = s.ready + between(r, 5, 60)
	pull := int64(0)
	if chance(r, 0.1) {
		pull = between(r, 500, 5000)
	}
	s.sendFrom = s.readySaid + pull + between(r, 20, 700)
	s.reported = s.sendFrom + between(r, 60, 1200)
	return s
}

// mountWait is how long volumes take before the sandbox can be made.
func mountWait(r *rand.Rand, slow float64) int64 {
	if chance(r, slow) {
		return between(r, 3000, 60000)
	}
	return between(r, 30, 300)
}

func (p *Pod) last() *Sandbox { return &p.Sandboxes[len(p.Sandboxes)-1] }

// finish ends the pod by itself, as a job does. The address is free as soon as the
// sandbox is gone, the object goes much later (ttlSecondsAfterFinished), and shows the
// address until then: kubernetes/kubernetes#47806, #109414.
func (p *Pod) finish(r *rand.Rand, at int64) {
	s := p.last()
	p.finished, s.sendTo = at, at
	p.failed = chance(r, 0.1)
	p.firstWord = at + between(r, 30, 700)
	s.To = p.firstWord + between(r, 10, 800)
	p.terminal = s.To + between(r, 20, 900)
	p.deleted = p.terminal + between(r, 20_000, 300_000)
	p.asked, p.grace = p.deleted-2, 0
}

// remove deletes a running pod: it goes on sending for a while, at most for its
// grace, says its terminal word, and goes.
func (p *Pod) remove(r *rand.Rand, at int64) {
	s := p.last()
	p.grace = pick(r, []int64{1, 10, 30, 30})
	run := between(r, 20, 1500) // stops on SIGTERM
	if chance(r, 0.3) {
		run = p.grace * 1000 // ignores it
	}
	p.asked = at
	p.finished = at + min(run, p.grace*1000)
	s.sendTo = p.finished
	s.To = p.finished + between(r, 50, 700)
	p.terminal = s.To + between(r, 20, 500)
	p.deleted = p.terminal + between(r, 100, 1200)
	p.failed = chance(r, 0.5) // exit code 143 or 0
}

// force turns a deletion into a forced one: the object goes at once, without the
// kubelet's word, and the pod sends until it really stops. "The resource may continue
// to run on the cluster indefinitely" (kubectl delete --force).
func (p *Pod) force(r *rand.Rand, longest int64) {
	s := p.last()
	p.forced, p.grace = true, 0
	p.deleted = p.asked
	p.finished = p.asked + between(r, 500, max(500, longest))
	s.sendTo = p.finished
	s.To = p.finished + between(r, 50, 700)
	p.terminal, p.firstWord = 0, 0
}

// remake destroys the only sandbox in mid-life and makes another, with another
// address under the same UID. Nothing happens to a pod that lives too briefly.
func (p *Pod) remake(r *rand.Rand) {
	old := p.last()
	lo, hi := old.reported+1500, old.sendTo-10_000
	if p.asked > 0 {
		hi = min(hi, p.asked-10_000)
	}
	at := lo + int64(r.Float64()*float64(hi-lo))
	next := bringUp(r, at+between(r, 600, 3000))
	silent := chance(r, 0.5)
	if lo >= hi || next.reported+500 > hi+10_000 {
		return
	}
	next.sendTo, next.To = old.sendTo, old.To
	old.sendTo = at
	old.To = at + between(r, 20, 400)
	if silent {
		// The kubelet went through it between two of its syncs: the condition never
		// showed False, and keeps its old transition time.
		next.ready, next.readySaid = old.ready, 0
	} else {
		old.lossSaid = old.To + between(r, 5, 150)
	}
	p.Sandboxes = append(p.Sandboxes, next)
}
