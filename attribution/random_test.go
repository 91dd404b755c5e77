package attribution

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/whichpod/whichpod/attribution/nat"
	"github.com/whichpod/whichpod/flow"
)

// few addresses, so that many pods meet at each: two of the nodes', one of which a pod
// has too, one in no range, one of IPv6.
var randomAddresses = []netip.Addr{addr("10.244.0.1"), addr("10.244.0.2"), addr("10.244.0.3"), addr("10.224.0.4"), addr("10.224.0.5"), addr("192.0.2.7"), addr("fd00::1")}

const randomSpan = 3600 // seconds over which random facts are spread

// randomFacts are contradictory on purpose: brackets that cross, holes, versions and
// times that are missing, two clusters with the same addresses.
func randomFacts(r *rand.Rand) []Fact {
	var facts []Fact
	for _, cluster := range []string{"c", "d"} {
		for from := 0.0; from < randomSpan; {
			to := from + float64(r.IntN(randomSpan/2))
			facts = append(facts, watched(from, to).in(cluster).f)
			from = to + float64(r.IntN(300))
		}
	}
	for i := range 4 + r.IntN(20) {
		for range 1 + r.IntN(3) {
			facts = append(facts, randomFact(rand.New(rand.NewPCG(uint64(i), 1)), r, i))
		}
	}
	return facts
}

// randomFact is one more observation of pod i. What it is called and where it runs
// hangs on fixed, which is the same for all observations of the pod.
func randomFact(fixed, r *rand.Rand, i int) Fact {
	node := []string{"n", "m"}[fixed.IntN(2)]
	p := aPod(fmt.Sprintf("p%d", i)).in([]string{"c", "c", "d"}[fixed.IntN(3)]).on(node, map[string]string{"n": "10.224.0.4", "m": "10.224.0.5"}[node])
	if fixed.IntN(5) == 0 {
		p.hostNetwork()
	} else {
		p.has(randomAddresses[fixed.IntN(len(randomAddresses))].String())
		if r.IntN(6) == 0 {
			if a := randomAddresses[r.IntN(len(randomAddresses))]; a != p.f.Pod.Holdings[0].Address {
				p.has(a.String())
			}
		}
	}
	life := float64(r.IntN(randomSpan))
	p.f.Pod.Source = Source(r.IntN(int(numSources)))
	maybe := func(v int64) int64 {
		if r.IntN(4) == 0 {
			return 0
		}
		return v
	}
	after := func() int64 { return sec(life + float64(r.IntN(100))) }
	fill := func(b *Bounds) {
		b.NotBefore, b.SeenBy, b.RunningBy, b.AliveAt = maybe(sec(life)), maybe(after()), maybe(after()), maybe(after())
		b.SeenLast = b.SeenBy
		if r.IntN(3) == 0 {
			b.StoppedFirst = after() + 50_000
			b.StoppedLast = b.StoppedFirst + r.Int64N(20_000)
		}
		b.FirstVersion = uint64(maybe(1 + r.Int64N(50)))
		b.LastVersion = b.FirstVersion
	}
	p.each(fill)
	if r.IntN(5) == 0 {
		p.f.Pod.Deleted = Removal{At: maybe(after() + 60_000), Version: uint64(maybe(1 + r.Int64N(60)))}
	}
	if r.IntN(8) == 0 {
		p.f.Pod.Missing = Removal{At: after() + 90_000, After: maybe(after()), Version: uint64(maybe(1 + r.Int64N(60)))}
	}
	return p.f
}

// randomConfig describes the clusters of randomFacts, or leaves out much of it.
func randomConfig(r *rand.Rand) Config {
	cfg := DefaultConfig()
	cfg.ClockTolerance = []Duration{0, 1e9, 5e9}[r.IntN(3)]
	for _, name := range []string{"c", "d"} {
		c := Cluster{Name: name, Network: []Network{Auto, Kubenet, Overlay, NodeSubnet, PodSubnet}[r.IntN(5)]}
		if r.IntN(2) == 0 {
			c.PodCIDRs = prefixes("10.244.0.0/16", "fd00::/64")
		}
		if r.IntN(2) == 0 {
			c.VNetCIDRs = prefixes("10.0.0.0/8", "192.0.2.0/24")
		}
		if r.IntN(2) == 0 {
			c.NICs = map[string]string{"000D3A00000" + map[string]string{"c": "A", "d": "B"}[name]: "n"}
		}
		cfg.Clusters = append(cfg.Clusters, c)
	}
	return cfg
}

