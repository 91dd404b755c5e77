package evidence

import (
	"slices"
	"strings"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"

	"github.com/whichpod/whichpod/attribution"
	"github.com/whichpod/whichpod/flow"
	"github.com/whichpod/whichpod/internal/parquet"
	"github.com/whichpod/whichpod/query"
)

// rowGroup is rows on their way to a Parquet file, as codes of dictionaries that hold
// for the group. What is said of ends is kept as one code an end, and parted into
// columns when it is written.
type rowGroup struct {
	rows   int
	chunks [numColumns]parquet.Chunk
	codes  [numColumns]map[string]uint32 // of texts, but for those of addresses and ends

	addresses [2]addressCodes // of src and dst
	ends      [2]endPlaces    // of src and dst
	book      endBook         // from when rows gathered
	said      []endTexts      // of the ends of a side, by place
	lists     []uint32        // what the lists of candidates are cut from
	ports     [1 << 16]uint32 // codes of destination ports, or unset
	protocols [1 << 8]uint32  // likewise

	picked picked
	table  []uint32
	blank  []uint32 // of unset

	text     []byte // of addresses
	textEnds []int
	err      error // from when it was written
}

// picked is room for what some rows have in a column, and numbers of their ends in the book.
type picked struct {
	bytes       []uint8
	ports       []uint16
	codes       []uint32
	numbers     []uint32
	counters    []uint64
	offsets     []int64
	times       []arrow.Timestamp
	resolutions []*attribution.Resolution
}

func newRowGroup() *rowGroup {
	g := &rowGroup{}
	for i := range g.codes {
		g.codes[i] = make(map[string]uint32)
	}
	for _, table := range [][]uint32{g.ports[:], g.protocols[:]} {
		for i := range table {
			table[i] = unset
		}
	}
	g.reset()
	return g
}

func (g *rowGroup) reset() {
	g.rows = 0
	for _, p := range g.chunks[colDstPort].Numbers {
		g.ports[p] = unset
	}
	for _, p := range g.chunks[colProtocol].Numbers {
		g.protocols[p] = unset
	}
	for i := range g.chunks {
		c := &g.chunks[i]
		c.Codes, c.Small, c.Texts, c.Lists, c.Null = c.Codes[:0], c.Small[:0], c.Texts[:0], c.Lists[:0], c.Null[:0]
		c.Shorts, c.Words, c.Numbers = c.Shorts[:0], c.Words[:0], c.Numbers[:0]
		clear(g.codes[i])
	}
	for side := range 2 {
		g.addresses[side].reset()
		g.ends[side].reset()
	}
	g.book, g.lists = endBook{}, g.lists[:0]
}

// code is the number of a text in a column's dictionary, which keeps a copy of it.
func (g *rowGroup) code(column int, text string) uint32 {
	codes, c := g.codes[column], &g.chunks[column]
	n, ok := codes[text]
	if !ok {
		n, text = uint32(len(c.Texts)), strings.Clone(text)
		codes[text], c.Texts = n, append(c.Texts, text)
	}
	return n
}

// unsetTable has room for the codes of n values.
func (g *rowGroup) unsetTable(n int) []uint32 {
	for len(g.blank) < n {
		g.blank = append(g.blank, unset)
	}
	g.table = append(g.table[:0], g.blank[:n]...)
	return g.table
}

// pick is what the rows have in a column: a part of it where they follow each other, as
// they do unless some are left out. Rows MUST ascend.
func pick[T any](column []T, rows []int32, room *[]T) []T {
	first, n := int(rows[0]), len(rows)
	if int(rows[n-1])-first == n-1 {
		return column[first : first+n]
	}
	*room = (*room)[:0]
	for _, i := range rows {
		*room = append(*room, column[i])
	}
	return *room
}

// extend makes room for n more rows, and returns it. Where rows follow others, there is room
// for all of the group at once: only an export of a single batch takes less.
func extend[T any](s *[]T, n int) []T {
	have := len(*s)
	if have > 0 && cap(*s)-have < n {
		*s = slices.Grow(*s, max(n, rowGroupRows-have))
	}
	*s = slices.Grow(*s, n)[:have+n]
	return (*s)[have:]
}

// add takes in some rows of a batch, at least one.
func (g *rowGroup) add(a *query.Attributed, rows []int32, book *endBook) {
	times := pick(a.Time, rows, &g.picked.times)
	if g.rows == 0 {
		g.chunks[colTime].Base = int64(times[0]) - 1<<31 // in the middle, as later rows may be earlier
	}
	addNumbers(&g.chunks[colTime], times)
	addNumbers(&g.chunks[colOffset], pick(a.Offset, rows, &g.picked.offsets))
	addNumbers(&g.chunks[colSrcPort], pick(a.SrcPort, rows, &g.picked.ports))
	addCoded(&g.chunks[colDstPort], pick(a.DstPort, rows, &g.picked.ports), g.ports[:])
	addCoded(&g.chunks[colProtocol], pick(a.Protocol, rows, &g.picked.bytes), g.protocols[:])
	g.addLetters(colDirection, pick(a.Direction, rows, &g.picked.bytes))
	g.addLetters(colState, pick(a.State, rows, &g.picked.bytes))
	for _, c := range [][2]int{{flow.ColNIC, colNIC}, {flow.ColEncryption, colEncryption}, {flow.ColRule, colRule}, {flow.ColACL, colACL}, {flow.ColBlob, colBlob}} {
		g.addTexts(c[1], a.Record().Column(c[0]).(*array.Dictionary), rows)
	}
	for k := range 4 {
		g.addCounters(colPacketsSent+k, a.Record().Column(flow.ColPacketsSent+k).(*array.Uint64), rows)
	}
	g.addEnds(a, rows, book)
	g.rows += len(rows)
}

