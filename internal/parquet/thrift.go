package parquet

import "encoding/binary"

// compact writes structs in Thrift's compact protocol
// (https://github.com/apache/thrift/blob/master/doc/specs/thrift-compact-protocol.md).
// Fields MUST be written in ascending order of their numbers.
type compact struct {
	b    []byte
	last []int // number of the last field, of each struct that is open
}

// Types of fields and of a list's elements.
const (
	typeTrue   = 1
	typeFalse  = 2
	typeByte   = 3
	typeI16    = 4
	typeI32    = 5
	typeI64    = 6
	typeBinary = 8
	typeList   = 9
	typeStruct = 12
)

// begin opens a struct that is no field: the whole message, or a list's element.
func (c *compact) begin() { c.last = append(c.last, 0) }

func (c *compact) end() {
	c.b = append(c.b, 0)
	c.last = c.last[:len(c.last)-1]
}

func (c *compact) field(id, typ int) {
	last := &c.last[len(c.last)-1]
	if delta := id - *last; delta <= 15 {
		c.b = append(c.b, byte(delta<<4|typ))
	} else {
		c.b = binary.AppendVarint(append(c.b, byte(typ)), int64(id))
	}
	*last = id
}

func (c *compact) open(id int) {
	c.field(id, typeStruct)
	c.begin()
}

func (c *compact) int(id, typ int, v int64) {
	c.field(id, typ)
	if typ == typeByte {
		c.b = append(c.b, byte(v))
		return
	}
	c.b = binary.AppendVarint(c.b, v)
}

func (c *compact) i32(id int, v int) { c.int(id, typeI32, int64(v)) }

func (c *compact) i64(id int, v int64) { c.int(id, typeI64, v) }

func (c *compact) bool(id int, v bool) {
	if v {
		c.field(id, typeTrue)
	} else {
		c.field(id, typeFalse)
	}
}

func (c *compact) text(id int, v []byte) {
	c.field(id, typeBinary)
	c.bytes(v)
}

// number is an element of a list.
func (c *compact) number(v int) { c.b = binary.AppendVarint(c.b, int64(v)) }

func (c *compact) bytes(v []byte) { c.b = append(binary.AppendUvarint(c.b, uint64(len(v))), v...) }

func (c *compact) list(id, typ, n int) {
	c.field(id, typeList)
	if n < 15 {
		c.b = append(c.b, byte(n<<4|typ))
		return
	}
	c.b = binary.AppendUvarint(append(c.b, byte(0xf0|typ)), uint64(n))
}
