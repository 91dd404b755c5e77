package index

import (
	"fmt"
	"math/bits"
	"os"

	"github.com/apache/arrow/go/v17/arrow"

	"github.com/whichpod/whichpod/flow"
)

// cursor walks the rows of one segment that match, in flow order. It holds one
// decoded batch, about 0.7 MB.
type cursor struct {
	seg    *segment
	opened *opened
	plan   *segmentPlan
	file   *os.File
	unpack *unpacker // shared by a scanner's cursors: used inside load only

	left  uint64 // batches that are still to be read
	msg   recordBatch
	have  uint32 // columns of the batch that are decoded, one bit each
	data  [numColumns][]byte
	valid [4][]byte // of the counters; nil where none is null

	time, record, offset []int64
	counters             [4][]uint64
	src, dst             []uint32
	codes                [numDictionaries][]uint32 // of the text columns
	srcPort, dstPort     []uint16

	rows []uint32 // of the batch, those that match
	at   int      // in rows
	head key      // of rows[at]

	toAddress remap
	toText    [numDictionaries]remap
}

// next loads the next batch that holds a match. It returns false at the end.
func (c *cursor) next() (bool, error) {
	for c.left != 0 {
		i := bits.TrailingZeros64(c.left)
		c.left &^= 1 << i
		if err := c.load(&c.seg.batches[i]); err != nil {
			return false, err
		}
		if len(c.rows) > 0 {
			c.at = 0
			c.setHead()
			return true, nil
		}
	}
	return false, nil
}

// load reads a batch: first the columns that decide which rows match, and the others
// only if any does.
func (c *cursor) load(b *segmentBatch) error {
	raw, err := c.unpack.read(c.file, b.part)
	if err != nil {
		return err
	}
	err = c.decodeBatch(raw, b)
	c.msg = recordBatch{}
	if err != nil {
		return CorruptError{Path: c.file.Name(), Offset: b.offset, Detail: err.Error()}
	}
	return nil
}

func (c *cursor) decodeBatch(raw []byte, b *segmentBatch) (err error) {
	if c.msg, _, _, err = parseMessage(raw, headerRecord); err != nil {
		return err
	}
	if c.msg.rows != int64(b.rows) || len(c.msg.nodes) != numColumns || len(c.msg.spans) != 2*numColumns {
		return fmt.Errorf("batch has %d rows and %d columns, want %d and %d", c.msg.rows, len(c.msg.nodes), b.rows, numColumns)
	}
	c.have = 0
	if err := c.match(b); err != nil || len(c.rows) == 0 {
		return err
	}
	for col := range numColumns {
		if err := c.need(col); err != nil {
			return err
		}
	}
	return nil
}

// need decodes a column of the current batch, once.
func (c *cursor) need(col int) error {
	if c.have&(1<<col) != 0 {
		return nil
	}
	n := int(c.msg.rows)
	size := dataSize(col, n)
	if cap(c.data[col]) < size {
		c.data[col] = make([]byte, max(size, dataSize(col, min(batchRows, c.seg.rows))))
	}
	c.data[col] = c.data[col][:size]
	if err := c.unpack.buffer(c.data[col], &c.msg, 2*col+1); err != nil {
		return fmt.Errorf("column %d: %w", col, err)
	}
	if k, ok := counterOf(col); ok {
		if err := c.needValid(k, col, n); err != nil {
			return err
		}
	}
	c.view(col)
	c.have |= 1 << col
	return c.checkCodes(col)
}

func (c *cursor) needValid(k, col, rows int) error {
	if c.msg.nodes[col].nulls == 0 {
		c.valid[k] = nil
		return nil
	}
	c.valid[k] = make([]byte, (rows+7)/8)
	if err := c.unpack.buffer(c.valid[k], &c.msg, 2*col); err != nil {
		return fmt.Errorf("column %d: validity: %w", col, err)
	}
	return nil
}

