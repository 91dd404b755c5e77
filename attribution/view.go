package attribution

import (
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/whichpod/whichpod/attribution/nat"
)

// View answers from one immutable state of the ledger under one configuration. It
// may be used by many goroutines.
type View struct {
	cfg       Config
	tolerance int64
	pods      *archive
	clusters  []*clusterView      // sorted by name
	nics      map[string]nicOwner // as configured
	lessons   atomic.Pointer[nicLessons]
	nat       *nat.Store // nil: no evidence of what nodes translated
	tracks    *tracks
	addresses *cache[netip.Addr, *addressView]
	said      *cache[uint32, *saidAt]
}

// What a view keeps beside tracks is bounded, in bytes, about: it can be worked out
// again, an address in microseconds for each pod that it had, what is said in a run in
// one. An export of 120 million rows asks again and again for what is said of 18,000 pods,
// which takes nine tenths of it; with half of the room it takes two thirds more processor
// time.
const (
	addressBytes = 6 << 20
	saidBytes    = 46 << 20
)

type nicOwner struct {
	cluster *clusterView
	node    string
}

func newView(cfg Config, pods *archive, watched, changes map[string]coverage, late map[string]int64, all objects, damaged bool) *View {
	v := &View{cfg: cfg, tolerance: time.Duration(cfg.ClockTolerance).Milliseconds(), pods: pods, nics: make(map[string]nicOwner), tracks: newTracks(pods),
		addresses: newCache[netip.Addr, *addressView](addressBytes), said: newCache[uint32, *saidAt](saidBytes)}
	byName, suspects := make(map[string]*clusterView), sync.OnceValue(pods.suspects)
	cluster := func(name string) *clusterView {
		c := byName[name]
		if c == nil {
			c = &clusterView{Cluster: Cluster{Name: name, Network: Auto}, tolerance: v.tolerance, late: late[name], damaged: damaged, watched: watched[name], changes: changes[name],
				pods: pods, total: pods.clusters[name], nodes: make(map[string][]uint32), hosts: make(map[netip.Addr][]uint32), spells: make(map[netip.Addr][]spell), suspects: suspects}
			c.oracle = sync.OnceValue(c.decoded)
			byName[name] = c
			v.clusters = append(v.clusters, c)
		}
		return c
	}
	for _, c := range cfg.Clusters {
		cv := cluster(c.Name)
		cv.Cluster = c
		for mac, node := range c.NICs {
			v.nics[mac] = nicOwner{cv, node}
		}
	}
	for name := range changes {
		cluster(name)
	}
	for key := range all.byKey {
		cluster(key.cluster)
	}
	for name := range pods.clusters {
		cluster(name)
	}
	for n := range pods.known {
		byName[pods.known[n].cluster].addPlace(uint32(n))
	}
	for _, c := range v.clusters {
		c.addNodes(all)
	}
	slices.SortFunc(v.clusters, func(a, b *clusterView) int { return strings.Compare(a.Name, b.Name) })
	return v
}

// address returns what is known of a: worked out at the first call for it, and again
// once the cache has let go of it.
func (v *View) address(a netip.Addr) *addressView {
	if av, ok := v.addresses.get(a); ok {
		return av
	}
	av := v.work(a)
	if len(av.owners) == 0 { // the rest of the world is not remembered
		return av
	}
	w := v.addresses.weigh(0)
	av.each(func(tl *timeline) {
		tl.weight = w
		w.bytes.Add(tl.bytes())
	})
	for i := range av.owners {
		for _, n := range av.owners[i].nodes {
			n.weight = w
		}
	}
	return v.addresses.put(a, av, w)
}

// work works out what is known of an address.
func (v *View) work(a netip.Addr) *addressView {
	av := &addressView{}
	for _, c := range v.clusters {
		if c.owns(a) || within(a, c.rules.shared) {
			av.owners = append(av.owners, c.owned(a))
		}
	}
	return av
}

// Prepare works out what the first question about a pod's address would have to.
func (v *View) Prepare() {
	for _, c := range v.clusters {
		c.known()
	}
}

// outside says that an address which no pod ever had is no cluster's, in short: where it
// is false, work says who owns it.
func (v *View) outside(a netip.Addr) bool {
	for _, c := range v.clusters {
		if c.isNode(a) || within(a, c.PodCIDRs) || within(a, c.rules.shared) {
			return false
		}
	}
	return true
}

// Foreign says whether an address that is no cluster's as far as is known was certainly
// none throughout a time, both ends included: nobody in a cluster can have it, or all
// clusters were watched, and not only changes on record. Else it may be of a node or a pod that
// nobody saw.
func (v *View) Foreign(a netip.Addr, from, to int64) bool {
	if a.Is4() && !a.IsPrivate() && !sharedSpace.Contains(a) {
		return true
	}
	for _, c := range v.clusters {
		if !c.watched.has(from, to) {
			return false
		}
	}
	return len(v.clusters) > 0
}

// sharedSpace (RFC 6598) has addresses of pods too.
var sharedSpace = netip.MustParsePrefix("100.64.0.0/10")

// cluster is the one of this name, which MUST be there.
func (v *View) cluster(name string) *clusterView {
	i, _ := slices.BinarySearchFunc(v.clusters, name, func(c *clusterView, name string) int { return strings.Compare(c.Name, name) })
	return v.clusters[i]
}

// Resolve answers a question.
func (v *View) Resolve(q Question) *Resolution {
	if t, id := v.track(q.Address); t != nil {
		if r := v.saidBy(t, id).over(q.Begin, q.end()); r != nil {
			return v.checked(r, &q)
		}
	}
	av := v.address(q.Address)
	r, _ := v.lift(av, av.resolve(v, &q), &q)
	return r
}

// checked holds an exact resolution against the row's interface: who is behind it is
// on its node. Where the two contradict each other, one of them is wrong.
func (v *View) checked(r *Resolution, q *Question) *Resolution {
	if r.Verdict != Exact || !q.Near || !v.elsewhere(r.Candidates[0], q) {
		return r
	}
	return r.contradict()
}

// elsewhere says whether the interface of q is known to be of another node, or of
// another cluster's, than the pod.
func (v *View) elsewhere(c *Candidate, q *Question) bool {
	t, ok := v.ownerOf(q)
	return ok && t.elsewhere(c)
}
