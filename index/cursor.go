package index

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
)

// cursor walks the rows of one segment that match, in flow order. It holds what its
// source decoded last.
type cursor struct {
	seg    *segment
	source rowSource
	texts  [numDictionaries][]string

	rows []uint32 // places, in what follows, of those that match
	at   int      // in rows
	head key      // of rows[at]

	data                 [numColumns][]byte
	valid                [4][]byte // of the counters; nil where none is null
	time, record, offset []int64
	counters             [4][]uint64
	addresses            []netip.Addr              // that rows refer to
	src, dst             []uint32                  // in addresses
	codes                [numDictionaries][]uint32 // of the text columns
	ordinal              []uint32                  // itself, not its code
	srcPort, dstPort     []uint16

	toAddress remap
	toText    [numDictionaries]remap
}

// rowSource decodes the rows of a segment.
type rowSource interface {
	// next fills the cursor with the next rows that match, at least one; false is the end.
	next(c *cursor) (bool, error)
	close() error
}

// next moves to the next rows that match. It returns false at the end.
func (c *cursor) next() (bool, error) {
	ok, err := c.source.next(c)
	if ok {
		c.at = 0
		c.toAddress = append(c.toAddress[:0], make(remap, len(c.addresses))...)
		c.setHead()
	}
	return ok, err
}

// newCursor opens a segment and puts a cursor at its first match. It returns nil where
// there is none.
func (s *Store) newCursor(seg *segment, p *plan, u *unpacker) (_ *cursor, err error) {
	c := &cursor{seg: seg}
	if seg.arrow != nil {
		var file *os.File
		if file, err = s.openFile(seg); err == nil {
			c.source, err = newArrowSource(c, p, u, file)
		}
	} else {
		c.source, err = s.newBlockSource(c, p, u)
	}
	if err != nil || c.source == nil {
		return nil, err
	}
	ok, err := c.next()
	if err != nil || !ok {
		return nil, errors.Join(err, c.source.close())
	}
	for i := range c.toText {
		c.toText[i] = make(remap, len(c.texts[i]))
	}
	return c, nil
}

// openFile opens a segment's file, which must be there in full length.
func (s *Store) openFile(seg *segment) (*os.File, error) {
	name := seg.name(s.segments)
	file, err := os.Open(name)
	if err != nil {
		if errors.Is(err, os.ErrNotExist) {
			err = CorruptError{Path: name, Offset: 0, Detail: "file is missing"}
		}
		return nil, err
	}
	info, err := file.Stat()
	if err == nil && info.Size() != seg.size {
		err = CorruptError{Path: name, Offset: min(info.Size(), seg.size), Detail: fmt.Sprintf("file has %d bytes, want %d", info.Size(), seg.size)}
	}
	if err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return file, nil
}