// view gives the decoded bytes their type.
func (c *cursor) view(col int) {
	b := c.data[col]
	switch col {
	case flow.ColTime:
		c.time = arrow.Int64Traits.CastFromBytes(b)
	case flow.ColRecordTime:
		c.record = arrow.Int64Traits.CastFromBytes(b)
	case flow.ColOffset:
		c.offset = arrow.Int64Traits.CastFromBytes(b)
	case flow.ColPacketsSent, flow.ColBytesSent, flow.ColPacketsReceived, flow.ColBytesReceived:
		c.counters[col-flow.ColPacketsSent] = arrow.Uint64Traits.CastFromBytes(b)
	case flow.ColSrc:
		c.src = arrow.Uint32Traits.CastFromBytes(b)
	case flow.ColDst:
		c.dst = arrow.Uint32Traits.CastFromBytes(b)
	case flow.ColSrcPort:
		c.srcPort = arrow.Uint16Traits.CastFromBytes(b)
	case flow.ColDstPort:
		c.dstPort = arrow.Uint16Traits.CastFromBytes(b)
	case flow.ColNIC, flow.ColEncryption, flow.ColRule, flow.ColACL, flow.ColBlob:
		c.codes[dictionaryID(col)] = arrow.Uint32Traits.CastFromBytes(b)
	}
}

// checkCodes makes sure that no code is beyond its dictionary.
func (c *cursor) checkCodes(col int) error {
	var codes []uint32
	entries := 0
	switch col {
	case flow.ColSrc:
		codes, entries = c.src, len(c.opened.addresses)
	case flow.ColDst:
		codes, entries = c.dst, len(c.opened.addresses)
	case flow.ColNIC, flow.ColEncryption, flow.ColRule, flow.ColACL, flow.ColBlob:
		id := dictionaryID(col)
		codes, entries = c.codes[id], len(c.opened.texts[id])
	}
	for i, code := range codes {
		if int(code) >= entries {
			return fmt.Errorf("column %d row %d has index %d, dictionary has %d entries", col, i, code, entries)
		}
	}
	return nil
}

// match sets rows to those of the batch that the plan wants.
func (c *cursor) match(b *segmentBatch) error {
	p := c.plan
	c.rows = c.rows[:0]
	for i := range b.rows {
		c.rows = append(c.rows, uint32(i))
	}
	tests := []struct {
		wanted bool
		cols   []int
		keep   func(row uint32) bool
	}{
		{p.src != nil, []int{flow.ColSrc}, func(i uint32) bool { return p.src[c.src[i]] }},
		{p.dst != nil, []int{flow.ColDst}, func(i uint32) bool { return p.dst[c.dst[i]] }},
		{p.addresses != nil, []int{flow.ColSrc, flow.ColDst}, func(i uint32) bool { return p.addresses[c.src[i]] || p.addresses[c.dst[i]] }},
		{b.first < p.from || b.last >= p.to, []int{flow.ColTime}, func(i uint32) bool { return c.time[i] >= p.from && c.time[i] < p.to }},
		{p.srcPort > 0, []int{flow.ColSrcPort}, func(i uint32) bool { return int(c.srcPort[i]) == p.srcPort }},
		{p.dstPort > 0, []int{flow.ColDstPort}, func(i uint32) bool { return int(c.dstPort[i]) == p.dstPort }},
		{p.nics != nil, []int{flow.ColNIC}, func(i uint32) bool { return p.nics[c.codes[dictNIC][i]] }},
		{p.blobs != nil, []int{flow.ColBlob}, func(i uint32) bool { return p.blobs[c.codes[dictBlob][i]] }},
	}
	for _, t := range tests {
		if !t.wanted || len(c.rows) == 0 {
			continue
		}
		for _, col := range t.cols {
			if err := c.need(col); err != nil {
				return err
			}
		}
		n := 0
		for _, row := range c.rows {
			if t.keep(row) {
				c.rows[n] = row
				n++
			}
		}
		c.rows = c.rows[:n]
	}
	return nil
}
