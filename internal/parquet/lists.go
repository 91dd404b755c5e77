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

// listsOf writes how the elements are parted, and their codes. Where most lists have one
// element, those are packed as other codes are. Else they have whole bytes: many rows
// have the same list, which compression finds only where its bytes are the same, wherever
// it stands; so each list is made once, and copied.
func (e *encoder) listsOf(c *Chunk, m *chunkMeta) {
	elements, lists := e.fillListLevels(c)
	m.values, m.nulls = len(e.levels), len(e.levels)-elements
	e.appendLevels(e.repeats, 1)
	e.appendLevels(e.levels, 2)
	if elements > 2*lists {
		e.appendLists(c, elements)
		return
	}
	e.codes = e.codes[:0]
	for _, code := range c.Codes {
		if code != None {
			e.codes = append(e.codes, c.Lists[code]...)
		}
	}
	e.appendCodes(e.codes)
}

// fillListLevels fills levels and repeats, and counts elements and what lists have any.
func (e *encoder) fillListLevels(c *Chunk) (elements, lists int) {
	e.levels, e.repeats = e.levels[:0], e.repeats[:0]
	for _, code := range c.Codes {
		level, n := uint8(listNull), 1
		if code != None {
			if n = len(c.Lists[code]); n > 0 {
				elements, lists, level = elements+n, lists+1, listElement
			} else {
				n, level = 1, listEmpty
			}
		}
		e.levels, e.repeats = append(e.levels, level), append(e.repeats, 0)
		for n--; n > 0; n -= min(n, len(moreElements)) {
			e.levels = append(e.levels, moreElements[:min(n, len(moreElements))]...)
			e.repeats = append(e.repeats, moreRepeats[:min(n, len(moreRepeats))]...)
		}
	}
	return elements, lists
}

// What is said of the elements of a list but the first one.
var (
	moreElements = slices.Repeat([]uint8{listElement}, 64)
	moreRepeats  = slices.Repeat([]uint8{1}, 64)
)

// appendLists writes the codes of all lists in whole bytes.
func (e *encoder) appendLists(c *Chunk, elements int) {
	bytes := (bits.Len(uint(max(2, e.entries)-1)) + 7) / 8
	e.fillLists(c, bytes)
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
