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
