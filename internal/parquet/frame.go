package parquet

import (
	"encoding/binary"
	"slices"

	"github.com/klauspost/compress/huff0"
)

// Frames of zstd that are made here, of https://datatracker.ietf.org/doc/html/rfc8878
// (sections 3.1.1 and 3.1.1.2).
const (
	frameMagic  = 0xfd2fb528
	frameSizes  = 0b10_1_00000 // four bytes say how much it holds; it is one segment
	frameBlock  = 128 << 10    // the most that a block may hold
	blockAsIs   = 0
	blockPacked = 2
)

func beginFrame(out []byte, size int) []byte {
	out = binary.LittleEndian.AppendUint32(out, frameMagic)
	return binary.LittleEndian.AppendUint32(append(out, frameSizes), uint32(size))
}

// putBlockHead writes the three bytes before a block.
func putBlockHead(to []byte, size, kind int, last bool) {
	head := size<<3 | kind<<1
	if last {
		head |= 1
	}
	to[0], to[1], to[2] = byte(head), byte(head>>8), byte(head>>16)
}

// appendBlocks appends content as it is.
func appendBlocks(out, content []byte, last bool) []byte {
	for {
		n := min(len(content), frameBlock)
		out = append(out, 0, 0, 0)
		putBlockHead(out[len(out)-3:], n, blockAsIs, last && n == len(content))
		out = append(out, content[:n]...)
		if content = content[n:]; len(content) == 0 {
			return out
		}
	}
}

// appendFrame appends a page as zstd would have it, but not compressed: all pages of a
// chunk have one codec, also where only one of them becomes smaller.
func appendFrame(out, page []byte) []byte {
	return appendBlocks(beginFrame(out, len(page)), page, true)
}

// narrowing compresses pages that end with numbers of 8 bytes each, of which the upper
// ones are 0. A general compressor searches for those zeros; this one knows where they
// are, and nobody writes them. To zstd, each number is some literals, its lower bytes, and
// a match: its upper bytes are those of the number before. So all numbers are the same
// sequence, and tables with one symbol tell of it without a bit for each. What is left are
// the lower bytes.
type narrowing struct {
	literals literals
	first    []byte // what stands as it is
}

const (
	widest    = 5   // lower bytes, as a match has at least 3 bytes; and at least 1
	leastMany = 128 // numbers: the frame of fewer is not worth it

	// huffmanFrom is from how many lower bytes on they get a Huffman code. Of two bytes it
	// saves a third, and takes three times as long as all else that is done for them.
	huffmanFrom = 3
)

// appendNarrow appends the frame of a page: what stands before the numbers, and those. There are
// at least leastMany, and only their lower bytes may be other than 0.
func appendNarrow[N number](s *narrowing, out, before []byte, n numbers[N], lower int) []byte {
	const blockNumbers = frameBlock / 8
	s.first = binary.LittleEndian.AppendUint64(append(s.first[:0], before...), uint64(n.full(n.kept[0])))
	out = appendBlocks(beginFrame(out, len(before)+8*len(n.kept)), s.first, false)
	fillLiterals(&s.literals, n, 1, 2, lower)
	out = s.appendBlock(out, 1, lower, farSequence, false)
	for from := 2; from < len(n.kept); from += blockNumbers {
		to := min(from+blockNumbers, len(n.kept))
		fillLiterals(&s.literals, n, from, to, lower)
		out = s.appendBlock(out, to-from, lower, nearSequence, to == len(n.kept))
	}
	return out
}

// fillLiterals fills literals with the lower bytes of some of the numbers. It writes whole
// numbers, of which the next one overwrites what is too much.
func fillLiterals[N number](l *literals, n numbers[N], from, to, lower int) {
	size := (to - from) * lower
	out := slices.Grow(l.b[:0], size+8)[:size+8]
	l.b = out[:size]
	for _, v := range n.kept[from:to] {
		binary.LittleEndian.PutUint64(out, uint64(n.full(v)))
		out = out[lower:]
	}
}

// Sequences: the code of the offset of a match, and the bits of all offsets, with a 1
// above them that marks their end. The second number has the offset in full, 8 and 3 more,
// as three bits below the highest one; all others have that of the sequence before.
type sequence struct{ offset, bits byte }

var (
	farSequence  = sequence{3, 0b1_011}
	nearSequence = sequence{0, 0b1}
)

// allRLE says that of literals' lengths, offsets and matches' lengths each has one code.
const allRLE = 0b01_01_01_00

// appendBlock appends numbers, of which literals has the lower bytes, as a block of sequences.
func (s *narrowing) appendBlock(out []byte, numbers, lower int, seq sequence, last bool) []byte {
	at := len(out)
	out = s.literals.append(append(out, 0, 0, 0), lower >= huffmanFrom)
	out = appendCount(out, numbers)
	match := 8 - lower
	out = append(out, allRLE, byte(lower), seq.offset, byte(match-3), seq.bits)
	putBlockHead(out[at:], len(out)-at-3, blockPacked, last)
	return out
}

// appendCount appends how many sequences there are, fewer than 0x7f00.
func appendCount(out []byte, n int) []byte {
	if n < 128 {
		return append(out, byte(n))
	}
	return append(out, byte(n>>8)+128, byte(n))
}

// Sizes of literals have 20 bits, in a Huffman code 18 and 18 for those of the code.
const (
	literalsAsIs    = 0 | 3<<2
	literalsHuffman = 2 | 3<<2
)

// literals are those of a block.
type literals struct {
	b       []byte
	huffman huff0.Scratch
}

// append appends them, if wanted in a Huffman code of four streams where that makes them
// fewer.
func (l *literals) append(out []byte, huffman bool) []byte {
	size := len(l.b)
	if huffman {
		l.huffman.Reuse = huff0.ReusePolicyNone
		if code, _, err := huff0.Compress4X(l.b, &l.huffman); err == nil { // else they do not become fewer
			head := uint64(literalsHuffman) | uint64(size)<<4 | uint64(len(code))<<22
			out = append(out, byte(head), byte(head>>8), byte(head>>16), byte(head>>24), byte(head>>32))
			return append(out, code...)
		}
	}
	head := literalsAsIs | size<<4
	out = append(out, byte(head), byte(head>>8), byte(head>>16))
	return append(out, l.b...)
}
