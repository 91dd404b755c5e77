package parquet

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/memory"
	"github.com/apache/arrow/go/v17/parquet/file"
	"github.com/apache/arrow/go/v17/parquet/metadata"
	"github.com/apache/arrow/go/v17/parquet/pqarrow"
	"github.com/google/go-cmp/cmp"
)

var testColumns = []Column{
	{"text", Text, true}, {"maybe", Text, false}, {"list", Texts, false}, {"time", Millis, true}, {"number", Int64, true},
	{"count", Uint64, false}, {"port", Uint16, true}, {"coded", Uint16, true}, {"small", Uint8, true}, {"nothing", Text, false}, {"never", Uint64, false},
}

// randomGroup has runs of all lengths, nulls, and numbers that wrap around.
func randomGroup(r *rand.Rand, rows int) []Chunk {
	texts := []string{"", "a", "pod \x00 ü", "10.244.0.9", "z"}
	codes := func(n uint32, null bool) []uint32 {
		out := make([]uint32, 0, rows)
		for len(out) < rows {
			code := r.Uint32N(n)
			if null && r.IntN(3) == 0 {
				code = None
			}
			for range min(1+r.IntN([]int{1, 1, 9, 40}[r.IntN(4)]), rows-len(out)) {
				out = append(out, code)
			}
		}
		return out
	}
	numbers := func(next func() int64) []int64 {
		out := make([]int64, rows)
		for i := range out {
			out[i] = next()
		}
		return out
	}
	nulls := make([]bool, rows)
	for i := range nulls {
		nulls[i] = r.IntN(3) == 0
	}
	all := slices.Repeat([]bool{true}, rows)
	extreme := []int64{math.MinInt64, math.MaxInt64, 0, -1, 1 << 40}
	return []Chunk{
		{Codes: codes(5, false), Texts: texts}, {Codes: codes(1, true), Texts: texts[2:3]},
		placed(Chunk{Codes: codes(3, true), Lists: [][]uint32{{}, {1}, {2, 0, 1}}, Texts: texts[1:4]}),
		{Numbers: numbers(func() int64 { return 1_795_168_801_000 + r.Int64N(3_600_000) })},
		{Numbers: numbers(func() int64 { return extreme[r.IntN(len(extreme))] })},
		{Numbers: numbers(func() int64 { return extreme[r.IntN(len(extreme))] }), Null: nulls},
		{Numbers: numbers(func() int64 { return r.Int64N(1 << 16) })},
		{Codes: codes(3, false), Numbers: []int64{443, 65535, 0}}, {Codes: codes(2, false), Numbers: []int64{6, 255}},
		{Codes: slices.Repeat([]uint32{None}, rows)}, {Numbers: make([]int64, rows), Null: all},
	}
}

// placed has codes by place that were by row: of null, and then of those below it.
func placed(c Chunk) Chunk {
	codes := []uint32{None}
	for _, code := range c.Codes {
		for uint32(len(codes)) < code+2 {
			codes = append(codes, uint32(len(codes)-1))
		}
		c.Of = append(c.Of, uint16(code+1))
	}
	c.Codes = codes
	return c
}

// textOf is the value of a row, as [array.Array.ValueStr] writes it.
func textOf(col *Column, c *Chunk, row int) string {
	const null = array.NullValueStr
	if c.Of != nil {
		row = int(c.Of[row])
	}
	switch {
	case c.Codes != nil && c.Codes[row] == None, c.Null != nil && c.Null[row]:
		return null
	case col.Kind == Text:
		return c.Texts[c.Codes[row]]
	case col.Kind == Texts:
		list := []string{}
		for _, code := range c.Lists[c.Codes[row]] {
			list = append(list, c.Texts[code])
		}
		return fmt.Sprintf("%q", list)
	case c.Codes != nil:
		return fmt.Sprint(c.Numbers[c.Codes[row]])
	case col.Kind == Uint64:
		return fmt.Sprint(uint64(c.Numbers[row]))
	default:
		return fmt.Sprint(c.Numbers[row])
	}
}

