package parquet

import (
	"encoding/binary"
	"math/bits"
)

// A block of deltas: https://parquet.apache.org/docs/file-format/data-pages/encodings
// allows multiples of 128 numbers, in parts of multiples of 32.
const (
	deltaBlock = 128
	deltaPart  = 32
)

// near says whether any two of the numbers differ by less than 2^31, so that what is
// packed of a delta has at most 32 bits.
func near(numbers []int64) bool {
	lo, hi := numbers[0], numbers[0]
	for _, v := range numbers {
		lo, hi = min(lo, v), max(hi, v)
	}
	return uint64(hi)-uint64(lo) < 1<<31
}

// appendDeltas appends numbers that are near each other, at least one, each as what it
// adds to the one before it.
func appendDeltas(out []byte, numbers []int64) []byte {
	out = binary.AppendUvarint(out, deltaBlock)
	out = binary.AppendUvarint(out, deltaBlock/deltaPart)
	out = binary.AppendUvarint(out, uint64(len(numbers)))
	out = binary.AppendVarint(out, numbers[0])
	for before, rest := numbers[0], numbers[1:]; len(rest) > 0; {
		block := rest[:min(deltaBlock, len(rest))]
		out = appendDeltaBlock(out, before, block)
		before, rest = block[len(block)-1], rest[len(block):]
	}
	return out
}

// appendDeltaBlock appends the least delta, the width of each part, and the parts:
// deltas less the least one. A part that is not full is filled up with zeros.
func appendDeltaBlock(out []byte, before int64, numbers []int64) []byte {
	var deltas [deltaBlock]int64
	for i, v := range numbers {
		deltas[i] = v - before
		before = v
	}
	least := deltas[0]
	for _, d := range deltas[:len(numbers)] {
		least = min(least, d)
	}
	var packed [deltaBlock]uint32
	var widths [deltaBlock / deltaPart]uint
	for i, d := range deltas[:len(numbers)] {
		packed[i] = uint32(d - least)
		widths[i/deltaPart] = max(widths[i/deltaPart], uint(bits.Len32(packed[i])))
	}
	out = binary.AppendVarint(out, least)
	for _, w := range widths {
		out = append(out, byte(w))
	}
	p := packer{out: out}
	for i, v := range packed {
		p.put(v, widths[i/deltaPart])
	}
	return p.flush()
}

// distinct gives numbers codes while there are few. Its memory is used again.
type distinct struct {
	slots   [2 * maxDistinct]distinctSlot
	numbers []int64 // by code
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
