package parquet

import (
	"encoding/binary"
	"math/bits"
	"slices"
)

// A block of deltas: https://parquet.apache.org/docs/file-format/data-pages/encodings
// allows multiples of 128 numbers, in parts of multiples of 32.
const (
	deltaBlock = 128
	deltaPart  = 32
)

// near says whether the least and the greatest of some numbers differ by less than
// 2^31, so that a delta has at most 32 bits, and what is packed of it as well. Of numbers
// without a sign that are not near as signed ones, it says no.
func near(least, most int64) bool { return least <= most && uint64(most)-uint64(least) < 1<<31 }

// appendDeltas appends numbers that are near each other, at least one, each as what it
// adds to the one before it. Of each the lower 32 bits are enough for that.
func appendDeltas[N number](out []byte, n numbers[N]) []byte {
	out = binary.AppendUvarint(out, deltaBlock)
	out = binary.AppendUvarint(out, deltaBlock/deltaPart)
	out = binary.AppendUvarint(out, uint64(len(n.kept)))
	out = binary.AppendVarint(out, n.full(n.kept[0]))
	var room [deltaBlock]uint32
	for before, rest := n.kept[0], n.kept[1:]; len(rest) > 0; {
		block := rest[:min(deltaBlock, len(rest))]
		out = appendDeltaBlock(out, &room, int32(before), block)
		before, rest = block[len(block)-1], rest[len(block):]
	}
	return out
}

// appendDeltaBlock appends the least delta, the width of each part, and the parts:
// deltas less the least one. A part that is not full is filled up with zeros.
func appendDeltaBlock[N number](out []byte, room *[deltaBlock]uint32, before int32, block []N) []byte {
	least := fillDeltas(room, before, block)
	for i := len(block); i < len(room); i++ {
		room[i] = uint32(least)
	}
	out = binary.AppendVarint(out, int64(least))
	const most = deltaBlock/deltaPart + 4*deltaBlock + wordsOfEight
	widths := len(out)
	out = slices.Grow(out, most)[:widths+most]
	at := widths + deltaBlock/deltaPart
	clear(out[widths:at])
	for part := 0; part*deltaPart < len(block); part++ {
		deltas, all := (*[deltaPart]uint32)(room[part*deltaPart:]), uint32(0)
		for i := range deltas {
			deltas[i] -= uint32(least)
			all |= deltas[i]
		}
		width := bits.Len32(all)
		out[widths+part] = byte(width)
		putEights(out[at:], deltas[:], uint(width))
		at += deltaPart / 8 * width
	}
	return out[:at]
}

// fillDeltas returns the least one. It looks at two at a time, as each has to wait for the
// least one before it.
func fillDeltas[N number](deltas *[deltaBlock]uint32, before int32, block []N) int32 {
	least := int32(block[0]) - before
	n, other := 0, least
	for ; n+2 <= len(block) && n+2 <= len(deltas); n += 2 {
		a, b := int32(block[n])-before, int32(block[n+1])-int32(block[n])
		deltas[n], deltas[n+1] = uint32(a), uint32(b)
		least, other, before = min(least, a), min(other, b), int32(block[n+1])
	}
	if n < len(block) {
		a := int32(block[n]) - before
		deltas[n], least = uint32(a), min(least, a)
	}
	return min(least, other)
}
