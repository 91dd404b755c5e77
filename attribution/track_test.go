package attribution

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/whichpod/whichpod/flow"
)

// inCluster are the facts about one cluster: only then does an address have one owner,
// and a track.
func inCluster(facts []Fact, cluster string) []Fact {
	return slices.DeleteFunc(slices.Clone(facts), func(f Fact) bool { return f.Cluster != cluster })
}

// What a track says is what the timeline says that it was made from, to the last note.
func TestTracksSayWhatTimelinesSay(t *testing.T) {
	t.Parallel()
	tracked, exact := 0, 0
	for seed := range uint64(80) {
		r := rand.New(rand.NewPCG(seed, 31))
		v := viewOf(t, randomConfig(r), inCluster(uuidFacts(r), "c"))
		for range 200 {
			q := randomQuestion(r)
			q.NIC = ""
			got := v.Resolve(q)
			if track, _ := v.track(q.Address); track != nil {
				tracked++
			}
			want := v.address(q.Address).resolve(v, &q)
			if q.Begin.Exactly() {
				sameResolution(t, seed, q, want, got)
			} else if !want.Same(got) {
				t.Fatalf("seed %d, %+v: got %q, want %q", seed, q, text(got), text(want))
			}
			if !v.Naive(q).Same(got) {
				t.Fatalf("seed %d, %+v: got %q, the oracle says %q", seed, q, text(got), text(v.Naive(q)))
			}
			if got.Pod() != nil {
				exact++
			}
		}
	}
	if tracked < 2_000 || exact < 100 {
		t.Errorf("%d questions along a track, %d answers exact: the facts no longer do what this test is about", tracked, exact)
	}
}

func sameResolution(t *testing.T, seed uint64, q Question, want, got *Resolution) {
	t.Helper()
	opt := cmp.Options{cmpopts.IgnoreUnexported(Resolution{}), cmpopts.EquateComparable(netip.Addr{}), cmpopts.EquateEmpty()}
	for _, pair := range [][2]*Resolution{{want, got}, {want.received, got.received}, {want.answered, got.answered}} {
		if diff := cmp.Diff(pair[0], pair[1], opt); diff != "" {
			t.Fatalf("seed %d, %+v: -want +got:\n%s", seed, q, diff)
		}
	}
}

// Times that a track does not reach are answered all the same.
func TestTimesOutsideOfTracks(t *testing.T) {
	early := &Range{From: 1000, To: trackEpoch + trackSpan + 50_000}
	p := aPod("a").has(theIP).f
	p.Pod.Presence = Bounds{NotBefore: 10_000, SeenBy: 12_000, RunningBy: 11_000, AliveAt: trackEpoch + trackSpan + 20_000, SeenLast: trackEpoch + trackSpan + 20_000}
	p.Pod.Holdings[0].Bounds = p.Pod.Presence
	v := viewOf(t, podRange(), []Fact{{Cluster: "c", Watched: early}, p})
	for at, want := range map[int64]string{
		500: "gap >a [unwatched]", 5_000: "gap >a [nobody]", 60_000: "exact a", trackEpoch - 1: "exact a", trackEpoch: "exact a",
		trackEpoch + trackSpan - 1: "exact a", trackEpoch + trackSpan: "exact a", trackEpoch + trackSpan + 90_000: "gap <a [unwatched]",
	} {
		q := Question{Address: addr(theIP), Begin: flow.Span{From: at, To: at}, Sent: true}
		if got := text(v.Resolve(q)); got != want || !v.Naive(q).Same(v.Resolve(q)) {
			t.Errorf("at %d: got %q, want %q; the oracle says %q", at, got, want, text(v.Naive(q)))
		}
	}
}

// Every time at which nobody watched would make another run at every address: of many
// in a row, a track keeps only the verdict.
func TestTracksOfAWatchWithHoles(t *testing.T) {
	var facts []Fact
	for i := range 500 {
		facts = append(facts, watched(float64(i*100), float64(i*100+90)).f)
	}
	facts = append(facts, aPod("a").has(theIP).made(20_010).seen(20_012).ran(20_011, 20_030).stopped(20_031).versions(5, 6).f)
	v := viewOf(t, podRange(), facts)
	for s := 0.0; s < 50_000; s += 45 {
		check(t, v, []say{{sent(s), text(v.address(addr(theIP)).resolve(v, &Question{Address: addr(theIP), Begin: sent(s).Begin, Sent: true}))}})
	}
	track, _ := v.track(addr(theIP))
	if track == nil || track.runs() > 10 {
		t.Errorf("the track has %d runs, want few", track.runs())
	}
}

// An address with more outcomes than a run can name has no track, and answers.
func TestAddressWithoutTrack(t *testing.T) {
	facts := []Fact{watched(0, 100_000).f}
	for i := range 300 { // all at once: each moment has other candidates
		facts = append(facts, aPod(fmt.Sprintf("p%03d", i)).has(theIP).made(float64(10*i)).seen(float64(10*i+2)).ran(float64(10*i+1), float64(10*i+1)).f)
	}
	v := viewOf(t, podRange(), facts)
	q := sent(2000)
	if got := v.Resolve(q); got.Verdict != Ambiguous || len(got.Candidates) < 100 || !v.Naive(q).Same(got) {
		t.Errorf("got %q", text(got))
	}
	if track, _ := v.track(addr(theIP)); track != nil {
		t.Error("the address has a track, so this test is about nothing")
	}
}

