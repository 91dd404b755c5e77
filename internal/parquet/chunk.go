package parquet

import (
	"bytes"
	"encoding/binary"
	"math/bits"
	"slices"
)

// encoder makes the pages of a column chunk. Its buffers are used again.
type encoder struct {
	dictionary, data []byte // pages, not compressed
	squeezed         [2][]byte
	entries          int // of the dictionary
	longest          int // bytes of a text of it; 0 where it has none

	levels, repeats     []uint8
	codes               []uint32
	small, smallByPlace []uint8 // codes
	present             numberRoom
	distinct            distinct
	listed              []listed // by place
	shapes              []shape  // likewise
	flat                []uint32 // the elements of all lists
	lists               []byte   // flat as it stands in the page
	made                source   // of the data page
	presences           []presence
	head                compact
	narrowing           narrowing
	fronts              fronts
}

// source is what a data page of codes was made of.
type source struct {
	of       []uint16
	codes    []uint32
	width    uint
	required bool
	nulls    int
}

// presence is which rows of places have a value. Chunks that share places often share it.
type presence struct {
	of     []uint16
	has    []uint8 // by place: 1 for a value, else 0
	levels []byte  // of rows, as they stand in a page
	nulls  int
}

// same says whether two slices are the same memory.
func same(a, b []uint16) bool { return len(a) == len(b) && (len(a) == 0 || &a[0] == &b[0]) }

// beginGroup forgets what chunks were made of: memory may be the same with other codes.
func (e *encoder) beginGroup() { e.made, e.presences = source{}, e.presences[:0] }

// encode makes the pages of a chunk.
func (e *encoder) encode(col *Column, c *Chunk, rows int, before *past) chunkMeta {
	e.dictionary, e.longest = e.dictionary[:0], 0
	m := chunkMeta{values: rows, encoding: encodingDictionary}
	e.entries = c.size(col)
	switch {
	case col.Kind == Texts:
		e.listsOf(c, &m)
	case len(c.Codes) > 0 || len(c.Small) > 0:
		e.codesPage(col, c, &m)
	default:
		e.numbersPage(col, c, &m, before)
		return m
	}
	e.fillDictionary(col, c, &m)
	return m
}

// codesPage makes a page of codes.
func (e *encoder) codesPage(col *Column, c *Chunk, m *chunkMeta) {
	if c.Of != nil {
		e.placedPage(col, c, m)
		return
	}
	e.data, e.made = e.data[:0], source{}
	if len(c.Small) > 0 {
		e.appendSmallCodes(present(e, &e.small, col, c.Small, bytes.IndexByte(c.Small, SmallNone) >= 0, m))
		return
	}
	e.appendCodes(present(e, &e.codes, col, c.Codes, anyNone(c.Codes), m))
}

// placedPage makes a page of codes that come by place, or leaves the one before it where it
// is the same.
func (e *encoder) placedPage(col *Column, c *Chunk, m *chunkMeta) {
	w := e.width()
	if made := &e.made; same(c.Of, made.of) && w == made.width && col.Required == made.required && slices.Equal(c.Codes, made.codes) {
		m.nulls = made.nulls
		return
	}
	e.data = e.data[:0]
	e.appendPlacedPresence(col, c, m)
	switch {
	case w == 0: // only how many there are counts
		e.data = append(e.data, 0)
		if n := m.values - m.nulls; n > 0 {
			e.data = appendRun(e.data, n, 0, 0)
		}
	case e.entries <= MostSmall:
		e.smallByPlace = e.smallByPlace[:0]
		for _, code := range c.Codes {
			e.smallByPlace = append(e.smallByPlace, uint8(code))
		}
		e.appendSmallCodes(spread(&e.small, e.smallByPlace, c.Of, m.nulls > 0))
	default:
		e.appendCodes(spread(&e.codes, c.Codes, c.Of, m.nulls > 0))
	}
	e.made = source{c.Of, c.Codes, w, col.Required, m.nulls}
}

