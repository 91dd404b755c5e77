package parquet

import (
	"encoding/binary"
	"math/bits"
)

// Codes of sequences, of https://datatracker.ietf.org/doc/html/rfc8878#section-3.1.1.3.2.1

// coded is a number as a code and so many bits beyond the least number with that code.
type coded struct {
	code, bits uint8
	rest       uint32
}

// codes tells the code of a number: small has those of small numbers, and large is what the
// code of a larger one has more than the place of its highest bit.
type codes struct {
	small [128]coded
	large uint8
}

// newCodes takes how many numbers have a code of their own, and the bits of the codes
// after them.
func newCodes(single int, bits []uint8, large uint8) *codes {
	c := &codes{large: large}
	for n := range single {
		c.small[n].code = uint8(n)
	}
	n := single
	for i, b := range bits {
		for rest := range 1 << b {
			c.small[n] = coded{uint8(single + i), b, uint32(rest)}
			n++
		}
	}
	return c
}

var (
	codesOfLiterals = newCodes(16, []uint8{1, 1, 1, 1, 2, 2, 3, 3, 4, 6}, 19)
	codesOfLengths  = newCodes(32, []uint8{1, 1, 1, 1, 2, 2, 3, 3, 4, 4, 5}, 36)
)

func (c *codes) of(n uint32) coded {
	if n < uint32(len(c.small)) {
		return c.small[n]
	}
	high := uint8(bits.Len32(n) - 1)
	return coded{high + c.large, high, n - 1<<high}
}

func literalsCode(n uint32) coded { return codesOfLiterals.of(n) }

func lengthCode(n uint32) coded { return codesOfLengths.of(n - 3) }

// stateBits are those of a state of the tables that any zstd has.
const stateBits = 6

// states is such a table, read backwards: which state to be in before another one, so
// that the state tells of a code. https://datatracker.ietf.org/doc/html/rfc8878#section-4.1.1
type states struct {
	first  [53]uint8 // some state of a code
	before [53][1 << stateBits]step
}

// step is a state, and the bits that lead from it to the next one.
type step struct{ state, rest, bits uint8 }

// newStates takes how many states each code has; -1 is one that stands at the end.
func newStates(counts []int8) *states {
	const size, mask = 1 << stateBits, 1<<stateBits - 1
	var code [size]uint8
	end, at := size, 0
	for c, n := range counts {
		if n < 0 {
			end--
			code[end] = uint8(c)
		}
	}
	for c, n := range counts {
		for range n {
			code[at] = uint8(c)
			for at = (at + size/2 + size/8 + 3) & mask; at >= end; {
				at = (at + size/2 + size/8 + 3) & mask
			}
		}
	}
	t, next := &states{}, make([]uint8, len(counts))
	for c, n := range counts {
		next[c] = uint8(max(n, 1))
	}
	for state, c := range code {
		width := stateBits + 1 - bits.Len8(next[c])
		least := int(next[c])<<width - size
		for rest := range 1 << width {
			t.before[c][least+rest] = step{uint8(state), uint8(rest), uint8(width)}
		}
		next[c]++
		t.first[c] = uint8(state)
	}
	return t
}

// https://datatracker.ietf.org/doc/html/rfc8878#section-3.1.1.3.2.2
var (
	literalsTable = newStates([]int8{4, 3, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 1, 1, 1, 2, 2, 2, 2, 2, 2, 2, 2, 2, 3, 2, 1, 1, 1, 1, 1, -1, -1, -1, -1})
	lengthTable   = newStates([]int8{1, 4, 3, 2, 2, 2, 2, 2, 2, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, -1, -1, -1, -1, -1, -1, -1})
)

// backward writes bits that are read from the end.
type backward struct {
	out     []byte
	pending uint64
	bits    uint8
}

// add adds bits to at most 7 that are pending; 57 at the most until they are flushed.
func (w *backward) add(v uint64, bits uint8) {
	w.pending |= v << (w.bits & 63)
	w.bits += bits
}

func (w *backward) flush() {
	w.out = binary.LittleEndian.AppendUint64(w.out, w.pending)
	whole := w.bits / 8
	w.out = w.out[:len(w.out)-8+int(whole)]
	w.pending >>= whole * 8
	w.bits &= 7
}

// end adds the bit that marks the end.
func (w *backward) end() []byte {
	w.flush()
	w.add(1, 1)
	w.bits = (w.bits + 7) &^ 7
	w.flush()
	return w.out
}
