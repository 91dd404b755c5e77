//go:build e2e

package watch_test

import (
	"fmt"
	"math/rand/v2"
	"syscall"
	"testing"
	"time"

	"github.com/whichpod/whichpod/e2e/process"
)

// trouble is what befalls the programs.
type trouble struct {
	cluster               *cluster
	proxy                 *proxy
	watcher               *watcher
	unseen                func(since int64) int // how many pods were made and removed since
	history               *history              // where the test keeps one
	r                     *rand.Rand
	cached                bool        // the API server has its watch cache
	gone                  []forgotten // times in which history can have been forgotten
	restarts, compactions int
}

// forgotten is a time in which the API server forgot what had happened, from when the
// watch was away until it was back. surely: something had happened meanwhile.
type forgotten struct {
	from, to int64
	surely   bool
}

// plan says what happens, in an order that chance decides: first to an API server with
// its watch cache, then to one without.
type plan struct{ cached, uncached []func(*trouble, *testing.T) }

// all carries out a plan. In between is a random time.
func (tr *trouble) all(t *testing.T, p plan) {
	tr.cached = true
	tr.some(t, p.cached)
	tr.cached = false
	tr.cluster.restart(t, syscall.SIGTERM, false) // from etcd, all is known
	tr.restarts++
	tr.some(t, p.uncached)
}

func (tr *trouble) some(t *testing.T, kinds []func(*trouble, *testing.T)) {
	for _, i := range tr.r.Perm(len(kinds)) {
		tr.pause(3 * time.Second)
		tr.watcher.mustLive(t)
		kinds[i](tr, t)
	}
}

// say notes what happens, in whichpod's log too.
func (tr *trouble) say(t *testing.T, what string) {
	fmt.Fprintf(tr.watcher.log, "== %s: %s\n", time.Now().UTC().Format(time.RFC3339Nano), what)
	t.Logf("%s: %s", time.Now().UTC().Format("15:04:05.000"), what)
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
	tr.say(t, "kill whichpod")
	tr.watcher.kill(t)
	tr.pause(2 * time.Second)
	tr.watcher.start(t)
}

// stopped is the same in order.
func (tr *trouble) stopped(t *testing.T) {
	tr.say(t, "stop whichpod")
	tr.watcher.mustLive(t)
	if code := tr.watcher.End(syscall.SIGTERM); code != 0 {
		t.Errorf("after SIGTERM: exit code %d, want 0", code)
	}
	tr.pause(2 * time.Second)
	tr.watcher.start(t)
}

// restart restarts the API server under the watch.
func (tr *trouble) restart(t *testing.T) {
	tr.say(t, "restart the API server")
	from := now()
	tr.cluster.restart(t, tr.signal(), tr.cached)
	tr.restarts++
	tr.coldCache(t, from)
}

// killBoth kills both, and starts them in any order.
func (tr *trouble) killBoth(t *testing.T) {
	tr.say(t, "kill both")
	from := now()
	tr.watcher.kill(t)
	early := tr.r.IntN(2) == 0
	if early {
		tr.cluster.StopServer(syscall.SIGKILL)
		tr.watcher.start(t)
		tr.cluster.StartServer(t, tr.cached)
	} else {
		tr.cluster.restart(t, syscall.SIGKILL, tr.cached)
		tr.watcher.start(t)
	}
	tr.restarts++
	tr.coldCache(t, from)
}

// cut breaks the connections off, and takes none for a while.
func (tr *trouble) cut(t *testing.T) {
	tr.say(t, "cut the connections")
	tr.proxy.refuse(true)
	tr.pause(3 * time.Second)
	tr.proxy.refuse(false)
}

// halt lets the connections stand, and nothing through, until whichpod has noticed by
// itself that it hears nothing any more.
func (tr *trouble) halt(t *testing.T) {
	tr.say(t, "halt the connections")
	tr.watcher.caughtUp(t)
	const notices = "watch pods: "
	heard := tr.watcher.log.Count(notices)
	tr.proxy.flow(false)
	process.Until(t, "whichpod notices that it hears nothing", func() bool { return tr.watcher.log.Count(notices) > heard })
	tr.proxy.flow(true)
	tr.watcher.caughtUp(t)
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
	tr.say(t, "compact an old revision")
	revision, err := tr.cluster.Revision()
	process.Must(t, err)
	tr.watcher.caughtUp(t)
	tr.compact(t, revision)
}

// forget takes care that whichpod misses something for ever: while it is down, pods
// come and go, and then nobody knows any more.
func (tr *trouble) forget(t *testing.T) {
	tr.say(t, "compact while whichpod is down")
	from := now()
	tr.watcher.kill(t)
	tr.meanwhile(t)
	listed := tr.watcher.log.Count("listed all pods")
	tr.watcher.start(t)
	tr.relisted(t, from, listed)
}

// forgetLive is the same while whichpod runs, and can not reach the API server.
func (tr *trouble) forgetLive(t *testing.T) {
	tr.say(t, "compact while whichpod is cut off")
	from := now()
	tr.watcher.mustLive(t)
	listed := tr.watcher.log.Count("listed all pods")
	tr.proxy.refuse(true)
	tr.meanwhile(t)
	tr.proxy.refuse(false)
	tr.relisted(t, from, listed)
}

// meanwhile waits until pods were made and removed, and lets that be forgotten.
func (tr *trouble) meanwhile(t *testing.T) {
	since := now()
	process.Until(t, "pods live and die while nobody watches", func() bool { return tr.unseen(since) >= 3 })
	revision, err := tr.cluster.Revision()
	process.Must(t, err)
	tr.compact(t, revision)
	if tr.cached {
		tr.cluster.restart(t, tr.signal(), true)
		tr.restarts++
	}
}

// relisted waits until whichpod has found out that history was forgotten.
func (tr *trouble) relisted(t *testing.T, from int64, listed int) {
	tr.watcher.caughtUp(t)
	if tr.watcher.log.Count("listed all pods") == listed {
		t.Error("what happened was forgotten, and whichpod did not list the pods")
	}
	tr.gone = append(tr.gone, forgotten{from, now(), true})
}

// compact makes etcd forget, once the test's own history is that far.
func (tr *trouble) compact(t *testing.T, revision int64) {
	if tr.history != nil {
		tr.history.catchUp(t)
	}
	tr.cluster.Compact(t, revision)
	tr.compactions++
}

// log says what happened.
func (tr *trouble) log(t *testing.T, pods int) {
	w := tr.watcher
	t.Logf("%d pods; whichpod killed %d times, API server restarted %d times, etcd compacted %d times; %d lists, %d of them as history was forgotten",
		pods, w.kills, tr.restarts, tr.compactions, w.log.Count("listed all pods"), w.log.Count("any more: listing all pods"))
}
