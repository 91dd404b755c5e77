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
	first     int64                       // of all lines
	latest    int64                       // of all lines so far
	ticks     map[int64]attribution.Range // by second: the first and the last line in it
	snapshots []int64
	breaks    []int64 // the last line before something was lost
	changes   bool    // lines tell of changes only, and no list will come: they count again at once
	jumps     []Jump
	stamp     int64 // the latest since the last jump
	// lines are those that show a state, and behind those of them that show an earlier
	// one than a line before them.
	lines, behind int
	version       uint64 // the latest state of the API that a line showed
	fresh         bool   // the first line is of a pod that the watch shows as added, as one that begins does with all
}

func (c *clock) tick(at int64) {
	if at == 0 {
		return
	}
	c.first, c.latest = earlier(c.first, at), max(c.latest, at)
	if c.ticks == nil {
		c.ticks = make(map[int64]attribution.Range)
	}
	s := at / second
	r, ok := c.ticks[s]
	if !ok {
		r = attribution.Range{From: at, To: at}
	}
	c.ticks[s] = attribution.Range{From: min(r.From, at), To: max(r.To, at)}
}

// snapshot: what came before may have missed something.
func (c *clock) snapshot(at int64) {
	if at != 0 {
		c.snapshots = append(c.snapshots, at)
		c.latest = max(c.latest, at)
	}
}

// broken: something was lost after the latest line.
func (c *clock) broken() { c.breaks = append(c.breaks, c.latest) }

// Jump is a step of the clock that stamped the lines, as stamped before and after it.
type Jump struct{ From, To int64 }

// slewed is by how much a clock may go back unnoticed, in milliseconds: NTP slews
// clocks that are off by less, and sets them otherwise.
const slewed = second

// stamped notes when a line came that shows a state of the API, in the order of the
// lines. One that shows a later state than all before it came after them: where its
// stamp is earlier, the clock was set back meanwhile. A line that stands out of order
// shows an earlier state; where many do, the order says nothing: see ordered.
func (c *clock) stamped(at int64, version uint64) {
	if at == 0 || version == 0 {
		return
	}
	c.lines++
	if version < c.version {
		c.behind++
	}
	if version > c.version && at < c.stamp-slewed {
		c.jumps = append(c.jumps, Jump{c.stamp, at})
		c.stamp = at
	}
	c.version, c.stamp = max(c.version, version), max(c.stamp, at)
}

// ordered says whether the lines stand in the order in which they came, but for a few.
func (c *clock) ordered() bool { return c.changes || 10*c.behind <= c.lines }

// steps are the jumps, where the order of the lines shows any.
func (c *clock) steps() []Jump {
	if !c.ordered() {
		return nil
	}
	return c.jumps
}

// stepped is by how much the clock went back at most, in milliseconds.
func (c *clock) stepped() int64 {
	most := int64(0)
	for _, j := range c.steps() {
		most = max(most, j.From-j.To)
	}
	return most
}

// without leaves out the times that were stamped twice, before a step and after it,
// and as much on either side: it is not known on which side the clock was wrong.
func (c *clock) without(ranges []attribution.Range) []attribution.Range {
	for _, j := range c.steps() {
		var out []attribution.Range
		by := j.From - j.To
		for _, r := range ranges {
			if left := (attribution.Range{From: r.From, To: min(r.To, j.To-by)}); left.From < left.To {
				out = append(out, left)
			}
			if right := (attribution.Range{From: max(r.From, j.From+by), To: r.To}); right.From < right.To {
				out = append(out, right)
			}
		}
		ranges = out
	}
	return ranges
}

// forget drops what lies well before a time, once the ranges up to it are kept.
func (c *clock) forget(until int64) {
	old := until - maxSilence
	for s, r := range c.ticks {
		if r.To < old && s < old/second-1 {
			delete(c.ticks, s)
		}
	}
	c.breaks = slices.DeleteFunc(c.breaks, func(at int64) bool { return at < old })
}

// brokeOff says whether something was lost after the last line.
func (c *clock) brokeOff() bool { return slices.Contains(c.breaks, c.latest) }

// before is the time of the last line that came no later than at, or 0.
func (c *clock) before(at int64) int64 {
	last := int64(0)
	for _, p := range c.points() {
		if p.kind == tick && p.at <= at {
			last = p.at
		}
	}
	return last
}

// watched are the ranges in which no two lines are further apart than maxSilence and
// no list was needed. After a silence, what was missed is known only from a list on:
// lines before it are no proof. The first lines count if the watch began with them,
// or if they go on from before, when the cluster was watched until then.
func (c *clock) watched(before int64) []attribution.Range {
	points := c.points()
	var out []attribution.Range
	whole := c.fresh
	if c.goesOn(before, points) {
		whole, out = true, []attribution.Range{{From: before, To: points[0].at}}
	}
	last, fresh := int64(0), false
	for i, p := range points {
		switch {
		case p.kind == listed:
			whole, fresh = true, false
			out = append(out, attribution.Range{From: p.at, To: p.at})
		case p.kind == lost, i > 0 && p.at-last > maxSilence:
			whole, fresh = c.changes, true
		case whole && (len(out) == 0 || fresh):
			out, fresh = append(out, attribution.Range{From: p.at, To: p.at}), false
		case whole:
			out[len(out)-1].To = p.at
		}
		last = p.at
	}
	return c.without(slices.DeleteFunc(out, func(r attribution.Range) bool { return r.From == r.To }))
}

// goesOn says whether the first line carries on a watch that was alive until before. A
// list does not: it was needed because the watch broke off.
func (c *clock) goesOn(before int64, points []point) bool {
	return len(points) > 0 && points[0].kind == tick &&
		before != 0 && before <= points[0].at && points[0].at-before <= maxSilence
}

// point is something that happened at a time.
type point struct {
	at   int64
	kind pointKind
}

type pointKind uint8

// The kinds, in the order in which they count where they bear the same millisecond.
const (
	listed pointKind = iota // a list showed all pods
	tick                    // a line came
	lost                    // after it, something was lost
)

// points are sorted; of the lines within a second, the first and the last.
func (c *clock) points() []point {
	var points []point
	for _, r := range c.ticks {
		points = append(points, point{r.From, tick}, point{r.To, tick})
	}
	for _, at := range c.breaks {
		points = append(points, point{at, lost})
	}
	for _, at := range c.snapshots {
		points = append(points, point{at, listed})
	}
	slices.SortFunc(points, func(a, b point) int { return cmp.Or(cmp.Compare(a.at, b.at), cmp.Compare(a.kind, b.kind)) })
	return points
}
