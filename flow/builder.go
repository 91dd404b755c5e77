package flow

import (
	"net/netip"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/memory"
)

// MaxBatchRows bounds a batch: 16,384 rows take about 1.5 MB, so that a dozen
// batches in flight stay far below the process's budget of 256 MiB.
const MaxBatchRows = 16384

// Builder collects rows into batches. Its dictionaries live for one batch.
type Builder struct {
	mem memory.Allocator

	time, recordTime *array.TimestampBuilder
	direction, state *array.Uint8Builder
	protocol         *array.Uint8Builder
	srcPort, dstPort *array.Uint16Builder
	allowed          *array.BooleanBuilder
	counters         [4]*array.Uint64Builder
	offset           *array.Int64Builder
	src, dst         *array.Uint32Builder

	addresses                        *array.FixedSizeBinaryBuilder
	addressCode                      map[netip.Addr]uint32
	nic, encryption, rule, acl, blob *textBuilder
	text                             []*textBuilder
}

// NewBuilder returns an empty builder that allocates from mem. The caller MUST
// Release it.
func NewBuilder(mem memory.Allocator) *Builder {
	b := &Builder{
		mem:         mem,
		time:        array.NewTimestampBuilder(mem, millis),
		recordTime:  array.NewTimestampBuilder(mem, millis),
		direction:   array.NewUint8Builder(mem),
		state:       array.NewUint8Builder(mem),
		protocol:    array.NewUint8Builder(mem),
		srcPort:     array.NewUint16Builder(mem),
		dstPort:     array.NewUint16Builder(mem),
		allowed:     array.NewBooleanBuilder(mem),
		offset:      array.NewInt64Builder(mem),
		src:         array.NewUint32Builder(mem),
		dst:         array.NewUint32Builder(mem),
		addresses:   array.NewFixedSizeBinaryBuilder(mem, &arrow.FixedSizeBinaryType{ByteWidth: 16}),
		addressCode: make(map[netip.Addr]uint32),
		nic:         newTextBuilder(mem),
		encryption:  newTextBuilder(mem),
		rule:        newTextBuilder(mem),
		acl:         newTextBuilder(mem),
		blob:        newTextBuilder(mem),
	}
	for i := range b.counters {
		b.counters[i] = array.NewUint64Builder(mem)
	}
	b.text = []*textBuilder{b.nic, b.encryption, b.rule, b.acl, b.blob}
	return b
}

// Len is the number of rows appended since the last NewBatch.
func (b *Builder) Len() int { return b.time.Len() }

// Append adds a row. Addresses are stored unmapped and without a zone. The builder
// keeps the row's strings until NewBatch.
func (b *Builder) Append(r *Row) {
	b.time.Append(arrow.Timestamp(r.Time))
	b.nic.append(r.NIC)
	b.direction.Append(r.Direction)
	b.state.Append(r.State)
	b.src.Append(b.code(r.Src))
	b.dst.Append(b.code(r.Dst))
	b.srcPort.Append(r.SrcPort)
	b.dstPort.Append(r.DstPort)
	b.protocol.Append(r.Protocol)
	b.encryption.append(r.Encryption)
	b.allowed.Append(r.Allowed)
	b.rule.append(r.Rule)
	b.acl.append(r.ACL)
	c := &r.Counters
	for i, v := range [4]uint64{c.PacketsSent, c.BytesSent, c.PacketsReceived, c.BytesReceived} {
		if c.Null&(1<<i) != 0 {
			b.counters[i].AppendNull()
		} else {
			b.counters[i].Append(v)
		}
	}
	b.recordTime.Append(arrow.Timestamp(r.RecordTime))
	b.blob.append(r.Blob)
	b.offset.Append(r.Offset)
}

func (b *Builder) code(a netip.Addr) uint32 {
	if c, ok := b.addressCode[a]; ok {
		return c
	}
	c := uint32(b.addresses.Len())
	b.addressCode[a] = c
	v := a.As16()
	b.addresses.Append(v[:])
	return c
}

// NewBatch returns the rows appended so far, in that order, and empties the
// builder. It returns nil where there are none. The caller MUST Release the batch.
func (b *Builder) NewBatch() *Batch {
	n := b.Len()
	if n == 0 {
		return nil
	}
	cols := make([]arrow.Array, numColumns)
	addresses := b.addresses.NewArray()
	defer addresses.Release()
	clear(b.addressCode)
	cols[ColTime] = b.time.NewArray()
	cols[ColNIC] = b.nic.newArray()
	cols[ColDirection] = b.direction.NewArray()
	cols[ColState] = b.state.NewArray()
	cols[ColSrc] = dictionaryArray(address, b.src.NewArray(), addresses)
	cols[ColDst] = dictionaryArray(address, b.dst.NewArray(), addresses)
	cols[ColSrcPort] = b.srcPort.NewArray()
	cols[ColDstPort] = b.dstPort.NewArray()
	cols[ColProtocol] = b.protocol.NewArray()
	cols[ColEncryption] = b.encryption.newArray()
	cols[ColAllowed] = b.allowed.NewArray()
	cols[ColRule] = b.rule.newArray()
	cols[ColACL] = b.acl.newArray()
	for i := range b.counters {
		cols[ColPacketsSent+i] = b.counters[i].NewArray()
	}
	cols[ColRecordTime] = b.recordTime.NewArray()
	cols[ColBlob] = b.blob.newArray()
	cols[ColOffset] = b.offset.NewArray()
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

// Release frees what was appended and not yet returned.
func (b *Builder) Release() {
	for _, x := range []array.Builder{b.time, b.recordTime, b.direction, b.state, b.protocol, b.srcPort, b.dstPort, b.allowed, b.offset, b.src, b.dst, b.addresses} {
		x.Release()
	}
	for _, x := range b.counters {
		x.Release()
	}
	for _, x := range b.text {
		x.codes.Release()
		x.values.Release()
	}
}

// textBuilder builds a dictionary column. Most rows repeat the value of the row
// before, which is compared first.
type textBuilder struct {
	codes  *array.Uint32Builder
	values *array.StringBuilder
	code   map[string]uint32

	last     string
	lastCode uint32
}

func newTextBuilder(mem memory.Allocator) *textBuilder {
	return &textBuilder{codes: array.NewUint32Builder(mem), values: array.NewStringBuilder(mem), code: make(map[string]uint32)}
}

func (b *textBuilder) append(s string) {
	if s == b.last && b.codes.Len() > 0 {
		b.codes.Append(b.lastCode)
		return
	}
	c, ok := b.code[s]
	if !ok {
		c = uint32(b.values.Len())
		b.code[s] = c
		b.values.Append(s)
	}
	b.last, b.lastCode = s, c
	b.codes.Append(c)
}

func (b *textBuilder) newArray() arrow.Array {
	values := b.values.NewArray()
	defer values.Release()
	clear(b.code)
	return dictionaryArray(text, b.codes.NewArray(), values)
}

// dictionaryArray takes over the reference to codes; values keeps its own.
func dictionaryArray(t arrow.DataType, codes, values arrow.Array) arrow.Array {
	defer codes.Release()
	return array.NewDictionaryArray(t, codes, values)
}
