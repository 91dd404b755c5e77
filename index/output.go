package index

import (
	"net/netip"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/bitutil"
	"github.com/apache/arrow/go/v17/arrow/memory"

	"github.com/whichpod/whichpod/flow"
)

// output puts together one batch of a scan. Its dictionaries hold what the batch's
// rows refer to and nothing else.
type output struct {
	mem memory.Allocator
	n   int // rows
	cap int

	data  [numColumns]*memory.Buffer
	valid [4]*memory.Buffer
	nulls [4]int

	// round tells this batch's entries in a cursor's remap from an earlier batch's.
	round       uint32
	addresses   []netip.Addr
	addressCode map[netip.Addr]uint32
	texts       [numDictionaries][]string
	textCode    [numDictionaries]map[string]uint32
}

// remap says what a code is in the batch or the block under way: the round in the high
// half, the code there in the low one.
type remap []uint64

func newOutput(mem memory.Allocator) *output {
	o := &output{mem: mem, addressCode: make(map[netip.Addr]uint32)}
	for i := range o.textCode {
		o.textCode[i] = make(map[string]uint32)
	}
	return o
}

// begin takes memory for a batch of at most that many rows.
func (o *output) begin(rows int) {
	o.n, o.cap = 0, rows
	o.round++
	for col := range o.data {
		o.data[col] = o.buffer(dataSize(col, rows))
	}
	for k := range o.valid {
		o.valid[k] = o.buffer((rows + 7) / 8)
		o.nulls[k] = 0
	}
	o.addresses = o.addresses[:0]
	clear(o.addressCode)
	for i := range o.texts {
		o.texts[i] = o.texts[i][:0]
		clear(o.textCode[i])
	}
	clear(o.data[flow.ColAllowed].Bytes())
}

func (o *output) buffer(size int) *memory.Buffer {
	b := memory.NewResizableBuffer(o.mem)
	b.Resize(size)
	return b
}

func (o *output) room() int { return o.cap - o.n }

// abort gives back the memory of a batch that will not be finished.
func (o *output) abort() {
	for col := range o.data {
		o.data[col].Release()
	}
	for k := range o.valid {
		o.valid[k].Release()
	}
}

// copy adds the next n matching rows of the cursor and moves it past them. There
// MUST be room.
func (o *output) copy(c *cursor, n int) {
	rows := c.rows[c.at : c.at+n]
	for col := range numColumns {
		o.copyColumn(c, col, rows)
	}
	o.n += n
	c.at += n
}

func (o *output) copyColumn(c *cursor, col int, rows []uint32) {
	b := o.data[col].Bytes()
	switch col {
	case flow.ColTime:
		pick(arrow.Int64Traits.CastFromBytes(b)[o.n:], c.time, rows)
	case flow.ColRecordTime:
		pick(arrow.Int64Traits.CastFromBytes(b)[o.n:], c.record, rows)
	case flow.ColOffset:
		pick(arrow.Int64Traits.CastFromBytes(b)[o.n:], c.offset, rows)
	case flow.ColPacketsSent, flow.ColBytesSent, flow.ColPacketsReceived, flow.ColBytesReceived:
		k := col - flow.ColPacketsSent
		pick(arrow.Uint64Traits.CastFromBytes(b)[o.n:], c.counters[k], rows)
		o.copyValid(c, k, rows)
	case flow.ColSrc:
		o.copyAddresses(arrow.Uint32Traits.CastFromBytes(b)[o.n:], c, c.src, rows)
	case flow.ColDst:
		o.copyAddresses(arrow.Uint32Traits.CastFromBytes(b)[o.n:], c, c.dst, rows)
	case flow.ColSrcPort:
		pick(arrow.Uint16Traits.CastFromBytes(b)[o.n:], c.srcPort, rows)
	case flow.ColDstPort:
		pick(arrow.Uint16Traits.CastFromBytes(b)[o.n:], c.dstPort, rows)
	case flow.ColDirection, flow.ColState, flow.ColProtocol:
		pick(b[o.n:], c.data[col], rows)
	case flow.ColAllowed:
		for i, r := range rows {
			at := o.n + i
			b[at/8] |= c.data[col][r/8] >> (r % 8) & 1 << (at % 8)
		}
	default:
		o.copyTexts(arrow.Uint32Traits.CastFromBytes(b)[o.n:], c, int(dictionaryID(col)), rows)
	}
}

