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

// listed is what a place has, a list or null: its first two codes, how many it has, and
// where they stand among those of all lists.
type listed struct {
	first, second uint32
	elements      int32
	from          int32
}

// A shape is what a list, or null, has of levels: how many rows of them, and before that in
// two bits the first one.
type shape uint32

const (
	shapeNull  shape = 1<<2 | listNull
	shapeEmpty shape = 1<<2 | listEmpty
	shapeLong  shape = 3 << 2 // and above, of lists of more than two
)

func shapeOf(elements int) shape { return shape(elements)<<2 | listElement }

// listsOf writes how the elements are parted, and their codes. Where most lists have one
// element, those are packed as other codes are. Else they have whole bytes: many rows
// have the same list, which compression finds only where its bytes are the same, wherever
// it stands; so each list is made once, and copied.
func (e *encoder) listsOf(c *Chunk, m *chunkMeta) {
	e.data, e.made = e.data[:0], source{}
	e.fillListed(c)
	lists := e.fillListLevels(c.Of)
	elements := len(e.levels) - (len(c.Of) - lists)
	m.values, m.nulls = len(e.levels), len(c.Of)-lists
	e.appendLevels(e.repeats, 1)
	e.appendLevels(e.levels, 2)
	if elements > 2*lists {
		e.appendLists(c.Of, elements)
		return
	}
	e.fillElements(c.Of, elements)
	e.appendCodes(e.codes)
}

// fillListed describes what each place has.
func (e *encoder) fillListed(c *Chunk) {
	e.listed, e.shapes, e.flat = e.listed[:0], e.shapes[:0], e.flat[:0]
	for _, code := range c.Codes {
		l, s := listed{from: int32(len(e.flat))}, shapeNull
		if code != None {
			list := c.Lists[code]
			l.elements, s = int32(len(list)), shapeEmpty
			if len(list) > 0 {
				l.first, s = list[0], shapeOf(len(list))
			}
			if len(list) > 1 {
				l.second = list[1]
			}
			e.flat = append(e.flat, list...)
		}
		e.listed, e.shapes = append(e.listed, l), append(e.shapes, s)
	}
}

// fillListLevels fills levels and repeats, and returns how many rows have elements.
func (e *encoder) fillListLevels(of []uint16) (lists int) {
	most := 2
	for _, s := range e.shapes {
		most = max(most, int(s>>2))
	}
	at, block := 0, max(1, listBlock/most)
	for ; len(of) > 0; of = of[min(block, len(of)):] {
		room := at + most*min(block, len(of)) + 8
		e.levels, e.repeats = slices.Grow(e.levels[:at], room-at)[:room], slices.Grow(e.repeats[:at], room-at)[:room]
		more := 0
		at, more = putListLevels(e.levels, e.repeats, at, of[:min(block, len(of))], e.shapes)
		lists += more
	}
	e.levels, e.repeats = e.levels[:at], e.repeats[:at]
	return lists
}

// putListLevels writes levels and repeats of rows from a place on, for which there MUST be
// room, and for 8 more. It returns the place after them, and how many rows have elements. Most
// rows have one or two, and which one has two cannot be foretold: two are written, and the next
// row overwrites what is too much. The loop for them does nothing else, so that all it has stays
// in registers.
func putListLevels(levels, repeats []uint8, at int, of []uint16, shapes []shape) (next, lists int) {
	repeats = repeats[:len(levels)]
	for i := 0; ; i++ {
		for ; i < len(of) && shapes[of[i]] < shapeLong; i++ {
			s := shapes[of[i]]
			levels[at+1], levels[at] = listElement, uint8(s&3)
			repeats[at+1], repeats[at] = 1, 0
			at, lists = at+int(s>>2), lists+int(s>>1&1) // of an element
		}
		if i == len(of) {
			return at, lists
		}
		n := int(shapes[of[i]] >> 2)
		levels[at], repeats[at] = listElement, 0
		for k := 1; k < n; k += 8 {
			binary.LittleEndian.PutUint64(levels[at+k:], listElement*ones)
			binary.LittleEndian.PutUint64(repeats[at+k:], ones)
		}
		at, lists = at+n, lists+1
	}
}

// listBlock is how many levels there is made room for at once.
const listBlock = 1 << 14

// fillElements fills codes with those of the elements.
func (e *encoder) fillElements(of []uint16, elements int) {
	e.codes = slices.Grow(e.codes[:0], elements+2)[:elements+2]
	putElements(e.codes, of, e.listed, e.flat)
	e.codes = e.codes[:elements]
}

// putElements writes the elements of rows, two of each row where it has no more, likewise.
func putElements(to []uint32, of []uint16, table []listed, flat []uint32) {
	at := 0
	for i := 0; ; i++ {
		for ; i < len(of) && table[of[i]].elements <= 2; i++ {
			l := &table[of[i]]
			to[at+1], to[at] = l.second, l.first
			at += int(l.elements)
		}
		if i == len(of) {
			return
		}
		l := &table[of[i]]
		at += copy(to[at:], flat[l.from:l.from+l.elements])
	}
}

// appendLists writes the codes of all lists in whole bytes.
func (e *encoder) appendLists(of []uint16, elements int) {
	bytes := (bits.Len(uint(max(2, e.entries)-1)) + 7) / 8
	e.fillLists(bytes)
	groups := (elements + 7) / 8
	e.data = binary.AppendUvarint(append(e.data, byte(8*bytes)), uint64(groups)<<1|1)
	e.data = slices.Grow(e.data, groups*8*bytes)
	for _, place := range of {
		l := &e.listed[place]
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
