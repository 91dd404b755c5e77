package evidence

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/memory"
	"github.com/apache/arrow/go/v17/parquet"
	"github.com/apache/arrow/go/v17/parquet/file"
	"github.com/apache/arrow/go/v17/parquet/pqarrow"

	"github.com/whichpod/whichpod/query"
)

// EachRow returns a writer that hands the rows which it is given to fn, as they would
// be exported. A row is valid during the call only.
func EachRow(fn func(*Row) error) RowWriter { return &rowCaller{fn: fn, ends: make(ends)} }

type rowCaller struct {
	fn   func(*Row) error
	ends ends
	row  Row
}

func (c *rowCaller) Write(a query.Attributed, rows []int32) error {
	for _, row := range rows {
		i := int(row)
		c.row.fill(a, i, c.ends)
		if err := c.fn(&c.row); err != nil {
			return err
		}
	}
	return nil
}

func (c *rowCaller) Close() error { return nil }

// RowReader reads rows that were written as Parquet. It is for one goroutine.
type RowReader struct {
	records pqarrow.RecordReader
	at      int // in the record at hand
	have    bool
	ended   bool
}

// readRows is how many rows are in memory at a time.
const readRows = 8192

// OpenRows opens Parquet with the columns of [Columns]; what it reads is checked
// against their types. The caller MUST Close it.
func OpenRows(r parquet.ReaderAtSeeker) (rr *RowReader, err error) {
	defer recovered(&err)
	f, err := file.NewParquetReader(r)
	if err != nil {
		return nil, fmt.Errorf("read rows: %w", err)
	}
	fr, err := pqarrow.NewFileReader(f, pqarrow.ArrowReadProperties{BatchSize: readRows}, memory.DefaultAllocator)
	if err != nil {
		return nil, fmt.Errorf("read rows: %w", err)
	}
	schema, err := fr.Schema()
	if err != nil {
		return nil, fmt.Errorf("read rows: %w", err)
	}
	if len(schema.Fields()) != len(Columns) {
		return nil, fmt.Errorf("read rows: %d columns, want %d", len(schema.Fields()), len(Columns))
	}
	for i, name := range Columns {
		got, want := schema.Field(i), parquetSchema.Field(i)
		if got.Name != name || got.Type.ID() != want.Type.ID() {
			return nil, fmt.Errorf("read rows: column %d is %s %s, want %s %s", i, got.Name, got.Type, name, want.Type)
		}
	}
	for i := range f.NumRowGroups() {
		if err := checkColumns(f, i); err != nil {
			return nil, fmt.Errorf("read rows: %w", err)
		}
	}
	records, err := fr.GetRecordReader(context.Background(), nil, nil)
	if err != nil {
		return nil, fmt.Errorf("read rows: %w", err)
	}
	return &RowReader{records: records}, nil
}

// checkColumns looks at what the footer says of a row group's columns. Arrow opens those
// of the first group in goroutines of its own, where nobody could recover from a panic.
func checkColumns(f *file.Reader, group int) error {
	for i := range Columns {
		if _, err := f.MetaData().RowGroup(group).ColumnChunk(i); err != nil {
			return err
		}
		if group == 0 {
			if _, err := f.RowGroup(group).GetColumnPageReader(i); err != nil {
				return err
			}
		}
	}
	return nil
}

// recovered makes an error of a panic: arrow panics on some bytes that are no Parquet.
func recovered(err *error) {
	if p := recover(); p != nil {
		*err = fmt.Errorf("read rows: no valid Parquet: %v", p)
	}
}

// Next reads the next row, or returns io.EOF. The row's texts stay valid.
func (r *RowReader) Next(row *Row) (err error) {
	defer recovered(&err)
	if r.ended {
		return io.EOF
	}
	for !r.have || r.at == int(r.records.Record().NumRows()) {
		if !r.records.Next() {
			r.ended = true
			if err := r.records.Err(); err != nil && !errors.Is(err, io.EOF) {
				return fmt.Errorf("read rows: %w", err)
			}
			return io.EOF
		}
		r.at, r.have = 0, true
	}
	cells := cells{record: r, row: r.at}
	r.at++
	*row = Row{
		Time: cells.time(), NIC: cells.optional(), Direction: cells.optional(), State: cells.text(), SrcIP: cells.text(), SrcPort: cells.port(),
		DstIP: cells.optional(), DstPort: cells.port(), Protocol: cells.protocol(), Encryption: cells.optional(), Rule: cells.optional(), ACL: cells.optional(),
		PacketsSent: cells.counter(), BytesSent: cells.counter(), PacketsReceived: cells.counter(), BytesReceived: cells.counter(),
		Blob: cells.text(), Offset: cells.offset(),
		SrcVerdict: cells.text(), SrcCluster: cells.optional(), SrcNamespace: cells.optional(), SrcPod: cells.optional(), SrcPodUID: cells.optional(),
		SrcNode: cells.optional(), SrcCandidates: cells.list(), SrcSource: cells.optional(),
		DstVerdict: cells.optional(), DstCluster: cells.optional(), DstNamespace: cells.optional(), DstPod: cells.optional(), DstPodUID: cells.optional(),
		DstNode: cells.optional(), DstCandidates: cells.list(), DstSource: cells.optional(),
	}
	return nil
}

// Close releases what was read. It does not close the file below.
func (r *RowReader) Close() error {
	r.records.Release()
	return nil
}

// cells are a row's, read from left to right.
type cells struct {
	record *RowReader
	row    int
	next   int
}

func cell[A any](c *cells) (a A, null bool) {
	column := c.record.records.Record().Column(c.next)
	c.next++
	return column.(any).(A), column.IsNull(c.row)
}

func (c *cells) text() string {
	a, _ := cell[*array.String](c)
	return string([]byte(a.Value(c.row)))
}

func (c *cells) optional() *string {
	a, null := cell[*array.String](c)
	if null {
		return nil
	}
	v := string([]byte(a.Value(c.row)))
	return &v
}

func (c *cells) time() string {
	a, _ := cell[*array.Timestamp](c)
	return query.Time(a.Value(c.row)).String()
}

func (c *cells) port() uint16 {
	a, _ := cell[*array.Uint16](c)
	return a.Value(c.row)
}

func (c *cells) protocol() uint8 {
	a, _ := cell[*array.Uint8](c)
	return a.Value(c.row)
}

func (c *cells) offset() int64 {
	a, _ := cell[*array.Int64](c)
	return a.Value(c.row)
}

func (c *cells) counter() *uint64 {
	a, null := cell[*array.Uint64](c)
	if null {
		return nil
	}
	v := a.Value(c.row)
	return &v
}

func (c *cells) list() []string {
	a, null := cell[*array.List](c)
	if null {
		return nil
	}
	from, to := a.ValueOffsets(c.row)
	values := a.ListValues().(*array.String)
	out := make([]string, 0, to-from)
	for i := from; i < to; i++ {
		out = append(out, string([]byte(values.Value(int(i)))))
	}
	return out
}
