package flow

import (
	"fmt"
	"net/netip"
	"sync"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
)

// Batch is an immutable, non-empty set of rows: an Arrow record of [Schema] with
// its columns at hand as Go slices. The slices are views into the record: they
// MUST NOT be written to, nor used after Release.
type Batch struct {
	record arrow.Record

	Time       []arrow.Timestamp
	Direction  []uint8
	State      []uint8
	Src, Dst   []uint32 // index into Addresses
	SrcPort    []uint16
	DstPort    []uint16
	Protocol   []uint8
	RecordTime []arrow.Timestamp
	Offset     []int64

	Addresses  []netip.Addr // the dictionary of Src and Dst; each entry occurs once
	Dictionary *Dictionary  // which one that is; nil where it is of this batch only

	follow func() []bool

	nic, encryption, rule, acl, blob textColumn
	allowed                          *array.Boolean
	counters                         [4]*array.Uint64
}

// NewBatch wraps a record of unknown origin, and looks at each of its rows; tests hold
// what [Assemble] makes against it. It takes a reference of its own: the caller keeps its
// reference and releases it as before. A record of another schema, with a null
// where none may be, without rows or with an index beyond its dictionary is an error.
func NewBatch(rec arrow.Record) (*Batch, error) {
	if !rec.Schema().Equal(Schema) {
		return nil, fmt.Errorf("read flow batch: schema is %v, want %v", rec.Schema(), Schema)
	}
	if rec.NumRows() == 0 {
		return nil, fmt.Errorf("read flow batch: no rows")
	}
	for i, col := range rec.Columns() {
		if col.NullN() > 0 && !Schema.Field(i).Nullable {
			return nil, fmt.Errorf("read flow batch: column %q has %d nulls, want none", Schema.Field(i).Name, col.NullN())
		}
	}
	b := &Batch{record: rec}
	b.view()
	for col, into := range map[int]*textColumn{ColNIC: &b.nic, ColEncryption: &b.encryption, ColRule: &b.rule, ColACL: &b.acl, ColBlob: &b.blob} {
		var err error
		if *into, err = newTextColumn(rec, col); err != nil {
			return nil, err
		}
	}
	if err := b.readAddresses(rec); err != nil {
		return nil, err
	}
	rec.Retain()
	return b, nil
}

// view sets the columns that are neither texts nor addresses.
func (b *Batch) view() {
	rec := b.record
	b.follow = sync.OnceValue(b.follows)
	b.Time = rec.Column(ColTime).(*array.Timestamp).TimestampValues()
	b.Direction = rec.Column(ColDirection).(*array.Uint8).Uint8Values()
	b.State = rec.Column(ColState).(*array.Uint8).Uint8Values()
	b.SrcPort = rec.Column(ColSrcPort).(*array.Uint16).Uint16Values()
	b.DstPort = rec.Column(ColDstPort).(*array.Uint16).Uint16Values()
	b.Protocol = rec.Column(ColProtocol).(*array.Uint8).Uint8Values()
	b.RecordTime = rec.Column(ColRecordTime).(*array.Timestamp).TimestampValues()
	b.Offset = rec.Column(ColOffset).(*array.Int64).Int64Values()
	b.allowed = rec.Column(ColAllowed).(*array.Boolean)
	for i := range b.counters {
		b.counters[i] = rec.Column(ColPacketsSent + i).(*array.Uint64)
	}
}

// readAddresses makes one dictionary of the two address columns. They share theirs
// where this package built the batch; a file may hold two.
func (b *Batch) readAddresses(rec arrow.Record) error {
	src := rec.Column(ColSrc).(*array.Dictionary)
	dst := rec.Column(ColDst).(*array.Dictionary)
	srcValues := src.Dictionary().(*array.FixedSizeBinary)
	dstValues := dst.Dictionary().(*array.FixedSizeBinary)
	var err error
	if b.Src, err = indices(src, "src_ip"); err != nil {
		return err
	}
	if b.Dst, err = indices(dst, "dst_ip"); err != nil {
		return err
	}
	b.Addresses = make([]netip.Addr, 0, srcValues.Len())
	for i := range srcValues.Len() {
		b.Addresses = append(b.Addresses, addressOf(srcValues.Value(i)))
	}
	if sameDictionary(srcValues, dstValues) {
		return nil
	}
	code := make(map[netip.Addr]uint32, len(b.Addresses))
	for i, a := range b.Addresses {
		code[a] = uint32(i)
	}
	remap := make([]uint32, dstValues.Len())
	for i := range remap {
		a := addressOf(dstValues.Value(i))
		c, ok := code[a]
		if !ok {
			c = uint32(len(b.Addresses))
			code[a], b.Addresses = c, append(b.Addresses, a)
		}
		remap[i] = c
	}
	own := make([]uint32, len(b.Dst))
	for i, c := range b.Dst {
		own[i] = remap[c]
	}
	b.Dst = own
	return nil
}

