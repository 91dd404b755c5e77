package attribution

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/whichpod/whichpod/flow"
)

// behind is an address that rows of NIC A showed from one second to another.
func behind(address string, from, to float64) NICSighting {
	return NICSighting{NIC: "000D3A00000A", Address: addr(address), First: sec(from), Last: sec(to), Sent: 1}
}

// What rows teach of a NIC, where two clusters share a pod range and their pods a and b
// an address: a is on n of c, b on m of d.
func TestLearnNICs(t *testing.T) {
	t.Parallel()
	cfg := podRange()
	cfg.Clusters = append(cfg.Clusters, Cluster{Name: "d", Network: Overlay, PodCIDRs: prefixes("10.244.0.0/16")})
	facts := factsOf(watched(0, 100_000), watched(0, 100_000).in("d"),
		aPod("a").has(theIP).made(10).seen(12).ran(11, 90_000),
		aPod("a2").on("n2", "10.224.0.6").has("10.244.1.9").made(10).seen(12).ran(11, 90_000),
		aPod("a3").on("n2", "10.224.0.6").has("10.244.1.8").made(10).seen(12).ran(11, 90).stopped(91),
		aPod("a4").has("10.244.1.8").made(100).seen(102).ran(101, 90_000),
		aPod("b").in("d").on("m", "10.224.0.5").has(theIP).made(20).seen(22).ran(21, 90_000))
	const nothing = "ambiguous a d:b [clusters]"
	for name, c := range map[string]struct {
		seen       []NICSighting
		configured string
		at         float64
		near, far  string // what is said of theIP in a row of the NIC
		odd        string // contradictions
	}{
		"nothing seen":                     {at: 50, near: nothing, far: nothing},
		"only pods' addresses":             {seen: []NICSighting{behind(theIP, 20, 90)}, at: 50, near: nothing, far: nothing},
		"its own address":                  {seen: []NICSighting{behind("10.224.0.4", 40, 60)}, at: 50, near: "exact a", far: "exact a"},
		"the other cluster's":              {seen: []NICSighting{behind("10.224.0.5", 40, 60)}, at: 50, near: "exact d:b", far: "exact d:b"},
		"received by it":                   {seen: []NICSighting{{NIC: "000D3A00000A", Address: addr("10.224.0.5"), First: sec(40), Last: sec(60), Received: 3}}, at: 50, near: "exact d:b", far: "exact d:b"},
		"within the hour":                  {seen: []NICSighting{behind("10.224.0.4", 40, 60)}, at: 3600, near: "exact a", far: "exact a"},
		"long before it is asked about":    {seen: []NICSighting{behind("10.224.0.4", 40, 60)}, at: 3700, near: nothing, far: nothing},
		"two nodes at once":                {seen: []NICSighting{behind("10.224.0.4", 40, 60), behind("10.224.0.6", 50, 70)}, at: 50, near: nothing, far: nothing},
		"two clusters at once":             {seen: []NICSighting{behind("10.224.0.4", 40, 60), behind("10.224.0.5", 55, 70)}, at: 50, near: nothing, far: nothing},
		"one after the other, the first":   {seen: []NICSighting{behind("10.224.0.5", 8000, 9000), behind("10.224.0.4", 40, 60)}, at: 50, near: "exact a", far: "exact a"},
		"one after the other, the second":  {seen: []NICSighting{behind("10.224.0.5", 8000, 9000), behind("10.224.0.4", 40, 60)}, at: 8500, near: "exact d:b", far: "exact d:b"},
		"one after the other, in between":  {seen: []NICSighting{behind("10.224.0.5", 8000, 9000), behind("10.224.0.4", 40, 60)}, at: 70, near: nothing, far: nothing},
		"it sends for an address outside":  {seen: []NICSighting{behind("10.224.0.4", 40, 60), behind("10.230.0.9", 50, 50)}, at: 50, near: nothing, far: nothing},
		"too many addresses":               {seen: []NICSighting{behind("10.224.0.4", 40, 60), {NIC: "000D3A00000A", Capped: true}}, at: 50, near: nothing, far: nothing},
		"another node's pod":               {seen: []NICSighting{behind("10.224.0.4", 40, 60), behind("10.244.1.9", 50, 52)}, at: 50, near: nothing, far: nothing, odd: "10.244.1.9 of c/n2 behind c/n"},
		"there at first, and not at last":  {seen: []NICSighting{behind("10.224.0.6", 40, 8000), behind("10.244.1.8", 50, 8000)}, at: 50, near: nothing, far: nothing, odd: "10.244.1.8 of c/n behind c/n2"},
		"the pod is on another node":       {seen: []NICSighting{behind("10.224.0.6", 40, 60)}, at: 50, near: nothing, far: "exact a"},
		"configured, and right":            {seen: []NICSighting{behind("10.224.0.4", 40, 60)}, configured: "n", at: 50, near: "exact a", far: "exact a"},
		"configured, and against the rows": {seen: []NICSighting{behind("10.224.0.5", 40, 60)}, configured: "n", at: 50, near: "exact a", far: "exact a", odd: "10.224.0.5 of d/m behind c/n"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			mine := Config{ClockTolerance: cfg.ClockTolerance, Clusters: slices.Clone(cfg.Clusters)}
			if c.configured != "" {
				mine.Clusters[0].NICs = map[string]string{"000D3A00000A": c.configured}
			}
			seen := slices.Clone(c.seen)
			for range 2 { // in either order
				v := viewOf(t, mine, facts)
				v.LearnNICs(slices.Values(seen), true)
				near, far := sent(c.at), sent(c.at)
				near.NIC, near.Near, far.NIC = "000D3A00000A", true, "000D3A00000A"
				check(t, v, []say{{near, c.near}, {far, c.far}})
				var odd []string
				for _, o := range v.NICs().Contradictions {
					odd = append(odd, fmt.Sprintf("%s of %s/%s behind %s/%s", o.Address, o.LedgerCluster, o.LedgerNode, o.Cluster, o.Node))
				}
				if got := strings.Join(odd, ", "); got != c.odd {
					t.Errorf("contradictions: %q, want %q", got, c.odd)
				}
				slices.Reverse(seen)
			}
		})
	}
}

