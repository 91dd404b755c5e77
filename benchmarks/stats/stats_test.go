package stats

import (
	"slices"
	"testing"
)

// rank: from tables of the sign test. With ten runs the second and the ninth hold the median
// with 97.9 %.
func TestOf(t *testing.T) {
	for name, c := range map[string]struct {
		figures []float64
		want    Summary
	}{
		"none":       {nil, Summary{}},
		"one":        {[]float64{3}, Summary{3, 3, 3, 1}},
		"five":       {[]float64{5, 1, 4, 2, 3}, Summary{3, 1, 5, 5}},
		"ten":        {[]float64{10, 9, 8, 7, 6, 5, 4, 3, 2, 1}, Summary{5.5, 2, 9, 10}},
		"twenty":     {sequence(20), Summary{10.5, 6, 15, 20}},
		"all equal":  {[]float64{0, 0, 0, 0, 0, 0, 0, 0, 0, 0}, Summary{0, 0, 0, 10}},
		"one is far": {[]float64{1, 1, 1, 1, 1, 1, 1, 1, 1, 900}, Summary{1, 1, 1, 10}},
	} {
		if got := Of(c.figures); got != c.want {
			t.Errorf("%s: %+v, want %+v", name, got, c.want)
		}
	}
}

func sequence(n int) []float64 {
	out := make([]float64, n)
	for i := range out {
		out[i] = float64(i + 1)
	}
	return out
}

func TestDiffer(t *testing.T) {
	ten := sequence(10)
	shifted := slices.Clone(ten)
	for i := range shifted {
		shifted[i] += 0.1
	}
	eight := slices.Clone(shifted) // eight of ten up: 0.109 by chance
	eight[0], eight[1] = 0, 0
	nine := slices.Clone(shifted) // nine of ten: 0.021
	nine[0] = 0
	for name, c := range map[string]struct {
		a, b []float64
		want bool
	}{
		"equal":          {ten, ten, false},
		"all a bit more": {ten, shifted, true},
		"nine of ten":    {ten, nine, true},
		"eight of ten":   {ten, eight, false},
		"five, all more": {ten[:5], shifted[:5], false},
		"six, all more":  {ten[:6], shifted[:6], true},
		"no runs":        {nil, nil, false},
	} {
		if got := Differ(c.a, c.b); got != c.want {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
}
