package index

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"math"
	"math/bits"
	"slices"
)

// A block holds the rows that are read and checked together, column by column. Rows
// that stand together and show the same five-tuple and direction are a run, and what a
// run shares is kept once. Rows without anything in their counters are quiet and have
// none. What a row shares with its neighbours in the blob is in its group (groups.go).
const (
	// blockRows is how many rows a block has: about ten kilobytes, so that a row anywhere
	// costs a few microseconds to read.
	blockRows = 1024
	// segmentRows bounds a segment: its rows are in memory while it is filled.
	segmentRows = 512 * blockRows
)

// Columns of a block, in the order in which they stand.
const (
	packStarts    = iota // a bit a row: it begins a run
	packSrc              // by run: code of the source, less that of the run before
	packDst              // by run: code of the destination, less that of the run before where the source is the same
	packKind             // by run: protocol, direction
	packSrcPort          // by run
	packDstPort          // by run
	packClass            // by row: state, null counters, allowed, quiet
	packGroup            // by row
	packTime             // by row: since the group's first
	packOffset           // by row: from where the group's other rows make it expected; zigzag
	packCounter0         // by row that is not quiet
	packCounter3  = packCounter0 + 3
	packedColumns = packCounter0 + 4
)

// A block's head: rows, runs and loud rows, and each column's length, 16 bits each.
const blockHead = 2 * (3 + packedColumns)

const classQuiet = flagQuiet << 8 // a class is a row's state, and its flags above it

// blockMeta is what the directory says about a block.
type blockMeta struct {
	offset, length  int64
	crc             uint32
	lowSrc, highSrc uint32 // codes of the first and the last row's source
	first, last     int64  // event times, both included
}

// blockWriter makes blocks. Its memory is kept from one to the next.
type blockWriter struct {
	packer  packer
	values  [packedColumns][blockRows]uint64
	least   [packedColumns]uint64 // of values
	starts  [blockRows]uint16     // by run: its first row
	loud    [blockRows]uint16     // rows that are not quiet
	dst     [blockRows]uint32     // by run: the destination's code
	numbers []uint64              // of a page of addresses
	out     []byte                // what was made
}

// block appends rows with their ends, of which there MUST be 1 to blockRows, to what was
// made. It returns where that is, and the destinations of runs, until the next block.
func (w *blockWriter) block(c *columns, rows []row, of []ends) (m blockMeta, dst []uint32) {
	start := len(w.out)
	m = blockMeta{offset: int64(start), lowSrc: of[0].src, highSrc: of[len(rows)-1].src}
	w.out = append(w.out, make([]byte, blockHead)...)
	runs, loud := w.divide(rows, of)
	w.fillRuns(rows, of, w.starts[:runs])
	m.first, m.last = w.fillRows(c, rows)
	w.fillCounters(c, rows, w.loud[:loud])
	put := func(i, v int) { binary.LittleEndian.PutUint16(w.out[start+2*i:], uint16(v)) }
	put(0, len(rows))
	put(1, runs)
	put(2, loud)
	put(3, len(w.out)-start-blockHead)
	for col := packSrc; col < packedColumns; col++ {
		from, n := len(w.out), len(rows)
		switch {
		case col < packClass:
			n = runs
		case col >= packCounter0:
			n = loud
		}
		values := w.values[col][:n]
		if col >= packKind && col <= packClass {
			w.out = w.packer.either(w.out, values)
		} else {
			w.out = w.packer.frame(w.out, values, w.least[col])
		}
		put(3+col, len(w.out)-from)
	}
	m.length, m.crc = int64(len(w.out)-start), crc32.Checksum(w.out[start:], castagnoli)
	return m, w.dst[:runs]
}

// divide finds where runs start, which it writes as packStarts, and which rows are loud.
// Neither could be foreseen, so that is no jump: each row is written behind those that
// were found, and the next one over it where it is none of them.
func (w *blockWriter) divide(rows []row, of []ends) (runs, loud int) {
	var before ends
	ports, kind := ^rows[0].ports, uint16(0) // so that the first one begins a run
	of = of[:len(rows)]
	bits := uint8(0)
	for i := range rows {
		r, e := &rows[i], of[i]
		other := (e.src ^ before.src) | (e.dst ^ before.dst) | (r.ports ^ ports) | uint32(r.kind^kind)
		before, ports, kind = e, r.ports, r.kind
		begins := uint8((uint64(other) + math.MaxUint32) >> 32)
		w.starts[runs], w.loud[loud] = uint16(i), uint16(i)
		runs += int(begins)
		loud += int((^r.flags & flagQuiet) / flagQuiet)
		if bits = bits>>1 | begins<<7; i%8 == 7 {
			w.out = append(w.out, bits)
		}
	}
	if n := len(rows) % 8; n > 0 {
		w.out = append(w.out, bits>>(8-n))
	}
	return runs, loud
}

