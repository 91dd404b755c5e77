package attribution

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/whichpod/whichpod/flow"
)

// LookupAll says of each question what Lookup, Resolve and the oracle say of it alone,
// in whatever order and number they are asked: about addresses with and without a
// track, that nobody ever had, of both families, at all ends, at times beyond what a
// track reaches and at begins that are not known exactly.
func TestLookupAllSaysWhatLookupSays(t *testing.T) {
	t.Parallel()
	verdicts := map[Verdict]int{}
	for seed := range uint64(60) {
		r := rand.New(rand.NewPCG(seed, 57))
		facts := uuidFacts(r)
		if seed%2 == 0 {
			facts = inCluster(facts, "c")
		}
		v := viewOf(t, randomConfig(r), facts)
		questions := make([]Question, r.IntN(3*len(probes{})))
		for i := range questions {
			q := &questions[i]
			*q = randomQuestion(r)
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
		}
		r.Shuffle(len(questions), func(i, j int) { questions[i], questions[j] = questions[j], questions[i] })
		before := []Short{{Verdict: Masked, Pod: 7}}
		answers := v.LookupAll(questions, before)
		if len(answers) != 1+len(questions) || answers[0] != before[0] {
			t.Fatalf("seed %d: %d answers to %d questions after one, beginning with %v", seed, len(answers), len(questions), answers[0])
		}
		for i, got := range answers[1:] {
			verdicts[got.Verdict]++
			checkShort(t, v, fmt.Sprintf("seed %d, %+v", seed, questions[i]), &questions[i], got)
		}
	}
	for _, want := range Verdicts() {
		if verdicts[want] == 0 {
			t.Errorf("no answer is %v: the ledgers show too little (%v)", want, verdicts)
		}
	}
}

func checkShort(t *testing.T, v *View, what string, q *Question, got Short) {
	t.Helper()
	if verdict, pod := v.Lookup(q); got != (Short{verdict, pod}) {
		t.Fatalf("%s: got %v; alone: %v, %d", what, got, verdict, pod)
	}
	for _, r := range []*Resolution{v.Resolve(*q), v.Naive(*q)} {
		uid := ""
		if got.Pod != NoPod {
			uid = v.UID(got.Pod)
		}
		want := ""
		if p := r.Pod(); p != nil {
			want = p.UID
		}
		if got.Verdict != r.Verdict || uid != want {
			t.Fatalf("%s: got %v, pod %q, want %q", what, got.Verdict, uid, text(r))
		}
	}
}

// Tracks of every length, about and beyond what one search step covers, find the run
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
		for i := range runs {
			for _, at := range []int64{runs[i].begin, runs[i].begin + 1, runs[max(i, 1)%n].begin - 1, trackEpoch + trackSpan - 1} {
				want := 0
				for want+1 < n && runs[want+1].begin <= at {
					want++
				}
				if at = max(at, trackEpoch); packed.find(at) != want {
					t.Fatalf("%d runs, at %d: found run %d, want %d", n, at, packed.find(at), want)
				}
			}
			if packed.begin(i) != runs[i].begin || packed.outcome(i) != runs[i].outcome || packed.first(i) != i {
				t.Fatalf("%d runs: run %d is not what was packed", n, i)
			}
		}
	}
}
