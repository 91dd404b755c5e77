package sim

import (
	"fmt"
	"hash/fnv"
	"math/rand/v2"
)

// stream returns the random numbers of one concern. Streams of different concerns
// or numbers are independent, so drawing more from one shifts no other.
func stream(seed uint64, concern string, number uint64) *rand.Rand {
	h := fnv.New64a()
	h.Write([]byte(concern))
	name := h.Sum64()
	return rand.New(rand.NewPCG(scramble(seed^name), scramble(number+name)))
}

// scramble is the finaliser of SplitMix64 (https://prng.di.unimi.it/splitmix64.c): it
// makes near seeds far.
func scramble(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// between returns a number in [lo, hi].
func between(r *rand.Rand, lo, hi int64) int64 { return lo + r.Int64N(hi-lo+1) }

// chance is true for the given share of calls. It always draws once.
func chance(r *rand.Rand, share float64) bool { return r.Float64() < share }

// around draws an exponential time with the given mean, from lo up to ten means.
func around(r *rand.Rand, mean, lo int64) int64 {
	return max(lo, min(int64(r.ExpFloat64()*float64(mean)), 10*mean))
}

// pick returns one element of a non-empty slice.
func pick[T any](r *rand.Rand, from []T) T { return from[r.IntN(len(from))] }

// uuid draws a random (version 4) UUID, as the API server gives each object.
func uuid(r *rand.Rand) string {
	a, b := r.Uint64(), r.Uint64()
	return fmt.Sprintf("%08x-%04x-4%03x-%04x-%012x",
		uint32(a>>32), uint16(a>>16), a&0xfff, 0x8000|uint16(b>>48)&0x3fff, b&0xffffffffffff)
}

// suffix draws n letters as the API server appends to generated names.
func suffix(r *rand.Rand, n int) string {
	const letters = "bcdfghjklmnpqrstvwxz2456789"
	out := make([]byte, n)
	for i := range out {
		out[i] = letters[r.IntN(len(letters))]
	}
	return string(out)
}
