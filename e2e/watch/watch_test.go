//go:build e2e

// Package watch_test runs "whichpod watch" against a real API server with a real
// etcd, both built from e2e/components, while pods come and go, and everything is
// killed, started again and forgotten. Then it holds the ledger against what truly
// happened.
//
// TestWatch has no nodes: it writes the status of some hundred pods as kubelets do, and
// knows by itself what is true. TestKwok has 20,000 pods on 500 nodes that KWOK plays,
// and reads what is true from etcd, past the API server.
//
// They need etcd, kube-apiserver and kwok in .e2e/bin at the root of the repository,
// where "make e2e" puts them. Without them they fail: they never pass by doing nothing.
// No wait is bounded but by process.Patience, and nothing that is checked hangs on how fast the
// machine is.
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
	"github.com/whichpod/whichpod/e2e/kube"
	"github.com/whichpod/whichpod/e2e/process"
)

// seed decides what happens to which pod, and when something is killed. How fast the
// machine is decides too, so no two runs are the same.
const seed = 20261120

const clusterName = "e2e"

func TestWatch(t *testing.T) {
	binary := build(t)
	c := newCluster(t)
	giveRights(t, c)
	t.Run("rights", func(t *testing.T) { testRights(t, c, binary) })
	t.Run("churn", func(t *testing.T) { testChurn(t, c, binary) })
}

// build builds the program under test.
func build(t *testing.T) string {
	t.Helper()
	binary := filepath.Join(t.TempDir(), "whichpod")
	if out, err := exec.Command("go", "build", "-o", binary, "../../cmd/whichpod").CombinedOutput(); err != nil {
		t.Fatalf("build whichpod: %v\n%s", err, out)
	}
	return binary
}

// giveRights lets the lister list pods, and the watcher watch them too.
func giveRights(t *testing.T, c *cluster) {
	t.Helper()
	ctx := context.Background()
	const group = "/apis/rbac.authorization.k8s.io/v1/"
	for user, verbs := range map[string][]string{"lister": {"list"}, "watcher": {"list", "watch"}} {
		rules := []rule{{APIGroups: []string{""}, Resources: []string{"pods"}, Verbs: verbs}}
		if user == "watcher" { // to whom nothing is forbidden that whichpod asks for
			rules = append(rules, rule{APIGroups: []string{"", "acn.azure.com"}, Resources: []string{"nodes", "namespaces", "configmaps", "nodenetworkconfigs"}, Verbs: verbs})
		}
		role := role{APIVersion: "rbac.authorization.k8s.io/v1", Kind: "ClusterRole", Metadata: metadata{Name: user}, Rules: rules}
		process.Must(t, c.Send(ctx, kube.Request{Method: http.MethodPost, Path: group + "clusterroles", Body: role}, nil))
		binding := binding{APIVersion: "rbac.authorization.k8s.io/v1", Kind: "ClusterRoleBinding", Metadata: metadata{Name: user},
			RoleRef: reference{"rbac.authorization.k8s.io", "ClusterRole", user}, Subjects: []reference{{"rbac.authorization.k8s.io", "User", user}}}
		process.Must(t, c.Send(ctx, kube.Request{Method: http.MethodPost, Path: group + "clusterrolebindings", Body: binding}, nil))
		for _, verb := range verbs {
			path := "/api/v1/pods?limit=1"
			if verb == "watch" {
				path = "/api/v1/pods?watch=1&timeoutSeconds=1"
			}
			process.Until(t, "the API server lets the "+user+" "+verb, func() bool {
				return c.Once(ctx, kube.Request{Method: http.MethodGet, Path: path, User: user}, nil) == nil
			})
		}
	}
}

// A right that is missing ends the watch, and the message names it.
func testRights(t *testing.T, c *cluster, binary string) {
	missing := map[string]string{"nobody": "list", "lister": "watch"}
	watchers := make(map[string]*watcher)
	for user := range missing {
		watchers[user] = newWatcher(t, c, binary, user, c.Port())
		watchers[user].start(t)
	}
	for user, verb := range missing {
		w := watchers[user]
		process.Until(t, "the watch of "+user+" ends", func() bool { return !w.Alive() })
		if code := w.Wait(); code != 2 {
			t.Errorf("without the right to %s pods: exit code %d, want 2", verb, code)
		}
		for _, want := range []string{fmt.Sprintf("whichpod: error: watch pods: the API server allows no %q on \"pods\"", verb), "whichpod: hint: "} {
			if w.log.Count(want) != 1 {
				t.Errorf("without the right to %s pods it says\n%s\nwant %q", verb, w.log.Bytes(), want)
			}
		}
	}
}

