package attribution

import "slices"

// phase is a half-open time in which an object may have been in a state: nil is that it
// was not there. Unknown: in one that nobody saw. Phases of one object overlap where the
// moment of a change is not known.
type phase struct {
	from, to int64
	state    *State
	version  uint64 // at which the state was seen first; 0: never
	unknown  bool
}

// phases are what an object may have been like, over all time. watched is when all
// objects of its kind were, and late how late changes were seen. They rest on this:
//
//   - a state was written by the time at which it was received, and by its own time;
//   - it was written after the state before it, and, where the kind was watched by
//     then, no longer before its receipt than changes come late;
//   - what is seen before and after a time at the same version did not change in it.
func (o *object) phases(watched coverage, late int64) []phase {
	margin := max(late, reportLag)
	var marks []mark
	if o != nil {
		marks = o.marks
	}
	marks = withGone(marks, watched)
	lo, hi := make([]int64, len(marks)), make([]int64, len(marks))
	for i := range marks {
		lo[i], hi[i] = marks[i].writtenAt(watched, margin)
		if i > 0 {
			lo[i] = max(lo[i], lo[i-1])
		}
	}
	for i := len(marks) - 2; i >= 0; i-- {
		hi[i] = min(hi[i], hi[i+1])
	}
	for i := range lo { // clocks that contradict each other leave no time between two states
		lo[i] = min(lo[i], hi[i])
	}
	first := phase{to: Open} // before anything was seen of it
	if len(marks) > 0 {
		first.to = hi[0]
		if s := marks[0].state; s != nil && s.Created != 0 {
			first.to = min(first.to, s.Created+second)
		}
	}
	out := []phase{first}
	for i := range marks {
		p := phase{from: lo[i], to: Open, state: marks[i].state, version: marks[i].version}
		if i+1 < len(marks) {
			p.to = hi[i+1]
		}
		if last := &out[len(out)-1]; i > 0 && last.state.Equal(p.state) && !last.unknown {
			last.to = max(last.to, p.to)
			continue
		}
		out = append(out, p)
	}
	var seen coverage
	for _, r := range watched {
		seen = seen.add(Range{r.From, r.To - margin})
	}
	for i := range marks {
		if marks[i].state != nil || marks[i].seenBy != 0 {
			seen = seen.add(Range{hi[i], marks[i].seenLast})
		}
	}
	for _, r := range seen.holes(0, Open) {
		out = append(out, phase{from: r.From, to: r.To, unknown: true})
	}
	return slices.DeleteFunc(out, func(p phase) bool { return p.from >= p.to })
}

// writtenAt brackets when a state was written, or an object removed.
func (m *mark) writtenAt(watched coverage, margin int64) (lo, hi int64) {
	hi = Open
	if m.seenBy != 0 {
		hi = m.seenBy
		if start, end := watched.around(m.seenBy); start < m.seenBy && start != 0 {
			lo = m.seenBy - margin
		} else if end != 0 {
			lo = end - margin
		}
	}
	if m.written != 0 {
		lo, hi = max(lo, m.written), min(hi, m.written+second)
	}
	if m.state != nil {
		lo = max(lo, m.state.Created)
	}
	return max(min(lo, hi), 0), hi
}

// around is the start of the stretch that holds t, or 0; and the end of the last
// stretch before t, or 0.
func (c coverage) around(t int64) (start, before int64) {
	for _, r := range c {
		switch {
		case r.To < t:
			before = r.To
		case r.From <= t:
			start = r.From
		}
	}
	return start, before
}

// withGone adds the removal of an object that was there when it was seen last, and
// that a later stretch of the watch, which begins with a list, does not show.
func withGone(marks []mark, watched coverage) []mark {
	var seen int64
	for i := range marks {
		seen = max(seen, marks[i].seenLast)
	}
	if len(marks) == 0 || marks[len(marks)-1].state == nil || seen == 0 {
		return marks
	}
	start := watched.startAfter(seen)
	if start == 0 {
		return marks
	}
	return append(slices.Clip(marks), mark{version: marks[len(marks)-1].version, seenBy: start, seenLast: start})
}

// phasesAt are the phases that hold a moment.
func phasesAt(phases []phase, t int64) []phase {
	var out []phase
	for _, p := range phases {
		if p.from <= t && t < p.to {
			out = append(out, p)
		}
	}
	return out
}
