package attribution

import (
	"fmt"
	"math/rand/v2"
	"slices"
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

// Where only changes are on record, a node's address is a gap with a reason of its own:
// somebody watched. Where all pods are, it is none.
func TestNodeOfWhichOnlyChangesAreKnown(t *testing.T) {
	t.Parallel()
	v := viewOf(t, podRange(), factsOf(watched(0, 1000).changesOnly(), watched(400, 600), aPod("a").has(theIP).made(10).seen(12).ran(11, 12)))
	const node = "10.224.0.4"
	check(t, v, []say{
		{sentBy(node, 200), "gap @n a [silent]"},
		{sentBy(node, 400), "gap @n a [silent]"}, // within the clocks' tolerance
		{sentBy(node, 500), "masked @n a"},
		{sentBy(node, 600), "gap @n a [silent]"},
		{sentBy(node, 800), "gap @n a [silent]"},
		{sentBy(node, 1000), "gap @n a [unwatched]"},
		{sentBy(node, 1200), "gap @n a [unwatched]"},
	})
	for at, silent := range map[float64]bool{200: true, 500: false, 1200: false} {
		if r := v.Resolve(sentBy(node, at)); r.Silent() != silent {
			t.Errorf("at %v: silent is %v", at, r.Silent())
		}
	}
	want := []Range{{sec(0), sec(400)}, {sec(600), sec(1000)}}
	if got := v.Stats()[0].ChangesOnly; !slices.Equal(got, want) {
		t.Errorf("changes only in %v, want %v", got, want)
	}
}

// What looks external is certainly no cluster's only where nobody in a cluster can have
// it, or somebody who was never seen can not.
func TestForeign(t *testing.T) {
	t.Parallel()
	all := viewOf(t, Config{}, factsOf(watched(0, 1000)))
	changes := factsOf(watched(0, 1000).changesOnly())
	for _, c := range []struct {
		name, a  string
		v        *View
		from, to float64
		want     bool
	}{
		{"public", "203.0.113.66", viewOf(t, Config{}, nil), 0, 1, true},
		{"private, and no cluster is known", "10.244.0.9", viewOf(t, Config{}, nil), 0, 1, false},
		{"private, watched", "10.244.0.9", all, 0, 1000, true},
		{"private, watched but for the end", "10.244.0.9", all, 0, 1001, false},
		{"shared space is private too", "100.64.0.1", all, 1001, 1002, false},
		{"IPv6 tells nothing", "2001:db8::1", all, 1001, 1002, false},
		{"one of two clusters watched", "10.244.0.9", viewOf(t, Config{}, factsOf(watched(0, 1000), watched(0, 500).in("d"))), 0, 600, false},
		{"changes alone", "10.99.0.9", viewOf(t, Config{}, changes), 0, 1000, false},
		{"changes alone, and the pods' range is known", "10.99.0.9", viewOf(t, podRange(), changes), 0, 1000, false}, // it may be a node's
		{"only the pods' range is known", "10.99.0.9", viewOf(t, podRange(), nil), 0, 1000, false},
	} {
		if got := c.v.Foreign(addr(c.a), sec(c.from), sec(c.to)); got != c.want {
			t.Errorf("%s: got %v", c.name, got)
		}
	}
}

// A stretch of a gap says whether time that nobody watched is in it, or was so shortly
// before it that a pod deleted by force may go on: else the clocks alone leave it open.
func TestStretchesOfAGap(t *testing.T) {
	t.Parallel()
	v := viewOf(t, podRange(), factsOf(watched(0, 1000), watched(1100, 2000), aPod("a").has(theIP).made(10).seen(12).ran(11, 12).deleted(500, 9)))
	const node = "10.224.0.4"
	for _, c := range []struct {
		from, to float64
		want     string
	}{
		{100, 900, ""},
		{950, 1500, "to 1161: true"}, // the minute after it with the clocks' tolerance
		{1100, 1500, "to 1161: true"},
		{1100, 1101, "to 1101: false"},
		{20, 900, "to 61: true"},
		{1900, 2000, "to 2000: false"},
		{1900, 2001, "to 2001: true"},
	} {
		got := ""
		for _, s := range v.History(addr(node), sec(c.from), sec(c.to)) {
			if s.Resolution.Verdict == Gap {
				got += fmt.Sprintf("to %v: %v", float64(s.To-epoch)/1000, s.Unwatched)
			}
		}
		if got != c.want {
			t.Errorf("%v to %v: %q, want %q", c.from, c.to, got, c.want)
		}
	}
}
