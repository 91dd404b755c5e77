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
		for i := range m.commas {
			m.commas[i], m.quotes[i] = byte(r.Uint32()), byte(r.Uint32()) // of what was read before
		}
		m.find(data, from)
		n := (m.to - from) / 8
		if left := len(data) - m.to; left >= 64 && n < marksBytes/8 {
			t.Fatalf("%d bytes are left of %d", left, len(data)-from)
		}
		commas, quotes := make([]byte, n), make([]byte, n)
		plainDelimiters(commas, quotes, data[from:])
		for _, c := range []struct {
			char  byte
			got   *markBits
			plain []byte
		}{{',', &m.commas, commas}, {'"', &m.quotes, quotes}} {
			want := make([]byte, n)
			for i := from; i < m.to; i++ {
				if data[i] == c.char {
					want[(i-from)/8] |= 1 << ((i - from) % 8)
				}
			}
			if !slices.Equal(c.got[:n], want) || !slices.Equal(c.plain, want) {
				t.Fatalf("%c in %q: got %x, the plain way %x, want %x", c.char, data[from:m.to], c.got[:n], c.plain, want)
			}
			for range 20 {
				place := r.IntN(8*n + 1)
				got := c.got.at(place)
				for i := range markedBytes {
					is := place+i < 8*n && want[(place+i)/8]>>((place+i)%8)&1 == 1
					if got>>i&1 == 1 != is {
						t.Fatalf("%c at %d of %d: bit %d of %x (%d set)", c.char, place, 8*n, i, got, bits.OnesCount64(got))
					}
				}
			}
		}
	}
}
