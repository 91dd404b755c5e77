package ingest

import "encoding/binary"

// plainDelimiters is delimiters without more than any processor has.
func plainDelimiters(commas, quotes, src []byte) {
	for ; len(commas) >= 8; commas, quotes, src = commas[8:], quotes[8:], src[64:] {
		var c, q uint64
		for k := 0; k < 64; k += 8 {
			w := binary.LittleEndian.Uint64(src[k:])
			c |= places(equal(w^','*ones)) << k
			q |= places(equal(w^'"'*ones)) << k
		}
		binary.LittleEndian.PutUint64(commas, c)
		binary.LittleEndian.PutUint64(quotes, q)
	}
}

// marks are the places of commas, and those of quotes, in some thousand bytes of data.
type marks struct {
	from, to       int // of data
	commas, quotes markBits
}

// markBits have a bit for each byte, and nothing behind the last one. The size lets the
// compiler see that no place is out of bounds.
type markBits [512 + 8]byte

// marksBytes is what nearly all stretches have.
const marksBytes = 48 * 64

// find finds those from a place on, but for the last bytes of data.
func (m *marks) find(data []byte, from int) {
	n := min(len(data)-from, marksBytes) / 64 * 8
	delimiters(m.commas[:n], m.quotes[:n], data[from:])
	clear(m.commas[n : n+8])
	clear(m.quotes[n : n+8])
	m.from, m.to = from, from+8*n
}

// markedBytes is how many bytes one look at marks tells of.
const markedBytes = 57

// at are the marks of markedBytes bytes or a few more from a place on, counted from the
// first one; it MUST be one of those that were looked at, or the one behind them.
func (b *markBits) at(place int) uint64 {
	i := uint(place) / 8 % 512
	return binary.LittleEndian.Uint64(b[i:i+8]) >> (place & 7)
}
