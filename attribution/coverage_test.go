package attribution

import (
	"math/rand/v2"
	"testing"
)

// Against a bitmap of unit steps: step t is [t, t+1).
func TestCoverage(t *testing.T) {
	t.Parallel()
	const size = 64
	for seed := range uint64(300) {
		r := rand.New(rand.NewPCG(seed, 5))
		var c coverage
		var steps [size]bool
		points := map[int64]bool{} // moments inside a range, its ends too
		for range r.IntN(10) {
			from := r.Int64N(size)
			to := min(from+r.Int64N(12)-1, size-1)
			c = c.add(Range{from, to}) // to before from is no range
			for s := from; s <= to; s++ {
				points[s] = true
				if s < to {
					steps[s] = true
				}
			}
		}
		for i := 1; i < len(c); i++ {
			if c[i].From <= c[i-1].To {
				t.Fatalf("seed %d: %v is not sorted or not apart", seed, c)
			}
		}
		for from := range int64(size) {
			for to := from; to < size; to++ {
				want := points[from]
				for s := from; s < to; s++ {
					want = want && steps[s]
				}
				if got := c.has(from, to); got != want {
					t.Fatalf("seed %d: %v has [%d, %d]: got %v", seed, c, from, to, got)
				}
				var hole [size]bool
				for _, h := range c.holes(from, to) {
					for s := h.From; s < h.To; s++ {
						hole[s] = true
					}
				}
				for s := range int64(size) {
					if want := from <= s && s < to && !steps[s]; hole[s] != want {
						t.Fatalf("seed %d: holes of %v in [%d, %d): step %d is %v", seed, c, from, to, s, hole[s])
					}
				}
			}
			want := from
			for points[from] && want < size && steps[want] {
				want++
			}
			if got := c.from(from); got != want {
				t.Fatalf("seed %d: %v goes on from %d until %d, want %d", seed, c, from, got, want)
			}
		}
	}
}
