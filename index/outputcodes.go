package index

import (
	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/memory"
)

// originCodes says what the texts of an origin are in a batch: that of a round.
type originCodes struct {
	round uint32
	codes [5]uint32
}

func (o *output) originCodes(c *cursor, n uint32) originCodes {
	s := originCodes{round: o.round}
	for i, text := range c.origins[n].texts {
		s.codes[i] = o.texts[originOrder[i]].of(c.texts[text])
	}
	return s
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

// array returns the texts as a batch has them. The caller MUST Release it.
func (t *textCodes) array(mem memory.Allocator) arrow.Array {
	size := 0
	for _, s := range t.list {
		size += len(s)
	}
	ends, chars := memory.NewResizableBuffer(mem), memory.NewResizableBuffer(mem)
	defer ends.Release()
	defer chars.Release()
	ends.Resize(arrow.Int32Traits.BytesRequired(1 + len(t.list)))
	chars.Resize(size)
	offsets, at := arrow.Int32Traits.CastFromBytes(ends.Bytes()), 0
	offsets[0] = 0
	for i, s := range t.list {
		at += copy(chars.Bytes()[at:], s)
		offsets[i+1] = int32(at)
	}
	data := array.NewData(arrow.BinaryTypes.String, len(t.list), []*memory.Buffer{nil, ends, chars}, nil, 0, 0)
	defer data.Release()
	return array.NewStringData(data)
}