func (o *output) copyValid(c *cursor, k int, rows []uint32) {
	out, in := o.valid[k].Bytes(), c.valid[k]
	if in == nil {
		bitutil.SetBitsTo(out, int64(o.n), int64(len(rows)), true)
		return
	}
	for i, r := range rows {
		ok := bitutil.BitIsSet(in, int(r))
		bitutil.SetBitTo(out, o.n+i, ok)
		if !ok {
			o.nulls[k]++
		}
	}
}

func (o *output) copyAddresses(dst []uint32, c *cursor, codes, rows []uint32) {
	round := uint64(o.round) << 32
	for i, r := range rows {
		m := &c.toAddress[codes[r]]
		if *m&^0xffffffff != round {
			*m = round | uint64(o.address(c.addresses[codes[r]]))
		}
		dst[i] = uint32(*m)
	}
}

func (o *output) address(a netip.Addr) uint32 {
	code, ok := o.addressCode[a]
	if !ok {
		code = uint32(len(o.addresses))
		o.addressCode[a] = code
		o.addresses = append(o.addresses, a)
	}
	return code
}

func (o *output) copyTexts(dst []uint32, c *cursor, dict int, rows []uint32) {
	round := uint64(o.round) << 32
	codes, known := c.codes[dict], c.toText[dict]
	for i, r := range rows {
		code := codes[r]
		m := known[code]
		if m&^0xffffffff != round {
			m = round | uint64(o.text(dict, c.texts[dict][code]))
			known[code] = m
		}
		dst[i] = uint32(m)
	}
}

func (o *output) text(dict int, t string) uint32 {
	code, ok := o.textCode[dict][t]
	if !ok {
		code = uint32(len(o.texts[dict]))
		o.textCode[dict][t] = code
		o.texts[dict] = append(o.texts[dict], t)
	}
	return code
}

// finish returns the batch, of at least one row. The caller MUST Release it.
func (o *output) finish() (*flow.Batch, error) {
	addresses := o.addressArray()
	defer addresses.Release()
	cols := make([]arrow.Array, numColumns)
	for col := range cols {
		cols[col] = o.column(col, addresses)
		defer cols[col].Release()
	}
	for k := range o.valid {
		o.valid[k].Release()
	}
	rec := array.NewRecord(flow.Schema, cols, int64(o.n))
	defer rec.Release()
	return flow.NewBatch(rec)
}

// column takes over the column's buffer.
func (o *output) column(col int, addresses arrow.Array) arrow.Array {
	b := o.data[col]
	defer b.Release()
	b.ResizeNoShrink(dataSize(col, o.n))
	t := flow.Schema.Field(col).Type
	var valid *memory.Buffer
	nulls := 0
	if k, ok := counterOf(col); ok && o.nulls[k] > 0 {
		valid, nulls = o.valid[k], o.nulls[k]
		valid.ResizeNoShrink((o.n + 7) / 8)
	}
	d, ok := t.(*arrow.DictionaryType)
	if !ok {
		data := array.NewData(t, o.n, []*memory.Buffer{valid, b}, nil, nulls, 0)
		defer data.Release()
		return array.MakeFromData(data)
	}
	data := array.NewData(d.IndexType, o.n, []*memory.Buffer{nil, b}, nil, 0, 0)
	defer data.Release()
	codes := array.MakeFromData(data)
	defer codes.Release()
	if col == flow.ColSrc || col == flow.ColDst {
		return array.NewDictionaryArray(t, codes, addresses)
	}
	values := o.textArray(int(dictionaryID(col)))
	defer values.Release()
	return array.NewDictionaryArray(t, codes, values)
}

func (o *output) addressArray() arrow.Array {
	b := array.NewFixedSizeBinaryBuilder(o.mem, &arrow.FixedSizeBinaryType{ByteWidth: 16})
	defer b.Release()
	b.Reserve(len(o.addresses))
	for _, a := range o.addresses {
		v := a.As16()
		b.Append(v[:])
	}
	return b.NewArray()
}

func (o *output) textArray(dict int) arrow.Array {
	b := array.NewStringBuilder(o.mem)
	defer b.Release()
	for _, t := range o.texts[dict] {
		b.Append(t)
	}
	return b.NewArray()
}

func pick[T any](dst, src []T, rows []uint32) {
	for i, r := range rows {
		dst[i] = src[r]
	}
}
