package ingest

import "encoding/binary"

// plainDelimiters is delimiters without more than any processor has.
func plainDelimiters(commas, quotes []uint64, src []byte) {
	for i := range commas {
		b := src[64*i:][:64]
		var c, q uint64
		for k := 0; k < 64; k += 8 {
			w := binary.LittleEndian.Uint64(b[k:])
			c |= places(equal(w^','*ones)) << k
			q |= places(equal(w^'"'*ones)) << k
		}
		commas[i], quotes[i] = c, q
	}
}

// marks are the places of commas, and those of quotes, in some thousand bytes of data.
type marks struct {
	from, to       int // of data
	commas, quotes markWords
}

// markWords have a bit for each byte, and nothing behind the last one. The size lets the
// compiler see that no place is out of bounds.
type markWords [64]uint64

// marksBytes is what nearly all stretches have.
const marksBytes = 48 * 64

// find finds those from a place on, but for the last bytes of data.
func (m *marks) find(data []byte, from int) {
	n := min(len(data)-from, marksBytes) / 64
	delimiters(m.commas[:n], m.quotes[:n], data[from:])
	m.commas[n], m.commas[n+1], m.quotes[n], m.quotes[n+1] = 0, 0, 0, 0
	m.from, m.to = from, from+64*n
}

// at are the marks of the 64 bytes from a place on, counted from the first one; it MUST
// be one of those that were looked at, or the one behind them.
func (w *markWords) at(place int) uint64 {
	word, bit := uint(place)/64, place&63
	return w[word%64]>>bit | w[(word+1)%64]<<1<<(63-bit)
}
