package parquet

import (
	"encoding/binary"
	"math/bits"
	"slices"
)

// encoder makes the pages of a column chunk. Its buffers are used again.
type encoder struct {
	dictionary, data []byte // pages, not compressed
	squeezed         [2][]byte
	entries          int // of the dictionary

	levels, repeats []uint8
	codes           []uint32
	numbers         []int64
	distinct        distinct
	lists           []byte // the lists of a chunk as they stand in the page
	starts          []int  // of each list in lists, and its end
	head            compact
}

// encode makes the pages of a chunk.
func (e *encoder) encode(col *Column, c *Chunk, rows int) chunkMeta {
	e.dictionary, e.data = e.dictionary[:0], e.data[:0]
	m := chunkMeta{values: rows, encoding: encodingDictionary}
	e.entries = c.size(col)
	switch {
	case col.Kind == Texts:
		e.listsOf(c, &m)
	case c.Codes != nil:
		e.appendCodes(e.codesOf(col, c, &m))
	default:
		e.appendNumbers(col, c, &m)
		return m
	}
	e.fillDictionary(col, c, &m)
	return m
}

// appendCodes writes codes of the dictionary.
func (e *encoder) appendCodes(codes []uint32) {
	width := uint(bits.Len32(uint32(max(1, e.entries) - 1)))
	e.data = appendRuns(append(e.data, byte(width)), codes, width)
}

// appendNumbers writes numbers that have no dictionary: with one after all where there
// are few, as deltas where they are near each other and none can be null, else plain.
func (e *encoder) appendNumbers(col *Column, c *Chunk, m *chunkMeta) {
	numbers := e.numbersOf(col, c, m)
	m.min, m.max = col.Kind.extremes(numbers)
	switch {
	case col.Kind == Uint64 && e.distinct.of(numbers):
		e.entries = len(e.distinct.numbers)
		e.appendCodes(e.distinct.codes)
		e.dictionary = appendPlain(e.dictionary, e.distinct.numbers, col.Kind.size())
	case col.Required && col.Kind.size() == 8 && near(numbers):
		m.encoding = encodingDelta
		e.data = appendDeltas(e.data, numbers)
	default:
		m.encoding = encodingPlain
		e.data = appendPlain(e.data, numbers, col.Kind.size())
	}
}

// size is the number of entries of the dictionary.
func (c *Chunk) size(col *Column) int {
	if col.Kind == Text || col.Kind == Texts {
		return len(c.Texts)
	}
	return len(c.Numbers)
}

// codesOf returns the codes that are not null, and writes which are.
func (e *encoder) codesOf(col *Column, c *Chunk, m *chunkMeta) []uint32 {
	codes := c.Codes
	if slices.Contains(codes, None) {
		e.levels, e.codes = slices.Grow(e.levels[:0], len(codes))[:len(codes)], slices.Grow(e.codes[:0], len(codes))[:len(codes)]
		n := 0
		for i, code := range codes { // without a jump that hangs on the code
			e.codes[n] = code
			present := uint8(0)
			if code != None {
				present = 1
			}
			e.levels[i] = present
			n += int(present)
		}
		codes = e.codes[:n]
	}
	m.nulls = len(c.Codes) - len(codes)
	e.appendPresence(col, m)
	return codes
}

// appendPresence writes which values are there, as levels has it where any is null.
func (e *encoder) appendPresence(col *Column, m *chunkMeta) {
	switch {
	case col.Required:
	case m.nulls > 0:
		e.appendLevels(e.levels, 1)
	default:
		at := e.beginLevels()
		e.data = appendRun(e.data, m.values, 1, 1)
		e.endLevels(at)
	}
}

// numbersOf returns the numbers that are not null, and writes which are.
func (e *encoder) numbersOf(col *Column, c *Chunk, m *chunkMeta) []int64 {
	numbers := c.Numbers
	if slices.Contains(c.Null, true) {
		e.levels, e.numbers = e.levels[:0], e.numbers[:0]
		for i, null := range c.Null {
			if null {
				e.levels = append(e.levels, 0)
				continue
			}
			e.levels, e.numbers = append(e.levels, 1), append(e.numbers, numbers[i])
		}
		numbers = e.numbers
	}
	m.nulls = len(c.Numbers) - len(numbers)
	e.appendPresence(col, m)
	return numbers
}

