package index

import (
	"bytes"
	"fmt"
	"hash/crc32"
	"net/netip"
	"path/filepath"
)

const (
	// batchRows is how many rows one record batch of a segment holds: small enough to
	// decode in well under a millisecond, large enough for the codec.
	batchRows = 8192
	// segmentBatches bounds a segment, so that which batches an address occurs in fits
	// one 64-bit word.
	segmentBatches = 64
	segmentRows    = batchRows * segmentBatches
	// segmentAddresses bounds the address dictionary, which every scan holds in memory
	// for each open segment (24 bytes an entry). A segment is sealed before it grows
	// further; one batch may exceed it.
	segmentAddresses = 1 << 17
)

// segment is what the manifest says about one segment file.
type segment struct {
	id          uint64
	size        int64 // of the file
	rows        int
	first, last int64          // event times, both included
	low, high   netip.Addr     // of all source and destination addresses, both included
	head        part           // from byte 0: magic, schema, dictionaries
	batches     []segmentBatch // back to back from the end of head
	postings    part           // after the batches, with the end-of-stream marker before it
	footer      part           // to the end of the file
	addresses   int            // entries in the address dictionary
	ordinals    []uint32       // for each entry of the blob dictionary
	sightings   []byte         // what is behind NICs, encoded; nil in a segment that was written without
}

// part is a stretch of the file that is read and checked as one.
type part struct {
	offset, length int64
	crc            uint32 // CRC-32C
}

type segmentBatch struct {
	part
	rows        int
	lowSrc      uint32 // code of the first row's source
	highSrc     uint32 // code of the last row's
	first, last int64  // event times, both included
}

func (p part) end() int64 { return p.offset + p.length }

// check compares bytes that were read with what was written.
func (p part) check(path string, b []byte) error {
	if crc := crc32.Checksum(b, castagnoli); crc != p.crc {
		return CorruptError{Path: path, Offset: p.offset, Detail: fmt.Sprintf("checksum of %d bytes is %08x, want %08x", p.length, crc, p.crc)}
	}
	return nil
}

func segmentName(dir string, id uint64) string {
	return filepath.Join(dir, fmt.Sprintf("%010d%s", id, segmentSuffix))
}

func (s *segment) encode() []byte {
	e := encoder{b: []byte{frameSegment}}
	e.uint(s.id)
	e.int(s.first)
	e.int(s.last)
	e.address(s.low.As16())
	e.address(s.high.As16())
	e.uint(uint64(s.addresses))
	e.part(s.head)
	e.uint(uint64(len(s.batches)))
	for i := range s.batches {
		b := &s.batches[i]
		e.part(b.part)
		e.uint(uint64(b.rows))
		e.uint(uint64(b.lowSrc))
		e.uint(uint64(b.highSrc))
		e.int(b.first - s.first)
		e.int(b.last - s.first)
	}
	e.part(s.postings)
	e.part(s.footer)
	e.ordinals(s.ordinals)
	e.b = append(e.b, s.sightings...)
	return e.b
}

func decodeSegment(d *decoder) (*segment, error) {
	s := &segment{id: d.uint(), first: d.int(), last: d.int()}
	s.low = netip.AddrFrom16(d.address()).Unmap()
	s.high = netip.AddrFrom16(d.address()).Unmap()
	s.addresses = int(d.uint())
	s.head = d.part(0)
	at := s.head.end()
	s.batches = make([]segmentBatch, d.count())
	for i := range s.batches {
		b := &s.batches[i]
		b.part = d.part(at)
		b.rows = int(d.uint())
		b.lowSrc, b.highSrc = uint32(d.uint()), uint32(d.uint())
		b.first, b.last = s.first+d.int(), s.first+d.int()
		at = b.end()
		s.rows += b.rows
		if b.rows < 1 || b.rows > batchRows {
			d.fail("the rows of a batch")
		}
	}
	s.postings = d.part(at)
	s.footer = d.part(s.postings.end())
	s.size = s.footer.end()
	s.ordinals = d.ordinals()
	if len(d.b) > 0 {
		s.sightings, d.b = bytes.Clone(d.b), nil
	}
	if len(s.batches) < 1 || len(s.batches) > segmentBatches || s.addresses < 1 || s.addresses > 2*segmentRows {
		d.fail("the size of a segment")
	}
	return s, d.done()
}

func (e *encoder) part(p part) {
	e.uint(uint64(p.length))
	e.fixed32(p.crc)
}

// maxPart bounds what is read as one: a batch of 8,192 rows takes less than 1 MB, a
// dictionary less than this unless the blobs' paths are absurd.
const maxPart = 1 << 30

func (d *decoder) part(offset int64) part {
	n := d.uint()
	if n > maxPart {
		d.fail("a length")
		n = 0
	}
	return part{offset: offset, length: int64(n), crc: d.fixed32()}
}

// ordinals count up, so each is stored as the distance from the one before.
func (e *encoder) ordinals(list []uint32) {
	e.uint(uint64(len(list)))
	last := int64(0)
	for _, o := range list {
		e.int(int64(o) - last)
		last = int64(o)
	}
}

// maxOrdinal bounds the bit set of the live ones to 128 MB, whatever a file says.
const maxOrdinal = 1 << 30

func (d *decoder) ordinals() []uint32 {
	list := make([]uint32, d.count())
	last := int64(0)
	for i := range list {
		last += d.int()
		if last < 1 || last > maxOrdinal {
			d.fail("an ordinal")
			return nil
		}
		list[i] = uint32(last)
	}
	return list
}
