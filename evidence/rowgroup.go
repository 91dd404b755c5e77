package evidence

import (
	"net/netip"
	"slices"
	"strings"

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
	dicts  [numColumns]dictionary

	said     []*attribution.Resolution
	ends     []*end // how they are written, but for the candidates
	endCodes map[*attribution.Resolution]uint32
	end      [2][]uint32 // of src and dst: index into said and ends
	used     []uint32    // scratch: codes of ends
	lists    []uint32    // what the lists of candidates are cut from
	ports    [1 << 16]uint32
	table    []uint32
	err      error // from when it was written
}

// dictionary numbers the texts of a column, or the addresses.
type dictionary struct {
	codes     map[string]uint32
	addresses map[netip.Addr]uint32
}

func newRowGroup() *rowGroup {
	g := &rowGroup{endCodes: make(map[*attribution.Resolution]uint32)}
	for i, col := range parquetColumns {
		switch {
		case i == colSrcIP || i == colDstIP:
			g.dicts[i].addresses = make(map[netip.Addr]uint32)
		case col.Kind == parquet.Text || col.Kind == parquet.Texts:
			g.dicts[i].codes = make(map[string]uint32)
		}
	}
	g.reset()
	return g
}

func (g *rowGroup) reset() {
	g.rows = 0
	for i := range g.chunks {
		c := &g.chunks[i]
		c.Codes, c.Texts, c.Lists, c.Numbers, c.Null = c.Codes[:0], c.Texts[:0], c.Lists[:0], c.Numbers[:0], c.Null[:0]
		clear(g.dicts[i].codes)
		clear(g.dicts[i].addresses)
	}
	clear(g.endCodes)
	clear(g.said)
	clear(g.ends)
	g.said, g.ends, g.lists = g.said[:0], g.ends[:0], g.lists[:0]
	g.end = [2][]uint32{g.end[0][:0], g.end[1][:0]}
	for i := range g.ports {
		g.ports[i] = parquet.None
	}
}

// code is the number of a text in a column's dictionary, which keeps a copy of it.
func (g *rowGroup) code(column int, text string) uint32 {
	codes, c := g.dicts[column].codes, &g.chunks[column]
	n, ok := codes[text]
	if !ok {
		n, text = uint32(len(c.Texts)), strings.Clone(text)
		codes[text], c.Texts = n, append(c.Texts, text)
	}
	return n
}

// addressCode is the number of an address in a column's dictionary.
func (g *rowGroup) addressCode(column int, a netip.Addr) uint32 {
	codes, c := g.dicts[column].addresses, &g.chunks[column]
	n, ok := codes[a]
	if !ok {
		n = uint32(len(c.Texts))
		codes[a], c.Texts = n, append(c.Texts, a.String())
	}
	return n
}

// optional is the code of a text, or None.
func (g *rowGroup) optional(column int, text *string) uint32 {
	if text == nil {
		return parquet.None
	}
	return g.code(column, *text)
}

// unset marks what has no code yet.
const unset = parquet.None - 1

// unsetTable has room for the codes of n values.
func (g *rowGroup) unsetTable(n int) []uint32 {
	g.table = g.table[:0]
	for range n {
		g.table = append(g.table, unset)
	}
	return g.table
}

// add takes in some rows of a batch.
func (g *rowGroup) add(a *query.Attributed, rows []int32) {
	for _, i := range rows {
		g.chunks[colTime].Numbers = append(g.chunks[colTime].Numbers, int64(a.Time[i]))
		g.chunks[colSrcPort].Numbers = append(g.chunks[colSrcPort].Numbers, int64(a.SrcPort[i]))
		g.chunks[colOffset].Numbers = append(g.chunks[colOffset].Numbers, a.Offset[i])
	}
	g.addLetters(colDirection, a.Direction, rows)
	g.addLetters(colState, a.State, rows)
	g.addSmall(a, rows)
	g.addAddresses(colSrcIP, a.Batch.Src, a.Addresses, rows)
	g.addAddresses(colDstIP, a.Batch.Dst, a.Addresses, rows)
	for _, c := range [][2]int{{flow.ColNIC, colNIC}, {flow.ColEncryption, colEncryption}, {flow.ColRule, colRule}, {flow.ColACL, colACL}, {flow.ColBlob, colBlob}} {
		g.addTexts(c[1], a.Record().Column(c[0]).(*array.Dictionary), rows)
	}
	for k := range 4 {
		g.addCounters(colPacketsSent+k, a.Record().Column(flow.ColPacketsSent+k).(*array.Uint64), rows)
	}
	g.end[0] = g.appendEnds(g.end[0], a.Joined.Src, a.Batch.Src, len(a.Addresses), rows)
	g.end[1] = g.appendEnds(g.end[1], a.Joined.Dst, a.Batch.Dst, len(a.Addresses), rows)
	g.rows += len(rows)
}

// addLetters takes in a column of letters; 0 is null.
func (g *rowGroup) addLetters(column int, letters []uint8, rows []int32) {
	table, c := g.unsetTable(256), &g.chunks[column]
	for _, i := range rows {
		l := letters[i]
		if table[l] == unset {
			table[l] = g.optional(column, letter(l))
		}
		c.Codes = append(c.Codes, table[l])
	}
}

