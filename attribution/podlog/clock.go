package podlog

import (
	"cmp"
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
	fresh     bool // the first line is of a pod that the watch shows as added, as one that begins does with all
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
// no list was needed. After a silence, what was missed is known only from a list on:
// lines before it are no proof. The first lines count if the watch began with them,
// or if they go on from before, when the cluster was watched until then.
func (c *clock) watched(before int64) []Range {
	points := c.points()
	var out []Range
	whole := c.fresh
	if n := len(points); n > 0 && before != 0 && before <= points[0].at && points[0].at-before <= maxSilence {
		whole, out = true, []Range{{From: before, To: points[0].at}}
	}
	last := int64(0)
	for i, p := range points {
		switch {
		case p.snapshot:
			whole = true
			out = append(out, Range{From: p.at, To: p.at})
		case i > 0 && p.at-last > maxSilence:
			whole = false
		case whole && len(out) == 0:
			out = append(out, Range{From: p.at, To: p.at})
		case whole:
			out[len(out)-1].To = p.at
		}
		last = p.at
	}
	return slices.DeleteFunc(out, func(r Range) bool { return r.From == r.To })
}

// point is a time at which a line came.
type point struct {
	at       int64
	snapshot bool
}

// points are sorted; of those within a second, the first and the last.
func (c *clock) points() []point {
	var points []point
	for _, r := range c.ticks {
		points = append(points, point{r.From, false}, point{r.To, false})
	}
	for _, at := range c.snapshots {
		points = append(points, point{at, true})
	}
	slices.SortFunc(points, func(a, b point) int {
		switch {
		case a.at != b.at:
			return cmp.Compare(a.at, b.at)
		case a.snapshot == b.snapshot:
			return 0
		case b.snapshot:
			return -1
		default:
			return 1
		}
	})
	return points
}
