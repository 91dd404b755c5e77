package nat

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// Senders says what the oracle says, which reads all there is: of evidence with ports
// given again, recordings that overlap, samples, losses and contradictions, in several segments.
func TestSendersEqualNaive(t *testing.T) {
	t.Parallel()
	certain, odd := 0, 0
	for seed := range uint64(10) {
		r := rand.New(rand.NewPCG(seed, 5))
		s := open(t, t.TempDir(), Options{})
		for i := range 1 + r.IntN(2*maxSegments) { // they are merged past a number
			w, err := s.Begin(Import{Cluster: "c", Kind: []string{"test", "test", Samples}[r.IntN(3)], Name: fmt.Sprint(i)})
			if err != nil {
				t.Fatal(err)
			}
			for range r.IntN(150) {
				f := randomFlow(r)
				f.Src, f.Dst, f.SrcPort = addr(200), addr(1), uint16(1024+r.IntN(6))
				if r.IntN(2) == 0 { // one after the other
					f.ToEarliest, f.ToLatest = f.FromLatest+r.Int64N(500), f.FromLatest+500
				}
				if err := w.Add(f); err != nil {
					t.Fatal(err)
				}
			}
			for _, node := range []string{"n0", "n1"} {
				from := r.Int64N(500_000)
				w.Cover(node, []string{"", "a"}[r.IntN(2)], from, from+r.Int64N(1_000_000))
			}
			if _, err := w.Commit(""); err != nil {
				t.Fatal(err)
			}
		}
		for range 500 {
			q := Asked{Cluster: "c", Key: randomFlow(r).Key, Tolerance: []int64{0, 1000}[r.IntN(2)]}
			q.Key.Src, q.Key.Dst, q.Key.SrcPort = addr(200), addr(1), uint16(1024+r.IntN(6))
			q.From = r.Int64N(1_000_000)
			q.To = q.From + r.Int64N([]int64{1, 3000, 100_000}[r.IntN(3)])
			if r.IntN(3) == 0 {
				q.Nodes = []string{[]string{"n0", "n1", "n2"}[r.IntN(3)]}
			}
			want, err := s.Naive(&q)
			if err != nil {
				t.Fatal(err)
			}
			got, err := s.Senders(&q)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, got, addresses); diff != "" {
				t.Fatalf("seed %d, %+v: -naive +fast:\n%s", seed, q, diff)
			}
			if got.Certain {
				certain++
			}
			if got.Contradicted {
				odd++
			}
		}
	}
	t.Logf("%d certain, %d contradicted", certain, odd)
	if certain < 100 || odd < 100 {
		t.Errorf("%d certain, %d contradicted: the test shows too little", certain, odd)
	}
}
