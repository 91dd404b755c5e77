package index

import (
	"math"
	"math/bits"
	"sort"
)

// contest says which cursor of a scan stands before the first row. They are the leaves of
// a tree, in which two play at each node: who loses stays there, and who wins plays on. So
// only the nodes above the first cursor are played again when it has moved.
type contest struct {
	cursors []*cursor // nil: one that was at its end
	lost    []head    // by node, who lost there; at 0, who won. Node n is above 2n and 2n+1, of which those from len(lost) on are cursors.
}

// head is the row that a cursor stands before.
type head struct {
	runKey
	cursor uint64 // which one
}

// atEnd is behind the keys of all rows.
var atEnd = runKey{math.MaxUint64, math.MaxUint64}

// start plays at all nodes.
func (t *contest) start() {
	n := len(t.cursors)
	won := make([]head, 2*n)
	t.lost = make([]head, n)
	for i, c := range t.cursors {
		won[n+i] = head{c.key(), uint64(i)}
	}
	for i := n - 1; i > 0; i-- {
		one, other := won[2*i], won[2*i+1]
		if t.before(&other, &one) {
			one, other = other, one
		}
		won[i], t.lost[i] = one, other
	}
	if n > 0 {
		t.lost[0] = won[1]
	}
}

// first is the cursor before whose rows no other has any; nil where none has a row.
func (t *contest) first() *cursor {
	if len(t.cursors) == 0 {
		return nil
	}
	return t.cursors[t.lost[0].cursor]
}

// moved plays again once the first cursor has moved.
func (t *contest) moved() {
	c := t.first()
	c.tied = false
	t.play(head{c.key(), t.lost[0].cursor})
}

// ended plays again once the first cursor is at its end.
func (t *contest) ended() {
	t.cursors[t.lost[0].cursor] = nil
	t.play(head{atEnd, t.lost[0].cursor})
}

// play lets the first cursor's new head play from its leaf on. Who wins nobody could
// foresee, so that is no jump.
func (t *contest) play(h head) {
	addresses, ends, cursor := h.addresses, h.ends, h.cursor // in registers
	for n := (uint64(len(t.lost)) + cursor) / 2; n > 0; n /= 2 {
		o := &t.lost[n]
		theirs := *o
		_, less := bits.Sub64(theirs.ends, ends, 0)
		_, less = bits.Sub64(theirs.addresses, addresses, less)
		swap := -less // all ones, or 0
		if (theirs.addresses^addresses)|(theirs.ends^ends) == 0 && t.beforeTied(theirs.cursor, cursor) {
			swap = math.MaxUint64
		}
		x, y, z := (theirs.addresses^addresses)&swap, (theirs.ends^ends)&swap, (theirs.cursor^cursor)&swap
		*o = head{runKey{theirs.addresses ^ x, theirs.ends ^ y}, theirs.cursor ^ z}
		addresses, ends, cursor = addresses^x, ends^y, cursor^z
	}
	t.lost[0] = head{runKey{addresses, ends}, cursor}
}

// before says whether the row of a precedes that of b.
func (t *contest) before(a, b *head) bool {
	if a.runKey == b.runKey {
		return t.beforeTied(a.cursor, b.cursor)
	}
	return a.addresses < b.addresses || a.addresses == b.addresses && a.ends < b.ends
}

// beforeTied is before where keys are equal. The cursor that wins is tied until it moves.
func (t *contest) beforeTied(a, b uint64) bool {
	x, y := t.cursors[a], t.cursors[b]
	if x == nil || y == nil { // both are at their ends
		return false
	}
	if x.compare(x.at, y) < 0 {
		x.tied = true
		return true
	}
	y.tied = true
	return false
}

// stretch is how many rows from the first cursor's next one on precede those of all
// others: at least one, and at most those of a run.
func (t *contest) stretch() int {
	c := t.first()
	n := c.runs[c.on].until - c.at
	if !c.tied || n == 1 {
		return n
	}
	if o := t.second(); o.runKey == t.lost[0].runKey {
		return c.precede(t.cursors[o.cursor], n)
	}
	return n
}

// second is the first of those that lost to the first cursor.
func (t *contest) second() *head {
	n := (len(t.lost) + int(t.lost[0].cursor)) / 2
	second := &t.lost[n]
	for n /= 2; n > 0; n /= 2 {
		if o := &t.lost[n]; t.before(o, second) {
			second = o
		}
	}
	return second
}

// precede is how many of the next rows, of which the first one does and all have one key,
// precede that of another cursor. The end is looked for in steps that double, so that both
// a short stretch and a long one are cheap.
func (c *cursor) precede(o *cursor, most int) int {
	low, step := 1, 1 // low rows precede
	for low+step <= most && c.compare(c.at+low+step-1, o) < 0 {
		low += step
		step *= 2
	}
	high := min(low+step-1, most) // not more than these do
	return low + sort.Search(high-low, func(n int) bool { return c.compare(c.at+low+n, o) >= 0 })
}
