//go:build e2e

// Package watch_test runs "whichpod watch" against a real API server with a real
// etcd, both built from e2e/components, while pods come and go, and everything is
// killed, started again and forgotten. Then it holds the ledger against what truly
// happened.
//
// There are no nodes: the test writes the status of pods as kubelets do. It needs
// etcd and kube-apiserver in .e2e/bin at the root of the repository, where "make e2e"
// puts them. Without them it fails: it never passes by doing nothing.
package watch_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/whichpod/whichpod/attribution"
)

// seed decides what happens to which pod, and when something is killed. How fast the
// machine is decides too, so no two runs are the same.
const seed = 20261120

const clusterName = "e2e"

func TestWatch(t *testing.T) {
	binary := filepath.Join(t.TempDir(), "whichpod")
	if out, err := exec.Command("go", "build", "-o", binary, "../../cmd/whichpod").CombinedOutput(); err != nil {
		t.Fatalf("build whichpod: %v\n%s", err, out)
	}
	c := newCluster(t)
	giveRights(t, c)
	t.Run("rights", func(t *testing.T) { testRights(t, c, binary) })
	t.Run("churn", func(t *testing.T) { testChurn(t, c, binary) })
}

// giveRights lets the lister list pods, and the watcher watch them too.
func giveRights(t *testing.T, c *cluster) {
	t.Helper()
	ctx := context.Background()
	const group = "/apis/rbac.authorization.k8s.io/v1/"
	for user, verbs := range map[string][]string{"lister": {"list"}, "watcher": {"list", "watch"}} {
		role := role{APIVersion: "rbac.authorization.k8s.io/v1", Kind: "ClusterRole", Metadata: metadata{Name: user},
			Rules: []rule{{APIGroups: []string{""}, Resources: []string{"pods"}, Verbs: verbs}}}
		must(t, c.send(ctx, request{method: http.MethodPost, path: group + "clusterroles", body: role}, nil))
		binding := binding{APIVersion: "rbac.authorization.k8s.io/v1", Kind: "ClusterRoleBinding", Metadata: metadata{Name: user},
			RoleRef: reference{"rbac.authorization.k8s.io", "ClusterRole", user}, Subjects: []reference{{"rbac.authorization.k8s.io", "User", user}}}
		must(t, c.send(ctx, request{method: http.MethodPost, path: group + "clusterrolebindings", body: binding}, nil))
		for _, verb := range verbs {
			path := "/api/v1/pods?limit=1"
			if verb == "watch" {
				path = "/api/v1/pods?watch=1&timeoutSeconds=1"
			}
			until(t, "the API server lets the "+user+" "+verb, func() bool {
				return c.once(ctx, request{method: http.MethodGet, path: path, token: user + "-token"}, nil) == nil
			})
		}
	}
}

// A right that is missing ends the watch, and the message names it.
func testRights(t *testing.T, c *cluster, binary string) {
	missing := map[string]string{"nobody": "list", "lister": "watch"}
	watchers := make(map[string]*watcher)
	for user := range missing {
		watchers[user] = newWatcher(t, c, binary, user)
		watchers[user].start(t)
	}
	for user, verb := range missing {
		w := watchers[user]
		until(t, "the watch of "+user+" ends", func() bool { return !w.process.alive() })
		if code := w.process.cmd.ProcessState.ExitCode(); code != 2 {
			t.Errorf("without the right to %s pods: exit code %d, want 2", verb, code)
		}
		for _, want := range []string{fmt.Sprintf("whichpod: error: watch pods: the API server allows no %q on \"pods\"", verb), "whichpod: hint: "} {
			if w.log.count(want) != 1 {
				t.Errorf("without the right to %s pods it says\n%s\nwant %q", verb, w.log.bytes(), want)
			}
		}
	}
}

// watcher is "whichpod watch", over all its runs.
type watcher struct {
	*process
	cluster      *cluster
	binary, data string
	kubeconfig   string
	log          *logFile
	kills        int
}

func newWatcher(t *testing.T, c *cluster, binary, user string) *watcher {
	return &watcher{cluster: c, binary: binary, data: t.TempDir(), kubeconfig: c.kubeconfig(t, user), log: newLog(t, "whichpod watch of "+user)}
}

