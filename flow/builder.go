package flow

import (
	"encoding/binary"
	"math/bits"
	"math/rand/v2"
	"net/netip"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/memory"
)

// MaxBatchRows bounds a batch: 16,384 rows take about 1.5 MB, so that a dozen
// batches in flight stay far below the process's budget of 256 MiB.
const MaxBatchRows = 16384

// Builder collects rows into batches. Its dictionaries live for one batch.
//
// Rows are collected in plain slices, which the builder keeps from one batch to the
// next and which the garbage collector frees. A batch is a copy of them, of exactly
// its size and in memory of the builder's allocator.
type Builder struct {
	mem memory.Allocator
	n   int // rows; the slices of rows have one length, the builder's capacity

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

	batches uint32 // made so far
	group   Group
	filled  int // rows that have the columns of their group
}

// NewBuilder returns an empty builder whose batches allocate from mem. The caller
// MUST Release it.
func NewBuilder(mem memory.Allocator) *Builder {
	return &Builder{mem: mem, addresses: addressTable{seed: [2]uint64{rand.Uint64(), rand.Uint64()}}}
}

// Len is the number of rows appended since the last NewBatch.
func (b *Builder) Len() int { return b.n }

// Append adds a row. Addresses are stored unmapped and without a zone. The builder
// keeps the row's strings until NewBatch.
func (b *Builder) Append(r *Row) {
	b.fill()
	i := b.n
	if i == len(b.time) {
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

// grow doubles the capacity, from a size that small blobs do not outgrow.
func (b *Builder) grow() {
	n := max(512, 2*len(b.time))
	for _, s := range []*[]int64{&b.time, &b.recordTime, &b.offset} {
		*s = resized(*s, n)
	}
	for _, s := range []*[]uint8{&b.direction, &b.state, &b.protocol} {
		*s = resized(*s, n)
	}
	for _, s := range []*[]uint16{&b.srcPort, &b.dstPort} {
		*s = resized(*s, n)
	}
	for _, s := range []*[]uint32{&b.src, &b.dst, &b.nic.codes, &b.encryption.codes, &b.rule.codes, &b.acl.codes, &b.blob.codes} {
		*s = resized(*s, n)
	}
	for i := range b.counters {
		b.counters[i] = resized(b.counters[i], n)
	}
	b.nulls = resized(b.nulls, n)
	b.allowed = resized(b.allowed, n/8)
}

func resized[T any](s []T, n int) []T {
	out := make([]T, n)
	copy(out, s)
	return out
}

// NewBatch returns the rows appended so far, in that order, and empties the
// builder. It returns nil where there are none. The caller MUST Release the batch.
func (b *Builder) NewBatch() *Batch {
	b.fill()
	n := b.n
	if n == 0 {
		b.reset()
		return nil
	}
	cols := make([]arrow.Array, numColumns)
	addresses := b.addresses.take(b.mem)
	defer addresses.Release()
	cols[ColTime] = copied(b.mem, millis, b.time[:n])
	cols[ColNIC] = b.nic.take(b.mem, n)
	cols[ColDirection] = copied(b.mem, arrow.PrimitiveTypes.Uint8, b.direction[:n])
	cols[ColState] = copied(b.mem, arrow.PrimitiveTypes.Uint8, b.state[:n])
	cols[ColSrc] = dictionaryArray(address, copied(b.mem, address.IndexType, b.src[:n]), addresses)
	cols[ColDst] = dictionaryArray(address, copied(b.mem, address.IndexType, b.dst[:n]), addresses)
	cols[ColSrcPort] = copied(b.mem, arrow.PrimitiveTypes.Uint16, b.srcPort[:n])
	cols[ColDstPort] = copied(b.mem, arrow.PrimitiveTypes.Uint16, b.dstPort[:n])
	cols[ColProtocol] = copied(b.mem, arrow.PrimitiveTypes.Uint8, b.protocol[:n])
	cols[ColEncryption] = b.encryption.take(b.mem, n)
	cols[ColAllowed] = newArray(arrow.FixedWidthTypes.Boolean, n, 0, nil, buffer(b.mem, b.allowed[:(n+7)/8]))
	cols[ColRule] = b.rule.take(b.mem, n)
	cols[ColACL] = b.acl.take(b.mem, n)
	for k := range b.counters {
		cols[ColPacketsSent+k] = b.counter(k)
	}
	cols[ColRecordTime] = copied(b.mem, millis, b.recordTime[:n])
	cols[ColBlob] = b.blob.take(b.mem, n)
	cols[ColOffset] = copied(b.mem, arrow.PrimitiveTypes.Int64, b.offset[:n])
	b.reset()
	rec := array.NewRecord(Schema, cols, int64(n))
	defer rec.Release()
	for _, c := range cols {
		c.Release()
	}
	batch, err := NewBatch(rec)
	if err != nil {
		panic(err) // our own bug: the columns above are made for Schema
	}
	return batch
}

// counter makes counter column k. It has a validity only where there are nulls.
func (b *Builder) counter(k int) arrow.Array {
	values := buffer(b.mem, arrow.Uint64Traits.CastToBytes(b.counters[k][:b.n]))
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

// reset forgets the rows and the dictionaries.
func (b *Builder) reset() {
	b.addresses.reset()
	for _, c := range []*textColumnBuilder{&b.nic, &b.encryption, &b.rule, &b.acl, &b.blob} {
		c.reset()
	}
	clear(b.allowed[:(b.n+7)/8])
	b.n, b.filled, b.anyNull = 0, 0, 0
	b.batches++
}

// Release drops what was appended and not yet returned. The builder holds no memory
// of its allocator; Release is there so that it may.
func (b *Builder) Release() { *b = Builder{} }

// textColumnBuilder builds a dictionary column. Most rows repeat the value of the row
// before, which is compared first.
type textColumnBuilder struct {
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

// take returns the column's first n rows. The caller MUST Release the array.
func (b *textColumnBuilder) take(mem memory.Allocator, n int) arrow.Array {
	var texts []byte
	offsets := make([]int32, 1, 1+len(b.values))
	for _, s := range b.values {
		texts = append(texts, s...)
		offsets = append(offsets, int32(len(texts)))
	}
	values := newArray(text.ValueType, len(b.values), 0, nil, buffer(mem, arrow.Int32Traits.CastToBytes(offsets)), buffer(mem, texts))
	defer values.Release()
	return dictionaryArray(text, copied(mem, text.IndexType, b.codes[:n]), values)
}

func (b *textColumnBuilder) reset() {
	clear(b.values) // lets go of the strings
	clear(b.code)
	b.values, b.last = b.values[:0], ""
}

// addressTable gives each address of a batch a code, in order of appearance: a hash
// table with open addressing, at most half full. Two look-ups a row make it worth
// being faster than a map. Whoever sends packets to a cluster chooses addresses, so
// the hash is seeded.
type addressTable struct {
	values [][16]byte // by code
	known  int        // of values that are in slots; the others follow when one is looked up
	slots  []uint32   // code + 1, or 0; a power of two
	seed   [2]uint64
}

// add gives a new address its code.
func (t *addressTable) add(v [16]byte) uint32 {
	t.values = append(t.values, v)
	return uint32(len(t.values) - 1)
}

func (t *addressTable) code(a netip.Addr) uint32 {
	if t.known < len(t.values) {
		t.index()
	}
	v := a.As16()
	mask := uint64(len(t.slots) - 1)
	if 2*len(t.values) >= len(t.slots) {
		mask = t.grow()
	}
	i := t.hash(&v) & mask
	for ; t.slots[i] != 0; i = (i + 1) & mask {
		if c := t.slots[i] - 1; t.values[c] == v {
			return c
		}
	}
	code := t.add(v)
	t.slots[i], t.known = code+1, len(t.values)
	return code
}

func (t *addressTable) hash(v *[16]byte) uint64 {
	high, low := bits.Mul64(binary.LittleEndian.Uint64(v[:8])^t.seed[0], binary.LittleEndian.Uint64(v[8:])^t.seed[1])
	return high ^ low
}

// grow doubles the table and returns its new mask.
func (t *addressTable) grow() uint64 {
	t.slots = make([]uint32, max(1024, 2*len(t.slots)))
	t.known = 0
	t.index()
	return uint64(len(t.slots) - 1)
}

// index puts those in slots that were added.
func (t *addressTable) index() {
	if 2*len(t.values) > len(t.slots) {
		t.grow()
		return
	}
	mask := uint64(len(t.slots) - 1)
	for ; t.known < len(t.values); t.known++ {
		i := t.hash(&t.values[t.known]) & mask
		for t.slots[i] != 0 {
			i = (i + 1) & mask
		}
		t.slots[i] = uint32(t.known) + 1
	}
}

// take returns the addresses as an array. The caller MUST Release it.
func (t *addressTable) take(mem memory.Allocator) arrow.Array {
	buf := memory.NewResizableBuffer(mem)
	buf.Resize(16 * len(t.values))
	for i, v := range t.values {
		copy(buf.Bytes()[16*i:], v[:])
	}
	return newArray(address.ValueType, len(t.values), 0, nil, buf)
}

func (t *addressTable) reset() {
	if t.known > 0 {
		clear(t.slots)
	}
	t.values, t.known = t.values[:0], 0
}

// copied returns an array of values, in memory of mem, without nulls.
func copied[T arrow.FixedWidthType](mem memory.Allocator, t arrow.DataType, values []T) arrow.Array {
	return newArray(t, len(values), 0, nil, buffer(mem, arrow.GetBytes(values)))
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
