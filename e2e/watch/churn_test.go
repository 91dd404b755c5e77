//go:build e2e

package watch_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/whichpod/whichpod/e2e/kube"
	"github.com/whichpod/whichpod/e2e/process"
)

const (
	nodes       = 120
	podsPerNode = 3 // at once
	// addressesPerNode is small, so that an address is handed out again at once: one
	// for each pod, and a few to choose from.
	addressesPerNode = 5
	namespaces       = 3
)

// churn is what users and kubelets do to a cluster: pods come and go, on nodes that
// only the API knows of. All it does is recorded in truth.
type churn struct {
	truth
	cluster  *cluster
	ctx      context.Context // ends with the test, not with the churn: what began is finished
	stopping chan struct{}
	done     sync.WaitGroup
	requests atomic.Int64 // that were answered
	lives    []int64      // when the pods that were removed were made, under mu
	failed   atomic.Pointer[error]
}

// startChurn begins. Half of the pods of the first moment are there when it returns.
func startChurn(t *testing.T, c *cluster, seed uint64) *churn {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	d := &churn{cluster: c, ctx: ctx, stopping: make(chan struct{})}
	t.Cleanup(func() { cancel(); d.done.Wait() })
	for i := range namespaces {
		body := object{APIVersion: "v1", Kind: "Namespace", Metadata: &metadata{Name: fmt.Sprintf("team-%d", i)}}
		process.Must(t, c.Send(ctx, kube.Request{Method: http.MethodPost, Path: "/api/v1/namespaces", Body: body}, nil))
	}
	for n := range nodes {
		node := newNode(n)
		for slot := range podsPerNode {
			k := &kubelet{churn: d, node: node, r: rand.New(rand.NewPCG(seed, uint64(n*podsPerNode+slot))), slot: slot}
			d.done.Go(k.run)
		}
	}
	process.Until(t, "the first pods are there", func() bool { return d.count() >= nodes*podsPerNode/2 })
	return d
}

// since counts the pods that were made and removed after a time.
func (d *churn) since(from int64) int {
	d.mu.Lock()
	defer d.mu.Unlock()
	n := 0
	for _, created := range d.lives {
		if created >= from {
			n++
		}
	}
	return n
}

func (d *churn) count() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.pods)
}

// stop ends the churn and waits until all is done. Pods that live then stay.
func (d *churn) stop(t *testing.T) {
	t.Helper()
	close(d.stopping)
	d.done.Wait()
	if err := d.failed.Load(); err != nil {
		t.Fatalf("the churn failed: %v", *err)
	}
}

// live waits for as long as a pod lives, or until the churn stops.
func (d *churn) live(for_ time.Duration) (goOn bool) {
	timer := time.NewTimer(for_)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-d.stopping:
		return false
	}
}

// send sends a request until it is decided, and says within which time that was. A
// pod that is gone already is as good as removed.
func (d *churn) send(r kube.Request, out any) (window, bool) {
	w := window{from: now()}
	err := d.cluster.Send(d.ctx, r, out)
	w.to = now()
	if kube.IsStatus(err, http.StatusNotFound) && r.Method == http.MethodDelete {
		err = nil
	}
	if err != nil {
		d.failed.CompareAndSwap(nil, &err)
		return w, false
	}
	d.requests.Add(1)
	return w, true
}

// node hands out its addresses, in no fixed order.
type node struct {
	name    string
	address netip.Addr
	mu      sync.Mutex
	free    []netip.Addr
}

func newNode(n int) *node {
	nd := &node{name: fmt.Sprintf("node-%03d", n), address: netip.AddrFrom4([4]byte{10, 224, 0, byte(n + 4)})}
	for i := range addressesPerNode {
		nd.free = append(nd.free, netip.AddrFrom4([4]byte{10, 244, byte(n), byte(i + 2)}))
	}
	return nd
}

// take gives out an address, often the one that was given back last, but not to a pod
// that just had it: the usual plugins do not either.
func (nd *node) take(r *rand.Rand, had []hold) netip.Addr {
	nd.mu.Lock()
	defer nd.mu.Unlock()
	i := len(nd.free) - 1
	if r.IntN(2) == 0 {
		i = r.IntN(len(nd.free))
	}
	if len(had) > 0 && nd.free[i] == had[0].address {
		i = (i + 1) % len(nd.free)
	}
	a := nd.free[i]
	nd.free = append(nd.free[:i], nd.free[i+1:]...)
	return a
}