func sameDictionary(a, b *array.FixedSizeBinary) bool {
	return a == b || (a.Len() == b.Len() && array.Equal(a, b))
}

func addressOf(b []byte) netip.Addr { return netip.AddrFrom16([16]byte(b)).Unmap() }

// Len is the number of rows, at least one.
func (b *Batch) Len() int { return len(b.Time) }

// Record is the Arrow record behind the batch. It stays valid until Release; a
// caller that keeps it longer MUST Retain it.
func (b *Batch) Record() arrow.Record { return b.record }

// Retain adds a reference.
func (b *Batch) Retain() { b.record.Retain() }

// Release drops a reference. After the last one, the batch MUST NOT be used.
func (b *Batch) Release() { b.record.Release() }

// NIC of row i.
func (b *Batch) NIC(i int) string { return b.nic.at(i) }

// NICs is the dictionary of the NIC column and, for each row, the index into it.
func (b *Batch) NICs() (values []string, codes []uint32) { return b.nic.values, b.nic.codes }

// Blob of row i.
func (b *Batch) Blob(i int) string { return b.blob.at(i) }

// Follows says for each row whether it has the five-tuple, direction and NIC of the row
// before it; of the first it says no. It is worked out once.
func (b *Batch) Follows() []bool { return b.follow() }

// follows compares all of the key at once, without a jump for each part of it.
func (b *Batch) follows() []bool {
	n := b.Len()
	out := make([]bool, n)
	src, dst, srcPort, dstPort, protocol, direction := b.Src[:n], b.Dst[:n], b.SrcPort[:n], b.DstPort[:n], b.Protocol[:n], b.Direction[:n]
	nic := b.nic.codes[:n]
	for i := 1; i < n; i++ {
		other := (src[i] ^ src[i-1]) | (dst[i] ^ dst[i-1]) | uint32((srcPort[i]^srcPort[i-1])|(dstPort[i]^dstPort[i-1])) |
			uint32((protocol[i]^protocol[i-1])|(direction[i]^direction[i-1]))
		out[i] = other|(nic[i]^nic[i-1]) == 0 || other == 0 && b.NIC(i) == b.NIC(i-1)
	}
	return out
}

// Counters of row i.
func (b *Batch) Counters(i int) Counters {
	var c Counters
	for k, into := range []*uint64{&c.PacketsSent, &c.BytesSent, &c.PacketsReceived, &c.BytesReceived} {
		if b.counters[k].IsNull(i) {
			c.Null |= 1 << k
		} else {
			*into = b.counters[k].Value(i)
		}
	}
	return c
}

// Row copies row i. Its strings stay valid after Release.
func (b *Batch) Row(i int) Row {
	return Row{
		Time: int64(b.Time[i]), NIC: b.nic.at(i), Direction: b.Direction[i], State: b.State[i],
		Src: b.Addresses[b.Src[i]], Dst: b.Addresses[b.Dst[i]], SrcPort: b.SrcPort[i], DstPort: b.DstPort[i],
		Protocol: b.Protocol[i], Encryption: b.encryption.at(i), Allowed: b.allowed.Value(i),
		Rule: b.rule.at(i), ACL: b.acl.at(i), Counters: b.Counters(i),
		RecordTime: int64(b.RecordTime[i]), Blob: b.blob.at(i), Offset: b.Offset[i],
	}
}

// textColumn is a dictionary column with its values as Go strings.
type textColumn struct {
	values []string
	codes  []uint32
}

func newTextColumn(rec arrow.Record, col int) (textColumn, error) {
	d := rec.Column(col).(*array.Dictionary)
	codes, err := indices(d, Schema.Field(col).Name)
	if err != nil {
		return textColumn{}, err
	}
	dict := d.Dictionary().(*array.String)
	c := textColumn{values: make([]string, dict.Len()), codes: codes}
	for i := range c.values {
		c.values[i] = string([]byte(dict.Value(i))) // a copy: it outlives the record
	}
	return c, nil
}

func (c *textColumn) at(i int) string { return c.values[c.codes[i]] }

func indices(d *array.Dictionary, name string) ([]uint32, error) {
	codes := d.Indices().(*array.Uint32).Uint32Values()
	n := uint32(d.Dictionary().Len())
	for i, c := range codes {
		if c >= n {
			return nil, fmt.Errorf("read flow batch: column %q row %d has index %d, dictionary has %d entries", name, i, c, n)
		}
	}
	return codes, nil
}
