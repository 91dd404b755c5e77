package ingest

import "golang.org/x/sys/cpu"

var hasAVX2 = cpu.X86.HasAVX2

// delimiters sets in dst a bit for each byte of src, the first one lowest: whether it is a
// comma or a quote. There MUST be 64 bytes for each of dst.
func delimiters(dst []uint64, src []byte) {
	if !hasAVX2 || len(dst) == 0 {
		plainDelimiters(dst, src)
		return
	}
	_ = src[64*len(dst)-1]
	delimitersAVX2(&dst[0], &src[0], len(dst))
}

// delimitersAVX2 reads 64 bytes for each of n words: in assembly, as the compiler has no
// way to compare 32 bytes at once, and half of the time of a tuple's fields went there.
//
//go:noescape
func delimitersAVX2(dst *uint64, src *byte, n int)
