package podlog

import (
	"slices"

	"github.com/whichpod/whichpod/attribution"
)

// maxSilence is how long a watch may say nothing and still be taken for alive, in
// milliseconds. The API server sends a bookmark about once a minute.
const maxSilence = 2 * 60 * 1000

// clock works out from the times at which lines came when the watch was alive. The
// lines may come in any order.
type clock struct {
	latest    int64           // of all lines so far
	ticks     map[int64]Range // by second: the first and the last line in it
	snapshots []int64
}

// Range is a closed range of times.
type Range = attribution.Range

func (c *clock) tick(at int64) {
	if at == 0 {
		return
	}
	c.latest = max(c.latest, at)
	if c.ticks == nil {
		c.ticks = make(map[int64]Range)
	}
	s := at / second
	r, ok := c.ticks[s]
	if !ok {
		r = Range{From: at, To: at}
	}
	c.ticks[s] = Range{From: min(r.From, at), To: max(r.To, at)}
}

// snapshot: what came before may have missed something.
func (c *clock) snapshot(at int64) {
	if at != 0 {
		c.snapshots = append(c.snapshots, at)
		c.latest = max(c.latest, at)
	}
}

// watched are the ranges in which no two lines are further apart than maxSilence and
// no list was needed.
func (c *clock) watched() []Range {
	type point struct {
		at       int64
		snapshot bool
	}
	var points []point
	for _, r := range c.ticks {
		points = append(points, point{r.From, false}, point{r.To, false})
	}
	for _, at := range c.snapshots {
		points = append(points, point{at, true})
	}
	slices.SortFunc(points, func(a, b point) int {
		switch {
		case a.at != b.at && a.at < b.at, a.at == b.at && !a.snapshot && b.snapshot:
			return -1
		case a.at == b.at && a.snapshot == b.snapshot:
			return 0
		default:
			return 1
		}
	})
	var out []Range
	for _, p := range points {
		n := len(out)
		if n == 0 || p.snapshot || p.at-out[n-1].To > maxSilence {
			out = append(out, Range{From: p.at, To: p.at})
			continue
		}
		out[n-1].To = p.at
	}
	return slices.DeleteFunc(out, func(r Range) bool { return r.From == r.To })
}
