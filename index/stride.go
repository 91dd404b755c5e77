package index

import (
	"errors"
	"fmt"

	"github.com/klauspost/compress/huff0"

	"github.com/apache/arrow/go/v17/arrow"
)

// strider compresses columns of 64-bit numbers that differ in their low bytes only:
// times of one hour, offsets in one blob, counters. A general encoder looks up eight
// bytes at every position to find that, which is most of the time that sealing takes.
// The strider knows it: each number is its low bytes as literals and then a match, at
// distance eight, of the high bytes. The result is an ordinary zstd frame (RFC 8878)
// in which all sequences are the same, so that they take no bits at all, and the
// literals are coded by Huffman where that helps.
type strider struct {
	huff     huff0.Scratch
	literals []byte
}

const (
	// A match has at least three bytes, so at most five of eight can be literals.
	minStrideLow, maxStrideLow = 1, 5
	// One block holds at most 128 KiB and the sequence count takes two bytes.
	maxStrideRows = batchRows
	// The first two numbers make a block of their own; below this it does not pay.
	minStrideRows = 64
)

// lowBytes is how many bytes, from the lowest, the numbers differ in.
func lowBytes(values []int64) int {
	diff := uint64(0)
	for _, v := range values {
		diff |= uint64(v ^ values[0])
	}
	n := 0
	for ; diff != 0; diff >>= 8 {
		n++
	}
	return n
}

// encode appends a zstd frame of raw, 64-bit numbers, to dst. It returns false where
// the numbers are not of the kind it knows.
func (s *strider) encode(dst, raw []byte) ([]byte, bool) {
	if len(raw)%8 != 0 || len(raw) < 8*minStrideRows || len(raw) > 8*maxStrideRows {
		return dst, false
	}
	low := lowBytes(arrow.Int64Traits.CastFromBytes(raw))
	if low < minStrideLow || low > maxStrideLow {
		return dst, false
	}
	dst = append(dst, 0x28, 0xb5, 0x2f, 0xfd) // magic
	dst = append(dst, 2<<6|1<<5)              // content size in four bytes, one segment
	dst = append(dst, byte(len(raw)), byte(len(raw)>>8), byte(len(raw)>>16), byte(len(raw)>>24))
	dst = appendFirstBlock(dst, raw, low)
	return s.appendSecondBlock(dst, raw, low), true
}

// sequences begins a block's sequences: all of one literal length, one match length
// and one offset code, each given as a table of a single symbol. Lengths below 16 are
// their own code; a match's code is its length less three.
func sequences(dst []byte, count, literals, match, offsetCode int) []byte {
	const allSingle = 1<<6 | 1<<4 | 1<<2
	if count < 128 {
		dst = append(dst, byte(count))
	} else {
		dst = append(dst, byte(count>>8+128), byte(count))
	}
	return append(dst, allSingle, byte(literals), byte(offsetCode), byte(match-3))
}

// appendFirstBlock writes the first two numbers. Its one sequence names the distance
// of eight, which later ones repeat: offset 8 is the value 11, of code 3 and with the
// extra bits 011, in front of which the bit stream's end mark stands.
func appendFirstBlock(dst, raw []byte, low int) []byte {
	head := len(dst)
	dst = append(dst, 0, 0, 0)
	dst = append(dst, byte(8+low)<<3) // raw literals
	dst = append(dst, raw[:8+low]...)
	dst = sequences(dst, 1, 8+low, 8-low, 3)
	dst = append(dst, 0b1011)
	putBlockHead(dst[head:], false)
	return dst
}

// appendSecondBlock writes the other numbers. Offset code 0 repeats the last distance
// and has no extra bits: the bit stream is its end mark.
func (s *strider) appendSecondBlock(dst, raw []byte, low int) []byte {
	s.literals = s.literals[:0]
	for at := 16; at < len(raw); at += 8 {
		s.literals = append(s.literals, raw[at:at+low]...)
	}
	head := len(dst)
	dst = append(dst, 0, 0, 0)
	dst = s.appendLiterals(dst)
	dst = sequences(dst, len(raw)/8-2, low, 8-low, 0)
	dst = append(dst, 1)
	putBlockHead(dst[head:], true)
	return dst
}

// putBlockHead describes a compressed block, of which b is the whole.
func putBlockHead(b []byte, last bool) {
	h := uint32(len(b)-3)<<3 | 2<<1
	if last {
		h |= 1
	}
	b[0], b[1], b[2] = byte(h), byte(h>>8), byte(h>>16)
}

// appendLiterals writes them in four Huffman streams, or as they are.
func (s *strider) appendLiterals(dst []byte) []byte {
	n := len(s.literals)
	s.huff.Reuse = huff0.ReusePolicyNone
	s.huff.WantLogLess = 4 // less than a sixteenth saved is not worth decoding
	out, _, err := huff0.Compress4X(s.literals, &s.huff)
	if err == nil && len(out) < n {
		h := uint64(2) | 3<<2 | uint64(n)<<4 | uint64(len(out))<<22
		dst = append(dst, byte(h), byte(h>>8), byte(h>>16), byte(h>>24), byte(h>>32))
		return append(dst, out...)
	}
	if err != nil && !errors.Is(err, huff0.ErrIncompressible) && !errors.Is(err, huff0.ErrUseRLE) {
		panic(fmt.Sprintf("huff0: %v", err)) // our own bug: the sizes are within its limits
	}
	h := uint32(3)<<2 | uint32(n)<<4
	dst = append(dst, byte(h), byte(h>>8), byte(h>>16))
	return append(dst, s.literals...)
}
