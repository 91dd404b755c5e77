// Package stats sums up the figures of several runs without supposing how they are
// spread.
//
// In: one figure a run. Out: their median with an interval, and whether two rules
// differ when both saw the same runs.
package stats

import (
	"math"
	"slices"
)

// Confidence is how surely the interval of a [Summary] holds the median, at least,
// and at how few chances of error [Differ] finds a difference.
const Confidence = 0.95

// LeastRuns is how many runs it takes for an interval of that confidence, and for a
// difference: of fewer, even one that all runs show is not improbable enough.
const LeastRuns = 6

// Summary is the median of several runs. Low and High are the narrowest two figures, as
// far from either end, between which the true median is with at least 95 %; with fewer
// than six runs no two are, and they are the least and the most.
type Summary struct {
	Median float64 `json:"median"`
	Low    float64 `json:"low"`
	High   float64 `json:"high"`
	Runs   int     `json:"runs"`
}

// Of sums up the figures of runs; their order does not matter. No run gives the zero
// Summary.
func Of(figures []float64) Summary {
	n := len(figures)
	if n == 0 {
		return Summary{}
	}
	sorted := slices.Sorted(slices.Values(figures))
	k := rank(n)
	return Summary{Median: (sorted[(n-1)/2] + sorted[n/2]) / 2, Low: sorted[k], High: sorted[n-1-k], Runs: n}
}

// rank is how many figures at either end the interval leaves out: the most for which
// that the median is beyond, by the binomial distribution, stays improbable.
func rank(n int) int {
	k := 0
	for k+1 < (n+1)/2 && 2*tail(n, k+1) <= 1-Confidence {
		k++
	}
	return k
}

// tail is the probability of at most k heads in n throws of a coin.
func tail(n, k int) float64 {
	sum, ways := 0.0, 1.0
	for i := range k + 1 {
		sum += ways
		ways *= float64(n-i) / float64(i+1)
	}
	return sum * math.Pow(0.5, float64(n))
}

// Differ says whether a and b, figures of the same runs in the same order, differ: by
// the sign test, in which runs of equal figures do not count.
func Differ(a, b []float64) bool {
	more, less := 0, 0
	for i := range a {
		switch {
		case a[i] > b[i]:
			more++
		case a[i] < b[i]:
			less++
		}
	}
	n := more + less
	return n > 0 && 2*tail(n, min(more, less)) <= 1-Confidence
}
