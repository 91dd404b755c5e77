package index

import (
	"math/rand/v2"
	"testing"
)

// A bit is set where a row has the flag, whatever other flags rows have and however many
// rows there are.
func TestSetBits(t *testing.T) {
	r := rand.New(rand.NewPCG(8, 2))
	for n := range 70 {
		flags := make([]uint8, n)
		for i := range flags {
			flags[i] = uint8(r.Uint32())
		}
		for k := range 8 {
			into := make([]byte, (n+7)/8)
			for i := range into {
				into[i] = uint8(r.Uint32()) // of a batch before
			}
			rows, want := setBits(into, flags, 1<<k), 0
			for i, f := range flags {
				has := f >> k & 1
				want += int(has)
				if into[i/8]>>(i%8)&1 != has {
					t.Fatalf("bit %d of %d rows is not flag %d of %08b", i, n, k, f)
				}
			}
			if rows != want || n%8 > 0 && into[n/8]>>(n%8) != 0 {
				t.Fatalf("%d rows have flag %d, want %d; the last byte is %08b", rows, k, want, into[len(into)-1])
			}
		}
	}
}
