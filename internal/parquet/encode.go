package parquet

import (
	"encoding/binary"
	"slices"
)

// The encodings of https://parquet.apache.org/docs/file-format/data-pages/encodings
// that are used here, by their numbers.
const (
	encodingPlain      = 0
	encodingRLE        = 3
	encodingDelta      = 5
	encodingDictionary = 8
)

// appendRuns appends codes of width bits in the hybrid of runs and packed numbers. It
// looks at eight codes at a time, as only whole eights can be packed before a run:
// eight that are the same, and all after them that are, become a run where they are 16
// at least, or where nothing is packed anyway. Codes without bits are not looked at.
func appendRuns(out []byte, codes []uint32, width uint) []byte {
	if width == 0 && len(codes) > 0 {
		return appendRun(out, len(codes), 0, 0)
	}
	for i := 0; i < len(codes); {
		if n := runOf(codes[i:]); n >= 8 {
			out = appendRun(out, n, codes[i], width)
			i += n
			continue
		}
		end := i + 8
		for end < len(codes) && !longRun(codes[end:]) {
			end += 8
		}
		out = appendPacked(out, codes[i:min(end, len(codes))], width)
		i = end
	}
	return out
}

// appendRun appends n times the same number.
func appendRun(out []byte, n int, value uint32, width uint) []byte {
	out = binary.AppendUvarint(out, uint64(n)<<1)
	for shift := uint(0); shift < width; shift += 8 {
		out = append(out, byte(value>>shift))
	}
	return out
}

// runOf is how many codes from the first on are equal to it, where those are at least
// eight. Codes are the same where they are those that are one place behind.
func runOf(codes []uint32) int {
	if len(codes) < 8 || codes[0] != codes[7] {
		return 0
	}
	n := 0
	for len(codes)-n > longPiece && *(*[longPiece]uint32)(codes[n:]) == *(*[longPiece]uint32)(codes[n+1:]) {
		n += longPiece
	}
	for n < len(codes) && codes[n] == codes[0] {
		n++
	}
	return n
}

// longPiece is how many codes are compared at once.
const longPiece = 64

// longRun says whether the first 16 codes are equal. Mostly a look at some of them says
// that they are not.
func longRun(codes []uint32) bool {
	if len(codes) < 16 {
		return false
	}
	v := (*[16]uint32)(codes)
	return (v[0]^v[4])|(v[0]^v[8])|(v[0]^v[12])|(v[0]^v[15]) == 0 && sameEight((*[8]uint32)(codes), v[0]) && sameEight((*[8]uint32)(codes[8:]), v[0])
}

func sameEight(v *[8]uint32, with uint32) bool {
	return (v[0]^with)|(v[1]^with)|(v[2]^with)|(v[3]^with)|(v[4]^with)|(v[5]^with)|(v[6]^with)|(v[7]^with) == 0
}

// appendPacked appends a packed stretch. Only the last one may not be whole eights.
func appendPacked(out []byte, codes []uint32, width uint) []byte {
	out = binary.AppendUvarint(out, uint64(len(codes)+7)/8<<1|1)
	return appendBits(out, codes, width)
}

// appendPlain appends numbers of 4 or 8 bytes each.
func appendPlain[N number](out []byte, n numbers[N], size int) []byte {
	at := len(out)
	out = slices.Grow(out, size*len(n.kept))[:at+size*len(n.kept)]
	to := out[at:]
	if size == 4 {
		for i, v := range n.kept {
			binary.LittleEndian.PutUint32(to[4*i:], uint32(n.full(v)))
		}
		return out
	}
	for i, v := range n.kept {
		binary.LittleEndian.PutUint64(to[8*i:], uint64(n.full(v)))
	}
	return out
}
