package parquet

import (
	"encoding/binary"
	"math/bits"
	"slices"
)

// appendBits appends the lowest width bits, at most 32, of each number, the lowest bit
// first; all others MUST be 0. Zeros fill the last eight numbers up. Eight of them are
// width bytes: each eight begins with a byte of its own, and is written in whole words,
// of which the next eight overwrites what is too much.
func appendBits(out []byte, numbers []uint32, width uint) []byte {
	at, size := len(out), (len(numbers)+7)/8*int(width)
	out = slices.Grow(out, size+wordsOfEight)[:at+size+wordsOfEight]
	whole := len(numbers) &^ 7
	putEights(out[at:], numbers[:whole], width)
	if whole < len(numbers) {
		var last [8]uint32
		copy(last[:], numbers[whole:])
		putEights(out[at+size-int(width):], last[:], width)
	}
	return out[:at+size]
}

// wordsOfEight is how many bytes are written of eight numbers at the most.
const wordsOfEight = 32

// putEights writes numbers, a multiple of eight. A shift by 64 leaves 0.
func putEights(to []byte, numbers []uint32, width uint) {
	switch {
	case width <= 8:
		for ; len(numbers) >= 8; numbers, to = numbers[8:], to[width:] {
			v := (*[8]uint32)(numbers)
			lo, hi := four(v[0], v[1], v[2], v[3], width), four(v[4], v[5], v[6], v[7], width)
			binary.LittleEndian.PutUint64(to, lo|hi<<(4*width))
		}
	case width <= 16:
		for ; len(numbers) >= 8; numbers, to = numbers[8:], to[width:] {
			v := (*[8]uint32)(numbers)
			lo, hi := four(v[0], v[1], v[2], v[3], width), four(v[4], v[5], v[6], v[7], width)
			binary.LittleEndian.PutUint64(to, lo|hi<<(4*width))
			binary.LittleEndian.PutUint64(to[8:], hi>>(64-4*width))
		}
	default:
		for ; len(numbers) >= 8; numbers, to = numbers[8:], to[width:] {
			putWide(to, (*[8]uint32)(numbers), width)
		}
	}
}

// four packs numbers of at most 16 bits.
func four(a, b, c, d uint32, width uint) uint64 {
	width &= 31 // as it is anyway: it spares a comparison for each shift
	return uint64(a) | uint64(b)<<width | (uint64(c)|uint64(d)<<width)<<(2*width&63)
}

// putWide writes eight numbers of more than 16 bits.
func putWide(to []byte, v *[8]uint32, width uint) {
	a, b := fourWide(v[0], v[1], v[2], v[3], width)
	c, d := fourWide(v[4], v[5], v[6], v[7], width)
	at := 4*width - 64 // the bits of b
	binary.LittleEndian.PutUint64(to, a)
	binary.LittleEndian.PutUint64(to[8:], b|c<<at)
	binary.LittleEndian.PutUint64(to[16:], c>>(64-at)|d<<at)
	binary.LittleEndian.PutUint64(to[24:], d>>(64-at))
}

// fourWide packs four numbers of more than 16 bits.
func fourWide(a, b, c, d uint32, width uint) (uint64, uint64) {
	width &= 63 // as it is anyway
	two := uint64(c) | uint64(d)<<width
	return uint64(a) | uint64(b)<<width | two<<(2*width), two >> (64 - 2*width)
}

// appendLevels appends levels of 1 or 2 bits in the hybrid of runs and packed numbers.
func appendLevels(out []byte, levels []uint8, width uint) []byte {
	for i := 0; i < len(levels); {
		if n := levelRun(levels[i:]); n >= 8 {
			out = appendRun(out, n, uint32(levels[i]), width)
			i += n
			continue
		}
		end := i + 8
		for end < len(levels) && !sameLevels(levels[end:]) {
			end += 8
		}
		out = appendPackedLevels(out, levels[i:min(end, len(levels))], width)
		i = end
	}
	return out
}

// ones has a level of 1 in each byte.
const ones = 0x0101010101010101

// levelRun is runOf for levels.
func levelRun(levels []uint8) int {
	n, same := 0, uint64(levels[0])*ones
	for ; len(levels)-n >= 8; n += 8 {
		if other := binary.LittleEndian.Uint64(levels[n:]) ^ same; other != 0 {
			return n + bits.TrailingZeros64(other)/8
		}
	}
	for n < len(levels) && levels[n] == levels[0] {
		n++
	}
	return n
}

// sameLevels says whether the first 16 levels are equal.
func sameLevels(levels []uint8) bool {
	if len(levels) < 16 {
		return false
	}
	same := uint64(levels[0]) * ones
	return (binary.LittleEndian.Uint64(levels)^same)|(binary.LittleEndian.Uint64(levels[8:])^same) == 0
}

// appendPackedLevels is appendPacked for levels.
func appendPackedLevels(out []byte, levels []uint8, width uint) []byte {
	out = binary.AppendUvarint(out, uint64(len(levels)+7)/8<<1|1)
	for ; len(levels) >= 8; levels = levels[8:] {
		out = appendEightLevels(out, binary.LittleEndian.Uint64(levels), width)
	}
	if len(levels) > 0 {
		var last [8]uint8
		copy(last[:], levels)
		out = appendEightLevels(out, binary.LittleEndian.Uint64(last[:]), width)
	}
	return out
}

// appendEightLevels appends eight levels, of which each is a byte of the word: bits move
// together in pairs, then in pairs of pairs.
func appendEightLevels(out []byte, levels uint64, width uint) []byte {
	if width == 1 {
		levels = (levels | levels>>7) & 0x0003000300030003
		levels = (levels | levels>>14) & 0x0000000f0000000f
		return append(out, byte(levels|levels>>28))
	}
	levels = (levels | levels>>6) & 0x000f000f000f000f
	levels = (levels | levels>>12) & 0x000000ff000000ff
	levels |= levels >> 24
	return append(out, byte(levels), byte(levels>>8))
}
