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

// appendSmallRuns is appendRuns for codes of a byte each, as levels are, too.
func appendSmallRuns(out []byte, codes []uint8, width uint) []byte {
	if width == 0 && len(codes) > 0 {
		return appendRun(out, len(codes), 0, 0)
	}
	for i := 0; i < len(codes); {
		if n := smallRunOf(codes[i:]); n >= 8 {
			out = appendRun(out, n, uint32(codes[i]), width)
			i += n
			continue
		}
		end := i + 8
		for end < len(codes) && !longSmallRun(codes[end:]) {
			end += 8
		}
		out = appendSmallPacked(out, codes[i:min(end, len(codes))], width)
		i = end
	}
	return out
}

// ones has 1 in each byte.
const ones = 0x0101010101010101

// smallRunOf is how many codes from the first on are equal to it.
func smallRunOf(codes []uint8) int {
	n, same := 0, uint64(codes[0])*ones
	for ; len(codes)-n >= 8; n += 8 {
		if other := binary.LittleEndian.Uint64(codes[n:]) ^ same; other != 0 {
			return n + bits.TrailingZeros64(other)/8
		}
	}
	for n < len(codes) && codes[n] == codes[0] {
		n++
	}
	return n
}

// longSmallRun says whether the first 16 codes are equal.
func longSmallRun(codes []uint8) bool {
	if len(codes) < 16 {
		return false
	}
	first := binary.LittleEndian.Uint64(codes)
	return first == binary.LittleEndian.Uint64(codes[8:]) && first == (first&0xff)*ones
}

// appendSmallPacked is appendPacked for codes of a byte each.
func appendSmallPacked(out []byte, codes []uint8, width uint) []byte {
	out = binary.AppendUvarint(out, uint64(len(codes)+7)/8<<1|1)
	at, size := len(out), (len(codes)+7)/8*int(width)
	out = slices.Grow(out, size+8)[:at+size+8]
	to := out[at:]
	for ; len(codes) >= 8; codes, to = codes[8:], to[width:] {
		binary.LittleEndian.PutUint64(to, packEight(binary.LittleEndian.Uint64(codes), width))
	}
	if len(codes) > 0 {
		var last [8]uint8
		copy(last[:], codes)
		binary.LittleEndian.PutUint64(to, packEight(binary.LittleEndian.Uint64(last[:]), width))
	}
	return out[:at+size]
}

// packEight packs codes of at most width bits, of which each is a byte of a word: the upper one
// of two bytes moves to the lower one, then of two pairs, then of two fours.
func packEight(codes uint64, width uint) uint64 {
	const lowerOne, lowerTwo = 0x00ff00ff00ff00ff, 0x0000ffff0000ffff
	free := (8 - width) & 7 // as it is anyway
	codes = codes&lowerOne | codes&^lowerOne>>free
	codes = codes&lowerTwo | codes&^lowerTwo>>(2*free)
	return codes&(1<<32-1) | codes>>32<<(32-4*free)
}
