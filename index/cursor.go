package index

import (
	"errors"
	"fmt"
	"os"
	"slices"
)

// cursor walks the rows of one segment that match, in flow order. It holds what its
// source decoded last: rows, and runs of rows that follow each other and share a
// five-tuple and direction.
type cursor struct {
	seg       *segment
	source    rowSource
	addresses *addressCoder

	head  runKey // the key of the next row
	ahead runKey // that of the run behind it, at hand before it is asked for

	at   int      // the next row
	on   int      // its run
	sent int      // rows before it are in batches; those from it to at have only their places
	to   []uint32 // of the rows from sent to at: the place in the batch under way
	tied bool     // another cursor's next row may have the key of this one's

	runs []run

	// By row. flags are a row's: nulls in bits 0 to 3, then allowed.
	origin               []uint32
	time, record, offset []int64
	state, flags         []uint8
	counted              []uint32    // where its counters are; 0 where there are none
	counters             [4][]uint64 // not by row; the first ones are 0

	// Of the whole segment, or of what was decoded last.
	origins  []origin
	ordinals []uint32
	texts    []string

	toOrigin []originCodes
}

// rowSource decodes the rows of a segment.
type rowSource interface {
	// next fills the cursor with the next rows that match, at least one; false is the end.
	next(c *cursor) (bool, error)
	close() error
}

// next moves to the next rows that match. It returns false at the end. All rows before
// MUST be in batches.
func (c *cursor) next() (bool, error) {
	ok, err := c.source.next(c)
	if ok {
		c.at, c.on, c.sent = 0, 0, 0
		c.setKeys()
		c.to = slices.Grow(c.to[:0], c.len()+fewRows)
		for len(c.toOrigin) < len(c.origins) {
			c.toOrigin = append(c.toOrigin, originCodes{})
		}
	}
	return ok, err
}

// len is how many rows it holds, those that were taken included.
func (c *cursor) len() int { return len(c.time) }

// take moves past the next n rows, which are of one run.
func (c *cursor) take(n int) {
	if c.at += n; c.at == c.runs[c.on].until {
		c.on++
		c.head = c.ahead
		c.ahead = c.runs[min(c.on+1, len(c.runs)-1)].runKey
	}
}

// newCursor opens a segment and puts a cursor at its first match. It returns nil where
// there is none. Addresses get codes of d.
func (s *Store) newCursor(seg *segment, p *plan, u *unpacker, d *scanAddresses) (_ *cursor, err error) {
	c := &cursor{seg: seg}
	if seg.arrow != nil {
		var file *os.File
		if file, err = s.openFile(seg); err == nil {
			c.source, err = newArrowSource(c, p, u, d, file)
		}
	} else {
		c.source, err = s.newBlockSource(c, p, u, d)
	}
	if err != nil || c.source == nil {
		return nil, err
	}
	ok, err := c.next()
	if err != nil || !ok {
		return nil, errors.Join(err, c.source.close())
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
