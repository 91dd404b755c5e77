package flow

import (
	"math/bits"
	"slices"
	"unsafe"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/memory"
)

// MaxBatchRows bounds a batch: 16,384 rows take about 1.5 MB, so that a dozen
// batches in flight stay far below the process's budget of 256 MiB.
const MaxBatchRows = 16384

// Builder collects rows into batches. Its dictionary of addresses grows from one batch
// to the next, up to [DictionaryAddresses]; the others live for one batch.
//
// Rows are collected in memory of the builder's allocator, which their batch then
// takes over: it is copied only where a batch has more rows than the one before it.
type Builder struct {
	mem      memory.Allocator
	n        int                        // rows
	capacity int                        // of the columns below; 0 until a batch has its first row
	before   int                        // capacity that the rows of the batch before need
	buffers  [numColumns]*memory.Buffer // of the columns; nil where those of the batch have none

	time, recordTime, offset []int64
	direction, state         []uint8
	protocol                 []uint8
	srcPort, dstPort         []uint16
	src, dst                 []uint32
	counters                 [4][]uint64
	nulls                    []Nulls
	anyNull                  Nulls  // of all rows
	allowed                  []byte // a bit a row, clear where there is none yet

	addresses                        addressTable
	nic, encryption, rule, acl, blob textColumnBuilder

	group  Group
	filled int // rows that have the columns of their group
}

// NewBuilder returns an empty builder whose batches allocate from mem. The caller
// MUST Release it.
func NewBuilder(mem memory.Allocator) *Builder {
	b := &Builder{mem: mem, addresses: newAddressTable(mem)}
	for i, col := range [...]int{ColNIC, ColEncryption, ColRule, ColACL, ColBlob} {
		b.texts()[i].column = col
	}
	return b
}

// Len is the number of rows appended since the last NewBatch.
func (b *Builder) Len() int { return b.n }

// Append adds a row. Addresses are stored unmapped and without a zone. The builder
// keeps the row's strings until NewBatch.
func (b *Builder) Append(r *Row) {
	b.fill()
	i := b.n
	if i == b.capacity {
		b.grow()
	}
	b.n++
	b.filled = b.n
	b.time[i], b.recordTime[i], b.offset[i] = r.Time, r.RecordTime, r.Offset
	b.direction[i], b.state[i], b.protocol[i] = r.Direction, r.State, r.Protocol
	b.srcPort[i], b.dstPort[i] = r.SrcPort, r.DstPort
	b.src[i], b.dst[i] = b.addresses.code(r.Src), b.addresses.code(r.Dst)
	c := &r.Counters
	b.counters[0][i], b.counters[1][i] = c.PacketsSent, c.BytesSent
	b.counters[2][i], b.counters[3][i] = c.PacketsReceived, c.BytesReceived
	b.nulls[i] = c.Null
	b.anyNull |= c.Null
	if r.Allowed {
		b.allowed[i/8] |= 1 << (i % 8)
	}
	b.nic.set(i, r.NIC)
	b.encryption.set(i, r.Encryption)
	b.rule.set(i, r.Rule)
	b.acl.set(i, r.ACL)
	b.blob.set(i, r.Blob)
}

// grow doubles the capacity, from a size that small blobs do not outgrow, or takes that
// of the batch before.
func (b *Builder) grow() {
	n := max(512, 2*b.capacity)
	if b.capacity == 0 {
		n = max(n, b.before)
	}
	b.time = grown(b, ColTime, b.time, n)
	b.recordTime = grown(b, ColRecordTime, b.recordTime, n)
	b.offset = grown(b, ColOffset, b.offset, n)
	b.direction = grown(b, ColDirection, b.direction, n)
	b.state = grown(b, ColState, b.state, n)
	b.protocol = grown(b, ColProtocol, b.protocol, n)
	b.srcPort = grown(b, ColSrcPort, b.srcPort, n)
	b.dstPort = grown(b, ColDstPort, b.dstPort, n)
	b.src = grown(b, ColSrc, b.src, n)
	b.dst = grown(b, ColDst, b.dst, n)
	for _, t := range b.texts() {
		t.codes = grown(b, t.column, t.codes, n)
	}
	for k := range b.counters {
		b.counters[k] = grown(b, ColPacketsSent+k, b.counters[k], n)
	}
	b.nulls = append(b.nulls, make([]Nulls, max(0, n-len(b.nulls)))...)
	b.allowed = append(b.allowed, make([]byte, max(0, n/8-len(b.allowed)))...)
	b.capacity = n
}

// texts are the text columns.
func (b *Builder) texts() [5]*textColumnBuilder {
	return [...]*textColumnBuilder{&b.nic, &b.encryption, &b.rule, &b.acl, &b.blob}
}

// grown gives a column room for n rows and returns it.
func grown[T arrow.FixedWidthType](b *Builder, col int, values []T, n int) []T {
	var one T
	buf := memory.NewResizableBuffer(b.mem)
	buf.Resize(n * int(unsafe.Sizeof(one)))
	out := arrow.GetData[T](buf.Bytes())
	copy(out, values[:b.capacity])
	if b.capacity > 0 {
		b.buffers[col].Release()
	}
	b.buffers[col] = buf
	return out
}

// taken is the memory of a column's rows, which are the batch's from now on.
func (b *Builder) taken(col, bytes int) *memory.Buffer {
	buf := b.buffers[col]
	b.buffers[col] = nil
	buf.ResizeNoShrink(bytes)
	return buf
}

