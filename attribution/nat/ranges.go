package nat

import (
	"cmp"
	"slices"
)

// Range is a closed range of times, Unix milliseconds.
type Range struct {
	From int64 `json:"from"`
	To   int64 `json:"to"`
}

// ranges are sorted and apart.
type ranges []Range

// add joins a range in.
func (c ranges) add(r Range) ranges {
	if r.To < r.From {
		return c
	}
	i := c.after(r.From)
	j := i
	for j < len(c) && c[j].From <= r.To {
		r.From, r.To = min(r.From, c[j].From), max(r.To, c[j].To)
		j++
	}
	return slices.Replace(c, i, j, r)
}

// after is the index of the first range that does not end before t.
func (c ranges) after(t int64) int {
	i, _ := slices.BinarySearchFunc(c, t, func(have Range, t int64) int { return cmp.Compare(have.To, t) })
	return i
}

// has says whether all of the closed range is in it.
func (c ranges) has(from, to int64) bool {
	i := c.after(to)
	return i < len(c) && c[i].From <= from
}

// coverage is when all that one node translated was seen, by session: by each reading
// that lasted without a break, for what ended before one began is not known to it.
type coverage map[string]ranges

// has says whether one session saw all of the closed range.
func (c coverage) has(from, to int64) bool {
	for _, r := range c {
		if r.has(from, to) {
			return true
		}
	}
	return false
}

// until is how long each session that saw t saw all from t on; t itself where none did.
// A session that goes on longer does not tell how what another saw open went on: it
// has records of its own of that.
func (c coverage) until(t int64) int64 {
	end, seen := t, false
	for _, r := range c {
		if i := r.after(t); i < len(r) && r[i].From <= t && (!seen || r[i].To < end) {
			end, seen = r[i].To, true
		}
	}
	return end
}

// all are the sessions' stretches together.
func (c coverage) all() ranges {
	var out ranges
	for _, list := range c {
		for _, r := range list {
			out = out.add(r)
		}
	}
	return out
}