// fillRuns fills the columns that have a value for each run.
func (w *blockWriter) fillRuns(rows []row, of []ends, starts []uint16) {
	v := &w.values
	var before ends
	leastSrc, leastDst := uint32(math.MaxUint32), uint32(math.MaxUint32)
	for k, i := range starts[:min(len(starts), blockRows)] {
		r, e := &rows[i], of[i]
		sameSrc := uint32((uint64(e.src^before.src) - 1) >> 32) // all ones, or 0
		src, dst := e.src-before.src, e.dst-before.dst&sameSrc
		before = e
		leastSrc, leastDst = min(leastSrc, src), min(leastDst, dst)
		v[packSrc][k], v[packDst][k], v[packKind][k] = uint64(src), uint64(dst), uint64(r.kind)
		v[packSrcPort][k], v[packDstPort][k] = uint64(r.ports>>16), uint64(uint16(r.ports))
		w.dst[k] = e.dst
	}
	w.least[packSrc], w.least[packDst] = uint64(leastSrc), uint64(leastDst)
}

// fillRows fills the columns that have a value for each row, and returns the first and the
// last event.
func (w *blockWriter) fillRows(c *columns, rows []row) (first, last int64) {
	v := &w.values
	first, last = math.MaxInt64, math.MinInt64
	leastGroup, leastTime, leastOffset := uint32(math.MaxUint32), uint64(math.MaxUint64), uint64(math.MaxUint64)
	for i := range rows[:min(len(rows), blockRows)] {
		r := &rows[i]
		g, p := &c.groups[r.group], c.place(r)
		first, last = min(first, p.time), max(last, p.time)
		time, offset := uint64(p.time-g.time), zigzag(p.offset-g.expected(p.time))
		leastGroup, leastTime, leastOffset = min(leastGroup, r.group), min(leastTime, time), min(leastOffset, offset)
		v[packClass][i] = uint64(r.state) | uint64(r.flags&^flagWide)<<8
		v[packGroup][i], v[packTime][i], v[packOffset][i] = uint64(r.group), time, offset
	}
	w.least[packGroup], w.least[packTime], w.least[packOffset] = uint64(leastGroup), leastTime, leastOffset
	return first, last
}

// fillCounters fills the columns that have a value for each row that is not quiet.
func (w *blockWriter) fillCounters(c *columns, rows []row, loud []uint16) {
	v := &w.values
	const most = math.MaxUint64
	least0, least1, least2, least3 := uint64(most), uint64(most), uint64(most), uint64(most)
	for k, i := range loud[:min(len(loud), blockRows)] {
		v0, v1, v2, v3 := c.counted(&rows[i])
		least0, least1, least2, least3 = min(least0, v0), min(least1, v1), min(least2, v2), min(least3, v3)
		v[packCounter0][k], v[packCounter0+1][k], v[packCounter0+2][k], v[packCounter3][k] = v0, v1, v2, v3
	}
	if len(loud) == 0 {
		least0, least1, least2, least3 = 0, 0, 0, 0
	}
	w.least[packCounter0], w.least[packCounter0+1], w.least[packCounter0+2], w.least[packCounter3] = least0, least1, least2, least3
}

// block is one that was read, ready to be decoded.
type block struct {
	rows, runs, loud int
	columns          [packedColumns]column // packStarts has only bits
	start            []uint32              // by run: its first row; and the number of rows
	src, dst         []uint32              // by run
	class            []uint64              // by row
	loudAt           []uint16              // by row: which of the loud ones it is, or would be
	scratch          []uint64
}