// addSmall takes in the numbers of which there are few: destination ports, protocols.
func (g *rowGroup) addSmall(a *query.Attributed, rows []int32) {
	ports, protocols := &g.chunks[colDstPort], &g.chunks[colProtocol]
	for _, i := range rows {
		p := a.DstPort[i]
		if g.ports[p] == parquet.None {
			g.ports[p] = uint32(len(ports.Numbers))
			ports.Numbers = append(ports.Numbers, int64(p))
		}
		ports.Codes = append(ports.Codes, g.ports[p])
		n := 0
		for n < len(protocols.Numbers) && protocols.Numbers[n] != int64(a.Protocol[i]) {
			n++
		}
		if n == len(protocols.Numbers) {
			protocols.Numbers = append(protocols.Numbers, int64(a.Protocol[i]))
		}
		protocols.Codes = append(protocols.Codes, uint32(n))
	}
}

func (g *rowGroup) addAddresses(column int, codes []uint32, addresses []netip.Addr, rows []int32) {
	table, c := g.unsetTable(len(addresses)), &g.chunks[column]
	for _, i := range rows {
		n := codes[i]
		if table[n] == unset {
			table[n] = parquet.None
			if addresses[n] != flow.Unknown || column == colSrcIP {
				table[n] = g.addressCode(column, addresses[n])
			}
		}
		c.Codes = append(c.Codes, table[n])
	}
}

// addTexts takes in a text column; an empty text is null where the column can be.
func (g *rowGroup) addTexts(column int, from *array.Dictionary, rows []int32) {
	codes, values := from.Indices().(*array.Uint32).Uint32Values(), from.Dictionary().(*array.String)
	table, c := g.unsetTable(values.Len()), &g.chunks[column]
	for _, i := range rows {
		n := codes[i]
		if table[n] == unset {
			table[n] = parquet.None
			if v := values.Value(int(n)); v != "" || parquetColumns[column].Required {
				table[n] = g.code(column, v)
			}
		}
		c.Codes = append(c.Codes, table[n])
	}
}

func (g *rowGroup) addCounters(column int, from *array.Uint64, rows []int32) {
	c, values, some := &g.chunks[column], from.Uint64Values(), from.NullN() > 0
	for _, i := range rows {
		c.Numbers = append(c.Numbers, int64(values[i]))
		c.Null = append(c.Null, some && from.IsNull(int(i)))
	}
}

// appendEnds takes in what is said of an end: mostly what was said of the row before,
// else what was last said of its address in the batch, which has count of them.
func (g *rowGroup) appendEnds(codes []uint32, said []*attribution.Resolution, addresses []uint32, count int, rows []int32) []uint32 {
	table := g.unsetTable(count)
	var before *attribution.Resolution
	code := uint32(unset)
	for _, i := range rows {
		if r := said[i]; r != before {
			last := &table[addresses[i]]
			if *last == unset || g.said[*last] != r {
				*last = g.endCode(r)
			}
			before, code = r, *last
		}
		codes = append(codes, code)
	}
	return codes
}

// endCode is the code of what is said of an end.
func (g *rowGroup) endCode(r *attribution.Resolution) uint32 {
	code, ok := g.endCodes[r]
	if !ok {
		code = uint32(len(g.said))
		g.said, g.ends, g.endCodes[r] = append(g.said, r), append(g.ends, newEnd(r)), code
	}
	return code
}

// write parts what is said of ends into columns, and writes all.
func (g *rowGroup) write(file *parquet.Writer) error {
	g.partEnds(colSrc, g.end[0])
	g.partEnds(colDst, g.end[1])
	for i, code := range g.chunks[colDstIP].Codes {
		if code == parquet.None {
			g.chunks[colDst].Codes[i] = parquet.None // there is no verdict on nothing
		}
	}
	return file.WriteGroup(g.rows, g.chunks[:])
}

// partEnds fills the columns of an end, from the first one on.
func (g *rowGroup) partEnds(first int, codes []uint32) {
	texts := [endColumns]func(*end) *string{
		func(e *end) *string { return &e.verdict }, func(e *end) *string { return e.cluster }, func(e *end) *string { return e.namespace },
		func(e *end) *string { return e.pod }, func(e *end) *string { return e.uid }, func(e *end) *string { return e.node },
		nil, func(e *end) *string { return e.source },
	}
	used := g.usedCodes(codes)
	for k, text := range texts {
		column := first + k
		table, c := g.unsetTable(len(g.ends)), &g.chunks[column]
		for _, code := range used {
			if text == nil {
				table[code] = g.candidates(column, g.said[code])
			} else {
				table[code] = g.optional(column, text(g.ends[code]))
			}
		}
		c.Codes = slices.Grow(c.Codes, len(codes))[:len(codes)]
		for i, code := range codes {
			c.Codes[i] = table[code]
		}
	}
}

// usedCodes is each code once, in the order in which rows first have them.
func (g *rowGroup) usedCodes(codes []uint32) []uint32 {
	table := g.unsetTable(len(g.ends))
	g.used = g.used[:0]
	for _, code := range codes {
		if table[code] == unset {
			table[code] = 0
			g.used = append(g.used, code)
		}
	}
	return g.used
}

// candidates is the code of a list of candidates, or None.
func (g *rowGroup) candidates(column int, r *attribution.Resolution) uint32 {
	from := len(g.lists)
	for _, c := range r.Candidates {
		if c.UID != "" {
			g.lists = append(g.lists, g.code(column, c.UID))
		}
	}
	if len(g.lists) == from {
		return parquet.None
	}
	c := &g.chunks[column]
	c.Lists = append(c.Lists, g.lists[from:len(g.lists):len(g.lists)])
	return uint32(len(c.Lists) - 1)
}
