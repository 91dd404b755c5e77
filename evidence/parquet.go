package evidence

import (
	"errors"
	"fmt"
	"io"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/memory"
	"github.com/apache/arrow/go/v17/parquet"
	"github.com/apache/arrow/go/v17/parquet/compress"
	"github.com/apache/arrow/go/v17/parquet/pqarrow"

	"github.com/whichpod/whichpod/query"
)

// rowGroupRows is how many rows are held in memory before they are written: about
// 40 MB, and as much again while they are encoded.
const rowGroupRows = 64 * 1024

// parquetSchema has the columns of Columns; time is a timestamp, candidates a list.
var parquetSchema = newParquetSchema()

func newParquetSchema() *arrow.Schema {
	types := map[string]arrow.DataType{
		"time":     &arrow.TimestampType{Unit: arrow.Millisecond, TimeZone: "UTC"},
		"src_port": arrow.PrimitiveTypes.Uint16, "dst_port": arrow.PrimitiveTypes.Uint16, "protocol": arrow.PrimitiveTypes.Uint8,
		"packets_sent": arrow.PrimitiveTypes.Uint64, "bytes_sent": arrow.PrimitiveTypes.Uint64,
		"packets_received": arrow.PrimitiveTypes.Uint64, "bytes_received": arrow.PrimitiveTypes.Uint64,
		"offset":         arrow.PrimitiveTypes.Int64,
		"src_candidates": arrow.ListOf(arrow.BinaryTypes.String), "dst_candidates": arrow.ListOf(arrow.BinaryTypes.String),
	}
	required := map[string]bool{"src_verdict": true, "blob": true, "offset": true, "time": true,
		"state": true, "src_ip": true, "src_port": true, "dst_port": true, "protocol": true}
	fields := make([]arrow.Field, len(Columns))
	for i, name := range Columns {
		t := types[name]
		if t == nil {
			t = arrow.BinaryTypes.String
		}
		fields[i] = arrow.Field{Name: name, Type: t, Nullable: !required[name]}
	}
	return arrow.NewSchema(fields, nil)
}

// columnar writes Parquet, zstd-compressed.
type columnar struct {
	out     *sink
	file    *pqarrow.FileWriter
	builder *array.RecordBuilder
	ends    ends
	row     Row
	rows    int
}

func newParquet(w io.Writer, mem memory.Allocator) (*columnar, error) {
	props := parquet.NewWriterProperties(parquet.WithCompression(compress.Codecs.Zstd), parquet.WithAllocator(mem),
		parquet.WithMaxRowGroupLength(rowGroupRows), parquet.WithCreatedBy("whichpod"))
	out := &sink{w: w}
	file, err := pqarrow.NewFileWriter(parquetSchema, out, props, pqarrow.NewArrowWriterProperties(pqarrow.WithAllocator(mem)))
	if err != nil {
		return nil, fmt.Errorf("write Parquet: %w", err)
	}
	return &columnar{out: out, file: file, builder: array.NewRecordBuilder(mem, parquetSchema), ends: make(ends)}, nil
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

func (c *columnar) Write(a query.Attributed, keep func(int) bool) error {
	for i := range a.Len() {
		if !keep(i) {
			continue
		}
		c.row.fill(a, i, c.ends)
		c.append(int64(a.Time[i]))
		if c.rows++; c.rows == rowGroupRows {
			if err := c.flush(); err != nil {
				return err
			}
		}
	}
	return nil
}

func (c *columnar) append(time int64) {
	r, next := &c.row, 0
	field := func() array.Builder {
		b := c.builder.Field(next)
		next++
		return b
	}
	text := func(values ...string) {
		for _, v := range values {
			field().(*array.StringBuilder).Append(v)
		}
	}
	field().(*array.TimestampBuilder).Append(arrow.Timestamp(time))
	appendText(field(), r.NIC)
	appendText(field(), r.Direction)
	text(r.State, r.SrcIP)
	field().(*array.Uint16Builder).Append(r.SrcPort)
	appendText(field(), r.DstIP)
	field().(*array.Uint16Builder).Append(r.DstPort)
	field().(*array.Uint8Builder).Append(r.Protocol)
	for _, v := range []*string{r.Encryption, r.Rule, r.ACL} {
		appendText(field(), v)
	}
	for _, v := range []*uint64{r.PacketsSent, r.BytesSent, r.PacketsReceived, r.BytesReceived} {
		if b := field().(*array.Uint64Builder); v == nil {
			b.AppendNull()
		} else {
			b.Append(*v)
		}
	}
	text(r.Blob)
	field().(*array.Int64Builder).Append(r.Offset)
	appendEnd(field, &r.SrcVerdict, []*string{r.SrcCluster, r.SrcNamespace, r.SrcPod, r.SrcPodUID, r.SrcNode}, r.SrcCandidates, r.SrcSource)
	appendEnd(field, r.DstVerdict, []*string{r.DstCluster, r.DstNamespace, r.DstPod, r.DstPodUID, r.DstNode}, r.DstCandidates, r.DstSource)
}

func appendEnd(field func() array.Builder, verdict *string, names []*string, candidates []string, source *string) {
	optional := func(v *string) { appendText(field(), v) }
	optional(verdict)
	for _, v := range names {
		optional(v)
	}
	list := field().(*array.ListBuilder)
	if candidates == nil {
		list.AppendNull()
	} else {
		list.Append(true)
		for _, uid := range candidates {
			list.ValueBuilder().(*array.StringBuilder).Append(uid)
		}
	}
	optional(source)
}

func appendText(to array.Builder, v *string) {
	if b := to.(*array.StringBuilder); v == nil {
		b.AppendNull()
	} else {
		b.Append(*v)
	}
}

func (c *columnar) flush() error {
	if c.rows == 0 {
		return nil
	}
	rec := c.builder.NewRecord()
	defer rec.Release()
	c.rows = 0
	if err := errors.Join(c.file.Write(rec), c.out.err); err != nil {
		return fmt.Errorf("write Parquet row group: %w", err)
	}
	return nil
}

func (c *columnar) Close() error {
	defer c.builder.Release()
	if err := c.flush(); err != nil {
		return err
	}
	if err := errors.Join(c.file.Close(), c.out.err); err != nil {
		return fmt.Errorf("write Parquet footer: %w", err)
	}
	return nil
}