// What a NIC teaches also holds exact answers against its node, where there is one
// cluster only.
func TestLearnedNICContradicts(t *testing.T) {
	t.Parallel()
	v := viewOf(t, podRange(), factsOf(watched(0, 1000), aPod("a").has(theIP).made(10).seen(12).ran(11, 900),
		aPod("a2").on("n2", "10.224.0.6").has("10.244.1.9").made(10).seen(12).ran(11, 900)))
	v.LearnNICs(slices.Values([]NICSighting{behind("10.224.0.6", 40, 60)}), false)
	q := Question{Address: addr(theIP), Begin: flow.Span{From: sec(50), To: sec(50)}, Sent: true, NIC: "000D3A00000A", Near: true}
	check(t, v, []say{{q, "boundary a []"}})
	if s := v.NICs(); s.Learned != 1 || s.Unknown != 0 || len(s.Nodes) != 1 || s.Nodes[0].Node != "n2" {
		t.Errorf("known of NICs: %+v", s)
	}
}

// What a view learns from all sightings it learns from those that it says are telling.
func TestTellingSightings(t *testing.T) {
	t.Parallel()
	left, learned := 0, 0
	for seed := range uint64(200) {
		r := rand.New(rand.NewPCG(seed, 47))
		cfg, facts := randomConfig(r), inCluster(randomFacts(r), "c")
		if len(cfg.Clusters) > 1 {
			cfg.Clusters = cfg.Clusters[:1]
		}
		v := viewOf(t, cfg, facts)
		telling := v.Telling(false)
		if telling == nil {
			continue
		}
		var all, some []NICSighting
		for range 1 + r.IntN(12) {
			s := NICSighting{NIC: fmt.Sprint("000D3A00000", r.IntN(3)), Address: randomAddresses[r.IntN(len(randomAddresses))], First: sec(float64(r.IntN(randomSpan))), Sent: int64(r.IntN(2)), Received: 1}
			s.Last = s.First + int64(r.IntN(20_000))
			first := !slices.ContainsFunc(all, func(o NICSighting) bool { return o.NIC == s.NIC })
			if all = append(all, s); first || telling(s.Address) { // as index.NICsOf leaves out
				some = append(some, s)
			}
		}
		v.LearnNICs(slices.Values(all), false)
		want := *v.lessons.Load()
		v.LearnNICs(slices.Values(some), false)
		if got := *v.lessons.Load(); !reflect.DeepEqual(got.terms, want.terms) || !reflect.DeepEqual(got.summary, want.summary) {
			t.Fatalf("seed %d: learned %+v from %d sightings, %+v from %d that are telling", seed, want.summary, len(all), got.summary, len(some))
		}
		left, learned = left+len(all)-len(some), learned+want.summary.Learned
	}
	if left < 50 || learned < 50 {
		t.Errorf("%d sightings left out, %d NICs learned: the test is about less than it should", left, learned)
	}
}

