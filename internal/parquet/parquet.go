package parquet

import (
	"encoding/binary"
	"fmt"
	"io"

	"github.com/klauspost/compress/zstd"
)

// Kind is what a column has.
type Kind uint8

// Kinds of columns, and what gives their values in a [Chunk].
const (
	Text   Kind = iota // UTF-8: Codes and Texts
	Texts              // a list of texts: Codes by place, Lists and Texts
	Millis             // a time in UTC, in milliseconds: numbers
	Int64              // numbers
	Uint64             // numbers, as the int64 of the same bits
	Uint16             // numbers, or Codes and Numbers for their dictionary
	Uint8              // likewise
)

// Column describes a column.
type Column struct {
	Name     string
	Kind     Kind
	Required bool // never null
}

// None is the code of null, among [Chunk.Small] SmallNone: so a dictionary has at most
// MostSmall entries there.
const (
	None      = ^uint32(0)
	SmallNone = ^uint8(0)
	MostSmall = 1<<8 - 1
)

// Chunk is a column of a group. One of Codes, Small, Shorts, Words and Numbers has one a row,
// and no other does.
type Chunk struct {
	Codes   []uint32 // one a row, or with Of one a place; None is null
	Small   []uint8  // the same, one a row: of a dictionary of at most MostSmall entries
	Of      []uint16 // nil, or of each row the place of its code among Codes. Chunks of a group may share it, and what is the same in them is made once
	Texts   []string // the dictionary: by code, or by what Lists names
	Lists   [][]uint32
	Shorts  []uint16 // what numbers are more than Base
	Words   []uint32 // likewise
	Base    int64
	Numbers []int64 // one a row, or the dictionary
	Null    []bool  // with one number a row: nil where none is null
}

// Writer writes a file.
type Writer struct {
	w         io.Writer
	columns   []Column
	createdBy string
	zstd      *zstd.Encoder
	at        int64
	rows      int64
	groups    int
	listed    compact // the groups, as the footer lists them
	enc       encoder
	pasts     []past // by column
	err       error  // the first one; the file is lost
}

// group is what the footer says of a group.
type group struct {
	rows   int
	chunks []chunkMeta
}

type chunkMeta struct {
	at, data, dictionary int64 // where it begins, and its pages; dictionary is 0 without one
	raw, stored          int64 // bytes
	values               int
	nulls                int
	encoding             int
	compressed           bool
	framed               int    // bytes of plain numbers that stand at the end of the page, and only in its frame
	min, max             []byte // nil: not known
}

var magic = []byte("PAR1")

// window is how far back compression looks, in bytes; the encoder holds twice as much.
const window = 1 << 20

// NewWriter begins a file.
func NewWriter(w io.Writer, columns []Column, createdBy string) (*Writer, error) {
	z, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1), zstd.WithWindowSize(window), zstd.WithZeroFrames(true))
	if err != nil {
		return nil, fmt.Errorf("write Parquet: %w", err)
	}
	p := &Writer{w: w, columns: columns, createdBy: createdBy, zstd: z, pasts: make([]past, len(columns))}
	p.write(magic)
	return p, p.err
}

func (p *Writer) write(b []byte) {
	if p.err != nil {
		return
	}
	if _, err := p.w.Write(b); err != nil {
		p.err = fmt.Errorf("write Parquet: %w", err)
	}
	p.at += int64(len(b))
}

// WriteGroup writes rows as one group, at least one. There MUST be a chunk for each
// column. It keeps nothing of them.
func (p *Writer) WriteGroup(rows int, chunks []Chunk) error {
	g := group{rows: rows, chunks: make([]chunkMeta, len(chunks))}
	p.enc.beginGroup()
	for i := range chunks {
		g.chunks[i] = p.writeChunk(&p.columns[i], &chunks[i], rows, &p.pasts[i])
	}
	p.group(&g)
	p.groups, p.rows = p.groups+1, p.rows+int64(rows)
	return p.err
}

// writeChunk writes a column chunk: its dictionary if it has one, and one data page.
func (p *Writer) writeChunk(col *Column, c *Chunk, rows int, before *past) chunkMeta {
	m := p.enc.encode(col, c, rows, before)
	pages := [][]byte{p.enc.dictionary, p.enc.data}
	stored := p.squeeze(&m, before)
	m.at = p.at
	if m.encoding == encodingDictionary {
		m.dictionary = p.at
		head := p.enc.dictionaryHeader(len(pages[0]), len(stored[0]))
		p.write(head)
		p.write(stored[0])
		m.raw += int64(len(head) + len(pages[0]))
	}
	m.data = p.at
	size := len(pages[1]) + m.framed
	head := p.enc.dataHeader(&m, size, len(stored[1]))
	p.write(head)
	p.write(stored[1])
	m.raw += int64(len(head) + size)
	m.stored = p.at - m.at
	return m
}

// squeeze returns the pages as they are written: compressed, if one of them becomes
// smaller so. Then the other one has to look compressed, too.
func (p *Writer) squeeze(m *chunkMeta, before *past) [2][]byte {
	e := &p.enc
	pages := [2][]byte{e.dictionary, e.data}
	var smaller [2]bool
	for i, page := range pages {
		if i == 1 && m.framed > 0 {
			smaller[i] = true // it was framed where it was made
			continue
		}
		if i == 0 && 0 < e.longest && e.longest <= mostFront && len(page) >= leastFronts {
			e.squeezed[i] = e.fronts.appendFrame(e.squeezed[i][:0], page, e.entries)
			smaller[i] = len(e.squeezed[i]) < len(page)-len(page)/16
			continue
		}
		if len(page) == 0 || !before.squeeze[i].over() {
			continue
		}
		e.squeezed[i] = p.zstd.EncodeAll(page, e.squeezed[i][:0])
		if saved := len(page) - len(e.squeezed[i]); saved < max(len(page)/4, m.values/8) {
			before.squeeze[i].begin()
		}
		smaller[i] = len(e.squeezed[i]) < len(page)-len(page)/16
	}
	if m.compressed = smaller[0] || smaller[1]; !m.compressed {
		return pages
	}
	for i, page := range pages {
		if !smaller[i] {
			e.squeezed[i] = appendFrame(e.squeezed[i][:0], page)
		}
	}
	return e.squeezed
}

// Close writes the footer. It does not close the writer below.
func (p *Writer) Close() error {
	footer := p.footer()
	p.write(footer)
	p.write(binary.LittleEndian.AppendUint32(nil, uint32(len(footer))))
	p.write(magic)
	if err := p.zstd.Close(); p.err == nil {
		p.err = err
	}
	return p.err
}
