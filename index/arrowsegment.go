package index

import (
	"bytes"
	"net/netip"
)

// This file reads segments of version 1, which are Arrow IPC files. None is written
// any more.

const (
	arrowSuffix = ".arrow"

	headerDictionary = 2 // kinds of messages
	headerRecord     = 3
	// continuation begins each message.
	continuation = 0xffffffff

	// arrowRows is how many rows one record batch holds at most.
	arrowRows = 8192
	// arrowBatches bounds a segment, so that which batches an address occurs in fits one
	// 64-bit word.
	arrowBatches = 64
)

// node describes one column of a record batch: its length and how many are null.
type node struct{ length, nulls int64 }

// span is where a buffer lies inside a message's body.
type span struct{ offset, length int64 }

// arrowFile is what the manifest says about the parts of a segment of version 1.
type arrowFile struct {
	head     part         // from byte 0: magic, schema, dictionaries
	batches  []arrowBatch // back to back from the end of head
	postings part         // after the batches, with the end-of-stream marker before it
	footer   part         // to the end of the file
}

type arrowBatch struct {
	part
	rows            int
	lowSrc, highSrc uint32 // code of the first row's source, and of the last row's
	first, last     int64  // event times, both included
}

func (s *segment) encodeArrow() []byte {
	e := encoder{b: []byte{frameArrow}}
	e.uint(s.id)
	e.int(s.first)
	e.int(s.last)
	e.address(s.low.As16())
	e.address(s.high.As16())
	e.uint(uint64(s.addresses))
	e.part(s.arrow.head)
	e.uint(uint64(len(s.arrow.batches)))
	for i := range s.arrow.batches {
		b := &s.arrow.batches[i]
		e.part(b.part)
		e.uint(uint64(b.rows))
		e.uint(uint64(b.lowSrc))
		e.uint(uint64(b.highSrc))
		e.int(b.first - s.first)
		e.int(b.last - s.first)
	}
	e.part(s.arrow.postings)
	e.part(s.arrow.footer)
	e.ordinals(s.ordinals)
	e.b = append(e.b, s.sightings...)
	return e.b
}

func decodeArrow(d *decoder) (*segment, error) {
	s := &segment{id: d.uint(), first: d.int(), last: d.int(), arrow: &arrowFile{}}
	s.low = netip.AddrFrom16(d.address()).Unmap()
	s.high = netip.AddrFrom16(d.address()).Unmap()
	s.addresses = int(d.uint())
	a := s.arrow
	a.head = d.part(0)
	at := a.head.end()
	a.batches = make([]arrowBatch, d.count())
	for i := range a.batches {
		b := &a.batches[i]
		b.part = d.part(at)
		b.rows = int(d.uint())
		b.lowSrc, b.highSrc = uint32(d.uint()), uint32(d.uint())
		b.first, b.last = s.first+d.int(), s.first+d.int()
		at = b.end()
		s.rows += b.rows
		if b.rows < 1 || b.rows > arrowRows {
			d.fail("the rows of a batch")
		}
	}
	a.postings = d.part(at)
	a.footer = d.part(a.postings.end())
	s.size = a.footer.end()
	s.ordinals = d.ordinals()
	if d.left() > 0 {
		s.sightings = bytes.Clone(d.rest())
	}
	if len(a.batches) < 1 || len(a.batches) > arrowBatches || s.addresses < 1 || s.addresses > 2*segmentRows {
		d.fail("the size of a segment")
	}
	return s, d.done()
}
