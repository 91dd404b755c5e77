package ingest

import "golang.org/x/sys/cpu"

var hasAVX2 = cpu.X86.HasAVX2

// delimiters sets a bit for each byte of src, the first one lowest: in commas whether it
// is one, and in quotes too. Both MUST have a word for each 64 bytes.
func delimiters(commas, quotes []uint64, src []byte) {
	n := len(commas)
	if !hasAVX2 || n == 0 {
		plainDelimiters(commas, quotes, src)
		return
	}
	_, _ = src[64*n-1], quotes[n-1]
	delimitersAVX2(&commas[0], &quotes[0], &src[0], n)
}

// delimitersAVX2 reads 64 bytes for each of n words of both: in assembly, as the compiler has no
// way to compare 32 bytes at once, and half of the time of a tuple's fields went there.
//
//go:noescape
func delimitersAVX2(commas, quotes *uint64, src *byte, n int)
