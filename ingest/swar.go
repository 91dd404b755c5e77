package ingest

import (
	"math/bits"
)

// Eight bytes at a time, in a register. A mask of bytes has the highest bit of each
// byte that is meant; a set of places has a bit for each byte, the first byte lowest.
const (
	ones   = 0x0101010101010101
	sevens = 0x7f * ones
	highs  = 0x80 * ones
)

// places turns a mask of bytes into a set of places.
func places(mask uint64) uint64 { return mask >> 7 * 0x0102040810204080 >> 56 }

// equal is the mask of the bytes of x that are 0, exact for all values.
func equal(x uint64) uint64 { return ^((x&sevens + sevens) | x) & highs }

// decimal is the value of the n decimal digits that w begins with, of one to eight. The
// second result has a high bit where they are something else.
func decimal(w uint64, n int) (value, bad uint64) {
	x := (w ^ '0'*ones) << (-8 * n & 63) // the last digit highest, zeros in front
	bad = x + 0x76*ones | x
	x = x * (1 + 10<<8) >> 8 & 0x00ff00ff00ff00ff
	x = x * (1 + 100<<16) >> 16 & 0x0000ffff0000ffff
	return x * (1 + 10000<<32) >> 32, bad
}

func first(m uint64) int { return bits.TrailingZeros64(m) }
