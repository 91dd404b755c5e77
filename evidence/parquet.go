package evidence

import (
	"io"

	"github.com/apache/arrow/go/v17/arrow"

	"github.com/whichpod/whichpod/internal/parquet"
	"github.com/whichpod/whichpod/query"
)

// rowGroupRows is how many rows are held in memory before they are written, in about 3 MB,
// and as many as a reader has to hold.
const rowGroupRows = 64 * 1024

// rowGroups is how many groups there are at once.
const rowGroups = 3

// Numbers of columns, in the order of Columns.
const (
	colTime = iota
	colNIC
	colDirection
	colState
	colSrcIP
	colSrcPort
	colDstIP
	colDstPort
	colProtocol
	colEncryption
	colRule
	colACL
	colPacketsSent // the four counters follow each other
	_
	_
	_
	colBlob
	colOffset
	colSrc // the first of what is said of an end
	colDst = colSrc + endColumns

	endColumns = 8
	numColumns = colDst + endColumns
)

// parquetColumns are those of Columns; time is a timestamp, candidates a list.
var parquetColumns = newParquetColumns()

func newParquetColumns() []parquet.Column {
	kinds := map[string]parquet.Kind{
		"time": parquet.Millis, "src_port": parquet.Uint16, "dst_port": parquet.Uint16, "protocol": parquet.Uint8,
		"packets_sent": parquet.Uint64, "bytes_sent": parquet.Uint64, "packets_received": parquet.Uint64, "bytes_received": parquet.Uint64,
		"offset": parquet.Int64, "src_candidates": parquet.Texts, "dst_candidates": parquet.Texts,
	}
	required := map[string]bool{"src_verdict": true, "blob": true, "offset": true, "time": true,
		"state": true, "src_ip": true, "src_port": true, "dst_port": true, "protocol": true}
	columns := make([]parquet.Column, len(Columns))
	for i, name := range Columns {
		columns[i] = parquet.Column{Name: name, Kind: kinds[name], Required: required[name]} // else a text
	}
	return columns
}

// parquetSchema is how arrow reads parquetColumns.
var parquetSchema = newParquetSchema()

func newParquetSchema() *arrow.Schema {
	types := map[parquet.Kind]arrow.DataType{
		parquet.Text: arrow.BinaryTypes.String, parquet.Texts: arrow.ListOf(arrow.BinaryTypes.String),
		parquet.Millis: &arrow.TimestampType{Unit: arrow.Millisecond, TimeZone: "UTC"}, parquet.Int64: arrow.PrimitiveTypes.Int64,
		parquet.Uint64: arrow.PrimitiveTypes.Uint64, parquet.Uint16: arrow.PrimitiveTypes.Uint16, parquet.Uint8: arrow.PrimitiveTypes.Uint8,
	}
	fields := make([]arrow.Field, len(parquetColumns))
	for i, c := range parquetColumns {
		fields[i] = arrow.Field{Name: c.Name, Type: types[c.Kind], Nullable: !c.Required}
	}
	return arrow.NewSchema(fields, nil)
}

// columnar writes Parquet. While one group of rows is encoded, the next one gathers, and
// one may wait between them: now one takes longer, now the other.
type columnar struct {
	gatherer *gatherer
	free     chan *rowGroup
	full     chan *rowGroup
	ended    chan error
	book     endBook
	err      error
}

func newParquet(w io.Writer) (*columnar, error) {
	file, err := parquet.NewWriter(w, parquetColumns, "whichpod")
	if err != nil {
		return nil, err
	}
	c := &columnar{gatherer: newGatherer(&rowGroup{}), book: newEndBook(), free: make(chan *rowGroup, rowGroups), full: make(chan *rowGroup, rowGroups-2), ended: make(chan error)}
	for range rowGroups - 1 {
		c.free <- &rowGroup{}
	}
	go c.encode(file)
	return c, nil
}

// encode writes groups as they become full, and at last what completes the file.
func (c *columnar) encode(file *parquet.Writer) {
	w := groupWriter{file: file}
	for g := range c.full {
		g.err = w.write(g)
		g.reset()
		c.free <- g
	}
	c.ended <- file.Close()
}

func (c *columnar) Write(a query.Attributed, rows []int32) error {
	for len(rows) > 0 && c.err == nil {
		g := c.gatherer.group
		n := min(len(rows), rowGroupRows-g.rows)
		c.gatherer.add(&a, rows[:n], &c.book)
		if rows = rows[n:]; g.rows == rowGroupRows {
			c.flush()
		}
	}
	return c.err
}

// flush hands the group over and goes on with another one.
func (c *columnar) flush() {
	c.hand()
	g := <-c.free
	c.gatherer.group, c.err = g, g.err
	c.book.trim()
}

// hand hands the group over with what the book has now.
func (c *columnar) hand() {
	c.gatherer.finish()
	g := c.gatherer.group
	g.book = c.book
	c.full <- g
}

// Close completes the file, also after an error: then it only ends the encoding.
func (c *columnar) Close() error {
	if c.err == nil && c.gatherer.group.rows > 0 {
		c.hand()
	}
	close(c.full)
	if err := <-c.ended; c.err == nil {
		c.err = err
	}
	return c.err
}