// NewBatch returns the rows appended so far, in that order, and empties the
// builder. It returns nil where there are none. The caller MUST Release the batch.
func (b *Builder) NewBatch() *Batch {
	b.fill()
	n := b.n
	if n == 0 {
		b.forget()
		return nil
	}
	addresses := b.addresses.array()
	defer addresses.Release()
	cols := make([]arrow.Array, numColumns)
	for col := range cols {
		switch t := Schema.Field(col).Type; col {
		case ColAllowed:
			cols[col] = newArray(t, n, 0, nil, buffer(b.mem, b.allowed[:(n+7)/8]))
		case ColPacketsSent, ColBytesSent, ColPacketsReceived, ColBytesReceived:
			cols[col] = b.counter(col - ColPacketsSent)
		case ColSrc, ColDst:
			cols[col] = dictionaryArray(t, b.codes(col), addresses)
		case ColNIC, ColEncryption, ColRule, ColACL, ColBlob:
		default:
			cols[col] = newArray(t, n, 0, nil, b.taken(col, n*t.(arrow.FixedWidthDataType).Bytes()))
		}
	}
	for _, t := range b.texts() {
		values := t.array(b.mem)
		cols[t.column] = dictionaryArray(text, b.codes(t.column), values)
		values.Release()
	}
	rec := array.NewRecord(Schema, cols, int64(n))
	defer rec.Release()
	for _, c := range cols {
		c.Release()
	}
	batch := Assemble(rec, Dictionaries{
		Addresses: slices.Clip(b.addresses.list), Growing: b.addresses.dictionary,
		NIC: slices.Clone(b.nic.values), Encryption: slices.Clone(b.encryption.values),
		Rule: slices.Clone(b.rule.values), ACL: slices.Clone(b.acl.values), Blob: slices.Clone(b.blob.values),
	}, nil)
	b.reset()
	return batch
}

// codes is the array of a dictionary column's codes.
func (b *Builder) codes(col int) arrow.Array {
	return newArray(arrow.PrimitiveTypes.Uint32, b.n, 0, nil, b.taken(col, 4*b.n))
}

// counter makes counter column k. It has a validity only where there are nulls.
func (b *Builder) counter(k int) arrow.Array {
	values := b.taken(ColPacketsSent+k, 8*b.n)
	if b.anyNull>>k&1 == 0 {
		return newArray(arrow.PrimitiveTypes.Uint64, b.n, 0, nil, values)
	}
	valid, nulls := make([]byte, (b.n+7)/8), 0
	for i, null := range b.nulls[:b.n] {
		null = null >> k & 1
		nulls += int(null)
		valid[i/8] |= byte(1-null) << (i % 8)
	}
	return newArray(arrow.PrimitiveTypes.Uint64, b.n, nulls, buffer(b.mem, valid), values)
}

// forget forgets the dictionaries, but for addresses that are few enough.
func (b *Builder) forget() {
	b.addresses.renew()
	for _, t := range b.texts() {
		t.reset()
	}
}

// reset forgets rows and dictionaries once the batch has them.
func (b *Builder) reset() {
	b.forget()
	clear(b.allowed[:(b.n+7)/8])
	b.before = 1 << bits.Len(uint(b.n-1))
	b.n, b.filled, b.capacity, b.anyNull = 0, 0, 0, 0
}

// Release frees what was appended and not yet returned, and the dictionary.
func (b *Builder) Release() {
	for _, buf := range b.buffers {
		if buf != nil {
			buf.Release()
		}
	}
	b.addresses.release()
	*b = Builder{}
}

// textColumnBuilder builds a dictionary column. Most rows repeat the value of the row
// before, which is compared first.
type textColumnBuilder struct {
	column int
	codes  []uint32
	values []string
	code   map[string]uint32

	last     string
	lastCode uint32
}

func (b *textColumnBuilder) set(i int, s string) { b.codes[i] = b.of(s) }

// of is the code of a value.
func (b *textColumnBuilder) of(s string) uint32 {
	if s != b.last || len(b.values) == 0 {
		b.find(s)
	}
	return b.lastCode
}

func (b *textColumnBuilder) find(s string) {
	c, ok := b.code[s]
	if !ok {
		if b.code == nil {
			b.code = make(map[string]uint32)
		}
		c = uint32(len(b.values))
		b.code[s] = c
		b.values = append(b.values, s)
	}
	b.last, b.lastCode = s, c
}

// array returns the values. The caller MUST Release it.
func (b *textColumnBuilder) array(mem memory.Allocator) arrow.Array {
	var texts []byte
	offsets := make([]int32, 1, 1+len(b.values))
	for _, s := range b.values {
		texts = append(texts, s...)
		offsets = append(offsets, int32(len(texts)))
	}
	return newArray(text.ValueType, len(b.values), 0, nil, buffer(mem, arrow.Int32Traits.CastToBytes(offsets)), buffer(mem, texts))
}

func (b *textColumnBuilder) reset() {
	clear(b.values) // lets go of the strings
	clear(b.code)
	b.values, b.last = b.values[:0], ""
}

// buffer returns a copy of raw in memory of mem. The caller MUST Release it.
func buffer(mem memory.Allocator, raw []byte) *memory.Buffer {
	buf := memory.NewResizableBuffer(mem)
	buf.Resize(len(raw))
	copy(buf.Bytes(), raw)
	return buf
}

// newArray takes over the references to the buffers, of which the first, the
// validity, may be nil. The caller MUST Release the array.
func newArray(t arrow.DataType, rows, nulls int, buffers ...*memory.Buffer) arrow.Array {
	data := array.NewData(t, rows, buffers, nil, nulls, 0)
	defer data.Release()
	for _, b := range buffers {
		if b != nil {
			b.Release()
		}
	}
	return array.MakeFromData(data)
}

// dictionaryArray takes over the reference to codes; values keeps its own.
func dictionaryArray(t arrow.DataType, codes, values arrow.Array) arrow.Array {
	defer codes.Release()
	return array.NewDictionaryArray(t, codes, values)
}
