package index

import (
	"math"
	"math/bits"
	"slices"
	"sort"
)

// contest says which cursor of a scan stands before the first row. Cursors are the leaves of
// a tree, in which two play at each node: who loses stays there, and who wins plays on. So
// only the nodes above the first cursor are played again when it has moved.
//
// Segments hold what was logged at one time or by some interfaces, so of many cursors often
// few have rows that are near each other. Those that did not move while a batch was filled
// do not play in the next one, until the first of the others reaches their least key.
type contest struct {
	cursors []*cursor // nil: one that was at its end
	seen    []runKey  // by cursor, when it was last decided who plays
	bound   runKey    // none that does not play stands before a lesser key

	players []*cursor // nil: one that was at its end
	keys    []runKey  // by player, of the row that it stands before
	lost    []uint32  // by node, who lost there; at 0, who won. Node n is above 2n and 2n+1, of which those from len(lost) on are players.
	won     []uint32  // by node: scratch
}

// atEnd is behind the keys of all rows.
var atEnd = runKey{math.MaxUint64, math.MaxUint64}

func (k runKey) less(o runKey) bool {
	return k.addresses < o.addresses || k.addresses == o.addresses && k.ends < o.ends
}

// settle decides who plays.
func (t *contest) settle() {
	first := t.seen == nil
	if first {
		t.seen = make([]runKey, len(t.cursors))
	}
	t.players, t.bound = t.players[:0], atEnd
	for i, c := range t.cursors {
		switch {
		case c == nil:
		case first || c.key() != t.seen[i]:
			t.players = append(t.players, c)
			t.seen[i] = c.key()
		case c.key().less(t.bound):
			t.bound = c.key()
		}
	}
	t.start()
	t.admit()
}

// admit lets all cursors play if one that does not may be the first.
func (t *contest) admit() {
	if len(t.players) > 0 && t.keys[t.lost[0]].less(t.bound) || t.bound == atEnd {
		return
	}
	t.players, t.bound = t.players[:0], atEnd
	for _, c := range t.cursors {
		if c != nil {
			t.players = append(t.players, c)
		}
	}
	t.start()
}

// start plays at all nodes.
func (t *contest) start() {
	n := len(t.players)
	t.lost, t.keys = slices.Grow(t.lost[:0], n)[:n], slices.Grow(t.keys[:0], n)[:n]
	t.won = slices.Grow(t.won[:0], 2*n)[:2*n]
	won := t.won
	for i, c := range t.players {
		won[n+i], t.keys[i] = uint32(i), c.key()
	}
	for i := n - 1; i > 0; i-- {
		one, other := won[2*i], won[2*i+1]
		if t.before(other, one) {
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
	if len(t.players) == 0 {
		return nil
	}
	return t.players[t.lost[0]]
}

// moved plays again once the first cursor has moved.
func (t *contest) moved(c *cursor) {
	c.tied = false
	t.play(c.key())
}

// ended plays again once the first cursor is at its end.
func (t *contest) ended() {
	t.cursors[slices.Index(t.cursors, t.first())] = nil
	t.players[t.lost[0]] = nil
	t.play(atEnd)
}

// play lets the first cursor play from its leaf on, with another key. Who wins nobody could
// foresee, so that is no jump.
func (t *contest) play(k runKey) {
	lost, keys := t.lost, t.keys
	cursor := lost[0]
	keys[cursor] = k
	for n := (uint(len(lost)) + uint(cursor)) / 2; n > 0; n /= 2 {
		other := lost[n]
		o := keys[other]
		_, less := bits.Sub64(o.ends, k.ends, 0)
		_, less = bits.Sub64(o.addresses, k.addresses, less)
		if o == k && t.beforeTied(other, cursor) {
			less = 1
		}
		swap := -less // all ones, or 0
		k.addresses ^= (o.addresses ^ k.addresses) & swap
		k.ends ^= (o.ends ^ k.ends) & swap
		x := (other ^ cursor) & uint32(swap)
		lost[n] = other ^ x
		cursor ^= x
	}
	lost[0] = cursor
	if !k.less(t.bound) {
		t.admit()
	}
}

// before says whether the row of a precedes that of b.
func (t *contest) before(a, b uint32) bool {
	x, y := t.keys[a], t.keys[b]
	if x == y {
		return t.beforeTied(a, b)
	}
	return x.less(y)
}

// beforeTied is before where keys are equal. The cursor that wins is tied until it moves.
func (t *contest) beforeTied(a, b uint32) bool {
	x, y := t.players[a], t.players[b]
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

// stretch is how many rows from the first cursor's next one on, which is c, precede those of
// all others: at least one, and at most those of a run.
func (t *contest) stretch(c *cursor) int {
	if n := c.runs[c.on].until - c.at; !c.tied {
		return n
	}
	return t.tiedStretch(c)
}

func (t *contest) tiedStretch(c *cursor) int {
	n := c.runs[c.on].until - c.at
	if o := t.second(); o != t.lost[0] && t.keys[o] == t.keys[t.lost[0]] {
		return c.precede(t.players[o], n)
	}
	return n
}

// second is the first of those that lost to the first cursor, or that one where it plays
// alone.
func (t *contest) second() uint32 {
	n := (len(t.lost) + int(t.lost[0])) / 2
	second := t.lost[n]
	for n /= 2; n > 0; n /= 2 {
		if o := t.lost[n]; t.before(o, second) {
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
