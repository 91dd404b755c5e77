package index

import (
	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/memory"
)

// remap says what a code is in the batch or the block under way: the round in the high
// half, the code there in the low one.
type remap []uint64

// settingCodes says what the texts of a setting are in a batch.
type settingCodes struct {
	round uint32
	codes [4]uint32
}

// addressCode is the code in the batch of an address of the cursor.
func (o *output) addressCode(c *cursor, n uint32) uint32 {
	m := &c.toAddress[n]
	if uint32(*m>>32) != o.round {
		*m = uint64(o.round)<<32 | uint64(o.addresses.lookUp(c.addresses[n]))
	}
	return uint32(*m)
}

func (o *output) settingCodes(c *cursor, n uint32) settingCodes {
	s := settingCodes{round: o.round}
	for i, text := range c.settings[n] {
		s.codes[i] = o.texts[tableOrder[i]].of(c.texts[text])
	}
	return s
}

func (o *output) pathCode(c *cursor, ordinal uint32) uint64 {
	c.toPath[ordinal] = uint64(o.round)<<32 | uint64(o.texts[dictBlob].of(c.texts[c.paths[ordinal]]))
	return c.toPath[ordinal]
}

// textCodes is a text column of a batch.
type textCodes struct {
	codes []uint32
	list  []string // by code
	code  map[string]uint32
}

func (t *textCodes) reset() {
	t.list = t.list[:0]
	clear(t.code)
}

func (t *textCodes) of(s string) uint32 {
	code, ok := t.code[s]
	if !ok {
		code = uint32(len(t.list))
		t.code[s] = code
		t.list = append(t.list, s)
	}
	return code
}

func (t *textCodes) array(mem memory.Allocator) arrow.Array {
	b := array.NewStringBuilder(mem)
	defer b.Release()
	for _, s := range t.list {
		b.Append(s)
	}
	return b.NewArray()
}

// addressArray is the dictionary of the address columns. The caller MUST Release it.
func (o *output) addressArray() arrow.Array {
	buf := memory.NewResizableBuffer(o.mem)
	defer buf.Release()
	buf.Resize(16 * len(o.addresses.list))
	for i, a := range o.addresses.list {
		v := a.As16()
		copy(buf.Bytes()[16*i:], v[:])
	}
	data := array.NewData(&arrow.FixedSizeBinaryType{ByteWidth: 16}, len(o.addresses.list), []*memory.Buffer{nil, buf}, nil, 0, 0)
	defer data.Release()
	return array.MakeFromData(data)
}
