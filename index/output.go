package index

import (
	"encoding/binary"
	"math"
	"math/bits"
	"slices"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/memory"

	"github.com/whichpod/whichpod/flow"
)

// output puts together one batch of a scan. Its dictionaries of texts hold what the
// batch's rows refer to and nothing else.
//
// A merge of many segments takes a few rows of one and a few of another. So rows get
// their places first, and are copied when their cursor moves on or the batch is full:
// many rows of one cursor, a column at a time.
type output struct {
	columns   *recycler
	mem       memory.Allocator // of dictionaries
	addresses *scanAddresses
	n, cap    int // rows

	data                 [numColumns]*memory.Buffer
	time, record, offset []int64
	counters             [4][]uint64
	texts                [numDictionaries]textCodes
	state                []uint8
	flags                []uint8 // kept from one batch to the next
	anyFlag              uint8   // of the batch's rows

	// What rows have by their run, as bytes.
	src, dst, srcPort, dstPort, protocol, direction []byte
	others                                          []uint8 // by row: 1 where it is of another run than the row before; kept
	last                                            run     // of the last row

	// round tells this batch's codes in a cursor's toOrigin from an earlier batch's.
	round uint32
}

func newOutput(mem memory.Allocator, addresses *scanAddresses) *output {
	o := &output{columns: &recycler{mem: mem}, mem: mem, addresses: addresses}
	for i := range o.texts {
		o.texts[i].code = make(map[string]uint32)
	}
	return o
}

// close lets go of the memory that it keeps. Batches keep theirs.
func (o *output) close() { o.columns.close() }

// begin takes memory for a batch.
func (o *output) begin() {
	o.n, o.cap = 0, min(max(firstRows, 4*o.cap), batchRows)
	o.round++
	for col := range o.data {
		o.data[col] = memory.NewResizableBuffer(o.columns)
		o.data[col].Resize(dataSize(col, o.cap+slack(col)))
		o.view(col, o.data[col].Bytes())
	}
	if len(o.flags) < o.cap {
		o.flags, o.others = make([]uint8, o.cap), make([]uint8, o.cap+fewRows)
	}
	for i := range o.texts {
		o.texts[i].reset()
	}
}

// slack is how many rows are written too much at the end of a column: see putRun.
func slack(col int) int {
	switch col {
	case flow.ColSrc, flow.ColDst, flow.ColSrcPort, flow.ColDstPort, flow.ColProtocol, flow.ColDirection:
		return fewRows
	}
	return 0
}

// view gives a column's bytes their type.
func (o *output) view(col int, b []byte) {
	switch col {
	case flow.ColTime:
		o.time = arrow.Int64Traits.CastFromBytes(b)
	case flow.ColRecordTime:
		o.record = arrow.Int64Traits.CastFromBytes(b)
	case flow.ColOffset:
		o.offset = arrow.Int64Traits.CastFromBytes(b)
	case flow.ColPacketsSent, flow.ColBytesSent, flow.ColPacketsReceived, flow.ColBytesReceived:
		o.counters[col-flow.ColPacketsSent] = arrow.Uint64Traits.CastFromBytes(b)
	case flow.ColSrc:
		o.src = b
	case flow.ColDst:
		o.dst = b
	case flow.ColSrcPort:
		o.srcPort = b
	case flow.ColDstPort:
		o.dstPort = b
	case flow.ColDirection:
		o.direction = b
	case flow.ColState:
		o.state = b
	case flow.ColProtocol:
		o.protocol = b
	case flow.ColAllowed: // of flags, at the end
	default:
		o.texts[dictionaryID(col)].codes = arrow.Uint32Traits.CastFromBytes(b)
	}
}

func (o *output) room() int { return o.cap - o.n }

// abort gives back the memory of a batch that will not be finished.
func (o *output) abort() {
	for col := range o.data {
		o.data[col].Release()
	}
}

