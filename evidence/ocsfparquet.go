package evidence

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"strings"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/memory"
	"github.com/apache/arrow/go/v17/parquet"
	"github.com/apache/arrow/go/v17/parquet/compress"
	"github.com/apache/arrow/go/v17/parquet/pqarrow"

	"github.com/whichpod/whichpod/query"
)

// ocsfGroupRows is how many events are held in memory before they are written.
const ocsfGroupRows = 16 * 1024

// ocsfSchema has a column for each attribute of an event; objects are structs.
var ocsfSchema = arrow.NewSchema(ocsfFields(reflect.TypeFor[ocsfEvent]()), nil)

func ocsfFields(t reflect.Type) []arrow.Field {
	fields := make([]arrow.Field, t.NumField())
	for i := range fields {
		name, options, _ := strings.Cut(t.Field(i).Tag.Get("json"), ",")
		fields[i] = arrow.Field{Name: name, Type: ocsfType(t.Field(i).Type), Nullable: options == "omitempty"}
	}
	return fields
}

func ocsfType(t reflect.Type) arrow.DataType {
	switch t.Kind() {
	case reflect.Pointer:
		return ocsfType(t.Elem())
	case reflect.Slice:
		return arrow.ListOf(ocsfType(t.Elem()))
	case reflect.Struct:
		return arrow.StructOf(ocsfFields(t)...)
	case reflect.Int:
		return arrow.PrimitiveTypes.Int32
	case reflect.Int64:
		return arrow.PrimitiveTypes.Int64
	default:
		return arrow.BinaryTypes.String
	}
}

// ocsfColumnar writes events as Parquet, zstd-compressed.
type ocsfColumnar struct {
	out     *sink
	file    *pqarrow.FileWriter
	builder *array.RecordBuilder
	ends    ends
	row     Row
	rows    int
}

func newOCSFParquet(w io.Writer, mem memory.Allocator) (*ocsfColumnar, error) {
	props := parquet.NewWriterProperties(parquet.WithCompression(compress.Codecs.Zstd), parquet.WithAllocator(mem),
		parquet.WithMaxRowGroupLength(ocsfGroupRows), parquet.WithCreatedBy("whichpod"))
	out := &sink{w: w}
	file, err := pqarrow.NewFileWriter(ocsfSchema, out, props, pqarrow.NewArrowWriterProperties(pqarrow.WithAllocator(mem)))
	if err != nil {
		return nil, fmt.Errorf("write OCSF Parquet: %w", err)
	}
	return &ocsfColumnar{out: out, file: file, builder: array.NewRecordBuilder(mem, ocsfSchema), ends: make(ends)}, nil
}

func (c *ocsfColumnar) Write(a query.Attributed, rows []int32) error {
	for _, row := range rows {
		i := int(row)
		c.row.fill(a, i, c.ends)
		line, err := json.Marshal(newOCSF(a, i, &c.row, c.ends))
		if err == nil {
			err = c.builder.UnmarshalJSON(line)
		}
		if err != nil {
			return fmt.Errorf("write OCSF Parquet: %w", err)
		}
		if c.rows++; c.rows == ocsfGroupRows {
			if err := c.flush(); err != nil {
				return err
			}
		}
	}
	return nil
}

func (c *ocsfColumnar) flush() error {
	if c.rows == 0 {
		return nil
	}
	rec := c.builder.NewRecord()
	defer rec.Release()
	c.rows = 0
	if err := errors.Join(c.file.Write(rec), c.out.err); err != nil {
		return fmt.Errorf("write OCSF Parquet: %w", err)
	}
	return nil
}

func (c *ocsfColumnar) Close() error {
	defer c.builder.Release()
	if err := c.flush(); err != nil {
		return err
	}
	if err := errors.Join(c.file.Close(), c.out.err); err != nil {
		return fmt.Errorf("write OCSF Parquet: %w", err)
	}
	return nil
}