// code is what a code of a dictionary is kept in. The greatest one is null.
type code interface{ uint8 | uint32 }

// spread returns the code of each place, but for null.
func spread[C code](room *[]C, codes []C, of []uint16, nulls bool) []C {
	*room = slices.Grow((*room)[:0], len(of))
	out := (*room)[:len(of)]
	if !nulls {
		for i, place := range of {
			out[i] = codes[place]
		}
		return out
	}
	n := 0
	for _, place := range of {
		code := codes[place]
		out[n] = code
		n += int(bit(code != ^C(0)))
	}
	return out[:n]
}

// present returns the codes that are not null, and writes which are.
func present[C code](e *encoder, room *[]C, col *Column, codes []C, nulls bool, m *chunkMeta) []C {
	if nulls && !col.Required {
		e.levels, *room = slices.Grow(e.levels[:0], len(codes))[:len(codes)], slices.Grow((*room)[:0], len(codes))[:len(codes)]
		levels, out, n := e.levels, *room, 0
		for i, code := range codes {
			out[n], levels[i] = code, bit(code != ^C(0))
			n += int(levels[i])
		}
		codes = out[:n]
	}
	m.nulls = m.values - len(codes)
	e.appendPresence(col, e.levels, m)
	return codes
}

// bit is 1 for true, without a jump.
func bit(b bool) uint8 {
	if b {
		return 1
	}
	return 0
}

// appendPlacedPresence writes which rows of places have a value.
func (e *encoder) appendPlacedPresence(col *Column, c *Chunk, m *chunkMeta) {
	if !col.Required && anyNone(c.Codes) {
		p := e.presence(c)
		if m.nulls = p.nulls; p.nulls > 0 {
			e.data = append(e.data, p.levels...)
			return
		}
	}
	e.appendPresence(col, nil, m)
}

// presence is that of a chunk, which may be another one's of the group.
func (e *encoder) presence(c *Chunk) *presence {
	e.levels = slices.Grow(e.levels[:0], len(c.Codes))[:len(c.Codes)]
	for i, code := range c.Codes {
		e.levels[i] = bit(code != None)
	}
	for i := range e.presences {
		if p := &e.presences[i]; same(p.of, c.Of) && bytes.Equal(p.has, e.levels) {
			return p
		}
	}
	e.presences = slices.Grow(e.presences, 1)[:len(e.presences)+1] // what is behind its length has memory
	p := &e.presences[len(e.presences)-1]
	p.of, p.has = c.Of, append(p.has[:0], e.levels...)
	e.fillPresence(p)
	return p
}

// fillPresence looks at each row.
func (e *encoder) fillPresence(p *presence) {
	has, values := p.has, 0
	e.levels = slices.Grow(e.levels[:0], len(p.of))[:len(p.of)]
	levels := e.levels
	for i, place := range p.of {
		levels[i] = has[place]
		values += int(levels[i])
	}
	p.nulls = len(p.of) - values
	at := len(e.data)
	e.appendLevels(levels, 1)
	p.levels = append(p.levels[:0], e.data[at:]...)
	e.data = e.data[:at]
}

// width is how many bits a code of the dictionary has.
func (e *encoder) width() uint { return uint(bits.Len32(uint32(max(1, e.entries) - 1))) }

// appendCodes writes codes of the dictionary.
func (e *encoder) appendCodes(codes []uint32) {
	e.data = appendRuns(append(e.data, byte(e.width())), codes, e.width())
}

func (e *encoder) appendSmallCodes(codes []uint8) {
	e.data = appendSmallRuns(append(e.data, byte(e.width())), codes, e.width())
}

// size is the number of entries of the dictionary.
func (c *Chunk) size(col *Column) int {
	if col.Kind == Text || col.Kind == Texts {
		return len(c.Texts)
	}
	return len(c.Numbers)
}

