package mtti

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/whichpod/whichpod/attribution"
	"github.com/whichpod/whichpod/benchmarks/sim"
	"github.com/whichpod/whichpod/query"
)

func small() Plan {
	p := DefaultPlan()
	p.Base.Duration, p.Base.Incidents, p.Runs = 12*time.Minute, 6, 1
	return p
}

func run(t *testing.T, p Plan) []Result {
	t.Helper()
	results, err := Run(context.Background(), p)
	if err != nil {
		t.Fatal(err)
	}
	return results
}

// What hides the sender has no time to identify; evidence of the nodes' translations
// names it, and nobody wrong is named.
func TestModes(t *testing.T) {
	p := small()
	results := run(t, p)
	if n := Wrong(results); n > 0 || len(results) != len(sim.Modes) {
		t.Fatalf("%d wrong in %d runs: %+v", n, len(results), results)
	}
	hidden := map[sim.Mode]int{sim.Kubenet: 6, sim.Overlay: 6, sim.NodeSubnet: 3, sim.PodSubnet: 0} // the half on the internet
	for _, r := range results {
		plain, nat, manual := r.Tallies[Plain], r.Tallies[NAT], r.Tallies[Manual]
		if masked(plain) != hidden[r.Mode] || named(plain)+other(plain) != 6-hidden[r.Mode] || other(plain) > 1 {
			t.Errorf("%s: %+v", r.Mode, plain)
		}
		if named(nat) < 5 || masked(nat) > 0 {
			t.Errorf("%s, with NAT evidence: %+v", r.Mode, nat)
		}
		if r.Mode == sim.Kubenet && named(manual) > 0 || named(manual)+wrong(manual)+other(manual) != 6 {
			t.Errorf("%s, by hand: %+v", r.Mode, manual)
		}
		for way, tally := range r.Tallies {
			for _, s := range tally.Named {
				checkStages(t, way, &s, &p.Assumed)
			}
		}
	}
}

// checkStages holds one incident's stages against what is documented and assumed.
func checkStages(t *testing.T, way Way, s *Stages, a *Assumed) {
	t.Helper()
	person, measured := time.Duration(0), true
	if way == Manual {
		person, measured = a.Download+a.Search+a.Lookup, false
	}
	switch {
	case s.Logging < 3*time.Second || s.Logging > 64*time.Second,
		s.Publishing != a.Publishing,
		s.Polling < 0 || s.Polling >= a.Polling,
		s.Person != person,
		(s.Fetching > 0) != measured || (s.Indexing > 0) != measured || (s.Asking > 0) != measured,
		s.Total() != s.Logging+s.Publishing+s.Polling+s.Person+s.Fetching+s.Indexing+s.Asking:
		t.Errorf("%s: %+v", way, s)
	}
}

// What is assumed is an input: it changes its own stage by as much, and no outcome.
func TestAssumptions(t *testing.T) {
	p := small()
	p.Modes = []sim.Mode{sim.PodSubnet}
	before := run(t, p)[0]
	p.Assumed.Publishing, p.Assumed.Polling, p.Assumed.Lookup = 7*time.Minute, 0, time.Hour
	after := run(t, p)[0]
	for _, way := range Ways {
		was, is := before.Tallies[way], after.Tallies[way]
		if named(was) == 0 || named(was) != named(is) || wrong(was) != wrong(is) {
			t.Errorf("%s: %+v, then %+v", way, was, is)
			continue
		}
		if is.Named[0].Publishing != 7*time.Minute || is.Named[0].Polling != 0 || way == Manual && is.Named[0].Person != p.Assumed.Download+p.Assumed.Search+time.Hour {
			t.Errorf("%s: %+v", way, is.Named[0])
		}
	}
}

// An answer counts as what it says, not as what it could have meant.
func TestJudge(t *testing.T) {
	sender, another := &query.Pod{UID: "a"}, &query.Pod{UID: "b"}
	exact, masked := query.Word(attribution.Exact), query.Word(attribution.Masked)
	for name, c := range map[string]struct {
		answer               query.Answer
		right, wrong, masked int
		unlogged             int
	}{
		"the pod":                  {query.Answer{Verdict: exact, Answers: []query.Answer{{Verdict: exact, Pod: sender}}}, 1, 0, 0, 0},
		"another pod":              {query.Answer{Verdict: exact, Answers: []query.Answer{{Verdict: exact, Pod: another}}}, 0, 1, 0, 0},
		"both":                     {query.Answer{Verdict: exact, Answers: []query.Answer{{Verdict: exact, Pod: sender}, {Verdict: exact, Pod: another}}}, 0, 1, 0, 0},
		"another, among the doubt": {query.Answer{Verdict: masked, Answers: []query.Answer{{Verdict: exact, Pod: another}, {Verdict: masked}}}, 0, 1, 0, 0},
		"the pod, with doubt":      {query.Answer{Verdict: masked, Answers: []query.Answer{{Verdict: exact, Pod: sender}, {Verdict: masked}}}, 0, 0, 1, 0},
		"masked":                   {query.Answer{Verdict: masked, Answers: []query.Answer{{Verdict: masked}}}, 0, 0, 1, 0},
		"nothing":                  {query.Answer{}, 0, 0, 0, 1},
	} {
		m := meter{Result: Result{Tallies: map[Way]*Tally{Plain: {Incidents: 1, Unnamed: map[string]int{}}}}}
		uids, verdict := said(&c.answer)
		m.judge(Plain, &call{Incident: sim.Incident{Pod: &sim.Pod{UID: "a"}}}, uids, verdict, Stages{})
		got := m.Tallies[Plain]
		if is := []int{len(got.Named), got.Wrong, got.Unnamed["masked"], got.Unnamed[unlogged]}; !slices.Equal(is, []int{c.right, c.wrong, c.masked, c.unlogged}) {
			t.Errorf("%s: %v", name, is)
		}
	}
}
