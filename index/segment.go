package index

import (
	"bytes"
	"fmt"
	"hash/crc32"
	"net/netip"
	"path/filepath"
)

// segmentAddresses bounds the address dictionary, of which a scan of everything holds
// what it can in memory for each open segment (4 bytes an entry). A segment is sealed before it
// grows further; one batch may exceed it.
const segmentAddresses = 1 << 17

// segment is what the manifest says about one segment file.
type segment struct {
	id          uint64
	size        int64 // of the file
	rows        int
	first, last int64      // event times, both included
	low, high   netip.Addr // of all source and destination addresses, both included
	addresses   int        // entries in the address dictionary
	directory   part       // to the end of the file; says where everything else is
	ordinals    []uint32   // of its rows; in version 1 for each entry of the blob dictionary
	sightings   []byte     // what is behind NICs, encoded; nil in a segment that was written without
	arrow       *arrowFile // of version 1; nil in others
}

// part is a stretch of the file that is read and checked as one.
type part struct {
	offset, length int64
	crc            uint32 // CRC-32C
}

func (p part) end() int64 { return p.offset + p.length }

// check compares bytes that were read with what was written.
func (p part) check(path string, b []byte) error {
	if crc := crc32.Checksum(b, castagnoli); crc != p.crc {
		return CorruptError{Path: path, Offset: p.offset, Detail: fmt.Sprintf("checksum of %d bytes is %08x, want %08x", p.length, crc, p.crc)}
	}
	return nil
}

// name is the segment's file.
func (s *segment) name(dir string) string {
	suffix := segmentSuffix
	if s.arrow != nil {
		suffix = arrowSuffix
	}
	return segmentName(dir, s.id, suffix)
}

func segmentName(dir string, id uint64, suffix string) string {
	return filepath.Join(dir, fmt.Sprintf("%010d%s", id, suffix))
}

func (s *segment) encode() []byte {
	if s.arrow != nil {
		return s.encodeArrow()
	}
	e := encoder{b: []byte{frameSegment}}
	e.uint(s.id)
	e.int(s.first)
	e.int(s.last)
	e.address(s.low.As16())
	e.address(s.high.As16())
	e.uint(uint64(s.addresses))
	e.uint(uint64(s.rows))
	e.uint(uint64(s.directory.offset))
	e.part(s.directory)
	e.ordinals(s.ordinals)
	e.b = append(e.b, s.sightings...)
	return e.b
}

func decodeSegment(d *decoder) (*segment, error) {
	s := &segment{id: d.uint(), first: d.int(), last: d.int()}
	s.low = netip.AddrFrom16(d.address()).Unmap()
	s.high = netip.AddrFrom16(d.address()).Unmap()
	s.addresses = int(d.uint())
	s.rows = int(d.uint())
	offset := d.uint()
	if offset > maxSegment {
		d.fail("an offset")
	}
	s.directory = d.part(int64(offset))
	s.size = s.directory.end()
	s.ordinals = d.ordinals()
	s.sightings = bytes.Clone(d.rest())
	if s.rows < 1 || s.rows > segmentRows || s.addresses < 1 || s.addresses > 2*segmentRows {
		d.fail("the size of a segment")
	}
	return s, d.done()
}

// maxSegment bounds a segment's file, so that offsets in it take 32 bits. Rows that
// could not be packed at all take a tenth of it.
const maxSegment = 1<<32 - 1

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