func randomQuestion(r *rand.Rand) Question {
	at := sec(float64(r.IntN(randomSpan+400)-200) + float64(r.IntN(1000))/1000)
	q := Question{
		Address: randomAddresses[r.IntN(len(randomAddresses))], Begin: flow.Span{From: at, To: at},
		NIC: []string{"", "000D3A00000A", "000D3A00000B", "000D3A00000C"}[r.IntN(4)], Near: r.IntN(2) == 0,
		Sent: r.IntN(2) == 0, DestinationPort: uint16(50 + r.IntN(5)),
	}
	if r.IntN(3) == 0 {
		q.Begin.To += r.Int64N(600_000)
	}
	if q.Sent {
		q.Destination = []netip.Addr{addr("10.244.0.3"), addr("203.0.113.66"), addr("168.63.129.16"), {}}[r.IntN(4)]
	} else {
		q.Answered = r.IntN(2) == 0
	}
	return q
}

// sameAnswers asks both views the same.
func sameAnswers(t *testing.T, seed uint64, what string, want, got *View) {
	t.Helper()
	r := rand.New(rand.NewPCG(seed, 99))
	for range 300 {
		q := randomQuestion(r)
		w, g := want.Resolve(q), got.Resolve(q)
		if w.Same(g) && slices.Equal(w.Notes, g.Notes) && w.Before == nil && g.Before == nil && w.received == nil && g.received == nil {
			continue
		}
		if diff := cmp.Diff(w.received, g.received, cmpopts.IgnoreUnexported(Resolution{}), cmpopts.EquateComparable(netip.Addr{}), cmpopts.EquateEmpty()); diff != "" {
			t.Fatalf("seed %d, %s, %+v: what is received: -want +got:\n%s", seed, what, q, diff)
		}
		if diff := cmp.Diff(w, g, cmpopts.IgnoreUnexported(Resolution{}), cmpopts.EquateComparable(netip.Addr{}), cmpopts.EquateEmpty()); diff != "" {
			t.Fatalf("seed %d, %s, %+v: -want +got:\n%s", seed, what, q, diff)
		}
	}
}

// randomEvidence tells of what nodes translated for some of the rows. Nodes have addresses
// that the ledger gives to pods too; recordings overlap, lose some of it, and contradict
// each other and the ledger; but half of them tell what by the ledger can be.
func randomEvidence(t testing.TB, r *rand.Rand, v *View, rows []flow.Row) *nat.Store {
	t.Helper()
	store, err := nat.Open(t.TempDir(), nat.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { store.Close() })
	for i := range 1 + r.IntN(2) {
		cluster := []string{"c", "c", "d"}[r.IntN(3)]
		w, err := store.Begin(nat.Import{Cluster: cluster, Kind: []string{"test", "test", "test", nat.Samples}[r.IntN(4)], Name: fmt.Sprint(i)})
		if err != nil {
			t.Fatal(err)
		}
		nodes := []string{"n", "m", "x"}
		for i := range rows {
			if r.IntN(2) == 0 || rows[i].Time < 60_000 {
				continue
			}
			f := randomTranslation(r, &rows[i], nodes[r.IntN(len(nodes))])
			for range r.IntN(2) * 20 {
				sent := &Question{Begin: flow.Span{From: rows[i].Time, To: rows[i].Time + 999}}
				if s := v.pod(cluster, &f, sent); s.Verdict == Exact {
					f.Node = s.Candidates[0].Node
					break
				}
				f.Original.Src = randomAddresses[r.IntN(len(randomAddresses))]
			}
			if err := w.Add(f); err != nil {
				t.Fatal(err)
			}
		}
		for _, node := range nodes {
			from := max(0, r.IntN(randomSpan)-randomSpan/2)
			w.Cover(node, []string{"", "a"}[r.IntN(2)], sec(float64(from)), sec(float64(from+r.IntN(2*randomSpan))))
		}
		if _, err := w.Commit(""); err != nil {
			t.Fatal(err)
		}
	}
	return store
}

// randomTranslation is one that a row can be of.
func randomTranslation(r *rand.Rand, row *flow.Row, node string) nat.Flow {
	f := nat.Flow{Key: nat.Key{Src: row.Src, SrcPort: row.SrcPort, Dst: row.Dst, DstPort: row.DstPort, Protocol: row.Protocol}, Node: node}
	if r.IntN(8) > 0 {
		f.Original = nat.Tuple{Src: randomAddresses[r.IntN(len(randomAddresses))], SrcPort: 40000, Dst: row.Dst, DstPort: row.DstPort}
		if r.IntN(8) == 0 {
			f.Original.Dst, f.Original.DstPort = row.Src, 30080
		}
	}
	f.FromLatest = row.Time - r.Int64N(30_000) + 5000
	f.FromEarliest = []int64{0, f.FromLatest, f.FromLatest - r.Int64N(2000)}[r.IntN(3)]
	f.ToEarliest = f.FromLatest + r.Int64N(30_000)
	f.ToLatest = []int64{nat.NoEnd, f.ToEarliest, f.ToEarliest + r.Int64N(3000)}[r.IntN(3)]
	return f
}

func shuffled(r *rand.Rand, facts []Fact) []Fact {
	out := slices.Clone(facts)
	r.Shuffle(len(out), func(i, j int) { out[i], out[j] = out[j], out[i] })
	return out
}
