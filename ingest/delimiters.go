package ingest

import "encoding/binary"

// plainDelimiters is delimiters without more than any processor has.
func plainDelimiters(dst []uint64, src []byte) {
	for i := range dst {
		b := src[64*i:][:64]
		var m uint64
		for k := 0; k < 64; k += 8 {
			w := binary.LittleEndian.Uint64(b[k:])
			m |= places(equal(w^','*ones)|equal(w^'"'*ones)) << k
		}
		dst[i] = m
	}
}

// marks are the places of commas and quotes in some thousand bytes of data.
type marks struct {
	from, to int // of data
	words    [marksBytes/64 + 1]uint64
}

// marksBytes is what nearly all stretches have.
const marksBytes = 48 * 64

// find finds those from a place on, but for the last bytes of data.
func (m *marks) find(data []byte, from int) {
	n := min(len(data)-from, marksBytes) / 64
	delimiters(m.words[:n], data[from:])
	m.words[n] = 0
	m.from, m.to = from, from+64*n
}

// at are those of the 64 bytes from a place on, which MUST not be behind to; nothing is
// marked from there on.
func (m *marks) at(place int) uint64 {
	k := place - m.from
	word, bit := k>>6, k&63
	next := m.words[min(word+1, len(m.words)-1)]
	return m.words[word]>>bit | next<<1<<(63-bit)
}