func write(t *testing.T, rows []int, groups [][]Chunk) []byte {
	t.Helper()
	var out bytes.Buffer
	w, err := NewWriter(&out, testColumns, "test")
	if err != nil {
		t.Fatal(err)
	}
	for i, chunks := range groups {
		if err := w.WriteGroup(rows[i], chunks); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// An independent reader reads what was written, of every kind of column and in groups
// of every size, in pieces of other sizes; and equal groups make equal bytes.
func TestReaderReadsWhatWasWritten(t *testing.T) {
	t.Parallel()
	for seed := range uint64(25) {
		r := rand.New(rand.NewPCG(seed, 3))
		var rows []int
		var groups [][]Chunk
		want := make([][]string, len(testColumns))
		for range r.IntN(4) {
			n := 1 + r.IntN([]int{2, 40, 1000, 20_000}[r.IntN(4)])
			rows, groups = append(rows, n), append(groups, randomGroup(r, n))
		}
		for k := range testColumns {
			for i, chunks := range groups {
				for row := range rows[i] {
					want[k] = append(want[k], textOf(&testColumns[k], &chunks[k], row))
				}
			}
		}
		data := write(t, rows, groups)
		if !bytes.Equal(data, write(t, rows, groups)) {
			t.Fatalf("seed %d: the same rows made other bytes", seed)
		}
		if diff := cmp.Diff(want, read(t, data)); diff != "" {
			t.Fatalf("seed %d, groups of %v rows: -want +got:\n%s", seed, rows, diff)
		}
	}
}

// The codes of lists have as many whole bytes as their dictionary needs.
func TestListsOfManyTexts(t *testing.T) {
	t.Parallel()
	const rows, list = 300, 2 // the column of lists
	for _, n := range []int{1, 2, 255, 256, 257, 65_536, 65_537} {
		r := rand.New(rand.NewPCG(uint64(n), 4))
		group := randomGroup(r, rows)
		c := Chunk{Texts: make([]string, n)}
		for i := range c.Texts {
			c.Texts[i] = fmt.Sprint(i)
		}
		for range 50 {
			codes := []uint32{uint32(n - 1)}
			for range r.IntN(30) {
				codes = append(codes, r.Uint32N(uint32(n)))
			}
			c.Lists = append(c.Lists, codes)
		}
		for range rows {
			c.Codes = append(c.Codes, []uint32{None, r.Uint32N(50), r.Uint32N(50)}[r.IntN(3)])
		}
		c = placed(c)
		var want []string
		for row := range rows {
			want = append(want, textOf(&testColumns[list], &c, row))
		}
		group[list] = c
		if diff := cmp.Diff(want, read(t, write(t, []int{rows}, [][]Chunk{group}))[list]); diff != "" {
			t.Errorf("%d texts: -want +got:\n%s", n, diff)
		}
	}
}

// Numbers are written the way that suits them, and are read back about the ends of blocks
// of deltas, at the widest deltas, and with as many different ones as a dictionary holds.
func TestNumbersTakeTheirWay(t *testing.T) {
	t.Parallel()
	const number, count, port = 4, 5, 6 // columns: count is null at times
	r := rand.New(rand.NewPCG(9, 9))
	numbers := func(rows int, next func(i int) int64) (out []int64) {
		for i := range rows {
			out = append(out, next(i))
		}
		return out
	}
	around := func(i int) int64 { return math.MaxInt64 - int64(i%2)*(1<<31-1) } // deltas of 32 bits
	few := func(i int) int64 { return int64(i%maxDistinct) << 40 }
	below := func(bits int) func(int) int64 { return func(int) int64 { return r.Int64N(1 << bits) } }
	for _, c := range []struct {
		name   string
		column int
		next   func(i int) int64
		rows   []int
		want   int
	}{
		{"the same", number, func(int) int64 { return -7 }, []int{1, 2, 129, 5000}, encodingDelta},
		{"widest deltas", number, around, []int{1, 2, 32, 33, 34, 128, 129, 130, 257, 5000}, encodingDelta},
		{"near", number, func(int) int64 { return r.Int64N(1<<31) - 1<<30 }, []int{31, 127, 128, 129, 1000, 1001, 65_536}, encodingDelta},
		{"too far apart", number, func(i int) int64 { return int64(i%2) << 31 }, []int{2, 1000}, encodingPlain},
		{"few", count, few, []int{1, 9, maxDistinct, 3 * maxDistinct}, encodingDictionary},
		{"few and small", count, func(i int) int64 { return int64(i*7) % maxDistinct }, []int{1, 9, 3 * maxDistinct}, encodingDictionary},
		{"too many", count, func(i int) int64 { return int64(i) }, []int{maxDistinct + 1}, encodingPlain},
		{"too many of 3 bytes", count, below(24), []int{2 * maxDistinct, 65_536}, encodingPlain},
		{"too many of 5 bytes", count, below(40), []int{2 * maxDistinct, 65_536}, encodingPlain},
		{"too many of 6 bytes", count, below(48), []int{2 * maxDistinct}, encodingPlain},
		{"too many of 8 bytes", count, func(int) int64 { return int64(r.Uint64()) }, []int{2 * maxDistinct}, encodingPlain},
		{"ports", port, below(16), []int{1, 2, 128, 129, 65_536}, encodingDelta},
		{"outermost ports", port, func(i int) int64 { return int64(i%2) * 65_535 }, []int{2, 1000}, encodingDelta},
	} {
		for _, rows := range c.rows {
			group := randomGroup(r, rows)
			group[c.column] = Chunk{Numbers: numbers(rows, c.next)}
			if c.column == count && rows >= 2*maxDistinct {
				group[c.column].Null = make([]bool, rows)
				for i := range rows / 3 {
					group[c.column].Null[i*3%rows] = true
				}
			}
			want := make([]string, rows)
			for i := range want {
				want[i] = textOf(&testColumns[c.column], &group[c.column], i)
			}
			data := write(t, []int{rows}, [][]Chunk{group})
			if diff := cmp.Diff(want, read(t, data)[c.column]); diff != "" {
				t.Errorf("%s, %d rows: -want +got:\n%s", c.name, rows, diff)
			}
			var e encoder
			if m := e.encode(&testColumns[c.column], &group[c.column], rows, &past{}); m.encoding != c.want {
				t.Errorf("%s, %d rows: encoding %d, want %d", c.name, rows, m.encoding, c.want)
			}
		}
	}
}

func read(t *testing.T, data []byte) [][]string {
	t.Helper()
	f, err := file.NewParquetReader(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	r, err := pqarrow.NewFileReader(f, pqarrow.ArrowReadProperties{BatchSize: 1000}, memory.DefaultAllocator)
	if err != nil {
		t.Fatal(err)
	}
	records, err := r.GetRecordReader(context.Background(), nil, nil) // in pieces that are not the writer's
	if err != nil {
		t.Fatal(err)
	}
	defer records.Release()
	columns := make([][]string, len(testColumns))
	for records.Next() {
		for k := range columns {
			chunk, column := records.Record().Column(k), columns[k]
			for row := range chunk.Len() {
				text := chunk.ValueStr(row)
				switch a := chunk.(type) {
				case *array.Timestamp:
					text = fmt.Sprint(int64(a.Value(row)))
				case *array.List:
					if !a.IsNull(row) {
						from, to := a.ValueOffsets(row)
						list := []string{}
						for i := from; i < to; i++ {
							list = append(list, a.ListValues().(*array.String).Value(int(i)))
						}
						text = fmt.Sprintf("%q", list)
					}
				}
				column = append(column, text)
			}
			columns[k] = column
		}
	}
	if err := records.Err(); err != nil && !errors.Is(err, io.EOF) {
		t.Fatal(err)
	}
	return columns
}

// Readers skip groups by the least and the greatest value.
func TestStatistics(t *testing.T) {
	data := write(t, []int{3}, [][]Chunk{{
		{Codes: []uint32{1, 0, 1}, Texts: []string{"m", "b"}}, {Codes: []uint32{None, 0, None}, Texts: []string{"x"}}, placed(Chunk{Codes: []uint32{None, None, None}}),
		{Numbers: []int64{30, 10, 20}}, {Numbers: []int64{-5, 7, 0}}, {Numbers: []int64{-1, 1, 9}, Null: []bool{false, false, true}},
		{Numbers: []int64{1, 65535, 2}}, {Codes: []uint32{0, 0, 0}, Numbers: []int64{443}}, {Codes: []uint32{0, 0, 0}, Numbers: []int64{6}},
		{Codes: []uint32{None, None, None}}, {Numbers: make([]int64, 3), Null: []bool{true, true, true}},
	}})
	f, err := file.NewParquetReader(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for i := range testColumns {
		chunk, err := f.MetaData().RowGroup(0).ColumnChunk(i)
		if err != nil {
			t.Fatal(err)
		}
		s, err := chunk.Statistics()
		if err != nil {
			t.Fatal(err)
		}
		text := fmt.Sprintf("%d null", s.NullCount())
		if s.HasMinMax() {
			switch s := s.(type) {
			case *metadata.ByteArrayStatistics:
				text += fmt.Sprintf(", %s to %s", s.Min(), s.Max())
			case *metadata.Int64Statistics:
				text += fmt.Sprintf(", %d to %d", s.Min(), s.Max())
			case *metadata.Int32Statistics:
				text += fmt.Sprintf(", %d to %d", s.Min(), s.Max())
			}
		}
		got = append(got, text)
	}
	want := []string{"0 null, b to m", "2 null, x to x", "3 null", "0 null, 10 to 30", "0 null, -5 to 7", "1 null, 1 to -1",
		"0 null, 1 to 65535", "0 null, 443 to 443", "0 null, 6 to 6", "3 null", "3 null"} // of numbers without a sign, -1 is the greatest
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

type fullDisk struct{ room int }

var errFull = errors.New("disk full")

func (d *fullDisk) Write(p []byte) (int, error) {
	if d.room -= len(p); d.room < 0 {
		return 0, errFull
	}
	return len(p), nil
}

// Wherever writing fails, somebody hears of it at the latest from Close.
func TestWriterFails(t *testing.T) {
	t.Parallel()
	chunks := randomGroup(rand.New(rand.NewPCG(1, 1)), 50)
	size := len(write(t, []int{50}, [][]Chunk{chunks}))
	for room := 0; room < size; room += 1 + size/100 {
		w, err := NewWriter(&fullDisk{room}, testColumns, "test")
		if err == nil {
			_ = w.WriteGroup(50, chunks) // Close says it again
			err = w.Close()
		}
		if !errors.Is(err, errFull) {
			t.Fatalf("room for %d of %d bytes: got %v", room, size, err)
		}
	}
}
