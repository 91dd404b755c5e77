package attribution

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// uuidFacts are random facts in which some pods have UIDs as Kubernetes makes them,
// and names, labels and owners that they share in part.
func uuidFacts(r *rand.Rand) []Fact {
	facts := randomFacts(r)
	for i := range facts {
		p := &facts[i].Pod
		if facts[i].Watched != nil || len(p.UID)%2 == 1 {
			continue
		}
		p.Identity.Name, p.Identity.Owner = "api-7d4b9c6f5d-"+p.UID, "ReplicaSet/api-7d4b9c6f5d"
		p.Identity.Labels = []string{"app=api", "tier="}
		p.UID = fmt.Sprintf("0a1b2c3d-0000-4000-8000-%012x", len(p.UID)*1000+int(p.UID[1]))
	}
	return facts
}

// What the archive holds of a pod is what merging all facts about it gives, whenever
// it was filed in between; and a snapshot stays as it was.
func TestArchiveHoldsEverything(t *testing.T) {
	t.Parallel()
	for seed := range uint64(50) {
		r := rand.New(rand.NewPCG(seed, 21))
		l, merged := NewLedger(), make(map[podKey]*pod)
		var early *archive
		var then []*pod
		for i, f := range shuffled(r, uuidFacts(r)) {
			f.KnownAt = int64(i + 1)
			mustAppend(t, l, f)
			if f.Watched == nil {
				key := podKey{f.Cluster, f.Pod.UID}
				if merged[key] == nil {
					merged[key] = &pod{cluster: f.Cluster, uid: f.Pod.UID, knownAt: f.KnownAt}
				}
				before := *merged[key]
				before.holdings = slices.Clone(before.holdings)
				merged[key].merge(&f.Pod)
				if before.sources == 0 {
					merged[key].voice(nil, &f)
				} else {
					merged[key].voice(&before, &f)
				}
			}
			if r.IntN(4) == 0 {
				l.settle()
			}
			if early == nil && r.IntN(20) == 0 {
				l.settle()
				early = l.store.snapshot()
				then = allPods(early)
			}
		}
		l.settle()
		now := l.store.snapshot()
		if len(merged) != int(now.pods) {
			t.Fatalf("seed %d: %d pods are filed, want %d", seed, now.pods, len(merged))
		}
		forced := map[string]int{}
		for _, got := range allPods(now) {
			want := merged[podKey{got.cluster, got.uid}]
			samePod(t, seed, want, got)
			forced[got.cluster] += count(want.forced())
			for _, h := range want.holdings {
				var at []uint32
				now.eachAt(h.Address, func(n uint32) bool { at = append(at, n); return true })
				if n := got.filed - 1; !slices.Contains(at, n) {
					t.Fatalf("seed %d: pod %d is not found at %v, where there are %v", seed, n, h.Address, at)
				}
			}
		}
		for cluster, n := range forced {
			if now.clusters[cluster].forced != n {
				t.Errorf("seed %d: %d pods of %s were deleted by force, want %d", seed, now.clusters[cluster].forced, cluster, n)
			}
		}
		if early != nil {
			for i, got := range allPods(early) {
				samePod(t, seed, then[i], got)
			}
		}
	}
}

func allPods(a *archive) (out []*pod) {
	for n := range a.pods {
		out = append(out, a.pod(n))
	}
	return out
}

func samePod(t *testing.T, seed uint64, want, got *pod) {
	t.Helper()
	opt := cmp.Options{cmp.AllowUnexported(pod{}), cmpopts.IgnoreFields(pod{}, "filed", "at"), cmpopts.EquateComparable(netip.Addr{}), cmpopts.EquateEmpty()}
	if diff := cmp.Diff(want, got, opt); diff != "" {
		t.Fatalf("seed %d: -want +got:\n%s", seed, diff)
	}
}

// Values at the ends of their ranges, and texts of any length, come back.
func TestRecordsOfOddPods(t *testing.T) {
	const most = int64(^uint64(0) >> 1)
	odd := Bounds{NotBefore: most, SeenBy: -most - 1, SeenLast: most, RunningBy: 1, AliveAt: -1, StoppedFirst: most, StoppedLast: most, FirstVersion: ^uint64(0), LastVersion: 1}
	long := string(make([]byte, 3*wordChunk))
	s := newStore()
	var want []*pod
	for i, uid := range []string{"", "x", long, "0A1B2C3D-0000-4000-8000-000000000000", "0a1b2c3d-0000-4000-8000-000000000000", "0a1b2c3d-0000-4000-8000_000000000000"} {
		for _, cluster := range []string{"c", "d"} {
			want = append(want, &pod{cluster: cluster, uid: uid, knownAt: -most - 1, presence: odd, listed: most,
				deleted: Removal{At: most, After: -most - 1, Version: ^uint64(0)}, missing: Removal{Version: uint64(i)},
				id:       Identity{Name: long + "-", Labels: []string{long, ""}, Version: ^uint64(0)},
				holdings: []Holding{{addr("::ffff:10.0.0.1"), Bounds{}}, {addr("10.0.0.1"), odd}, {addr("fd00::1"), Bounds{NotBefore: 1, LastVersion: 1}}}})
		}
	}
	s.file(slices.Clone(want))
	for i, p := range want {
		samePod(t, 0, p, s.pod(uint32(i)))
		if n, ok := s.find(podKey{p.cluster, p.uid}); !ok || n != uint32(i) {
			t.Errorf("pod %d is found as %d, %v", i, n, ok)
		}
	}
	if _, ok := s.find(podKey{"e", "x"}); ok {
		t.Error("a pod of a cluster that is not there is found")
	}
}