// anyNone says whether one of the codes is None, which alone has the highest bit set: no
// dictionary is as large.
func anyNone(codes []uint32) bool {
	all := uint32(0)
	for ; len(codes) >= 8; codes = codes[8:] {
		v := (*[8]uint32)(codes)
		all |= v[0] | v[1] | v[2] | v[3] | v[4] | v[5] | v[6] | v[7]
	}
	for _, code := range codes {
		all |= code
	}
	return all>>31 != 0
}

// appendPresence writes which values are there, as levels has it where any is null.
func (e *encoder) appendPresence(col *Column, levels []uint8, m *chunkMeta) {
	switch {
	case col.Required:
	case m.nulls > 0:
		e.appendLevels(levels, 1)
	default:
		at := e.beginLevels()
		e.data = appendRun(e.data, m.values, 1, 1)
		e.endLevels(at)
	}
}

// appendLevels appends levels of width bits, with their length in bytes before them.
func (e *encoder) appendLevels(levels []uint8, width uint) {
	at := e.beginLevels()
	e.data = appendSmallRuns(e.data, levels, width)
	e.endLevels(at)
}

// beginLevels leaves room for a length, and endLevels fills it in.
func (e *encoder) beginLevels() int {
	e.data = append(e.data, 0, 0, 0, 0)
	return len(e.data)
}

func (e *encoder) endLevels(at int) {
	binary.LittleEndian.PutUint32(e.data[at-4:], uint32(len(e.data)-at))
}

// fillDictionary writes the dictionary page. Every entry is taken to be in use.
func (e *encoder) fillDictionary(col *Column, c *Chunk, m *chunkMeta) {
	if col.Kind != Text && col.Kind != Texts {
		n := numbers[int64]{kept: c.Numbers}
		e.dictionary = appendPlain(e.dictionary, n, col.Kind.size())
		if len(n.kept) > 0 {
			lo, hi := n.extremes(col.Kind)
			m.min, m.max = plain(lo, col.Kind), plain(hi, col.Kind)
		}
		return
	}
	if len(c.Texts) == 0 {
		return
	}
	least, most := c.Texts[0], c.Texts[0]
	lo, hi := front(least), front(most)
	for _, t := range c.Texts {
		e.dictionary = append(binary.LittleEndian.AppendUint32(e.dictionary, uint32(len(t))), t...)
		e.longest = max(e.longest, len(t))
		f := front(t) // which mostly says enough
		if f <= lo && t < least {
			least, lo = t, f
		}
		if f >= hi && t > most {
			most, hi = t, f
		}
	}
	m.min, m.max = []byte(least), []byte(most)
}

// front is the first eight bytes of a text, in whose order texts are, but for those with the same.
func front(t string) uint64 {
	if len(t) < 8 {
		var b [8]byte
		copy(b[:], t)
		return binary.BigEndian.Uint64(b[:])
	}
	return uint64(t[0])<<56 | uint64(t[1])<<48 | uint64(t[2])<<40 | uint64(t[3])<<32 | uint64(t[4])<<24 | uint64(t[5])<<16 | uint64(t[6])<<8 | uint64(t[7])
}

// Kinds of pages.
const (
	dataPage       = 0
	dictionaryPage = 2
)

func (e *encoder) header(page, raw, stored int) *compact {
	e.head.b = e.head.b[:0]
	e.head.begin()
	e.head.i32(1, page)
	e.head.i32(2, raw)
	e.head.i32(3, stored)
	return &e.head
}

func (e *encoder) dictionaryHeader(raw, stored int) []byte {
	h := e.header(dictionaryPage, raw, stored)
	h.open(7)
	h.i32(1, e.entries)
	h.i32(2, encodingPlain)
	h.end()
	h.end()
	return h.b
}

func (e *encoder) dataHeader(m *chunkMeta, raw, stored int) []byte {
	h := e.header(dataPage, raw, stored)
	h.open(5)
	h.i32(1, m.values)
	h.i32(2, m.encoding)
	h.i32(3, encodingRLE)
	h.i32(4, encodingRLE)
	h.end()
	h.end()
	return h.b
}
