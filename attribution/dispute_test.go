package attribution

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

func disputesText(v *View) []string {
	var out []string
	for _, d := range v.Disputes("c") {
		out = append(out, fmt.Sprintf("%s of %s: %s, %s", d.Kind, d.UID, d.First.Source, d.Second.Source))
	}
	return out
}

// A contradiction is kept and shown, whoever came first; and no exact rests on it.
func TestDisputes(t *testing.T) {
	t.Parallel()
	watch := func() *told { return aPod("a").has(theIP).made(0).seen(10).ran(9, 9).versions(5, 8).still(1000) }
	audit := func() *told { return aPod("a").has(theIP).made(0).seen(9.8).ran(9, 9).from(Audit) }
	for _, c := range []struct {
		name  string
		facts []*told
		want  []string // disputes
		at    map[float64]string
	}{
		{"they agree", []*told{watch(), audit()}, nil, map[float64]string{500: "exact a"}},
		{"one source cannot contradict itself by seeing a pod end and be made again", []*told{
			aPod("a").has(theIP).made(0).seen(10).ran(9, 9).stopped(50), aPod("a").has(theIP).made(0).seen(80).ran(70, 300)},
			nil, map[float64]string{200: "exact a"}},
		{"two nodes", []*told{watch(), audit().on("m")}, []string{"node of a: watch, audit"}, map[float64]string{500: "boundary a [dispute]"}},
		{"two names", []*told{watch(), func() *told { p := audit(); p.f.Pod.Identity.Name = "b"; return p }()},
			[]string{"name of a: watch, audit"}, map[float64]string{500: "boundary a [dispute]"}},
		{"ended before it was seen alive", []*told{watch().ran(9, 600), audit().stopped(100)}, []string{"end of a: audit, watch"},
			map[float64]string{50: "exact a", 300: "boundary a [dispute]", 700: "exact a"}},
		{"removed before its last sign of life: a clock is wrong", []*told{aPod("a").has(theIP).made(0).seen(10).ran(9, 200).deleted(100, 9)},
			[]string{"removal of a: watch, watch"}, map[float64]string{50: "exact a", 99.5: "boundary a [dispute]"}},
		{"removed, and seen long after", []*told{watch().versions(0, 0), audit().deleted(100, 0)}, []string{"removal of a: audit, watch"}, map[float64]string{50: "exact a", 300: "boundary a [dispute] [lingers]"}},
		{"removed, and seen after only because events came late", []*told{watch(), audit().deleted(100, 9)}, nil, map[float64]string{50: "exact a"}},
		{"two addresses at once", []*told{watch().versions(0, 0), aPod("a").has("10.244.0.7").made(0).seen(20).still(2000).from(Audit)},
			[]string{"address of a: watch, audit"}, map[float64]string{500: "boundary a [dispute]"}},
		{"two addresses in one object", []*told{aPod("a").has(theIP, "10.244.0.7").made(0).seen(10).versions(5, 8)},
			[]string{"address of a: watch, watch"}, map[float64]string{500: "boundary a [dispute]"}},
		{"a pod of which those who watched know nothing", []*told{aPod("b").has("10.244.0.7").seen(1).still(900), aPod("a").has(theIP).made(0).seen(600).ran(590, 590).from(Inventory)},
			[]string{"unseen of a: watch, inventory"}, map[float64]string{592: "boundary a [dispute]"}},
	} {
		for _, order := range []string{"as listed", "reversed"} {
			facts := append(factsOf(c.facts...), watched(0, 3000).f)
			if order == "reversed" {
				for i, j := 0, len(facts)-1; i < j; i, j = i+1, j-1 {
					facts[i], facts[j] = facts[j], facts[i]
				}
			}
			v := viewOf(t, podRange(), facts)
			if diff := cmp.Diff(c.want, disputesText(v)); diff != "" {
				t.Errorf("%s, %s: -want +got:\n%s", c.name, order, diff)
			}
			for at, want := range c.at {
				check(t, v, []say{{sent(at), want}})
			}
		}
	}
}

// What is contradicted is the same after a restart, and costs no line in the journal
// at the second time.
func TestDisputesAreDurable(t *testing.T) {
	t.Parallel()
	for seed := range uint64(25) {
		r := rand.New(rand.NewPCG(seed, 77))
		facts := randomFacts(r)
		dir := filepath.Join(t.TempDir(), "ledger")
		l := mustOpen(t, dir, Options{})
		for _, f := range facts {
			mustAppend(t, l, f)
		}
		if n := mustAppend(t, l, facts...); n != 0 {
			t.Errorf("seed %d: %d facts are new at the second time", seed, n)
		}
		want := l.View(DefaultConfig())
		mustClose(t, l)
		got := mustOpen(t, dir, Options{ReadOnly: true}).View(DefaultConfig())
		for _, cluster := range []string{"c", "d"} {
			if diff := cmp.Diff(want.Disputes(cluster), got.Disputes(cluster), cmpopts.EquateComparable(netip.Addr{})); diff != "" {
				t.Fatalf("seed %d: -want +got:\n%s", seed, diff)
			}
		}
		if len(want.Disputes("c")) == 0 && len(want.Disputes("d")) == 0 {
			t.Errorf("seed %d: no contradictions, though the facts are made to contradict", seed)
		}
	}
}
