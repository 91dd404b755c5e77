package index

import (
	"fmt"
	"slices"
	"sync"
)

// background is a segment that is being written while the next one is filled. The memory
// of its rows is given back before it is done: what comes then, pages, tables and fsync,
// keeps nobody from filling.
type background struct {
	name    string
	columns *columns      // the background's until done; their rows until encoded
	encoded chan struct{} // closed when nothing needs the rows any more
	done    chan struct{} // closed when the rest is set
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
		w.finish()
	}
	if w.err != nil {
		return
	}
	b := &background{name: segmentName(w.store.segments, w.nextID, segmentSuffix), columns: w.rows, encoded: make(chan struct{}), done: make(chan struct{})}
	var before *background
	if w.rows = w.spareColumns(); len(w.behind) > 0 {
		before = w.behind[0]
		<-before.encoded
		w.rows.takeRows(before.columns)
	}
	go w.write(b, w.nextID, before)
	w.nextID++
	w.behind = append(w.behind, b)
}

// write writes a segment once the one before is done: until then the sealer is not free.
func (w *Writer) write(b *background, id uint64, before *background) {
	defer close(b.done)
	if before != nil {
		<-before.done
	}
	encoded := sync.OnceFunc(func() { close(b.encoded) })
	defer encoded() // after an error it may not have been called
	b.segment, b.err = w.sealer.seal(b.name+tempSuffix, id, b.columns, encoded)
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

// finish waits for the first of the segments that are being written.
func (w *Writer) finish() {
	b := w.behind[0]
	<-b.done
	w.behind = w.behind[1:]
	b.columns.reset()
	w.spare = append(w.spare, b.columns)
	switch {
	case b.err == nil:
		w.sealed = append(w.sealed, b.segment)
	case w.err == nil:
		w.err = fmt.Errorf("write segment %q: %w", b.name, b.err)
	}
}

// wait waits until nothing is written any more. The sealer is free then.
func (w *Writer) wait() {
	for len(w.behind) > 0 {
		w.finish()
	}
}