func (w *watcher) start(t *testing.T) {
	t.Helper()
	w.process = start(t, w.log, w.binary, "watch", "--cluster", clusterName, "--data", w.data, "--kubeconfig", w.kubeconfig)
}

func (w *watcher) kill(t *testing.T) {
	t.Helper()
	w.mustLive(t)
	w.end(syscall.SIGKILL, patience)
	w.kills++
}

func (w *watcher) mustLive(t *testing.T) {
	t.Helper()
	if !w.process.alive() {
		t.Fatalf("whichpod watch ended by itself, with code %d", w.process.cmd.ProcessState.ExitCode())
	}
}

// ledger opens what is on disk, as any other command does.
func (w *watcher) ledger(t *testing.T) *attribution.Ledger {
	t.Helper()
	l, err := attribution.OpenLedger(filepath.Join(w.data, "ledger"), attribution.Options{ReadOnly: true})
	must(t, err)
	return l
}

// watched are the stretches that the ledger says were watched.
func watched(l *attribution.Ledger) []attribution.Range {
	for _, s := range l.View(attribution.DefaultConfig()).Stats() {
		if s.Name == clusterName {
			return s.Watched
		}
	}
	return nil
}

// caughtUp waits until the ledger says that the present is watched. It touches a pod
// now and then, so that there is something to see.
func (w *watcher) caughtUp(t *testing.T) {
	t.Helper()
	since, last := now(), time.Time{}
	until(t, "the watch catches up", func() bool {
		w.mustLive(t)
		if time.Since(last) < 300*time.Millisecond {
			return false
		}
		last = time.Now()
		touch(t, w.cluster)
		list := watched(w.ledger(t))
		return len(list) > 0 && list[len(list)-1].To >= since
	})
}

const touched = "/api/v1/namespaces/default/pods/touched"

// touch changes a pod that has no other purpose.
func touch(t *testing.T, c *cluster) {
	t.Helper()
	body := object{Metadata: &metadata{Labels: map[string]string{"at": fmt.Sprint(now())}}}
	must(t, c.send(context.Background(), request{method: http.MethodPatch, path: touched, kind: "application/merge-patch+json", body: body}, nil))
}

// testChurn is the test proper.
func testChurn(t *testing.T, c *cluster, binary string) {
	body := object{APIVersion: "v1", Kind: "Pod", Metadata: &metadata{Name: "touched"}, Spec: &spec{Containers: []container{{Name: "c", Image: "none"}}}}
	must(t, c.send(context.Background(), request{method: http.MethodPost, path: "/api/v1/namespaces/default/pods", body: body}, nil))
	began := now()
	d := startChurn(t, c, seed)
	w := newWatcher(t, c, binary, "watcher")
	w.start(t)
	w.caughtUp(t)
	tr := &trouble{churn: d, watcher: w, r: rand.New(rand.NewPCG(seed, 0)), cached: true}
	tr.all(t)
	d.stop(t)
	w.caughtUp(t)
	j := &judge{churn: d, watcher: w, trouble: tr, began: began}
	until(t, "the ledger has the pods that the API server has", func() bool { return j.existing(t) == "" })
	w.mustLive(t)
	if code := w.end(syscall.SIGTERM, patience); code != 0 {
		t.Errorf("after SIGTERM: exit code %d, want 0", code)
	}
	j.judge(t)
	t.Logf("%d pods, %d requests; whichpod killed %d times, API server restarted %d times, etcd compacted %d times; %d lists, %d of them as history was forgotten",
		len(d.pods), d.requests.Load(), w.kills, tr.restarts, tr.compactions, w.log.count("listed all pods"), w.log.count("any more: listing all pods"))
}

// trouble is what befalls the programs.
type trouble struct {
	*churn
	watcher               *watcher
	r                     *rand.Rand
	cached                bool        // the API server has its watch cache
	revision              int64       // etcd's, some time ago
	gone                  []forgotten // times in which history can have been forgotten
	restarts, compactions int
}

// forgotten is a time in which the API server forgot what had happened, from when the
// watch was away until it was back. surely: something had happened meanwhile.
type forgotten struct {
	from, to int64
	surely   bool
}