// Levels of a list that is null, of one without elements, and of an element.
const (
	listNull    = 0
	listEmpty   = 1
	listElement = 3
)

// listsOf writes how the elements are parted, and their codes. Those have whole bytes:
// many rows have the same list, which compression finds only where its bytes are the
// same, wherever it stands; so each list is made once, and copied.
func (e *encoder) listsOf(c *Chunk, m *chunkMeta) {
	bytes := (bits.Len(uint(max(2, e.entries)-1)) + 7) / 8
	e.fillLists(c, bytes)
	elements := 0
	e.levels, e.repeats = e.levels[:0], e.repeats[:0]
	for _, code := range c.Codes {
		switch {
		case code == None:
			e.levels, e.repeats = append(e.levels, listNull), append(e.repeats, 0)
		case len(c.Lists[code]) == 0:
			e.levels, e.repeats = append(e.levels, listEmpty), append(e.repeats, 0)
		default:
			elements += len(c.Lists[code])
			e.repeats = append(e.repeats, 0)
			for range c.Lists[code][1:] {
				e.repeats = append(e.repeats, 1)
			}
			for range c.Lists[code] {
				e.levels = append(e.levels, listElement)
			}
		}
	}
	m.values, m.nulls = len(e.levels), len(e.levels)-elements
	e.appendLevels(e.repeats, 1)
	e.appendLevels(e.levels, 2)
	groups := (elements + 7) / 8
	e.data = binary.AppendUvarint(append(e.data, byte(8*bytes)), uint64(groups)<<1|1)
	e.data = slices.Grow(e.data, groups*8*bytes)
	for _, code := range c.Codes {
		if code != None {
			e.data = append(e.data, e.lists[e.starts[code]:e.starts[code+1]]...)
		}
	}
	for range (groups*8 - elements) * bytes {
		e.data = append(e.data, 0)
	}
}

// fillLists makes each list once, of codes of so many bytes.
func (e *encoder) fillLists(c *Chunk, bytes int) {
	e.lists, e.starts = e.lists[:0], append(e.starts[:0], 0)
	for _, list := range c.Lists {
		for _, code := range list {
			for range bytes {
				e.lists = append(e.lists, byte(code))
				code >>= 8
			}
		}
		e.starts = append(e.starts, len(e.lists))
	}
}

// appendLevels appends levels of width bits, with their length in bytes before them.
func (e *encoder) appendLevels(levels []uint8, width uint) {
	at := e.beginLevels()
	e.data = appendRuns(e.data, levels, width)
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
		e.dictionary = appendPlain(e.dictionary, c.Numbers, col.Kind.size())
		m.min, m.max = col.Kind.extremes(c.Numbers)
		return
	}
	if len(c.Texts) == 0 {
		return
	}
	least, most := c.Texts[0], c.Texts[0]
	for _, t := range c.Texts {
		e.dictionary = append(binary.LittleEndian.AppendUint32(e.dictionary, uint32(len(t))), t...)
		least, most = min(least, t), max(most, t)
	}
	m.min, m.max = []byte(least), []byte(most)
}

// extremes are the least and the greatest number, as plain values; nil without any.
func (k Kind) extremes(numbers []int64) (least, most []byte) {
	if len(numbers) == 0 {
		return nil, nil
	}
	flip := int64(0)
	if k == Uint64 {
		flip = -1 << 63 // then their order is that of signed ones
	}
	lo, hi := numbers[0]^flip, numbers[0]^flip
	for _, v := range numbers {
		lo, hi = min(lo, v^flip), max(hi, v^flip)
	}
	return appendPlain(nil, []int64{lo ^ flip}, k.size()), appendPlain(nil, []int64{hi ^ flip}, k.size())
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
