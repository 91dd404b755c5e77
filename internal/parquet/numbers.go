package parquet

import (
	"math/bits"
	"slices"
)

// appendNumbers writes numbers that have no dictionary: counters with one after all where
// there are few different ones, as deltas what is near each other, else plain. Counters
// are never deltas: arrow/go v17 loses its place in those of 8 bytes that can be null.
func (e *encoder) appendNumbers(col *Column, c *Chunk, m *chunkMeta, before *past) {
	numbers := e.numbersOf(col, c, m)
	m.encoding = encodingPlain
	if len(numbers) == 0 {
		return
	}
	lo, hi := col.Kind.extremes(numbers)
	m.min, m.max = plain(lo, col.Kind), plain(hi, col.Kind)
	switch {
	case col.Kind == Uint64 && e.few(numbers, lo, hi, before):
		m.encoding = encodingDictionary
		e.entries = len(e.distinct.numbers)
		e.appendCodes(e.distinct.codes)
		e.dictionary = appendPlain(e.dictionary, e.distinct.numbers, col.Kind.size())
	case near(lo, hi) && (col.Required || col.Kind.size() == 4):
		m.encoding = encodingDelta
		e.data = appendDeltas(e.data, numbers)
	default:
		lower := (bits.Len64(uint64(lo|hi)) + 7) / 8 // those of the greatest, and all where one is below 0
		if col.Kind.size() == 8 && len(numbers) >= leastMany && 1 <= lower && lower <= widest {
			m.narrow, m.lower = numbers, lower
			return
		}
		e.data = appendPlain(e.data, numbers, col.Kind.size())
	}
}

// few gives numbers codes while there are few different ones. Where there were too many,
// it takes the next chunks to have too many as well.
func (e *encoder) few(numbers []int64, lo, hi int64, before *past) bool {
	if 0 <= lo && lo <= hi && hi < maxDistinct {
		e.distinct.ofSmall(numbers)
		return true
	}
	if !before.distinct.over() {
		return false
	}
	if !e.distinct.of(numbers) {
		before.distinct.begin()
		return false
	}
	return true
}

// numbersOf returns the numbers that are not null, and writes which are.
func (e *encoder) numbersOf(col *Column, c *Chunk, m *chunkMeta) []int64 {
	numbers := c.Numbers
	if slices.Contains(c.Null, true) {
		e.levels, e.numbers = slices.Grow(e.levels[:0], len(numbers))[:len(numbers)], slices.Grow(e.numbers[:0], len(numbers))[:len(numbers)]
		n := 0
		for i, null := range c.Null { // without a jump that hangs on null
			e.numbers[n] = numbers[i]
			present := uint8(1)
			if null {
				present = 0
			}
			e.levels[i] = present
			n += int(present)
		}
		numbers = e.numbers[:n]
	}
	m.nulls = len(c.Numbers) - len(numbers)
	e.appendPresence(col, e.levels, m)
	return numbers
}

// extremes are the least and the greatest of some numbers.
func (k Kind) extremes(numbers []int64) (least, most int64) {
	flip := int64(0)
	if k == Uint64 {
		flip = -1 << 63 // then their order is that of signed ones
	}
	lo, hi := numbers[0]^flip, numbers[0]^flip
	for _, v := range numbers {
		lo, hi = min(lo, v^flip), max(hi, v^flip)
	}
	return lo ^ flip, hi ^ flip
}

// plain is a number as a plain value of its kind.
func plain(v int64, k Kind) []byte { return appendPlain(nil, []int64{v}, k.size()) }

// distinct gives numbers codes while there are few. Its memory is used again.
type distinct struct {
	slots   [2 * maxDistinct]distinctSlot
	small   [maxDistinct]uint32 // codes of numbers that are less, and 1 more; 0 has none
	numbers []int64             // by code
	codes   []uint32
}

// maxDistinct is of how many numbers a dictionary is made for a column that was not
// given with one. Beyond it a code saves little.
const maxDistinct = 4096

type distinctSlot struct {
	number int64
	code   uint32 // and 1 more; 0 is free
}

// of fills codes and numbers. It returns false where there are too many.
func (d *distinct) of(numbers []int64) bool {
	clear(d.slots[:])
	d.numbers, d.codes = d.numbers[:0], d.codes[:0]
	for _, v := range numbers {
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
		d.codes = append(d.codes, s.code-1)
	}
	return true
}

// ofSmall is of for numbers that all are less than maxDistinct, and not less than 0.
func (d *distinct) ofSmall(numbers []int64) {
	clear(d.small[:])
	d.numbers, d.codes = d.numbers[:0], slices.Grow(d.codes[:0], len(numbers))[:len(numbers)]
	for i, v := range numbers {
		code := &d.small[v]
		if *code == 0 {
			d.numbers = append(d.numbers, v)
			*code = uint32(len(d.numbers))
		}
		d.codes[i] = *code - 1
	}
}
