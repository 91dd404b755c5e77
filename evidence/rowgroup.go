package evidence

import (
	"net/netip"

	"github.com/whichpod/whichpod/internal/parquet"
)

// rowGroup is rows on their way to a Parquet file, as codes of dictionaries that hold
// for the group. What is said of ends is kept as one place an end, and parted into
// columns when it is written.
type rowGroup struct {
	rows      int
	chunks    [numColumns]parquet.Chunk
	addresses [2][]netip.Addr // of src and dst, by code
	ends      [2]groupEnds    // likewise
	book      endBook         // from when rows gathered
	err       error           // from when it was written
}

// groupEnds are which ends the rows of a side have.
type groupEnds struct {
	of      []uint16 // by row: the place of its end in numbers. A group has no more rows than that
	numbers []uint32 // in the book, in the order in which rows first have them
}

func (g *rowGroup) reset() {
	g.rows = 0
	for i := range g.chunks {
		c := &g.chunks[i]
		c.Codes, c.Small, c.Texts, c.Lists, c.Null = c.Codes[:0], c.Small[:0], c.Texts[:0], c.Lists[:0], c.Null[:0]
		c.Shorts, c.Words, c.Numbers = c.Shorts[:0], c.Words[:0], c.Numbers[:0]
	}
	for side := range 2 {
		g.addresses[side] = g.addresses[side][:0]
		g.ends[side] = groupEnds{g.ends[side].of[:0], g.ends[side].numbers[:0]}
	}
	g.book = endBook{}
}

// groupWriter writes groups, one at a time. What it has is room for making columns.
type groupWriter struct {
	file *parquet.Writer
	tables
	said     []endTexts // of the ends of a side, by place
	lists    []uint32   // what the lists of candidates are cut from
	text     []byte     // of addresses
	textEnds []int
}

// write parts what is said of ends into columns, and writes all.
func (w *groupWriter) write(g *rowGroup) error {
	w.lists = w.lists[:0]
	for side, columns := range [2][2]int{{colSrcIP, colSrc}, {colDstIP, colDst}} {
		c := &g.chunks[columns[0]]
		c.Texts = w.appendTexts(c.Texts, g.addresses[side])
		w.partEnds(g.chunks[columns[1]:columns[1]+endColumns], &g.ends[side], &g.book)
	}
	g.dropVerdicts()
	return w.file.WriteGroup(g.rows, g.chunks[:])
}
