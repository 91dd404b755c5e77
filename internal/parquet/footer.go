package parquet

// The parts of https://github.com/apache/parquet-format/blob/master/src/main/thrift/parquet.thrift
// that the footer needs, by their numbers there.
const (
	physicalInt32  = 1
	physicalInt64  = 2
	physicalBinary = 6

	required = 0
	optional = 1
	repeated = 2

	convertedUTF8   = 0
	convertedList   = 3
	convertedMillis = 9
	convertedUint8  = 11 // and the wider ones after it

	codecNone = 0
	codecZstd = 6
)

func (k Kind) physical() int {
	switch k {
	case Text, Texts:
		return physicalBinary
	case Uint16, Uint8:
		return physicalInt32
	default:
		return physicalInt64
	}
}

// size is how many bytes a number takes.
func (k Kind) size() int {
	if k.physical() == physicalInt32 {
		return 4
	}
	return 8
}

func (p *Writer) footer() []byte {
	c := &compact{}
	c.begin()
	c.i32(1, 2) // as the writers of data pages of version 1 say, too
	p.schema(c)
	c.i64(3, p.rows)
	c.list(4, typeStruct, p.groups)
	c.b = append(c.b, p.listed.b...)
	c.text(6, []byte(p.createdBy))
	c.list(7, typeStruct, len(p.columns)) // least and greatest are in the order of each type
	for range p.columns {
		c.begin()
		c.open(1)
		c.end()
		c.end()
	}
	c.end()
	return c.b
}

func (p *Writer) schema(c *compact) {
	elements := 1
	for i := range p.columns {
		if elements++; p.columns[i].Kind == Texts {
			elements += 2
		}
	}
	c.list(2, typeStruct, elements)
	c.begin()
	c.text(4, []byte("schema"))
	c.i32(5, len(p.columns))
	c.end()
	for i := range p.columns {
		col := &p.columns[i]
		repetition := optional
		if col.Required {
			repetition = required
		}
		if col.Kind != Texts {
			leaf(c, col.Kind, repetition, col.Name)
			continue
		}
		node(c, repetition, col.Name, true)
		node(c, repeated, "list", false)
		leaf(c, Text, optional, "element")
	}
}

// node is a schema element with one child.
func node(c *compact, repetition int, name string, list bool) {
	c.begin()
	c.i32(3, repetition)
	c.text(4, []byte(name))
	c.i32(5, 1)
	if list {
		c.i32(6, convertedList)
		c.open(10)
		c.open(3)
		c.end()
		c.end()
	}
	c.end()
}

func leaf(c *compact, k Kind, repetition int, name string) {
	c.begin()
	c.i32(1, k.physical())
	c.i32(3, repetition)
	c.text(4, []byte(name))
	switch k {
	case Text:
		c.i32(6, convertedUTF8)
		c.open(10)
		c.open(1)
		c.end()
		c.end()
	case Millis:
		c.i32(6, convertedMillis)
		c.open(10)
		c.open(8)
		c.bool(1, true) // UTC
		c.open(2)
		c.open(1) // milliseconds
		c.end()
		c.end()
		c.end()
		c.end()
	case Uint8:
		unsigned(c, convertedUint8, 8)
	case Uint16:
		unsigned(c, convertedUint8+1, 16)
	case Uint64:
		unsigned(c, convertedUint8+3, 64)
	}
	c.end()
}

func unsigned(c *compact, converted, bits int) {
	c.i32(6, converted)
	c.open(10)
	c.open(10)
	c.int(1, typeByte, int64(bits))
	c.bool(2, false)
	c.end()
	c.end()
}

// group puts the next group into the footer's list.
func (p *Writer) group(g *group) {
	c := &p.listed
	raw, stored := int64(0), int64(0)
	for i := range g.chunks {
		raw, stored = raw+g.chunks[i].raw, stored+g.chunks[i].stored
	}
	c.begin()
	c.list(1, typeStruct, len(g.chunks))
	for i := range g.chunks {
		chunk(c, &p.columns[i], &g.chunks[i])
	}
	c.i64(2, raw)
	c.i64(3, int64(g.rows))
	c.i64(5, g.chunks[0].at)
	c.i64(6, stored)
	if p.groups < 1<<15 {
		c.int(7, typeI16, int64(p.groups))
	}
	c.end()
}

func chunk(c *compact, col *Column, m *chunkMeta) {
	path := []string{col.Name}
	if col.Kind == Texts {
		path = append(path, "list", "element")
	}
	codec := codecNone
	if m.compressed {
		codec = codecZstd
	}
	c.begin()
	c.i64(2, m.at)
	c.open(3)
	c.i32(1, col.Kind.physical())
	encodings := []int{encodingRLE, m.encoding}
	if m.encoding == encodingDictionary {
		encodings = append(encodings, encodingPlain)
	}
	c.list(2, typeI32, len(encodings))
	for _, e := range encodings {
		c.number(e)
	}
	c.list(3, typeBinary, len(path))
	for _, name := range path {
		c.bytes([]byte(name))
	}
	c.i32(4, codec)
	c.i64(5, int64(m.values))
	c.i64(6, m.raw)
	c.i64(7, m.stored)
	c.i64(9, m.data)
	if m.encoding == encodingDictionary {
		c.i64(11, m.dictionary)
	}
	c.open(12)
	c.i64(3, int64(m.nulls))
	if m.min != nil {
		c.text(5, m.max)
		c.text(6, m.min)
	}
	c.end()
	c.end()
	c.end()
}
