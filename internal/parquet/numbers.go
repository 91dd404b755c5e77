package parquet

import (
	"math/bits"
	"slices"
)

// number is what a number of a column is kept in.
type number interface{ uint16 | uint32 | int64 }

// numbers are those of a chunk: each is base more than what is kept of it.
type numbers[N number] struct {
	kept []N
	base int64
}

func (n numbers[N]) full(v N) int64 { return n.base + int64(v) }

// numberRoom is room for those numbers of a chunk that are not null.
type numberRoom struct {
	shorts []uint16
	words  []uint32
	longs  []int64
}

// numbersPage makes a page of numbers that were given without a dictionary.
func (e *encoder) numbersPage(col *Column, c *Chunk, m *chunkMeta, before *past) {
	e.data, e.made = e.data[:0], source{}
	switch room := &e.present; {
	case len(c.Shorts) > 0:
		appendNumbers(e, &room.shorts, col, c, numbers[uint16]{c.Shorts, c.Base}, m, before)
	case len(c.Words) > 0:
		appendNumbers(e, &room.words, col, c, numbers[uint32]{c.Words, c.Base}, m, before)
	default:
		appendNumbers(e, &room.longs, col, c, numbers[int64]{kept: c.Numbers}, m, before)
	}
}

// appendNumbers writes counters with a dictionary after all where there are few different
// ones, as deltas what is near each other, else plain. Counters are never deltas: arrow/go
// v17 loses its place in those of 8 bytes that can be null.
func appendNumbers[N number](e *encoder, room *[]N, col *Column, c *Chunk, n numbers[N], m *chunkMeta, before *past) {
	n.kept = presentNumbers(e, room, col, c, n.kept, m)
	m.encoding = encodingPlain
	if len(n.kept) == 0 {
		return
	}
	lo, hi := n.extremes(col.Kind)
	m.min, m.max = plain(lo, col.Kind), plain(hi, col.Kind)
	switch size := col.Kind.size(); {
	case col.Kind == Uint64 && few(e, n, lo, hi, before):
		m.encoding = encodingDictionary
		e.dictionary = appendPlain(e.dictionary, numbers[int64]{kept: e.distinct.numbers}, size)
	case near(lo, hi) && (col.Required || size == 4):
		m.encoding = encodingDelta
		e.data = appendDeltas(e.data, n)
	default:
		lower := (bits.Len64(uint64(lo|hi)) + 7) / 8 // those of the greatest, and all where one is below 0
		if size == 8 && len(n.kept) >= leastMany && 1 <= lower && lower <= widest {
			e.squeezed[1] = appendNarrow(&e.narrowing, e.squeezed[1][:0], e.data, n, lower)
			m.framed = size * len(n.kept)
			return
		}
		e.data = appendPlain(e.data, n, size)
	}
}

// few writes codes of numbers while there are few different ones. Where there were too
// many, it takes the next chunks to have too many as well.
func few[N number](e *encoder, n numbers[N], lo, hi int64, before *past) bool {
	d := &e.distinct
	switch small := 0 <= lo && lo <= hi && hi < maxDistinct; {
	case small && ofSmall(d, &e.small, n):
		e.entries = len(d.numbers)
		e.appendSmallCodes(e.small)
		return true
	case small:
		ofSmall(d, &e.codes, n)
	case !before.distinct.over():
		return false
	case !of(d, &e.codes, n):
		before.distinct.begin()
		return false
	}
	e.entries = len(d.numbers)
	e.appendCodes(e.codes)
	return true
}

// presentNumbers returns the numbers that are not null, and writes which are.
func presentNumbers[N number](e *encoder, room *[]N, col *Column, c *Chunk, kept []N, m *chunkMeta) []N {
	all := len(kept)
	if slices.Contains(c.Null, true) {
		e.levels, *room = slices.Grow(e.levels[:0], all)[:all], slices.Grow((*room)[:0], all)[:all]
		levels, out, n := e.levels, *room, 0
		for i, null := range c.Null {
			out[n], levels[i] = kept[i], 1-bit(null)
			n += int(levels[i])
		}
		kept = out[:n]
	}
	m.nulls = all - len(kept)
	e.appendPresence(col, e.levels, m)
	return kept
}

// extremes are the least and the greatest of some numbers. Nearly all lie between those that
// were found before: their distance from the least one says so, whether they have a sign or not.
func (n numbers[N]) extremes(k Kind) (least, most int64) {
	rest := n.kept
	lo, hi := rest[0], rest[0]
	between := uint64(0)
	for len(rest) > 0 {
		for ; len(rest) >= 4; rest = rest[4:] {
			v := (*[4]N)(rest)
			if uint64(v[0])-uint64(lo) > between || uint64(v[1])-uint64(lo) > between || uint64(v[2])-uint64(lo) > between || uint64(v[3])-uint64(lo) > between {
				break
			}
		}
		for _, v := range rest[:min(4, len(rest))] {
			if k == Uint64 {
				lo, hi = N(min(uint64(lo), uint64(v))), N(max(uint64(hi), uint64(v)))
			} else {
				lo, hi = min(lo, v), max(hi, v)
			}
		}
		rest = rest[min(4, len(rest)):]
		between = uint64(hi) - uint64(lo)
	}
	return n.full(lo), n.full(hi)
}

// plain is a number as a plain value of its kind.
func plain(v int64, k Kind) []byte {
	return appendPlain(nil, numbers[int64]{kept: []int64{v}}, k.size())
}

// distinct gives numbers codes while there are few. Its memory is used again.
type distinct struct {
	slots   [2 * maxDistinct]distinctSlot
	small   [maxDistinct]uint16 // codes of numbers that are less, and 1 more; 0 has none
	numbers []int64             // by code
}

// maxDistinct is of how many numbers a dictionary is made for a column that was not
// given with one. Beyond it a code saves little.
const maxDistinct = 4096

type distinctSlot struct {
	number int64
	code   uint32 // and 1 more; 0 is free
}

// of fills codes and numbers. It returns false where there are too many.
func of[N number](d *distinct, codes *[]uint32, n numbers[N]) bool {
	clear(d.slots[:])
	d.numbers, *codes = d.numbers[:0], slices.Grow((*codes)[:0], len(n.kept))[:len(n.kept)]
	for i, kept := range n.kept {
		v := n.full(kept)
		at := uint64(v) * 0x9e3779b97f4a7c15 >> (64 - 13) // as many bits as slots have numbers
		for d.slots[at].code != 0 && d.slots[at].number != v {
			at = (at + 1) % uint64(len(d.slots))
		}
		s := &d.slots[at]
		if s.code == 0 {
			if len(d.numbers) == maxDistinct {
				return false
			}
			d.numbers = append(d.numbers, v)
			s.number, s.code = v, uint32(len(d.numbers))
		}
		(*codes)[i] = s.code - 1
	}
	return true
}

// ofSmall is of for numbers that all are less than maxDistinct, and not less than 0. There
// are too many where a code has no room for them.
func ofSmall[C code, N number](d *distinct, codes *[]C, n numbers[N]) bool {
	clear(d.small[:])
	d.numbers, *codes = d.numbers[:0], slices.Grow((*codes)[:0], len(n.kept))[:len(n.kept)]
	out := *codes
	for i, kept := range n.kept {
		v := n.full(kept)
		code := d.small[v]
		if code == 0 {
			if uint64(len(d.numbers)) == uint64(^C(0)) {
				return false
			}
			d.numbers = append(d.numbers, v)
			code = uint16(len(d.numbers))
			d.small[v] = code
		}
		out[i] = C(code - 1)
	}
	return true
}
