package index

import (
	"errors"
	"fmt"
	"math"
	"math/bits"
	"net/netip"
	"os"
	"slices"

	"github.com/apache/arrow/go/v17/arrow"

	"github.com/whichpod/whichpod/flow"
)

// arrowSource reads the rows of a segment of version 1 that match. It holds one decoded
// batch, about 0.7 MB.
type arrowSource struct {
	arrowColumns
	arrowOrigins
	seg         *segment
	plan        *segmentPlan
	nics, blobs []bool // by code: wanted; nil is every one
	file        *os.File
	unpack      *unpacker // shared by a scanner's cursors: used inside next only

	left uint64 // batches that are still to be read
	msg  recordBatch
	have uint32 // columns of the batch that are decoded, one bit each
}

// newArrowSource puts a cursor before the segment's first match. It closes the file
// after an error.
func newArrowSource(c *cursor, p *plan, u *unpacker, d *scanAddresses, file *os.File) (rowSource, error) {
	o, err := u.openArrow(file, c.seg)
	if err != nil {
		return nil, errors.Join(err, file.Close())
	}
	s := &arrowSource{seg: c.seg, file: file, unpack: u, left: 1<<len(c.seg.arrow.batches) - 1}
	pages := slices.Collect(slices.Chunk(o.addresses, pageAddresses))
	c.addresses = newAddressCoder(d, len(pages), math.MaxInt, func(page int) (addressList, error) { return addressList{all: pages[page]}, nil })
	c.ordinals = c.seg.ordinals
	s.addTexts(c, o)
	s.choose(p, o)
	return s, nil
}

// choose leaves out batches that can hold no row of the plan.
func (s *arrowSource) choose(p *plan, o *arrowOpened) {
	q := &segmentPlan{plan: p}
	var mask uint64
	if q.addresses, mask = arrowCodes(p.addresses, o, o.asSource, o.asDest); q.addresses != nil {
		s.left &= mask
	}
	if q.src, mask = arrowCodes(p.src, o, o.asSource); q.src != nil {
		s.left &= mask
	}
	if q.dst, mask = arrowCodes(p.dst, o, o.asDest); q.dst != nil {
		s.left &= mask
	}
	for i := range s.seg.arrow.batches {
		if b := &s.seg.arrow.batches[i]; b.last < p.from || b.first >= p.to {
			s.left &^= 1 << i
		}
	}
	if len(p.nics) > 0 {
		s.nics = make([]bool, len(o.texts[dictNIC]))
		for i, nic := range o.texts[dictNIC] {
			s.nics[i] = slices.Contains(p.nics, nic)
		}
	}
	if slices.ContainsFunc(s.seg.ordinals, func(o uint32) bool { return !p.live.has(o) }) {
		s.blobs = make([]bool, len(s.seg.ordinals))
		for i, ordinal := range s.seg.ordinals {
			s.blobs[i] = p.live.has(ordinal)
		}
	}
	s.plan = q
}

// arrowCodes is the addresses inside the prefixes, and the batches that hold any of
// them by the given postings. Without prefixes both are nothing.
func arrowCodes(list []netip.Prefix, o *arrowOpened, postings ...[]uint64) (codeRanges, uint64) {
	if len(list) == 0 {
		return nil, 0
	}
	codes := codeRanges{}
	mask := uint64(0)
	for _, p := range list {
		low, _ := slices.BinarySearchFunc(o.addresses, p.Addr(), netip.Addr.Compare)
		at := low
		for ; at < len(o.addresses) && p.Contains(o.addresses[at]); at++ {
			for _, words := range postings {
				mask |= words[at]
			}
		}
		codes = codes.add(low, at)
	}
	return codes, mask
}

func (s *arrowSource) close() error { return s.file.Close() }

// next loads the next batch that holds a match. It returns false at the end.
func (s *arrowSource) next(c *cursor) (bool, error) {
	for s.left != 0 {
		i := bits.TrailingZeros64(s.left)
		s.left &^= 1 << i
		if err := s.load(&s.seg.arrow.batches[i]); err != nil {
			return false, err
		}
		if len(s.rows) > 0 {
			return true, s.fill(c)
		}
	}
	return false, nil
}

// load reads a batch: first the columns that decide which rows match, and the others
// only if any does.
func (s *arrowSource) load(b *arrowBatch) error {
	raw, err := s.unpack.read(s.file, b.part)
	if err != nil {
		return err
	}
	err = s.decodeBatch(raw, b)
	s.msg = recordBatch{}
	if err != nil {
		return CorruptError{Path: s.file.Name(), Offset: b.offset, Detail: err.Error()}
	}
	return nil
}

func (s *arrowSource) decodeBatch(raw []byte, b *arrowBatch) (err error) {
	if s.msg, _, _, err = parseMessage(raw, headerRecord); err != nil {
		return err
	}
	if s.msg.rows != int64(b.rows) || len(s.msg.nodes) != numColumns || len(s.msg.spans) != 2*numColumns {
		return fmt.Errorf("batch has %d rows and %d columns, want %d and %d", s.msg.rows, len(s.msg.nodes), b.rows, numColumns)
	}
	s.have = 0
	if err := s.match(b); err != nil || len(s.rows) == 0 {
		return err
	}
	for col := range numColumns {
		if err := s.need(col); err != nil {
			return err
		}
	}
	return nil
}