// A machine that is made again with its name, and its address or another, has another
// interface: each is the node's in its time, and neither contradicts the other.
func TestNICsOfAReplacedNode(t *testing.T) {
	t.Parallel()
	v := viewOf(t, podRange(), factsOf(watched(0, 20_000), aPod("a").has(theIP).made(10).seen(12).ran(11, 900).stopped(901),
		aPod("a2").on("n", "10.224.0.14").has(theIP).made(9000).seen(9002).ran(9001, 19_000),
		aPod("b").on("n2", "10.224.0.6").has("10.244.1.9").made(10).seen(12).ran(11, 19_000)))
	again := func(nic, address string, from, to float64) NICSighting {
		s := behind(address, from, to)
		s.NIC = nic
		return s
	}
	v.LearnNICs(slices.Values([]NICSighting{behind("10.224.0.4", 40, 800), behind(theIP, 20, 890), again("000D3A00000B", "10.224.0.14", 9100, 9900), again("000D3A00000B", theIP, 9100, 9900)}), true)
	at := func(second float64, nic string) Question {
		q := sent(second)
		q.NIC, q.Near = nic, true
		return q
	}
	check(t, v, []say{{at(100, "000D3A00000A"), "exact a"}, {at(9200, "000D3A00000B"), "exact a2"}})
	if s := v.NICs(); s.Learned != 2 || len(s.Contradictions) != 0 {
		t.Errorf("known of NICs: %+v", s)
	}
}

// Whose node was deleted is gone an hour (Linger) later; of one without a node on record
// that is not known.
func TestInterfaceGone(t *testing.T) {
	t.Parallel()
	l := NewLedger()
	_, err := l.Append(
		Fact{Cluster: "c", Kind: Nodes, Watched: &Range{sec(0), sec(90_000)}},
		Fact{Cluster: "c", Kind: Nodes, Object: ObjectFact{Name: "n", Version: 4, State: NewState("u", sec(1), nil), SeenBy: sec(1), SeenLast: sec(9), Source: Watch}},
		Fact{Cluster: "c", Kind: Nodes, Object: ObjectFact{Name: "n", Version: 9, SeenBy: sec(50), SeenLast: sec(50), Source: Watch}},
		Fact{Cluster: "c", Kind: Nodes, Object: ObjectFact{Name: "m", Version: 5, State: NewState("v", sec(1), nil), SeenBy: sec(1), SeenLast: sec(9), Source: Watch}})
	if err != nil {
		t.Fatal(err)
	}
	v := l.View(Config{Clusters: []Cluster{{Name: "c", NICs: map[string]string{"A": "n", "B": "m", "C": "unseen"}}}})
	for _, c := range []struct {
		nic  string
		at   float64
		want bool
	}{{"A", 40, false}, {"A", 60, false}, {"A", 3600, false}, {"A", 3700, true}, {"B", 3700, false}, {"C", 3700, false}, {"D", 3700, false}} {
		if got := v.InterfaceGone(c.nic, sec(c.at)); got != c.want {
			t.Errorf("%s at %v: %v", c.nic, c.at, got)
		}
	}
}
