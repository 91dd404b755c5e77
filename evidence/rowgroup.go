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
	end       [2][]uint32     // what is said of src and dst, by its number in the book
	book      endBook         // from when rows gathered
	said      []endTexts      // of the ends of a side, in the order in which rows first have them
	verdicts  []uint32        // by row
	lists     []uint32        // what the lists of candidates are cut from
	ports     [1 << 16]uint32

	picked picked
	table  []uint32
	blank  []uint32 // of unset

	text     []byte // of addresses
	textEnds []int
	err      error // from when it was written
}

// picked is room for what some rows have in a column.
type picked struct {
	bytes       []uint8
	ports       []uint16
	codes       []uint32
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
	g.reset()
	return g
}

func (g *rowGroup) reset() {
	g.rows = 0
	for i := range g.chunks {
		c := &g.chunks[i]
		c.Codes, c.Texts, c.Lists, c.Numbers, c.Null = c.Codes[:0], c.Texts[:0], c.Lists[:0], c.Numbers[:0], c.Null[:0]
		clear(g.codes[i])
	}
	for side := range 2 {
		g.addresses[side].reset()
		g.end[side] = g.end[side][:0]
	}
	g.book, g.lists = endBook{}, g.lists[:0]
	for i := range g.ports {
		g.ports[i] = parquet.None
	}
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
	times := extend(&g.chunks[colTime].Numbers, len(rows))
	for i, v := range pick(a.Time, rows, &g.picked.times) {
		times[i] = int64(v)
	}
	copy(extend(&g.chunks[colOffset].Numbers, len(rows)), pick(a.Offset, rows, &g.picked.offsets))
	numbers := extend(&g.chunks[colSrcPort].Numbers, len(rows))
	for i, v := range pick(a.SrcPort, rows, &g.picked.ports) {
		numbers[i] = int64(v)
	}
	g.addPorts(pick(a.DstPort, rows, &g.picked.ports))
	g.addProtocols(pick(a.Protocol, rows, &g.picked.bytes))
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
		g.end[side] = book.append(g.end[side], pick(said, rows, &g.picked.resolutions))
	}
}

// addLetters takes in a column of letters; 0 is null.
func (g *rowGroup) addLetters(column int, letters []uint8) {
	table, c := g.unsetTable(256), &g.chunks[column]
	out := extend(&c.Codes, len(letters))
	for i, l := range letters {
		if table[l] == unset {
			table[l] = parquet.None
			if l != 0 {
				table[l] = g.code(column, string(l))
			}
		}
		out[i] = table[l]
	}
}

// addPorts takes in destination ports, of which there are few.
func (g *rowGroup) addPorts(ports []uint16) {
	c := &g.chunks[colDstPort]
	out := extend(&c.Codes, len(ports))
	for i, p := range ports {
		code := g.ports[p]
		if code == parquet.None {
			code = uint32(len(c.Numbers))
			g.ports[p], c.Numbers = code, append(c.Numbers, int64(p))
		}
		out[i] = code
	}
}

// addProtocols takes in protocols, of which there are few.
func (g *rowGroup) addProtocols(protocols []uint8) {
	table, c := g.unsetTable(256), &g.chunks[colProtocol]
	for code, p := range c.Numbers {
		table[p] = uint32(code)
	}
	out := extend(&c.Codes, len(protocols))
	for i, p := range protocols {
		if table[p] == unset {
			table[p] = uint32(len(c.Numbers))
			c.Numbers = append(c.Numbers, int64(p))
		}
		out[i] = table[p]
	}
}

// addTexts takes in a text column; an empty text is null where the column can be.
func (g *rowGroup) addTexts(column int, from *array.Dictionary, rows []int32) {
	codes := pick(from.Indices().(*array.Uint32).Uint32Values(), rows, &g.picked.codes)
	values := from.Dictionary().(*array.String)
	table, c := g.unsetTable(values.Len()), &g.chunks[column]
	out := extend(&c.Codes, len(codes))
	for i, n := range codes {
		if table[n] == unset {
			table[n] = parquet.None
			if v := values.Value(int(n)); v != "" || parquetColumns[column].Required {
				table[n] = g.code(column, v)
			}
		}
		out[i] = table[n]
	}
}

// addCounters takes in a column of counters. Which are null is said from where one may be.
func (g *rowGroup) addCounters(column int, from *array.Uint64, rows []int32) {
	c := &g.chunks[column]
	out := extend(&c.Numbers, len(rows))
	for i, v := range pick(from.Uint64Values(), rows, &g.picked.counters) {
		out[i] = int64(v)
	}
	if from.NullN() == 0 && len(c.Null) == 0 {
		return
	}
	null := extend(&c.Null, len(c.Numbers)-len(c.Null))
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
		g.partEnds(columns[1], g.end[side])
	}
	g.dropVerdicts()
	return file.WriteGroup(g.rows, g.chunks[:])
}
