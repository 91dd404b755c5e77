package index

import (
	"math/rand/v2"
	"slices"
	"testing"
)

// TestPack packs random columns of every width and reads them back in each way.
func TestPack(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	p := packer{round: -1000 * maxDistinct & (1<<32 - 1)} // so that it begins anew on the way
	dictionaries := 0
	for range 4000 {
		n := r.IntN(300)
		if r.IntN(20) == 0 {
			n = 1024
		}
		width, outliers := r.IntN(65), r.IntN(30)+1
		small := r.IntN(2) == 0
		base := r.Uint64() >> r.IntN(64)
		values := make([]uint64, n)
		for i := range values {
			values[i] = base + r.Uint64()>>(63-min(width, 63))
			if r.IntN(outliers) == 0 {
				values[i] = r.Uint64() >> r.IntN(64)
			}
			if small {
				values[i] = uint64(uint16(values[i])) % uint64(1+width*width*20)
			}
		}
		var raw []byte
		if small {
			raw = p.either(nil, slices.Clone(values))
		} else {
			raw = p.frame(nil, slices.Clone(values), least(values))
		}
		if raw[0] == formDictionary {
			dictionaries++
		}
		c, err := parseColumn(append(raw, make([]byte, packPad)...)[:len(raw)], n)
		must(t, err)
		if got := c.all(nil); !slices.Equal(got, values) {
			t.Fatalf("%d values of %d bits: got %v, want %v", n, width, got, values)
		}
		var places []uint32
		var want []uint64
		share := r.IntN(20) + 1
		for i, v := range values {
			if r.IntN(share) == 0 {
				places, want = append(places, uint32(i)), append(want, v)
			}
		}
		if got := c.pick(nil, places); !slices.Equal(got, want) {
			t.Fatalf("%d of %d values of %d bits: got %v, want %v", len(places), n, width, got, want)
		}
	}
	if dictionaries < 30 {
		t.Errorf("only %d columns were dictionaries", dictionaries)
	}
}