// An interface speaks against an exact answer from a track.
func TestContradictedPodWithTrack(t *testing.T) {
	cfg := podRange()
	cfg.Clusters[0].NICs = map[string]string{"000D3A00000A": "another-node", "000D3A00000B": "n"}
	v := viewOf(t, cfg, factsOf(watched(0, 1000), aPod("a").has(theIP).made(10).seen(12).ran(11, 11)))
	for nic, want := range map[string]Verdict{"": Exact, "000D3A00000A": Boundary, "000D3A00000B": Exact} {
		q := sent(50)
		q.NIC, q.Near = nic, true
		if got := v.Resolve(q); got.Verdict != want || (want == Exact && got.Pod().UID != "a") {
			t.Errorf("interface %q: got %q, want %v", nic, text(got), want)
		}
	}
}

// Questions with and without a track have the oracle's answer: about addresses that
// nobody ever had, of both families, at all ends, at times beyond what a track reaches
// and at begins that are not known exactly.
func TestResolveSaysWhatTheOracleSays(t *testing.T) {
	t.Parallel()
	verdicts := map[Verdict]int{}
	for seed := range uint64(60) {
		r := rand.New(rand.NewPCG(seed, 57))
		facts := uuidFacts(r)
		if seed%2 == 0 {
			facts = inCluster(facts, "c")
		}
		v := viewOf(t, randomConfig(r), facts)
		for range 50 {
			q := randomQuestion(r)
			switch r.IntN(10) {
			case 0:
				q.Begin = flow.Span{From: trackEpoch - 1, To: trackEpoch - 1}
			case 1:
				q.Begin.To = trackEpoch + trackSpan
			case 2:
				q.Begin = flow.Span{From: trackEpoch + trackSpan, To: trackEpoch + trackSpan}
			case 3:
				q.Address = addr([]string{"8.8.8.8", "2001:db8::1"}[r.IntN(2)])
			}
			got, want := v.Resolve(q), v.Naive(q)
			verdicts[got.Verdict]++
			if !want.Same(got) || text(want) != text(got) {
				t.Fatalf("seed %d, %+v: got %q, the oracle says %q", seed, q, text(got), text(want))
			}
		}
	}
	for _, want := range Verdicts() {
		if verdicts[want] == 0 {
			t.Errorf("no answer is %v: the ledgers show too little (%v)", want, verdicts)
		}
	}
}

// What is said of a run without working anything out is what was worked out for it.
func TestQuickSaysWhatOverSays(t *testing.T) {
	t.Parallel()
	known, unknown := 0, 0
	for seed := range uint64(40) {
		r := rand.New(rand.NewPCG(seed, 33))
		v := viewOf(t, randomConfig(r), inCluster(uuidFacts(r), "c"))
		for range 200 {
			q, as := randomQuestion(r), end(r.IntN(numEnds))
			track, id := v.track(q.Address)
			if track == nil {
				continue
			}
			s := v.saidBy(track, id)
			before, sure := s.quick(q.Begin, as)
			over := s.over(q.Begin, as)
			after, later := s.quick(q.Begin, as)
			if (sure == 1 && before != over) || (later == 1 && after != over) {
				t.Fatalf("seed %d, %+v: said quickly %q and then %q, else %q", seed, q, text(before), text(after), text(over))
			}
			if one := s.find(q.Begin.From) == s.find(q.Begin.To); (later == 1) != (one && over != nil) {
				t.Fatalf("seed %d, %+v: known is %d, in one run is %v", seed, q, later, one)
			}
			known, unknown = known+int(sure), unknown+int(1^later)
		}
	}
	if known < 500 || unknown < 100 {
		t.Errorf("%d known, %d not: the facts no longer do what this test is about", known, unknown)
	}
}

// In tracks of every length, about and beyond what one search step covers, the run is found
// that a scan finds.
func TestTrackFindsRun(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 5))
	for n := 1; n < 700; n += 1 + n/20 {
		runs := make([]run, n)
		for i := range runs {
			runs[i] = run{begin: trackEpoch, outcome: i % maxOutcomes, first: i}
			if i > 0 { // some begin in the same 256 ms
				runs[i].begin = runs[i-1].begin + 1 + r.Int64N([]int64{3, 1000, 100_000}[r.IntN(3)])
			}
		}
		packed := pack(runs, &ownedAddress{pods: &timeline{}})
		said := saidRunsOf(packed)
		for i := range runs {
			for _, at := range []int64{runs[i].begin, runs[i].begin + 1, runs[max(i, 1)%n].begin - 1, trackEpoch + trackSpan - 1} {
				want := 0
				for want+1 < n && runs[want+1].begin <= at {
					want++
				}
				if at = max(at, trackEpoch); said.find(at) != want {
					t.Fatalf("%d runs, at %d: found run %d, want %d", n, at, said.find(at), want)
				}
			}
			if packed.begin(i) != runs[i].begin || packed.outcome(i) != runs[i].outcome || packed.first(i) != i {
				t.Fatalf("%d runs: run %d is not what was packed", n, i)
			}
		}
	}
}
