//go:build e2e

package watch_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/netip"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/whichpod/whichpod/e2e/kube"
	"github.com/whichpod/whichpod/e2e/process"
)

// The size of the cluster that KWOK plays.
const (
	kwokNodes       = 500
	kwokPodsPerNode = 40 // at once
	kwokPods        = kwokNodes * kwokPodsPerNode
	kwokWriters     = 24
	hotPlaces       = 10 // of each writer
)

// TestKwok watches 20,000 pods on 500 nodes of KWOK, which come and go as fast as the
// machine lets them, while everything is cut, killed, started again and forgotten.
func TestKwok(t *testing.T) {
	binary := build(t)
	c := newCluster(t, "--storage-media-type=application/json", "--max-requests-inflight=2000", "--max-mutating-requests-inflight=1000")
	giveRights(t, c)
	makeTouched(t, c)
	h := newHistory(t, c)
	p := newProxy(t, c.Port())
	w := newWatcher(t, c, binary, "watcher", p.port())
	w.start(t)
	w.caughtUp(t)
	began := now()
	kwok := startKwok(t, c)
	f := newFlood(t, c, h, seed)
	process.Steadily(t, "all pods have an address", kwokPods*98/100, h.holding)
	t.Logf("%d pods on %d nodes after %v", kwokPods, kwokNodes, sinceMilli(began))
	w.caughtUp(t)
	t.Logf("whichpod caught up after %v", sinceMilli(began))
	tr := &trouble{cluster: c, proxy: p, watcher: w, history: h, unseen: h.since, r: rand.New(rand.NewPCG(seed, 2))}
	tr.all(t, plan{
		cached:   []func(*trouble, *testing.T){(*trouble).kill, (*trouble).kill, (*trouble).cut, (*trouble).halt, (*trouble).restart, (*trouble).killBoth},
		uncached: []func(*trouble, *testing.T){(*trouble).kill, (*trouble).cut, (*trouble).restart, (*trouble).compactOld, (*trouble).forget, (*trouble).forgetLive},
	})
	f.stop(t)
	kwok.End(syscall.SIGKILL) // nothing changes any more
	w.caughtUp(t)
	tt := &truth{pods: h.end(t)}
	j := &judge{truth: tt, cluster: c, watcher: w, trouble: tr, began: began, atLeast: kwokPods / 2}
	process.Until(t, "the ledger has the pods that the API server has", func() bool { return j.existing(t) == "" })
	w.mustLive(t)
	w.peak = max(w.peak, w.Process.Peak())
	if code := w.End(syscall.SIGTERM); code != 0 {
		t.Errorf("after SIGTERM: exit code %d, want 0", code)
	}
	t.Logf("all that took %v; most memory of whichpod watch: %d MiB", sinceMilli(began), w.peak>>20)
	j.judge(t)
	tr.log(t, len(tt.pods))
}

func sinceMilli(from int64) time.Duration { return time.Duration(now()-from) * time.Millisecond }

// startKwok makes the nodes, and starts KWOK, which plays them.
func startKwok(t *testing.T, c *cluster) *process.Process {
	t.Helper()
	ctx := context.Background()
	var done sync.WaitGroup
	for i := range kwokNodes {
		done.Go(func() {
			body := object{APIVersion: "v1", Kind: "Node", Metadata: &metadata{Name: kwokNode(i)}, Spec: &spec{PodCIDR: kwokRange(i).String()},
				Status: &status{Addresses: []nodeAddress{{"InternalIP", kwokNodeAddress(i)}}}}
			if err := c.Send(ctx, kube.Request{Method: http.MethodPost, Path: "/api/v1/nodes", Body: body}, nil); err != nil {
				t.Errorf("make node %d: %v", i, err)
			}
		})
	}
	done.Wait()
	kwok := process.Start(t, process.NewLog(t, "kwok"), exec.Command(filepath.Join(kube.Programs, "kwok"), "--kubeconfig", c.Kubeconfig(t, "admin", c.Port()), "--config", "testdata/kwok.yaml", "--manage-all-nodes", "-v", "ERROR"))
	process.Steadily(t, "KWOK has taken on its nodes", kwokNodes, func() int {
		n, err := c.readyNodes(ctx)
		process.Must(t, err)
		return n
	})
	return kwok
}

func kwokNode(i int) string { return fmt.Sprintf("kwok-%03d", i) }

func kwokNodeAddress(i int) netip.Addr {
	return netip.AddrFrom4([4]byte{10, 224, byte(i / 250), byte(i%250 + 4)})
}

// kwokRange is a node's pods' addresses: more than it needs, for KWOK loses those of
// pods that it did not see go, and then takes the next, past the end of the range.
func kwokRange(i int) netip.Prefix {
	return netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(128 + i/64), byte(i % 64 * 4), 0}), 22)
}

