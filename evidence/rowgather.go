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

// gatherer takes rows into groups, one after the other. Its tables are those of the group
// that gathers: a group has what they say, and is free of them once it is full.
type gatherer struct {
	group     *rowGroup
	codes     [numColumns]map[string]uint32 // of texts, but for those of addresses and ends
	addresses [2]addressCodes               // of src and dst
	places    [2][]uint32                   // of ends of src and dst, by number in the book, or unset
	ports     [1 << 16]uint32               // codes of destination ports, or unset
	protocols [1 << 8]uint32                // likewise
	picked    picked
	tables
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

// newGatherer returns one that begins with a group.
func newGatherer(g *rowGroup) *gatherer {
	t := &gatherer{group: g}
	for i := range t.codes {
		t.codes[i] = make(map[string]uint32)
	}
	for _, table := range [][]uint32{t.ports[:], t.protocols[:]} {
		for i := range table {
			table[i] = unset
		}
	}
	return t
}

// finish forgets the numbers of the group, which gets what it needs of them.
func (t *gatherer) finish() {
	g := t.group
	for _, p := range g.chunks[colDstPort].Numbers {
		t.ports[p] = unset
	}
	for _, p := range g.chunks[colProtocol].Numbers {
		t.protocols[p] = unset
	}
	for _, codes := range t.codes {
		clear(codes)
	}
	for side := range 2 {
		a := &t.addresses[side]
		g.addresses[side], a.addresses = a.addresses, g.addresses[side]
		a.reset()
		for _, n := range g.ends[side].numbers {
			t.places[side][n] = unset
		}
	}
}

// code is the number of a text in a column's dictionary, which keeps a copy of it.
func (t *gatherer) code(column int, text string) uint32 {
	codes, c := t.codes[column], &t.group.chunks[column]
	n, ok := codes[text]
	if !ok {
		n, text = uint32(len(c.Texts)), strings.Clone(text)
		codes[text], c.Texts = n, append(c.Texts, text)
	}
	return n
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
func (t *gatherer) add(a *query.Attributed, rows []int32, book *endBook) {
	times := pick(a.Time, rows, &t.picked.times)
	if t.group.rows == 0 {
		t.group.chunks[colTime].Base = int64(times[0]) - 1<<31 // in the middle, as later rows may be earlier
	}
	addNumbers(&t.group.chunks[colTime], times)
	addNumbers(&t.group.chunks[colOffset], pick(a.Offset, rows, &t.picked.offsets))
	addNumbers(&t.group.chunks[colSrcPort], pick(a.SrcPort, rows, &t.picked.ports))
	addCoded(&t.group.chunks[colDstPort], pick(a.DstPort, rows, &t.picked.ports), t.ports[:])
	addCoded(&t.group.chunks[colProtocol], pick(a.Protocol, rows, &t.picked.bytes), t.protocols[:])
	t.addLetters(colDirection, pick(a.Direction, rows, &t.picked.bytes))
	t.addLetters(colState, pick(a.State, rows, &t.picked.bytes))
	for _, c := range [][2]int{{flow.ColNIC, colNIC}, {flow.ColEncryption, colEncryption}, {flow.ColRule, colRule}, {flow.ColACL, colACL}, {flow.ColBlob, colBlob}} {
		t.addTexts(c[1], a.Record().Column(c[0]).(*array.Dictionary), rows)
	}
	for k := range 4 {
		t.addCounters(colPacketsSent+k, a.Record().Column(flow.ColPacketsSent+k).(*array.Uint64), rows)
	}
	t.addEnds(a, rows, book)
	t.group.rows += len(rows)
}

// addEnds takes in addresses, and what is said of them.
func (t *gatherer) addEnds(a *query.Attributed, rows []int32, book *endBook) {
	for side, codes := range [2][]uint32{a.Batch.Src, a.Batch.Dst} {
		said := [2][]*attribution.Resolution{a.Joined.Src, a.Joined.Dst}[side]
		t.addAddresses(side, pick(codes, rows, &t.picked.codes), a.Batch)
		t.picked.numbers = book.append(t.picked.numbers[:0], pick(said, rows, &t.picked.resolutions))
		t.addPlaces(side, t.picked.numbers, len(book.ends))
	}
}

// addLetters takes in a column of letters; 0 is null.
func (t *gatherer) addLetters(column int, letters []uint8) {
	addCodes(&t.group.chunks[column], letters, t.unset(256), func(l uint8) uint32 {
		if l == 0 {
			return parquet.None
		}
		return t.code(column, string(l))
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
func (t *gatherer) addTexts(column int, from *array.Dictionary, rows []int32) {
	codes := pick(from.Indices().(*array.Uint32).Uint32Values(), rows, &t.picked.codes)
	values := from.Dictionary().(*array.String)
	addCodes(&t.group.chunks[column], codes, t.unset(values.Len()), func(n uint32) uint32 {
		if v := values.Value(int(n)); v != "" || parquetColumns[column].Required {
			return t.code(column, v)
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
func (t *gatherer) addCounters(column int, from *array.Uint64, rows []int32) {
	c := &t.group.chunks[column]
	addNumbers(c, pick(from.Uint64Values(), rows, &t.picked.counters))
	if from.NullN() == 0 && len(c.Null) == 0 {
		return
	}
	null := extend(&c.Null, t.group.rows+len(rows)-len(c.Null))
	clear(null)
	null = null[len(null)-len(rows):]
	for i, row := range rows {
		null[i] = from.IsNull(int(row))
	}
}
