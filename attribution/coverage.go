package attribution

import (
	"cmp"
	"slices"
)

// coverage is when a cluster was watched: closed ranges, sorted, apart.
type coverage []Range

// add joins a range in.
func (c coverage) add(r Range) coverage {
	if r.To < r.From {
		return c
	}
	i, _ := slices.BinarySearchFunc(c, r.From, func(have Range, from int64) int { return cmp.Compare(have.To, from) })
	j := i
	for j < len(c) && c[j].From <= r.To {
		r.From, r.To = min(r.From, c[j].From), max(r.To, c[j].To)
		j++
	}
	return slices.Replace(c, i, j, r)
}

// has says whether the closed range is in it.
func (c coverage) has(from, to int64) bool {
	i, _ := slices.BinarySearchFunc(c, to, func(have Range, to int64) int { return cmp.Compare(have.To, to) })
	return i < len(c) && c[i].From <= from
}

// end is the last moment that was watched, or 0.
func (c coverage) end() int64 {
	if len(c) == 0 {
		return 0
	}
	return c[len(c)-1].To
}

// from is until when it goes on without a break from t on; t itself outside of it.
func (c coverage) from(t int64) int64 {
	i, _ := slices.BinarySearchFunc(c, t, func(have Range, t int64) int { return cmp.Compare(have.To, t) })
	if i < len(c) && c[i].From <= t {
		return c[i].To
	}
	return t
}

// start is when the range that holds t begins, or t outside of all.
func (c coverage) start(t int64) int64 {
	i, _ := slices.BinarySearchFunc(c, t, func(have Range, t int64) int { return cmp.Compare(have.To, t) })
	if i < len(c) && c[i].From <= t {
		return c[i].From
	}
	return t
}

// startAfter is when the first range after t begins, or 0.
func (c coverage) startAfter(t int64) int64 {
	i, _ := slices.BinarySearchFunc(c, t+1, func(have Range, t int64) int { return cmp.Compare(have.From, t) })
	if i < len(c) {
		return c[i].From
	}
	return 0
}

// later is the coverage without the first part of each range.
func (c coverage) later(part int64) coverage {
	var out coverage
	for _, r := range c {
		out = out.add(Range{r.From + part, r.To})
	}
	return out
}

// holes are the stretches of [from, to) that were not watched.
func (c coverage) holes(from, to int64) []Range {
	var out []Range
	for _, r := range c {
		if r.To < from {
			continue
		}
		if r.From >= to {
			break
		}
		if r.From > from {
			out = append(out, Range{from, r.From})
		}
		from = max(from, r.To)
	}
	if from < to {
		out = append(out, Range{from, to})
	}
	return out
}
