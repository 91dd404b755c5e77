package parquet

import (
	"encoding/binary"
	"math/bits"
	"slices"
)

// Levels of a list that is null, of one without elements, and of an element.
const (
	listNull    = 0
	listEmpty   = 1
	listElement = 3
)

// listed is a list of a chunk: how many rows of levels it has and which, and where its
// elements stand among those of all lists.
type listed struct {
	count    int32
	elements int32
	from     int32
	level    uint8
}

// listsOf writes how the elements are parted, and their codes. Where most lists have one
// element, those are packed as other codes are. Else they have whole bytes: many rows
// have the same list, which compression finds only where its bytes are the same, wherever
// it stands; so each list is made once, and copied.
func (e *encoder) listsOf(c *Chunk, m *chunkMeta) {
	e.fillListed(c)
	rows, table := e.listedOf(c)
	values, elements, lists := 0, 0, 0
	for _, row := range rows {
		l := &table[row+1]
		values, elements = values+int(l.count), elements+int(l.elements)
		lists += int(l.level >> 1) // of an element
	}
	m.values, m.nulls = values, values-elements
	e.fillListLevels(rows, table, values)
	e.appendLevels(e.repeats, 1)
	e.appendLevels(e.levels, 2)
	if elements > 2*lists {
		e.appendLists(rows, table, elements)
		return
	}
	e.fillElements(rows, table, elements)
	e.appendCodes(e.codes)
}

// fillListed describes null, which is first, and each list.
func (e *encoder) fillListed(c *Chunk) {
	e.listed, e.flat = append(e.listed[:0], listed{count: 1, level: listNull}), e.flat[:0]
	for _, list := range c.Lists {
		l := listed{count: 1, level: listEmpty, from: int32(len(e.flat))}
		if n := int32(len(list)); n > 0 {
			l.count, l.elements, l.level = n, n, listElement
		}
		e.listed, e.flat = append(e.listed, l), append(e.flat, list...)
	}
	e.flat = append(e.flat, 0, 0) // where a list is empty, and behind one of one element
}

// listedOf returns a number of each row, and a table of what is listed by that number and
// 1 more: so it is 0 for None.
func (e *encoder) listedOf(c *Chunk) ([]uint32, []listed) {
	if c.Of == nil {
		return c.Codes, e.listed
	}
	e.placed = append(e.placed[:0], listed{})
	for _, code := range c.Codes {
		e.placed = append(e.placed, e.listed[code+1])
	}
	return c.Of, e.placed
}

// fillListLevels fills levels and repeats. Two are written of each list, as most have one
// or two elements and which one has two cannot be foretold; the next list overwrites
// what is too much.
func (e *encoder) fillListLevels(rows []uint32, table []listed, values int) {
	e.levels, e.repeats = slices.Grow(e.levels[:0], values+1)[:values+1], slices.Grow(e.repeats[:0], values+1)[:values+1]
	levels, repeats, at := e.levels, e.repeats, 0
	for _, row := range rows {
		l := &table[row+1]
		n := int(l.count)
		levels[at], repeats[at] = l.level, 0
		levels[at+1], repeats[at+1] = listElement, 1
		for k := 2; k < n; k += len(moreElements) {
			copy(levels[at+k:at+n], moreElements)
			copy(repeats[at+k:at+n], moreRepeats)
		}
		at += n
	}
	e.levels, e.repeats = levels[:values], repeats[:values]
}

// What is said of the elements of a list but the first one.
var (
	moreElements = slices.Repeat([]uint8{listElement}, 64)
	moreRepeats  = slices.Repeat([]uint8{1}, 64)
)

// fillElements fills codes with those of the elements, two of each list at least.
func (e *encoder) fillElements(rows []uint32, table []listed, elements int) {
	e.codes = slices.Grow(e.codes[:0], elements+2)[:elements+2]
	codes, at := e.codes, 0
	for _, row := range rows {
		l := &table[row+1]
		n, from := int(l.elements), int(l.from)
		codes[at], codes[at+1] = e.flat[from], e.flat[from+1]
		if n > 2 {
			copy(codes[at:at+n], e.flat[from:])
		}
		at += n
	}
	e.codes = codes[:elements]
}

// appendLists writes the codes of all lists in whole bytes.
func (e *encoder) appendLists(rows []uint32, table []listed, elements int) {
	bytes := (bits.Len(uint(max(2, e.entries)-1)) + 7) / 8
	e.fillLists(bytes)
	groups := (elements + 7) / 8
	e.data = binary.AppendUvarint(append(e.data, byte(8*bytes)), uint64(groups)<<1|1)
	e.data = slices.Grow(e.data, groups*8*bytes)
	for _, row := range rows {
		l := &table[row+1]
		e.data = append(e.data, e.lists[int(l.from)*bytes:int(l.from+l.elements)*bytes]...)
	}
	for range (groups*8 - elements) * bytes {
		e.data = append(e.data, 0)
	}
}

// fillLists makes each list once, of codes of so many bytes.
func (e *encoder) fillLists(bytes int) {
	e.lists = e.lists[:0]
	for _, code := range e.flat {
		for range bytes {
			e.lists = append(e.lists, byte(code))
			code >>= 8
		}
	}
}