// place gives the next n rows of the cursor, which are of one run, their places and moves
// it past them. There MUST be room, and they MUST be copied before the cursor's source
// moves on; what they have by their run is.
func (o *output) place(c *cursor, n int) {
	o.putRun(&c.runs[c.on], n)
	at, place := len(c.to), uint32(o.n)
	c.to = c.to[:at+n]
	few := (*[fewRows]uint32)(c.to[at : at+fewRows])
	few[0], few[1], few[2], few[3] = place, place+1, place+2, place+3
	for i := fewRows; i < n; i++ {
		c.to[at+i] = place + uint32(i)
	}
	o.n += n
	c.take(n)
}

// putRun sets what the next n rows have by their run, and what is behind them.
func (o *output) putRun(r *run, n int) {
	other := (r.src ^ o.last.src) | (r.dst ^ o.last.dst) | (r.ports ^ o.last.ports) | uint32(r.kind^o.last.kind)
	o.last.src, o.last.dst, o.last.ports, o.last.kind = r.src, r.dst, r.ports, r.kind
	const twice, fourTimes, bytes = 1<<32 | 1, 1<<48 | 1<<32 | 1<<16 | 1, 1<<24 | 1<<16 | 1<<8 | 1
	src, dst := uint64(r.src)*twice, uint64(r.dst)*twice
	srcPort, dstPort := uint64(r.ports>>16)*fourTimes, uint64(uint16(r.ports))*fourTimes
	protocol, direction := uint32(uint8(r.kind))*bytes, uint32(r.kind>>8)*bytes
	for i := o.n; i < o.n+n; i += fewRows {
		e := binary.NativeEndian
		e.PutUint64(o.src[4*i:], src)
		e.PutUint64(o.src[4*i+8:], src)
		e.PutUint64(o.dst[4*i:], dst)
		e.PutUint64(o.dst[4*i+8:], dst)
		e.PutUint64(o.srcPort[2*i:], srcPort)
		e.PutUint64(o.dstPort[2*i:], dstPort)
		e.PutUint32(o.protocol[i:], protocol)
		e.PutUint32(o.direction[i:], direction)
		clear(o.others[i : i+fewRows])
	}
	o.others[o.n] = uint8((uint64(other) + math.MaxUint32) >> 32) // 1, or 0
}

// fewRows is how many places are written at once: how many there are nobody could foresee.
const fewRows = 4

// copy copies the rows of the cursor that have their places.
func (o *output) copy(c *cursor) {
	to := c.to
	if len(to) == 0 {
		return
	}
	o.copyRows(c, to)
	o.copyCounters(c, to)
	o.copyOrigins(c, to)
	c.sent, c.to = c.at, to[:0]
}

// copyRows copies what each row has for itself. That all columns have one length spares a
// look at each, here and below.
func (o *output) copyRows(c *cursor, to []uint32) {
	n, all := len(to), o.cap
	time, record, offset := c.time[c.sent:][:n], c.record[c.sent:][:n], c.offset[c.sent:][:n]
	times, records, offsets := o.time[:all], o.record[:all], o.offset[:all]
	for i, place := range to {
		times[place], records[place], offsets[place] = time[i], record[i], offset[i]
	}
	state, flag := c.state[c.sent:][:n], c.flags[c.sent:][:n]
	states, flags := o.state[:all], o.flags[:all]
	for i, place := range to {
		states[place], flags[place] = state[i], flag[i]
	}
}

// copyCounters copies the counters of rows.
func (o *output) copyCounters(c *cursor, to []uint32) {
	n, all := len(c.counters[0]), o.cap
	v0, v1, v2, v3 := c.counters[0], c.counters[1][:n], c.counters[2][:n], c.counters[3][:n]
	o0, o1, o2, o3 := o.counters[0][:all], o.counters[1][:all], o.counters[2][:all], o.counters[3][:all]
	counted := c.counted[c.sent:][:len(to)]
	for i, place := range to {
		at := counted[i]
		o0[place], o1[place], o2[place], o3[place] = v0[at], v1[at], v2[at], v3[at]
	}
}

