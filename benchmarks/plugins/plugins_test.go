package plugins

import (
	"context"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/whichpod/whichpod/attribution"
	"github.com/whichpod/whichpod/benchmarks/sim"
)

func small() Plan {
	p := DefaultPlan()
	p.Base.Duration, p.Runs = 15*time.Minute, 2
	return p
}

// All modes see the same flows; the log shows whom public sources say; nothing exact is
// wrong; and evidence names who was masked.
func TestModes(t *testing.T) {
	p := small()
	results, err := Run(context.Background(), p, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range Differences(p.Modes, results) {
		t.Error(d)
	}
	if n := Wrong(results); n > 0 {
		t.Errorf("%d ends are exact and wrong, the last: %s", n, results[len(results)-1].Example)
	}
	kubenet := map[uint64]Result{}
	for _, r := range results {
		if r.Mode == sim.Kubenet {
			kubenet[r.Seed] = r
		}
		for _, k := range Matrix {
			same, is := kubenet[r.Seed].Tallies[k.Class], r.Tallies[k.Class]
			if is == nil || same.Flows != is.Flows || same.Logged != is.Logged || same.Unlogged != is.Unlogged {
				t.Errorf("%s, seed %d, %s: %+v, under kubenet %+v", r.Mode, r.Seed, k.Class, is, same)
				continue
			}
			shown := is.Shows()
			switch exact := float64(is.Plain.Exact) / float64(max(1, is.Flows)); {
			case shown == attribution.ShowsNothing && is.Unlogged == 0,
				shown == attribution.ShowsPod && exact < 0.97,
				shown == attribution.ShowsNode && (exact > 0 || is.Plain.Masked == 0 || bits(is) < 2),
				shown == attribution.ShowsNode && float64(is.NAT.Exact) < 0.97*float64(is.Flows):
				t.Errorf("%s, seed %d, %s: %+v", r.Mode, r.Seed, k.Class, is)
			}
		}
	}
}

// A run that shows another source than is known is noticed.
func TestDifferences(t *testing.T) {
	results := []Result{{Mode: sim.Overlay, Seed: 3, Tallies: map[attribution.Class]*Tally{
		attribution.Internet: {Logged: 5, Flows: 5, ShowPod: 5}, attribution.InVNet: {Logged: 5, Flows: 5, ShowNode: 4, ShowPod: 1},
		attribution.Beyond: {Logged: 2, Flows: 2, ShowNode: 2}, attribution.SameNode: {Logged: 1, Flows: 1, ShowPod: 1}}}}
	want := []string{
		"overlay, pod on the same node, seed 3: the log shows pod, known is none",
		"overlay, machine in the VNet, seed 3: the log shows unknown, known is node",
		"overlay, internet, seed 3: the log shows pod, known is node",
	}
	if diff := cmp.Diff(want, Differences(sim.Modes, results)); diff != "" {
		t.Error(diff)
	}
}

// With every fault at once nothing exact is wrong either.
func TestHostile(t *testing.T) {
	p := small()
	p.Hostile()
	p.Runs, p.Modes, p.Base.Duration, p.Base.Faults.LostFor = 1, []sim.Mode{sim.Overlay, sim.NodeSubnet}, 12*time.Minute, time.Minute
	seen := 0
	results, err := Run(context.Background(), p, func(Result) { seen++ })
	if err != nil {
		t.Fatal(err)
	}
	if Wrong(results) > 0 || Flows(results) < 10_000 || seen != len(results) {
		t.Errorf("%d wrong of %d flows in %d runs", Wrong(results), Flows(results), seen)
	}
}

// The same seeds give the same report.
func TestSameSeedSameFigures(t *testing.T) {
	p := small()
	p.Modes, p.Base.Duration = []sim.Mode{sim.NodeSubnet}, 5*time.Minute
	section := func() any {
		results, err := Run(context.Background(), p, nil)
		if err != nil {
			t.Fatal(err)
		}
		return Section(p, results)
	}
	if diff := cmp.Diff(section(), section()); diff != "" {
		t.Error(diff)
	}
}
