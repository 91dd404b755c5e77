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

func (t *textCodes) array(mem memory.Allocator) arrow.Array {
	b := array.NewStringBuilder(mem)
	defer b.Release()
	for _, s := range t.list {
		b.Append(s)
	}
	return b.NewArray()
}