// copyOrigins copies the texts that rows have by their origin.
func (o *output) copyOrigins(c *cursor, to []uint32) {
	origins := c.origin[c.sent:][:len(to)]
	all := o.cap
	nic, encryption, rule := o.texts[dictNIC].codes[:all], o.texts[dictEncryption].codes[:all], o.texts[dictRule].codes[:all]
	acl, blob := o.texts[dictACL].codes[:all], o.texts[dictBlob].codes[:all]
	for i, place := range to {
		s := &c.toOrigin[origins[i]]
		if s.round != o.round {
			*s = o.originCodes(c, origins[i])
		}
		nic[place], encryption[place], rule[place], acl[place], blob[place] = s.codes[0], s.codes[1], s.codes[2], s.codes[3], s.codes[4]
	}
}

// finish returns the batch, of at least one row. The caller MUST Release it.
func (o *output) finish() *flow.Batch {
	any := uint8(0)
	for _, f := range o.flags[:o.n] {
		any |= f
	}
	o.anyFlag = any
	addresses := o.addresses.array()
	defer addresses.Release()
	cols := make([]arrow.Array, numColumns)
	for col := range cols {
		cols[col] = o.column(col, addresses)
		defer cols[col].Release()
	}
	rec := array.NewRecord(flow.Schema, cols, int64(o.n))
	defer rec.Release()
	return flow.Assemble(rec, flow.Dictionaries{
		Addresses: o.addresses.list(), Growing: o.addresses.dictionary, NIC: slices.Clone(o.texts[dictNIC].list), Encryption: slices.Clone(o.texts[dictEncryption].list),
		Rule: slices.Clone(o.texts[dictRule].list), ACL: slices.Clone(o.texts[dictACL].list), Blob: slices.Clone(o.texts[dictBlob].list),
	}, o.follows())
}

// follows says for each row whether it has the five-tuple, direction and NIC of the row
// before it. Each NIC has one code.
func (o *output) follows() []bool {
	out := make([]bool, o.n)
	others, nic := o.others[:o.n], o.texts[dictNIC].codes[:o.n]
	for i := 1; i < len(out); i++ {
		out[i] = uint32(others[i])|(nic[i]^nic[i-1]) == 0
	}
	return out
}

// column takes over the column's buffer.
func (o *output) column(col int, addresses arrow.Array) arrow.Array {
	b := o.data[col]
	defer b.Release()
	b.ResizeNoShrink(dataSize(col, o.n))
	if col == flow.ColAllowed {
		setBits(b.Bytes(), o.flags[:o.n], flagAllowed)
	}
	t := flow.Schema.Field(col).Type
	var valid *memory.Buffer
	nulls := 0
	if k, ok := counterOf(col); ok {
		if valid, nulls = o.validity(k); valid != nil {
			defer valid.Release()
		}
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
	values := o.texts[dictionaryID(col)].array(o.mem)
	defer values.Release()
	return array.NewDictionaryArray(t, codes, values)
}

// validity is that of a counter: nil where none is null. The caller MUST release it.
func (o *output) validity(k int) (*memory.Buffer, int) {
	if o.anyFlag>>k&1 == 0 {
		return nil, 0
	}
	valid := memory.NewResizableBuffer(o.columns)
	valid.Resize((o.n + 7) / 8)
	nulls := setBits(valid.Bytes(), o.flags[:o.n], 1<<k)
	for i := range valid.Bytes() {
		valid.Bytes()[i] ^= 0xff
	}
	return valid, nulls
}

// setBits sets a bit for each row: whether it has a flag. It returns how many have.
func setBits(into []byte, flags []uint8, flag uint8) (rows int) {
	shift := bits.TrailingZeros8(flag)
	for ; len(flags) >= 8; into, flags = into[1:], flags[8:] {
		one := binary.LittleEndian.Uint64(flags) >> shift & 0x0101010101010101
		into[0] = byte(one * 0x0102040810204080 >> 56) // bit 8i to bit 56+i
		rows += bits.OnesCount8(into[0])
	}
	if len(flags) > 0 {
		into[0] = 0
		for i, f := range flags {
			into[0] |= f >> shift & 1 << i
		}
		rows += bits.OnesCount8(into[0])
	}
	return rows
}
