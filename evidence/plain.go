package evidence

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/ipc"
	"github.com/apache/arrow/go/v17/arrow/memory"
	"github.com/apache/arrow/go/v17/parquet"
	"github.com/apache/arrow/go/v17/parquet/compress"
	"github.com/apache/arrow/go/v17/parquet/pqarrow"

	"github.com/whichpod/whichpod/flow"
	"github.com/whichpod/whichpod/query"
)

// PlainRow is a row as its log has it, with the names and nulls of [Row].
type PlainRow struct {
	Time            string  `json:"time"`
	NIC             *string `json:"nic"`
	Direction       *string `json:"direction"`
	State           string  `json:"state"`
	SrcIP           string  `json:"src_ip"`
	SrcPort         uint16  `json:"src_port"`
	DstIP           *string `json:"dst_ip"`
	DstPort         uint16  `json:"dst_port"`
	Protocol        uint8   `json:"protocol"`
	Encryption      *string `json:"encryption"`
	Allowed         bool    `json:"allowed"`
	Rule            *string `json:"rule"`
	ACL             *string `json:"acl"`
	PacketsSent     *uint64 `json:"packets_sent"`
	BytesSent       *uint64 `json:"bytes_sent"`
	PacketsReceived *uint64 `json:"packets_received"`
	BytesReceived   *uint64 `json:"bytes_received"`
	RecordTime      string  `json:"record_time"` // of the enclosing record: when the row was logged
	Blob            string  `json:"blob"`
	Offset          int64   `json:"offset"`
}

// BatchWriter writes the rows of flow batches in one format.
type BatchWriter interface {
	// Write writes all rows. It keeps nothing of the batch.
	Write(b *flow.Batch) error
	// Close completes the output. It does not close the writer below.
	Close() error
}

// PlainFormats of rows as their log has them, as the command line names them.
func PlainFormats() []string { return []string{"arrow", "parquet", "jsonl"} }

// NewBatchWriter returns a writer of the format to w: an Arrow IPC stream, Parquet or
// JSON lines. mem is what Arrow data is allocated from. Texts are plain columns, not
// dictionaries, as not all readers take one that changes from batch to batch.
func NewBatchWriter(w io.Writer, format string, mem memory.Allocator) (BatchWriter, error) {
	switch format {
	case "jsonl":
		return newPlainLines(w), nil
	case "arrow":
		return newPlainArrow(w, mem), nil
	case "parquet":
		return newPlainParquet(w, mem)
	default:
		return nil, fmt.Errorf("format is %q, want %s", format, strings.Join(PlainFormats(), ", "))
	}
}

// plainLines writes JSON lines.
type plainLines struct {
	w   *bufio.Writer
	enc *json.Encoder
}

func newPlainLines(w io.Writer) *plainLines {
	b := bufio.NewWriterSize(w, 1<<16)
	enc := json.NewEncoder(b)
	enc.SetEscapeHTML(false)
	return &plainLines{b, enc}
}

func (l *plainLines) Write(b *flow.Batch) error {
	for i := range b.Len() {
		r := b.Row(i)
		row := PlainRow{
			Time: query.Time(r.Time).String(), NIC: text(r.NIC), Direction: letter(r.Direction), State: string(r.State),
			SrcIP: r.Src.String(), SrcPort: r.SrcPort, DstIP: destination(&r), DstPort: r.DstPort, Protocol: r.Protocol,
			Encryption: text(r.Encryption), Allowed: r.Allowed, Rule: text(r.Rule), ACL: text(r.ACL),
			PacketsSent:     counter(&r.Counters, flow.NullPacketsSent, r.Counters.PacketsSent),
			BytesSent:       counter(&r.Counters, flow.NullBytesSent, r.Counters.BytesSent),
			PacketsReceived: counter(&r.Counters, flow.NullPacketsReceived, r.Counters.PacketsReceived),
			BytesReceived:   counter(&r.Counters, flow.NullBytesReceived, r.Counters.BytesReceived),
			RecordTime:      query.Time(r.RecordTime).String(), Blob: r.Blob, Offset: r.Offset,
		}
		if err := l.enc.Encode(&row); err != nil {
			return fmt.Errorf("write JSON line: %w", err)
		}
	}
	return nil
}

func (l *plainLines) Close() error { return l.w.Flush() }

// plainSchema has the fields of PlainRow; the times are timestamps.
var plainSchema = arrow.NewSchema([]arrow.Field{
	{Name: "time", Type: plainTime},
	{Name: "nic", Type: arrow.BinaryTypes.String, Nullable: true},
	{Name: "direction", Type: arrow.BinaryTypes.String, Nullable: true},
	{Name: "state", Type: arrow.BinaryTypes.String},
	{Name: "src_ip", Type: arrow.BinaryTypes.String},
	{Name: "src_port", Type: arrow.PrimitiveTypes.Uint16},
	{Name: "dst_ip", Type: arrow.BinaryTypes.String, Nullable: true},
	{Name: "dst_port", Type: arrow.PrimitiveTypes.Uint16},
	{Name: "protocol", Type: arrow.PrimitiveTypes.Uint8},
	{Name: "encryption", Type: arrow.BinaryTypes.String, Nullable: true},
	{Name: "allowed", Type: arrow.FixedWidthTypes.Boolean},
	{Name: "rule", Type: arrow.BinaryTypes.String, Nullable: true},
	{Name: "acl", Type: arrow.BinaryTypes.String, Nullable: true},
	{Name: "packets_sent", Type: arrow.PrimitiveTypes.Uint64, Nullable: true},
	{Name: "bytes_sent", Type: arrow.PrimitiveTypes.Uint64, Nullable: true},
	{Name: "packets_received", Type: arrow.PrimitiveTypes.Uint64, Nullable: true},
	{Name: "bytes_received", Type: arrow.PrimitiveTypes.Uint64, Nullable: true},
	{Name: "record_time", Type: plainTime},
	{Name: "blob", Type: arrow.BinaryTypes.String},
	{Name: "offset", Type: arrow.PrimitiveTypes.Int64},
}, nil)