// need decodes a column of the current batch, once.
func (s *arrowSource) need(col int) error {
	if s.have&(1<<col) != 0 {
		return nil
	}
	n := int(s.msg.rows)
	size := dataSize(col, n)
	if cap(s.data[col]) < size {
		s.data[col] = make([]byte, max(size, dataSize(col, min(arrowRows, s.seg.rows))))
	}
	s.data[col] = s.data[col][:size]
	if err := s.unpack.buffer(s.data[col], &s.msg, 2*col+1); err != nil {
		return fmt.Errorf("column %d: %w", col, err)
	}
	if k, ok := counterOf(col); ok {
		if err := s.needValid(k, col, n); err != nil {
			return err
		}
	}
	s.view(col)
	s.have |= 1 << col
	return s.checkCodes(col)
}

func (s *arrowSource) needValid(k, col, rows int) error {
	if s.msg.nodes[col].nulls == 0 {
		s.valid[k] = nil
		return nil
	}
	s.valid[k] = make([]byte, (rows+7)/8)
	if err := s.unpack.buffer(s.valid[k], &s.msg, 2*col); err != nil {
		return fmt.Errorf("column %d: validity: %w", col, err)
	}
	return nil
}

// view gives the decoded bytes their type.
func (s *arrowSource) view(col int) {
	b := s.data[col]
	switch col {
	case flow.ColTime:
		s.time = arrow.Int64Traits.CastFromBytes(b)
	case flow.ColRecordTime:
		s.record = arrow.Int64Traits.CastFromBytes(b)
	case flow.ColOffset:
		s.offset = arrow.Int64Traits.CastFromBytes(b)
	case flow.ColPacketsSent, flow.ColBytesSent, flow.ColPacketsReceived, flow.ColBytesReceived:
		s.counters[col-flow.ColPacketsSent] = arrow.Uint64Traits.CastFromBytes(b)
	case flow.ColSrc:
		s.src = arrow.Uint32Traits.CastFromBytes(b)
	case flow.ColDst:
		s.dst = arrow.Uint32Traits.CastFromBytes(b)
	case flow.ColSrcPort:
		s.srcPort = arrow.Uint16Traits.CastFromBytes(b)
	case flow.ColDstPort:
		s.dstPort = arrow.Uint16Traits.CastFromBytes(b)
	case flow.ColNIC, flow.ColEncryption, flow.ColRule, flow.ColACL, flow.ColBlob:
		s.codes[dictionaryID(col)] = arrow.Uint32Traits.CastFromBytes(b)
	}
}

// checkCodes makes sure that no code is beyond its dictionary.
func (s *arrowSource) checkCodes(col int) error {
	var codes []uint32
	entries := 0
	switch col {
	case flow.ColSrc:
		codes, entries = s.src, s.seg.addresses
	case flow.ColDst:
		codes, entries = s.dst, s.seg.addresses
	case flow.ColNIC, flow.ColEncryption, flow.ColRule, flow.ColACL, flow.ColBlob:
		id := dictionaryID(col)
		codes, entries = s.codes[id], s.entries[id]
	}
	for i, code := range codes {
		if int(code) >= entries {
			return fmt.Errorf("column %d row %d has index %d, dictionary has %d entries", col, i, code, entries)
		}
	}
	return nil
}

// match sets rows to those of the batch that the plan wants.
func (s *arrowSource) match(b *arrowBatch) error {
	p := s.plan
	s.rows = s.rows[:0]
	for i := range b.rows {
		s.rows = append(s.rows, uint32(i))
	}
	tests := []struct {
		wanted bool
		cols   []int
		keep   func(row uint32) bool
	}{
		{p.src != nil, []int{flow.ColSrc}, func(i uint32) bool { return p.src.has(s.src[i]) }},
		{p.dst != nil, []int{flow.ColDst}, func(i uint32) bool { return p.dst.has(s.dst[i]) }},
		{p.addresses != nil, []int{flow.ColSrc, flow.ColDst}, func(i uint32) bool { return p.addresses.has(s.src[i]) || p.addresses.has(s.dst[i]) }},
		{b.first < p.from || b.last >= p.to, []int{flow.ColTime}, func(i uint32) bool { return s.time[i] >= p.from && s.time[i] < p.to }},
		{p.srcPort > 0, []int{flow.ColSrcPort}, func(i uint32) bool { return int(s.srcPort[i]) == p.srcPort }},
		{p.dstPort > 0, []int{flow.ColDstPort}, func(i uint32) bool { return int(s.dstPort[i]) == p.dstPort }},
		{s.nics != nil, []int{flow.ColNIC}, func(i uint32) bool { return s.nics[s.codes[dictNIC][i]] }},
		{s.blobs != nil, []int{flow.ColBlob}, func(i uint32) bool { return s.blobs[s.codes[dictBlob][i]] }},
	}
	for _, t := range tests {
		if !t.wanted || len(s.rows) == 0 {
			continue
		}
		for _, col := range t.cols {
			if err := s.need(col); err != nil {
				return err
			}
		}
		n := 0
		for _, row := range s.rows {
			if t.keep(row) {
				s.rows[n] = row
				n++
			}
		}
		s.rows = s.rows[:n]
	}
	return nil
}