// addEnds takes in addresses, and what is said of them.
func (g *rowGroup) addEnds(a *query.Attributed, rows []int32, book *endBook) {
	for side, codes := range [2][]uint32{a.Batch.Src, a.Batch.Dst} {
		said := [2][]*attribution.Resolution{a.Joined.Src, a.Joined.Dst}[side]
		g.addAddresses(side, pick(codes, rows, &g.picked.codes), a.Batch)
		g.picked.numbers = book.append(g.picked.numbers[:0], pick(said, rows, &g.picked.resolutions))
		g.ends[side].append(g.picked.numbers, len(book.ends))
	}
}

// addLetters takes in a column of letters; 0 is null.
func (g *rowGroup) addLetters(column int, letters []uint8) {
	addCodes(&g.chunks[column], letters, g.unsetTable(256), func(l uint8) uint32 {
		if l == 0 {
			return parquet.None
		}
		return g.code(column, string(l))
	})
}

// addCoded takes in a column of numbers of which there are few.
func addCoded[V uint8 | uint16](c *parquet.Chunk, values []V, table []uint32) {
	addCodes(c, values, table, func(v V) uint32 {
		c.Numbers = append(c.Numbers, int64(v))
		return uint32(len(c.Numbers) - 1)
	})
}

// addTexts takes in a text column; an empty text is null where the column can be.
func (g *rowGroup) addTexts(column int, from *array.Dictionary, rows []int32) {
	codes := pick(from.Indices().(*array.Uint32).Uint32Values(), rows, &g.picked.codes)
	values := from.Dictionary().(*array.String)
	addCodes(&g.chunks[column], codes, g.unsetTable(values.Len()), func(n uint32) uint32 {
		if v := values.Value(int(n)); v != "" || parquetColumns[column].Required {
			return g.code(column, v)
		}
		return parquet.None
	})
}

// addCodes takes in what a table has for values, and code where that is unset.
func addCodes[V uint8 | uint16 | uint32](c *parquet.Chunk, values []V, table []uint32, code func(V) uint32) {
	if len(c.Codes) == 0 {
		if values = addSmall(c, values, table, code); len(values) == 0 {
			return
		}
		for _, n := range c.Small {
			wide := uint32(n)
			if n == parquet.SmallNone {
				wide = parquet.None
			}
			c.Codes = append(c.Codes, wide)
		}
		c.Small = c.Small[:0]
	}
	out := extend(&c.Codes, len(values))
	for i, v := range values {
		if table[v] == unset {
			table[v] = code(v)
		}
		out[i] = table[v]
	}
}

// addSmall is addCodes while codes are small. It returns the values from the first one on
// that has a larger one.
func addSmall[V uint8 | uint16 | uint32](c *parquet.Chunk, values []V, table []uint32, code func(V) uint32) []V {
	had := len(c.Small)
	out := extend(&c.Small, len(values))
	for i, v := range values {
		n := table[v]
		if n == unset {
			n = code(v)
			table[v] = n
			if n != parquet.None && n >= parquet.MostSmall {
				c.Small = c.Small[:had+i]
				return values[i:]
			}
		}
		out[i] = uint8(n)
	}
	return nil
}

// addNumbers takes in a column of numbers, in as few bytes each as is enough for all of the
// group so far.
func addNumbers[V ~uint16 | ~int64 | ~uint64](c *parquet.Chunk, values []V) {
	if len(c.Words)+len(c.Numbers) == 0 {
		if addNarrow(&c.Shorts, c.Base, values) {
			return
		}
		widen(&c.Words, &c.Shorts, 0)
	}
	if len(c.Numbers) == 0 {
		if addNarrow(&c.Words, c.Base, values) {
			return
		}
		widen(&c.Numbers, &c.Words, c.Base)
	}
	out := extend(&c.Numbers, len(values))
	for i, v := range values {
		out[i] = int64(v)
	}
}

// addNarrow appends what values are more than a base, or nothing where one has no room.
func addNarrow[N uint16 | uint32, V ~uint16 | ~int64 | ~uint64](to *[]N, base int64, values []V) bool {
	had := len(*to)
	out, all := extend(to, len(values)), uint64(0)
	for i, v := range values {
		more := uint64(v) - uint64(base)
		out[i], all = N(more), all|more
	}
	if all > uint64(^N(0)) {
		*to = (*to)[:had]
		return false
	}
	return true
}

// widen moves numbers to where they have more room.
func widen[W uint32 | int64, N uint16 | uint32](to *[]W, from *[]N, base W) {
	for _, v := range *from {
		*to = append(*to, base+W(v))
	}
	*from = (*from)[:0]
}

// addCounters takes in a column of counters. Which are null is said from where one may be.
func (g *rowGroup) addCounters(column int, from *array.Uint64, rows []int32) {
	c := &g.chunks[column]
	addNumbers(c, pick(from.Uint64Values(), rows, &g.picked.counters))
	if from.NullN() == 0 && len(c.Null) == 0 {
		return
	}
	null := extend(&c.Null, g.rows+len(rows)-len(c.Null))
	clear(null)
	null = null[len(null)-len(rows):]
	for i, row := range rows {
		null[i] = from.IsNull(int(row))
	}
}

// write parts what is said of ends into columns, and writes all.
func (g *rowGroup) write(file *parquet.Writer) error {
	for side, columns := range [2][2]int{{colSrcIP, colSrc}, {colDstIP, colDst}} {
		c := &g.chunks[columns[0]]
		c.Texts = g.appendTexts(c.Texts, g.addresses[side].addresses)
		g.partEnds(columns[1], &g.ends[side])
	}
	g.dropVerdicts()
	return file.WriteGroup(g.rows, g.chunks[:])
}
