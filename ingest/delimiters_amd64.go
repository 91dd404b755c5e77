package ingest

import "golang.org/x/sys/cpu"

var hasAVX2 = cpu.X86.HasAVX2

// delimiters sets a bit for each byte of src, the first one lowest: in commas whether it
// is one, and in quotes too. Both have the same length, eight bytes for each 64 of src.
func delimiters(commas, quotes, src []byte) {
	n := len(commas) / 8
	if !hasAVX2 || n == 0 {
		plainDelimiters(commas, quotes, src)
		return
	}
	_, _ = src[64*n-1], quotes[8*n-1]
	delimitersAVX2(&commas[0], &quotes[0], &src[0], n)
}

// delimitersAVX2 reads 64 bytes n times: in assembly, as the compiler has no way to compare
// 32 bytes at once, and half of the time of a tuple's fields went there.
//
//go:noescape
func delimitersAVX2(commas, quotes, src *byte, n int)