// all lets each kind of trouble happen, twice over: to an API server with its watch
// cache, and to one without. In between is a random time.
func (tr *trouble) all(t *testing.T) {
	kinds := []struct {
		name string
		do   func(*testing.T)
	}{
		{"kill whichpod", tr.kill}, {"kill whichpod", tr.kill}, {"stop whichpod", tr.stopped},
		{"restart the API server", tr.restart}, {"kill both", tr.killBoth},
		{"compact an old revision", tr.compactOld}, {"compact and restart while whichpod is down", tr.forget},
	}
	for _, tr.cached = range []bool{true, false} {
		if !tr.cached {
			tr.cluster.restartServer(t, syscall.SIGTERM, false) // from etcd, all is known
			tr.restarts++
			kinds = append(kinds, kinds[len(kinds)-1])
		}
		tr.r.Shuffle(len(kinds), func(i, j int) { kinds[i], kinds[j] = kinds[j], kinds[i] })
		for _, k := range kinds {
			tr.pause(3 * time.Second)
			tr.watcher.mustLive(t)
			fmt.Fprintf(tr.watcher.log, "== %s: %s\n", time.Now().UTC().Format(time.RFC3339Nano), k.name)
			k.do(t)
		}
	}
}

// pause lets a random time pass: trouble comes at any moment.
func (tr *trouble) pause(longest time.Duration) {
	time.Sleep(time.Duration(tr.r.Int64N(int64(longest))))
}

func (tr *trouble) signal() syscall.Signal {
	if tr.r.IntN(2) == 0 {
		return syscall.SIGKILL
	}
	return syscall.SIGTERM
}

// kill kills whichpod and starts it again. It goes on where it stopped.
func (tr *trouble) kill(t *testing.T) {
	tr.watcher.kill(t)
	tr.pause(2 * time.Second)
	tr.watcher.start(t)
}

// stopped is the same in order.
func (tr *trouble) stopped(t *testing.T) {
	tr.watcher.mustLive(t)
	if code := tr.watcher.end(syscall.SIGTERM, patience); code != 0 {
		t.Errorf("after SIGTERM: exit code %d, want 0", code)
	}
	tr.pause(2 * time.Second)
	tr.watcher.start(t)
}

// restart restarts the API server under the watch.
func (tr *trouble) restart(t *testing.T) {
	from := now()
	tr.cluster.restartServer(t, tr.signal(), tr.cached)
	tr.restarts++
	tr.coldCache(t, from)
}

// killBoth kills both, and starts them in any order.
func (tr *trouble) killBoth(t *testing.T) {
	from := now()
	tr.watcher.kill(t)
	early := tr.r.IntN(2) == 0
	if early {
		tr.cluster.apiserver.end(syscall.SIGKILL, drain)
		tr.watcher.start(t)
		tr.cluster.startServer(t, tr.cached)
	} else {
		tr.cluster.restartServer(t, syscall.SIGKILL, tr.cached)
		tr.watcher.start(t)
	}
	tr.restarts++
	tr.coldCache(t, from)
}

// coldCache waits until the watch is there again after a restart of the API server.
// With a watch cache, that knows nothing of what was before.
func (tr *trouble) coldCache(t *testing.T, from int64) {
	if !tr.cached {
		return
	}
	tr.watcher.caughtUp(t)
	tr.gone = append(tr.gone, forgotten{from, now(), false})
}

// compactOld compacts what the watch has seen: that does no harm.
func (tr *trouble) compactOld(t *testing.T) {
	revision, err := tr.cluster.revision()
	must(t, err)
	tr.watcher.caughtUp(t)
	tr.cluster.compact(t, revision)
	tr.compactions++
}

// forget takes care that whichpod misses something for ever: while it is down, pods
// come and go, and then nobody knows any more.
func (tr *trouble) forget(t *testing.T) {
	from := now()
	tr.watcher.kill(t)
	removals := tr.removals.Load()
	until(t, "pods are removed while nobody watches", func() bool { return tr.removals.Load() >= removals+50 })
	revision, err := tr.cluster.revision()
	must(t, err)
	tr.cluster.compact(t, revision)
	tr.compactions++
	if tr.cached {
		tr.cluster.restartServer(t, tr.signal(), true)
		tr.restarts++
	}
	listed := tr.watcher.log.count("listed all pods")
	tr.watcher.start(t)
	tr.watcher.caughtUp(t)
	if tr.watcher.log.count("listed all pods") == listed {
		t.Error("what happened was forgotten, and whichpod did not list the pods")
	}
	tr.gone = append(tr.gone, forgotten{from, now(), true})
}
