package index

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
)

// Dropped is what went with whole segments.
type Dropped struct {
	Segments    int
	Rows        int64 // of those that counted
	Bytes       int64
	First, Last int64 // event times of the rows, Unix milliseconds, both included
}

// DropBefore drops the segments of which every row is older than a time, Unix
// milliseconds. What was read stays read: ingestion does not bring the rows back,
// unless a blob is rewritten. It is durable when it returns nil.
func (w *Writer) DropBefore(ctx context.Context, before int64) (Dropped, error) {
	return w.drop(ctx, func(s *segment) bool { return s.last < before })
}

// Discard drops the segments of those names, as damage is reported with: what they hold
// cannot be read.
func (w *Writer) Discard(ctx context.Context, paths []string) (Dropped, error) {
	return w.drop(ctx, func(s *segment) bool { return slices.Contains(paths, s.name(w.store.segments)) })
}

// BlobsIn lists the blobs of which rows that count are in any of the segments of those
// names, sorted.
func (s *Store) BlobsIn(paths []string) []string {
	m := s.manifest()
	var in ordinalSet
	for _, seg := range m.segments {
		if slices.Contains(paths, seg.name(s.segments)) {
			for _, o := range seg.ordinals {
				in.add(o)
			}
		}
	}
	return blobsOf(m, in)
}

// blobsOf are the blobs with an ordinal of the set, sorted.
func blobsOf(m *manifest, set ordinalSet) []string {
	var list []string
	for name, b := range m.blobs {
		if slices.ContainsFunc(b.ordinals, set.has) {
			list = append(list, name)
		}
	}
	slices.Sort(list)
	return list
}

func (w *Writer) drop(ctx context.Context, which func(*segment) bool) (d Dropped, err error) {
	if w.err != nil {
		return d, w.err
	}
	if w.rows.len() > 0 || len(w.changed) > 0 || len(w.open) > 0 {
		return d, errors.New("drop segments: there are rows to be committed first")
	}
	m := w.store.manifest()
	var old []*segment
	var gone ordinalSet
	for _, s := range m.segments {
		if !which(s) {
			continue
		}
		if len(old) == 0 {
			d.First, d.Last = s.first, s.last
		}
		old = append(old, s)
		d.First, d.Last = min(d.First, s.first), max(d.Last, s.last)
		d.Bytes += s.size
		for _, o := range s.ordinals {
			gone.add(o)
		}
	}
	if len(old) == 0 {
		return d, nil
	}
	d.Segments = len(old)
	next := m.next()
	next.drop(idsOf(old))
	frames := [][]byte{encodeDrop(old)}
	for _, name := range blobsOf(m, gone) {
		b, err := w.recount(ctx, m.blobs[name], next.segments)
		if err != nil {
			return Dropped{}, fmt.Errorf("drop segments: %w", err)
		}
		d.Rows += m.blobs[name].rows - b.rows
		next.setBlob(b)
		frames = append(frames, b.encode())
	}
	if err := w.store.journal.Append(frames...); err != nil {
		w.err = fmt.Errorf("drop segments: %w", err)
		w.store.fail(w.err)
		return Dropped{}, w.err
	}
	w.store.publish(next)
	w.store.removeFiles(old)
	return d, nil
}

func idsOf(segments []*segment) (ids []uint64) {
	for _, s := range segments {
		ids = append(ids, s.id)
	}
	return ids
}

// recount is a blob's state with the rows that the segments hold of it. One that cannot
// be read counts as holding none.
func (w *Writer) recount(ctx context.Context, b *blobState, segments []*segment) (*blobState, error) {
	u, err := newUnpacker()
	if err != nil {
		return nil, err
	}
	defer u.close()
	now := b.clone()
	now.rows, now.first, now.last = 0, 0, 0
	var mine ordinalSet
	for _, o := range b.ordinals {
		mine.add(o)
	}
	left := make(map[uint32]bool)
	p := newPlan(Filter{}, mine)
	for _, seg := range segments {
		if !slices.ContainsFunc(seg.ordinals, mine.has) {
			continue
		}
		for _, o := range seg.ordinals {
			left[o] = left[o] || mine.has(o)
		}
		err := errors.Join(ctx.Err(), w.store.eachTime(seg, p, u, func(t int64) {
			now.cover(t, t)
			now.rows++
		}))
		var damage CorruptError
		if err != nil && !errors.As(err, &damage) {
			return nil, err
		}
	}
	maps.DeleteFunc(left, func(_ uint32, here bool) bool { return !here })
	now.ordinals = slices.Sorted(maps.Keys(left))
	return now, nil
}

// eachTime calls fn with the event time of each row of a segment that matches.
func (s *Store) eachTime(seg *segment, p *plan, u *unpacker, fn func(int64)) (err error) {
	d := newScanAddresses(s.mem)
	defer d.release()
	c, err := s.newCursor(seg, p, u, d)
	if err != nil || c == nil {
		return err
	}
	defer func() { err = errors.Join(err, c.source.close()) }()
	for {
		for _, t := range c.time {
			fn(t)
		}
		if ok, err := c.next(); err != nil || !ok {
			return err
		}
	}
}
