package ingest

import (
	"math/bits"
	"math/rand/v2"
	"slices"
	"testing"
)

// What is marked are commas and quotes and nothing else, whichever way they are found,
// and a window of marks ends where they end.
func TestDelimiters(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 8))
	for range 300 {
		data := make([]byte, r.IntN(2*marksBytes))
		for i := range data {
			if data[i] = byte(r.Uint32()); r.IntN(3) > 0 {
				data[i] = ",\"#+-.!\xac\xa2"[r.IntN(9)]
			}
		}
		from := r.IntN(len(data) + 1)
		var m marks
		for i := range m.words {
			m.words[i] = r.Uint64() // of what was read before
		}
		m.find(data, from)
		want := make([]uint64, (m.to-from)/64)
		for i := from; i < m.to; i++ {
			if data[i] == ',' || data[i] == '"' {
				want[(i-from)/64] |= 1 << ((i - from) % 64)
			}
		}
		plain := make([]uint64, len(want))
		plainDelimiters(plain, data[from:])
		if !slices.Equal(m.words[:len(want)], want) || !slices.Equal(plain, want) {
			t.Fatalf("%q: got %x, the plain way %x, want %x", data[from:m.to], m.words[:len(want)], plain, want)
		}
		if left := len(data) - m.to; left >= 64 && len(want) < marksBytes/64 {
			t.Fatalf("%d bytes are left of %d", left, len(data)-from)
		}
		for range 20 {
			place := from + r.IntN(m.to-from+1)
			got := m.at(place)
			for i := range 64 {
				is := place+i < m.to && want[(place+i-from)/64]>>((place+i-from)%64)&1 == 1
				if got>>i&1 == 1 != is {
					t.Fatalf("at %d of %d to %d: bit %d of %x (%d set)", place, from, m.to, i, got, bits.OnesCount64(got))
				}
			}
		}
	}
}