var plainTime = &arrow.TimestampType{Unit: arrow.Millisecond, TimeZone: "UTC"}

// plainBuilder makes records of plainSchema.
type plainBuilder struct{ *array.RecordBuilder }

// record returns the rows of a batch. The caller MUST Release it.
func (p plainBuilder) record(b *flow.Batch) arrow.Record {
	for i := range b.Len() {
		r := b.Row(i)
		next := 0
		field := func() array.Builder {
			next++
			return p.Field(next - 1)
		}
		field().(*array.TimestampBuilder).Append(arrow.Timestamp(r.Time))
		appendText(field(), text(r.NIC))
		appendText(field(), letter(r.Direction))
		field().(*array.StringBuilder).Append(string(r.State))
		field().(*array.StringBuilder).Append(r.Src.String())
		field().(*array.Uint16Builder).Append(r.SrcPort)
		appendText(field(), destination(&r))
		field().(*array.Uint16Builder).Append(r.DstPort)
		field().(*array.Uint8Builder).Append(r.Protocol)
		appendText(field(), text(r.Encryption))
		field().(*array.BooleanBuilder).Append(r.Allowed)
		appendText(field(), text(r.Rule))
		appendText(field(), text(r.ACL))
		for k, v := range []uint64{r.Counters.PacketsSent, r.Counters.BytesSent, r.Counters.PacketsReceived, r.Counters.BytesReceived} {
			if c := field().(*array.Uint64Builder); r.Counters.Null>>k&1 == 1 {
				c.AppendNull()
			} else {
				c.Append(v)
			}
		}
		field().(*array.TimestampBuilder).Append(arrow.Timestamp(r.RecordTime))
		field().(*array.StringBuilder).Append(r.Blob)
		field().(*array.Int64Builder).Append(r.Offset)
	}
	return p.NewRecord()
}

// plainArrow writes an Arrow IPC stream, a record batch a batch.
type plainArrow struct {
	builder plainBuilder
	w       *ipc.Writer
}

func newPlainArrow(w io.Writer, mem memory.Allocator) *plainArrow {
	return &plainArrow{plainBuilder{array.NewRecordBuilder(mem, plainSchema)}, ipc.NewWriter(w, ipc.WithSchema(plainSchema), ipc.WithAllocator(mem))}
}

func (a *plainArrow) Write(b *flow.Batch) error {
	rec := a.builder.record(b)
	defer rec.Release()
	if err := a.w.Write(rec); err != nil {
		return fmt.Errorf("write Arrow batch: %w", err)
	}
	return nil
}

// Close writes the schema too where there was no row.
func (a *plainArrow) Close() error {
	defer a.builder.Release()
	if err := a.w.Close(); err != nil {
		return fmt.Errorf("write Arrow end: %w", err)
	}
	return nil
}

// plainParquet writes Parquet, zstd-compressed.
type plainParquet struct {
	builder plainBuilder
	out     *sink
	file    *pqarrow.FileWriter
}

func newPlainParquet(w io.Writer, mem memory.Allocator) (*plainParquet, error) {
	props := parquet.NewWriterProperties(parquet.WithCompression(compress.Codecs.Zstd), parquet.WithAllocator(mem),
		parquet.WithMaxRowGroupLength(rowGroupRows), parquet.WithCreatedBy("whichpod"))
	out := &sink{w: w}
	file, err := pqarrow.NewFileWriter(plainSchema, out, props, pqarrow.NewArrowWriterProperties(pqarrow.WithAllocator(mem)))
	if err != nil {
		return nil, fmt.Errorf("write Parquet: %w", err)
	}
	return &plainParquet{plainBuilder{array.NewRecordBuilder(mem, plainSchema)}, out, file}, nil
}

func (p *plainParquet) Write(b *flow.Batch) error {
	rec := p.builder.record(b)
	defer rec.Release()
	if err := errors.Join(p.file.WriteBuffered(rec), p.out.err); err != nil {
		return fmt.Errorf("write Parquet row group: %w", err)
	}
	return nil
}

func (p *plainParquet) Close() error {
	defer p.builder.Release()
	if err := errors.Join(p.file.Close(), p.out.err); err != nil {
		return fmt.Errorf("write Parquet footer: %w", err)
	}
	return nil
}

// letter is a direction, or nil without an interface.
func letter(b byte) *string {
	if b == 0 {
		return nil
	}
	return text(string(b))
}

// destination is the address of the other end, or nil where the log has only a name.
func destination(r *flow.Row) *string {
	if r.Dst == flow.Unknown {
		return nil
	}
	return text(r.Dst.String())
}

// sink keeps the first error of a writer and takes the rest for written: arrow panics
// where it can not write a file's first bytes. It hides the Close of the writer, which
// arrow's file writer would call.
type sink struct {
	w   io.Writer
	err error
}

func (s *sink) Write(p []byte) (int, error) {
	if s.err == nil {
		_, s.err = s.w.Write(p)
	}
	return len(p), nil
}

func appendText(to array.Builder, v *string) {
	if b := to.(*array.StringBuilder); v == nil {
		b.AppendNull()
	} else {
		b.Append(*v)
	}
}