func (nd *node) give(a netip.Addr) {
	nd.mu.Lock()
	defer nd.mu.Unlock()
	nd.free = append(nd.free, a)
}

// kubelet runs one pod after the other on a node.
type kubelet struct {
	*churn
	node *node
	r    *rand.Rand
	slot int
	made int
}

func (k *kubelet) run() {
	for {
		select {
		case <-k.stopping:
			return
		default:
		}
		if !k.pod() {
			return
		}
	}
}

// lifetime is how long a pod runs: mostly seconds.
func (k *kubelet) lifetime() time.Duration {
	longest := []time.Duration{2 * time.Second, 4 * time.Second, 6 * time.Second, 20 * time.Second}[k.r.IntN(4)]
	return time.Second + time.Duration(k.r.Int64N(int64(longest)))
}

// pod is the life of one pod. It returns false where the churn stopped before its end.
func (k *kubelet) pod() bool {
	p := &running{kubelet: k, truePod: &truePod{node: k.node.name, nodeAddress: k.node.address, hostNetwork: k.r.IntN(20) == 0}}
	return p.create() && p.begin() && k.live(k.lifetime()) &&
		(p.hostNetwork || k.r.IntN(20) != 0 || (p.sandboxAgain() && k.live(k.lifetime()))) && p.end()
}

// running is a pod with what its kubelet knows of it.
type running struct {
	*kubelet
	*truePod
	status status
}

func (p *running) path() string {
	return "/api/v1/namespaces/" + p.namespace + "/pods/" + p.name
}

// create makes the object. Some names are used again and again, as a StatefulSet does.
func (p *running) create() bool {
	p.made++
	p.namespace = fmt.Sprintf("team-%d", p.r.IntN(namespaces))
	p.name = fmt.Sprintf("job-%s-%d-%d", p.kubelet.node.name, p.slot, p.made)
	if p.r.IntN(5) == 0 {
		p.name = fmt.Sprintf("db-%s-%d", p.kubelet.node.name, p.slot)
	}
	var made object
	body := object{APIVersion: "v1", Kind: "Pod", Metadata: &metadata{Name: p.name, Labels: map[string]string{"app": "e2e"}},
		Spec: &spec{NodeName: p.truePod.node, HostNetwork: p.hostNetwork, Containers: []container{{Name: "c", Image: "none"}}}}
	w := window{from: now()}
	err := p.cluster.Send(p.ctx, kube.Request{Method: http.MethodPost, Path: "/api/v1/namespaces/" + p.namespace + "/pods", Body: body}, &made)
	if kube.IsStatus(err, http.StatusConflict) { // an earlier try went through, though its answer was lost
		err = p.cluster.Send(p.ctx, kube.Request{Method: http.MethodGet, Path: p.path()}, &made)
	}
	w.to = now()
	if err != nil {
		p.failed.CompareAndSwap(nil, &err)
		return false
	}
	p.requests.Add(1)
	p.uid, p.created = made.Metadata.UID, w
	p.truth.add(p.truePod)
	return true
}

// begin takes the pod on and starts its container. The kubelet tells of it in one
// patch of the status or in two.
func (p *running) begin() bool {
	at := time.Now()
	p.status = status{Phase: "Pending", HostIP: &p.kubelet.node.address, HostIPs: ips(p.kubelet.node.address), StartTime: &at,
		Conditions: []condition{{Type: "PodScheduled", Status: "True", LastTransitionTime: at}}}
	if p.r.IntN(2) == 0 && !p.report(nil) {
		return false
	}
	return p.sandbox(0)
}

