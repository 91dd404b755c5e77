package parquet

import (
	"encoding/binary"
	"math/bits"
)

// encoder makes the pages of a column chunk. Its buffers are used again.
type encoder struct {
	dictionary, data []byte // pages, not compressed
	squeezed         [2][]byte
	entries          int // of the dictionary

	levels, repeats, codes []uint32
	numbers                []int64
	head                   compact
}

// encode makes the pages of a chunk.
func (e *encoder) encode(col *Column, c *Chunk, rows int) chunkMeta {
	e.dictionary, e.data = e.dictionary[:0], e.data[:0]
	m := chunkMeta{values: rows, encoding: encodingDictionary}
	switch {
	case col.Kind == Texts:
		e.lists(c, &m)
	case c.Codes != nil:
		e.codesOf(col, c, &m)
	default:
		m.encoding = encodingPlain
		e.numbersOf(col, c, &m)
		return m
	}
	e.entries = c.size(col)
	width := uint(bits.Len32(uint32(max(1, e.entries) - 1)))
	e.data = appendRuns(append(e.data, byte(width)), e.codes, width)
	e.fillDictionary(col, c, &m)
	return m
}

// size is the number of entries of the dictionary.
func (c *Chunk) size(col *Column) int {
	if col.Kind == Text || col.Kind == Texts {
		return len(c.Texts)
	}
	return len(c.Numbers)
}

// codesOf leaves the codes that are not null, and writes which are.
func (e *encoder) codesOf(col *Column, c *Chunk, m *chunkMeta) {
	if col.Required {
		e.codes = append(e.codes[:0], c.Codes...)
		return
	}
	e.levels, e.codes = e.levels[:0], e.codes[:0]
	for _, code := range c.Codes {
		if code == None {
			e.levels = append(e.levels, 0)
			continue
		}
		e.levels, e.codes = append(e.levels, 1), append(e.codes, code)
	}
	m.nulls = len(c.Codes) - len(e.codes)
	e.appendLevels(e.levels, 1)
}

// numbersOf writes the numbers that are not null, and which are.
func (e *encoder) numbersOf(col *Column, c *Chunk, m *chunkMeta) {
	numbers := c.Numbers
	if c.Null != nil {
		e.levels, e.numbers = e.levels[:0], e.numbers[:0]
		for i, null := range c.Null {
			if null {
				e.levels = append(e.levels, 0)
				continue
			}
			e.levels, e.numbers = append(e.levels, 1), append(e.numbers, numbers[i])
		}
		numbers = e.numbers
	} else if !col.Required {
		e.levels = e.levels[:0]
		for range numbers {
			e.levels = append(e.levels, 1)
		}
	}
	if !col.Required {
		e.appendLevels(e.levels, 1)
	}
	m.nulls = len(c.Numbers) - len(numbers)
	e.data = appendPlain(e.data, numbers, col.Kind.size())
	m.min, m.max = col.Kind.extremes(numbers)
}

// Levels of a list that is null, of one without elements, and of an element.
const (
	listNull    = 0
	listEmpty   = 1
	listElement = 3
)

// lists leaves the codes of all elements, and writes how they are parted.
func (e *encoder) lists(c *Chunk, m *chunkMeta) {
	e.levels, e.repeats, e.codes = e.levels[:0], e.repeats[:0], e.codes[:0]
	for _, code := range c.Codes {
		level := uint32(listNull)
		if code != None {
			for i, element := range c.Lists[code] {
				e.levels, e.codes = append(e.levels, listElement), append(e.codes, element)
				e.repeats = append(e.repeats, min(uint32(i), 1))
			}
			if len(c.Lists[code]) > 0 {
				continue
			}
			level = listEmpty
		}
		e.levels, e.repeats = append(e.levels, level), append(e.repeats, 0)
	}
	m.values, m.nulls = len(e.levels), len(e.levels)-len(e.codes)
	e.appendLevels(e.repeats, 1)
	e.appendLevels(e.levels, 2)
}

// appendLevels appends levels of width bits, with their length in bytes before them.
func (e *encoder) appendLevels(levels []uint32, width uint) {
	at := len(e.data)
	e.data = appendRuns(append(e.data, 0, 0, 0, 0), levels, width)
	binary.LittleEndian.PutUint32(e.data[at:], uint32(len(e.data)-at-4))
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