// flood makes and deletes pods, as many at once as there are writers.
type flood struct {
	cluster  *cluster
	history  *history
	ctx      context.Context
	stopping chan struct{}
	done     sync.WaitGroup
	failed   atomic.Pointer[error]
}

func newFlood(t *testing.T, c *cluster, h *history, seed uint64) *flood {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	f := &flood{cluster: c, history: h, ctx: ctx, stopping: make(chan struct{})}
	t.Cleanup(func() { cancel(); f.done.Wait() })
	for i := range namespaces {
		body := object{APIVersion: "v1", Kind: "Namespace", Metadata: &metadata{Name: fmt.Sprintf("team-%d", i)}}
		process.Must(t, c.Send(ctx, kube.Request{Method: http.MethodPost, Path: "/api/v1/namespaces", Body: body}, nil))
	}
	var places [kwokWriters][]*place
	for i := range kwokPods {
		places[i%kwokWriters] = append(places[i%kwokWriters], &place{node: i % kwokNodes, number: i / kwokNodes})
	}
	for i := range places {
		f.done.Go(func() { f.write(places[i], rand.New(rand.NewPCG(seed, uint64(i)))) })
	}
	return f
}

// place is where one pod after the other runs.
type place struct {
	node, number int
	made         int
	name         string // of the pod that is there now
	leaving      string // of the one before it
}

func (pl *place) namespace() string { return fmt.Sprintf("team-%d", pl.node%namespaces) }

// write fills places, and then goes on replacing pods, no faster than KWOK lets them go.
func (f *flood) write(places []*place, r *rand.Rand) {
	for i := 0; ; i++ {
		for more := false; !more; {
			select {
			case <-f.stopping:
				return
			default:
			}
			more = f.history.pods() < kwokPods+kwokPods/20
			if !more {
				time.Sleep(10 * time.Millisecond)
			}
		}
		pl := places[i%len(places)]
		if i >= len(places) { // some are replaced all the time
			pl = places[r.IntN([]int{len(places), hotPlaces}[r.IntN(2)])]
		}
		if err := f.replace(pl, r); err != nil {
			f.failed.CompareAndSwap(nil, &err)
			return
		}
	}
}

// replace deletes the pod at a place and makes another, which may have the same name,
// as in a StatefulSet. That is refused while the old one is there. A pod that KWOK
// does not let go, since the API server failed it when it tried, is deleted by force.
func (f *flood) replace(pl *place, r *rand.Rand) error {
	if pl.leaving != "" && f.history.exists(pl.namespace(), pl.leaving) {
		if err := f.remove(pl, pl.leaving, deletion{APIVersion: "v1", Kind: "DeleteOptions"}); err != nil {
			return err
		}
	}
	if pl.name != "" {
		if err := f.remove(pl, pl.name, nil); err != nil {
			return err
		}
	}
	pl.leaving = pl.name
	pl.name = fmt.Sprintf("job-%s-%d-%d", kwokNode(pl.node), pl.number, pl.made)
	if pl.number%10 == 0 {
		pl.name = fmt.Sprintf("db-%s-%d", kwokNode(pl.node), pl.number)
	}
	pl.made++
	end := []string{"force", "force", "stop", "stop", "job"}[r.IntN(5)]
	body := object{APIVersion: "v1", Kind: "Pod", Metadata: &metadata{Name: pl.name, Labels: map[string]string{"end": end}},
		Spec: &spec{NodeName: kwokNode(pl.node), HostNetwork: r.IntN(50) == 0, Containers: []container{{Name: "c", Image: "none"}}}}
	err := f.cluster.Send(f.ctx, kube.Request{Method: http.MethodPost, Path: pl.path(""), Body: body}, nil)
	if kube.IsStatus(err, http.StatusConflict) {
		return nil
	}
	return err
}

func (f *flood) remove(pl *place, name string, how any) error {
	err := f.cluster.Send(f.ctx, kube.Request{Method: http.MethodDelete, Path: pl.path(name), Body: how}, nil)
	if kube.IsStatus(err, http.StatusNotFound) {
		return nil
	}
	return err
}

func (pl *place) path(name string) string {
	return strings.TrimSuffix("/api/v1/namespaces/"+pl.namespace()+"/pods/"+name, "/")
}

// stop ends the flood. Pods that live then stay.
func (f *flood) stop(t *testing.T) {
	t.Helper()
	close(f.stopping)
	f.done.Wait()
	if err := f.failed.Load(); err != nil {
		t.Fatalf("the flood failed: %v", *err)
	}
}