// sandbox gets an address, starts the container and reports both.
func (p *running) sandbox(restarts int) bool {
	address := p.kubelet.node.address
	var h *hold
	if !p.hostNetwork {
		address = p.kubelet.node.take(p.r, p.holds)
		h = &hold{address: address, from: now()}
	}
	at := time.Now()
	p.status.Phase, p.status.PodIP, p.status.PodIPs = "Running", &address, ips(address)
	p.status.set("PodReadyToStartContainers", "True", at)
	p.status.Containers = []containerStatus{{Name: "c", Image: "none", RestartCount: restarts, State: state{Running: &stateTimes{StartedAt: at}}}}
	var shown window
	ok := p.report(&shown)
	if h != nil {
		h.shown = shown
		if !ok {
			h.shown = window{}
		}
		p.holds = append(p.holds, *h)
	}
	return ok
}

// sandboxAgain loses the sandbox with its address and makes a new one.
func (p *running) sandboxAgain() bool {
	old := &p.holds[len(p.holds)-1]
	at := p.stopContainer()
	p.status.Containers[0].RestartCount = 1
	if p.r.IntN(2) == 0 { // else all is reported at once
		p.status.set("PodReadyToStartContainers", "False", at)
		if !p.report(&old.hidden) || !p.live(time.Duration(p.r.Int64N(int64(time.Second)))) {
			return false
		}
	}
	i := len(p.holds) - 1
	ok := p.sandbox(1)
	if ok {
		p.holds[i].hidden = p.holds[i+1].shown
		p.reported(&p.holds[i])
	}
	return ok
}

// stopContainer ends the container, and with it the sandbox: the address is free.
func (p *running) stopContainer() time.Time {
	at := time.Now()
	if !p.hostNetwork {
		h := &p.holds[len(p.holds)-1]
		h.to = max(at.UnixMilli(), h.from+1)
		h.until = h.to
		p.kubelet.node.give(h.address)
	}
	c := &p.status.Containers[0]
	c.State = state{Terminated: &stateTimes{StartedAt: c.State.Running.StartedAt, FinishedAt: &at}}
	return at
}

// end is one of the ways in which pods end.
func (p *running) end() bool {
	switch p.r.IntN(10) {
	case 0: // by force: the object goes first, and the kubelet follows
		return p.remove(0) && p.follow()
	case 1, 2, 3: // a job is done, and cleaned up later
		return p.finish("Succeeded") && p.live(time.Duration(p.r.Int64N(int64(4*time.Second)))) && p.remove(0)
	default: // deleted with a grace period
		return p.remove(30) && p.live(time.Duration(p.r.Int64N(int64(time.Second)))) && p.finish("Failed") && p.remove(0)
	}
}

// follow ends a pod whose object is gone.
func (p *running) follow() bool {
	p.live(time.Duration(p.r.Int64N(int64(time.Second))))
	p.stopContainer()
	return true
}

// finish ends the container for good and reports it.
func (p *running) finish(phase string) bool {
	at := p.stopContainer()
	p.status.Phase = phase
	if p.r.IntN(2) == 0 {
		p.status.set("PodReadyToStartContainers", "False", at)
	}
	var told window
	if !p.report(&told) {
		return false
	}
	if !p.hostNetwork {
		last := p.holds[len(p.holds)-1] // the API shows the address on, but as one of a pod that ended
		last.hidden = told
		p.reported(&last)
	}
	return true
}

// report patches the status as it is now.
func (p *running) report(at *window) bool {
	body := object{Metadata: &metadata{UID: p.uid}, Status: &p.status}
	w, ok := p.send(kube.Request{Method: http.MethodPatch, Path: p.path() + "/status", Kind: "application/merge-patch+json", Body: body}, nil)
	if at != nil {
		*at = w
	}
	return ok
}

// remove deletes the object, at once or with a grace period.
func (p *running) remove(grace int) bool {
	body := deletion{APIVersion: "v1", Kind: "DeleteOptions", Grace: grace, Preconditions: &preconditions{p.uid}}
	w, ok := p.send(kube.Request{Method: http.MethodDelete, Path: p.path(), Body: body}, nil)
	if !ok || grace > 0 {
		return ok
	}
	p.removed = w
	if !p.hostNetwork {
		p.holds[len(p.holds)-1].hidden = w
	}
	p.truth.mu.Lock()
	defer p.truth.mu.Unlock()
	p.lives = append(p.lives, p.created.from)
	return true
}