// parse reads a block's bytes, which MUST have packPad bytes behind their length. They
// were checked against their checksum, so what does not fit is our own mistake or
// another program's; it is an error all the same and never a panic.
func (b *block) parse(raw []byte, addresses int) error {
	if len(raw) < blockHead {
		return fmt.Errorf("block has %d bytes, want at least %d", len(raw), blockHead)
	}
	get := func(i int) int { return int(binary.LittleEndian.Uint16(raw[2*i:])) }
	b.rows, b.runs, b.loud = get(0), get(1), get(2)
	if b.rows < 1 || b.rows > blockRows || b.runs < 1 || b.runs > b.rows || b.loud > b.rows {
		return fmt.Errorf("block has %d rows, %d runs and %d rows with counters", b.rows, b.runs, b.loud)
	}
	at := blockHead
	for col := range packedColumns {
		n := get(3 + col)
		if n > len(raw)-at {
			return fmt.Errorf("column %d has %d bytes, %d are left", col, n, len(raw)-at)
		}
		if err := b.parseColumn(col, raw[at:at+n]); err != nil {
			return fmt.Errorf("column %d: %w", col, err)
		}
		at += n
	}
	if at != len(raw) {
		return fmt.Errorf("block has %d bytes too many", len(raw)-at)
	}
	if err := b.readRuns(); err != nil {
		return err
	}
	return b.readEnds(addresses)
}

func (b *block) parseColumn(col int, raw []byte) (err error) {
	n := b.rows
	switch {
	case col == packStarts:
		if len(raw) != (b.rows+7)/8 {
			return fmt.Errorf("%d bytes for %d rows", len(raw), b.rows)
		}
		b.columns[col] = column{n: b.rows, width: 1, bits: raw[:len(raw)+packPad]}
		return nil
	case col < packClass:
		n = b.runs
	case col >= packCounter0:
		n = b.loud
	}
	b.columns[col], err = parseColumn(raw, n)
	return err
}

// readRuns finds where each run starts.
func (b *block) readRuns() error {
	marks, size := b.columns[packStarts].bits, (b.rows+7)/8
	b.start = slices.Grow(b.start[:0], 8*size+1)[:8*size+1]
	runs := 0
	for at := 0; at < size; at += 8 {
		word := binary.LittleEndian.Uint64(marks[at:])
		if left := size - at; left < 8 {
			word &= 1<<(8*left) - 1
		}
		for ; word != 0; word &= word - 1 {
			b.start[runs] = uint32(8*at + bits.TrailingZeros64(word))
			runs++
		}
	}
	if runs != b.runs || b.start[0] != 0 || int(b.start[runs-1]) >= b.rows {
		return fmt.Errorf("%d runs are marked, want %d", runs, b.runs)
	}
	b.start = b.start[:runs+1]
	b.start[runs] = uint32(b.rows)
	return nil
}

// readEnds decodes the addresses' codes. Where a source begins nobody could foresee, so
// that is no jump.
func (b *block) readEnds(addresses int) error {
	b.scratch = b.columns[packDst].all(b.columns[packSrc].all(b.scratch[:0]))
	srcs, dsts := b.scratch[:b.runs], b.scratch[b.runs:][:b.runs]
	b.src, b.dst = slices.Grow(b.src[:0], b.runs)[:b.runs], slices.Grow(b.dst[:0], b.runs)[:b.runs]
	src, dst := uint64(0), uint64(0)
	for i, d := range srcs {
		src += d
		dst &^= uint64(int64(d|-d) >> 63) // 0 where d is not
		dst += dsts[i]
		if max(src, dst) >= uint64(addresses) {
			return fmt.Errorf("source and destination have codes %d and %d, dictionary has %d entries", src, dst, addresses)
		}
		b.src[i], b.dst[i] = uint32(src), uint32(dst)
	}
	return nil
}

// readClasses decodes the classes and counts the loud rows.
func (b *block) readClasses() error {
	b.class = b.columns[packClass].all(b.class[:0])
	b.loudAt = slices.Grow(b.loudAt[:0], b.rows)[:b.rows]
	loud := 0
	for i, class := range b.class {
		b.loudAt[i] = uint16(loud)
		loud += 1 - int(class/classQuiet&1) // without a jump, which could not be foreseen
	}
	if loud != b.loud {
		return fmt.Errorf("%d rows have counters, want %d", loud, b.loud)
	}
	return nil
}

// few is up to which share of a block's rows are decoded one by one: reading at a
// place takes about four times as long as reading all in order.
const few = 4

// pick appends the values of the given rows, or runs, to dst.
func (c *column) pick(dst []uint64, places []uint32) []uint64 {
	if len(places)*few < c.n {
		for _, i := range places {
			dst = append(dst, c.at(int(i)))
		}
		return dst
	}
	start := len(dst)
	dst = c.all(dst)
	all := dst[start:]
	if len(places) == c.n { // ascending, so they are all of them
		return dst
	}
	for k, i := range places {
		all[k] = all[i] // k never passes i: places ascend
	}
	return dst[:start+len(places)]
}