// watcher is "whichpod watch", over all its runs.
type watcher struct {
	*process.Process
	cluster      *cluster
	binary, data string
	kubeconfig   string
	log          *process.Log
	kills        int
	peak         int64 // of its memory, in bytes
}

func newWatcher(t *testing.T, c *cluster, binary, user string, port int) *watcher {
	return &watcher{cluster: c, binary: binary, data: t.TempDir(), kubeconfig: c.Kubeconfig(t, user, port), log: process.NewLog(t, "whichpod watch of "+user)}
}

func (w *watcher) start(t *testing.T) {
	t.Helper()
	w.Process = process.Start(t, w.log, exec.Command(w.binary, "watch", "--cluster", clusterName, "--data", w.data, "--kubeconfig", w.kubeconfig))
}

func (w *watcher) kill(t *testing.T) {
	t.Helper()
	w.mustLive(t)
	w.peak = max(w.peak, w.Process.Peak())
	w.End(syscall.SIGKILL)
	w.kills++
}

func (w *watcher) mustLive(t *testing.T) {
	t.Helper()
	if !w.Alive() {
		t.Fatalf("whichpod watch ended by itself, with code %d", w.Wait())
	}
}

// ledger opens what is on disk, as any other command does.
func (w *watcher) ledger(t *testing.T) *attribution.Ledger {
	t.Helper()
	l, err := attribution.OpenLedger(filepath.Join(w.data, "ledger"), attribution.Options{ReadOnly: true})
	process.Must(t, err)
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
	since, next := now(), time.Time{}
	process.Until(t, "the watch catches up", func() bool {
		w.mustLive(t)
		if time.Now().Before(next) {
			return false
		}
		began := time.Now()
		touch(t, w.cluster)
		list := watched(w.ledger(t))
		next = time.Now().Add(300*time.Millisecond + 4*time.Since(began)) // a large ledger takes a while to read
		return len(list) > 0 && list[len(list)-1].To >= since
	})
}

const touched = "/api/v1/namespaces/default/pods/touched"

func makeTouched(t *testing.T, c *cluster) {
	t.Helper()
	body := object{APIVersion: "v1", Kind: "Pod", Metadata: &metadata{Name: "touched"}, Spec: &spec{Containers: []container{{Name: "c", Image: "none"}}}}
	process.Must(t, c.Send(context.Background(), kube.Request{Method: http.MethodPost, Path: "/api/v1/namespaces/default/pods", Body: body}, nil))
}

// touch changes a pod that has no other purpose.
func touch(t *testing.T, c *cluster) {
	t.Helper()
	body := object{Metadata: &metadata{Labels: map[string]string{"at": fmt.Sprint(now())}}}
	process.Must(t, c.Send(context.Background(), kube.Request{Method: http.MethodPatch, Path: touched, Kind: "application/merge-patch+json", Body: body}, nil))
}

// testChurn is the test proper.
func testChurn(t *testing.T, c *cluster, binary string) {
	makeTouched(t, c)
	began := now()
	d := startChurn(t, c, seed)
	p := newProxy(t, c.Port())
	w := newWatcher(t, c, binary, "watcher", p.port())
	w.start(t)
	w.caughtUp(t)
	tr := &trouble{cluster: c, proxy: p, watcher: w, unseen: d.since, r: rand.New(rand.NewPCG(seed, 0))}
	all := []func(*trouble, *testing.T){(*trouble).kill, (*trouble).kill, (*trouble).stopped, (*trouble).restart, (*trouble).killBoth,
		(*trouble).cut, (*trouble).compactOld, (*trouble).forget}
	tr.all(t, plan{cached: append(all, (*trouble).halt), uncached: append(all, (*trouble).forgetLive)})
	d.stop(t)
	w.caughtUp(t)
	j := &judge{truth: &d.truth, cluster: c, watcher: w, trouble: tr, began: began, atLeast: nodes}
	process.Until(t, "the ledger has the pods that the API server has", func() bool { return j.existing(t) == "" })
	w.mustLive(t)
	if code := w.End(syscall.SIGTERM); code != 0 {
		t.Errorf("after SIGTERM: exit code %d, want 0", code)
	}
	j.judge(t)
	tr.log(t, len(d.pods))
}
