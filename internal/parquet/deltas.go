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

// near says whether the least and the greatest of some numbers differ by less than
// 2^31, so that what is packed of a delta has at most 32 bits. Of numbers without a sign
// that are not near as signed ones, it says no.
func near(least, most int64) bool { return least <= most && uint64(most)-uint64(least) < 1<<31 }

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
	least := numbers[0] - before
	for i, v := range numbers {
		d := v - before
		before, deltas[i] = v, d
		least = min(least, d)
	}
	out = binary.AppendVarint(out, least)
	widths := len(out)
	out = append(out, make([]byte, deltaBlock/deltaPart)...)
	for part := 0; part*deltaPart < len(numbers); part++ {
		var packed [deltaPart]uint32
		all := uint32(0)
		for i, d := range deltas[part*deltaPart : min((part+1)*deltaPart, len(numbers))] {
			packed[i] = uint32(d - least)
			all |= packed[i]
		}
		width := bits.Len32(all)
		out[widths+part] = byte(width)
		out = appendBits(out, packed[:], uint(width))
	}
	return out
}
