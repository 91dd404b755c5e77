package index

import (
	"fmt"
	"slices"
	"sync"
)

// background is a segment that is being written while the next one is filled. The memory
// of its rows is given back before it is written: what comes then, pages and tables, keeps
// nobody from filling, and fsync nobody from writing the next one.
type background struct {
	name    string
	columns *columns      // the background's until written; their rows until encoded
	encoded chan struct{} // closed when nothing needs the rows any more
	written chan struct{} // closed when nothing needs the columns and the sealer any more
	durable chan struct{} // closed when the rest is set
	segment *segment
	err     error
}

// seal has the rows written to a temporary file while others are appended. It waits until
// those of the segment before are encoded.
func (w *Writer) seal() {
	if len(w.dead) > 0 {
		w.rows.keep(func(code uint32) bool { return !w.dead[w.rows.ordinals[code]] })
	}
	if w.rows.len() == 0 {
		w.rows.reset()
		return
	}
	if len(w.behind) == 2 {
		w.reclaim()
	}
	if w.err != nil {
		return
	}
	b := &background{name: segmentName(w.store.segments, w.nextID, segmentSuffix), columns: w.rows, encoded: make(chan struct{}), written: make(chan struct{}), durable: make(chan struct{})}
	var before *background
	if w.rows = w.spareColumns(); len(w.behind) > 0 {
		before = w.behind[0]
		w.sealer.hurry.Store(true)
		<-before.encoded
		w.sealer.hurry.Store(false)
		w.rows.takeRows(before.columns)
	}
	go w.write(b, w.nextID, before)
	w.nextID++
	w.behind = append(w.behind, b)
}

// write writes a segment once the one before is written: until then the sealer is not free.
func (w *Writer) write(b *background, id uint64, before *background) {
	defer close(b.durable)
	if before != nil {
		<-before.written
	}
	encoded := sync.OnceFunc(func() { close(b.encoded) })
	file := w.sealer.seal(b.name+tempSuffix, id, b.columns, encoded)
	encoded() // after an error it may not have been called
	close(b.written)
	b.segment, b.err = file.finish()
}

// spareColumns returns columns to be filled, if possible with memory for rows.
func (w *Writer) spareColumns() *columns {
	if len(w.spare) == 0 {
		return newColumns()
	}
	i := max(0, slices.IndexFunc(w.spare, func(c *columns) bool { return cap(c.rows) > 0 }))
	c := w.spare[i]
	w.spare = slices.Delete(w.spare, i, i+1)
	return c
}

// reclaim waits for the first of the segments behind to be written, and takes its columns
// back. Of written ones only the last may not be durable yet.
func (w *Writer) reclaim() {
	w.settle()
	w.syncing, w.behind = w.behind[0], w.behind[1:]
	<-w.syncing.written
	w.syncing.columns.reset()
	w.spare = append(w.spare, w.syncing.columns)
}

// settle waits for the segment that is being made durable.
func (w *Writer) settle() {
	b := w.syncing
	if b == nil {
		return
	}
	<-b.durable
	w.syncing = nil
	switch {
	case b.err == nil:
		w.sealed = append(w.sealed, b.segment)
	case w.err == nil:
		w.err = fmt.Errorf("write segment %q: %w", b.name, b.err)
	}
}

// wait waits until nothing is written any more. The sealer is free then.
func (w *Writer) wait() {
	w.sealer.hurry.Store(true)
	defer w.sealer.hurry.Store(false)
	for len(w.behind) > 0 {
		w.reclaim()
	}
	w.settle()
}
