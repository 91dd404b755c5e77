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

// What a track says is what the timeline says that it was made from, to the last note;
// and Lookup says the same in short.
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
			verdict, pod := v.Lookup(&q)
			if verdict != got.Verdict || (pod == NoPod) != (got.Pod() == nil) {
				t.Fatalf("seed %d, %+v: looked up %v, %d, want %q", seed, q, verdict, pod, text(got))
			}
			if p := got.Pod(); p != nil {
				if exact++; v.UID(pod) != p.UID {
					t.Fatalf("seed %d, %+v: looked up %s, want %q", seed, q, v.UID(pod), text(got))
				}
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
		if verdict, _ := v.Lookup(&q); verdict != v.Resolve(q).Verdict {
			t.Errorf("at %d: looked up %v", at, verdict)
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
	if verdict, pod := v.Lookup(&q); verdict != Ambiguous || pod != NoPod {
		t.Errorf("looked up %v, %d", verdict, pod)
	}
	if track, _ := v.track(addr(theIP)); track != nil {
		t.Error("the address has a track, so this test is about nothing")
	}
}

// Lookup heeds what speaks against an exact answer.
func TestLookupOfContradictedPod(t *testing.T) {
	cfg := podRange()
	cfg.Clusters[0].NICs = map[string]string{"000D3A00000A": "another-node", "000D3A00000B": "n"}
	v := viewOf(t, cfg, factsOf(watched(0, 1000), aPod("a").has(theIP).made(10).seen(12).ran(11, 11)))
	for nic, want := range map[string]Verdict{"": Exact, "000D3A00000A": Boundary, "000D3A00000B": Exact} {
		q := sent(50)
		q.NIC, q.Near = nic, true
		if verdict, pod := v.Lookup(&q); verdict != want || (want == Exact && v.UID(pod) != "a") {
			t.Errorf("interface %q: looked up %v, %d, want %v", nic, verdict, pod, want)
		}
	}
}