// A view answers the same while the ledger goes on learning.
func TestViewBesideAppends(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(1, 22))
	facts := uuidFacts(r)
	l := NewLedger()
	mustAppend(t, l, facts[:len(facts)/2]...)
	v, cfg := l.View(podRange()), podRange()
	alone := NewLedger()
	mustAppend(t, alone, facts[:len(facts)/2]...)
	var all sync.WaitGroup
	all.Go(func() {
		for i := range 60 {
			for k := range facts {
				facts[k].Pod.Presence.SeenLast += MaxSilence
			}
			facts = append(facts, aPod(fmt.Sprintf("new%d", i)).has(theIP, fmt.Sprintf("10.9.0.%d", i)).on(fmt.Sprintf("node%d", i), "10.224.0.4").seen(float64(i)).f)
			if _, err := l.Append(facts...); err != nil {
				t.Error(err)
			}
			l.View(cfg)
		}
	})
	all.Go(func() { sameAnswers(t, 1, "beside a writer", alone.View(cfg), v) })
	all.Wait()
}

// The view stays the same one until something is learnt or the configuration changes.
func TestViewIsKept(t *testing.T) {
	l := NewLedger()
	mustAppend(t, l, aPod("a").has(theIP).seen(1).f)
	first := l.View(podRange())
	if l.View(podRange()) != first {
		t.Error("nothing has changed, and the view is another one")
	}
	if l.View(DefaultConfig()) == first {
		t.Error("another configuration, and the view is the same one")
	}
	first = l.View(podRange())
	mustAppend(t, l, aPod("b").has(theIP).seen(1).f)
	if v := l.View(podRange()); v == first || len(v.Pods(PodRef{})) != 2 {
		t.Error("a pod was added, and the view does not show it")
	}
}

func TestCache(t *testing.T) {
	t.Parallel()
	c := newCache[int, string](100)
	put := func(k int, s string) string { return c.put(k, s, c.weigh(20)) }
	put(1, "a")
	if got := put(1, "other"); got != "a" {
		t.Errorf("put again: got %q, want what is there", got)
	}
	for k := range 5 {
		put(k, "a")
	}
	if n := c.dropped(); n != 0 || len(c.values) != 5 {
		t.Errorf("of what fits %d are dropped, %d are left", n, len(c.values))
	}
	put(5, "b")
	if got, ok := c.get(5); !ok || got != "b" || len(c.values) != 4 || c.dropped() != 2 {
		t.Errorf("after one more than fits: it has %q, %d are left, and %d were dropped; want itself, 4, and 2", got, len(c.values), c.dropped())
	}
	huge := c.weigh(1000)
	c.put(6, "c", huge)
	if _, ok := c.get(6); !ok || c.dropped() != 6 || huge.dropped() {
		t.Errorf("what is larger than all that is allowed is not kept by itself: %d were dropped", c.dropped())
	}
	if put(7, "d"); !huge.dropped() || c.spent.Load() != 20 {
		t.Errorf("what is too large is kept beside others, which take %d bytes", c.spent.Load())
	}
	if huge.add(50); c.spent.Load() != 20 {
		t.Errorf("what was dropped still counts: %d bytes", c.spent.Load())
	}
}

// Values that are always in use and grow do not take more than is allowed, and as much of
// it as there is to keep.
func TestCacheOfWhatGrows(t *testing.T) {
	t.Parallel()
	const limit, step = 1000, 10
	c := newCache[int, *weight](limit)
	made := 0
	for i := range 10_000 {
		w, ok := c.get(i % 7)
		if !ok {
			made++
			w = c.weigh(step)
			c.put(i%7, w, w)
		}
		if w.bytes.Load() < limit/5 { // seven of them are more than the limit
			w.add(step)
		}
		held := int64(0)
		for _, v := range c.values {
			held += v.bytes.Load()
		}
		if held > limit+2*step || held != c.spent.Load() {
			t.Fatalf("round %d: %d bytes are held, and %d are counted; %d are allowed", i, held, c.spent.Load(), limit)
		}
	}
	if made > 10_000/20 {
		t.Errorf("values were made anew %d times: too little is kept", made)
	}
}

// Only suspects can have had two pods at once.
func TestSuspects(t *testing.T) {
	t.Parallel()
	doubledSeen, cleared := 0, 0
	for seed := range uint64(60) {
		r := rand.New(rand.NewPCG(seed, 23))
		v := viewOf(t, randomConfig(r), uuidFacts(r))
		suspects := v.pods.suspects()
		v.pods.eachAddress(func(a netip.Addr) {
			for _, c := range v.clusters {
				switch {
				case c.doubledAt(a) && !slices.Contains(suspects, a):
					t.Fatalf("seed %d: %v had two pods of %s at once, and is no suspect", seed, a, c.Name)
				case c.doubledAt(a):
					doubledSeen++
				case !slices.Contains(suspects, a):
					cleared++
				}
			}
		})
	}
	if doubledSeen < 50 || cleared < 20 {
		t.Errorf("%d addresses had two pods at once, %d are no suspects: the facts no longer do what this test is about", doubledSeen, cleared)
	}
}

// Of pods that had their addresses one after the other no address is suspected,
// however many were filed at once.
func TestSuspectsOfOrderlyFleet(t *testing.T) {
	l, addresses := fleetOf(t, 20_000)
	if got := l.View(podRange()).pods.suspects(); len(got) > 0 {
		t.Errorf("%d of %d addresses are suspected to have had two pods at once", len(got), len(addresses))
	}
}
