package index

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/bits"
	"slices"

	"github.com/whichpod/whichpod/flow"
)

// mergeAt is how many segments of about one size are merged to one. A row of a log that
// is followed is so written anew once for each eightfold: three times, until its segment
// is full.
const mergeAt = 8

// tier is a segment's size as a power of eight.
func (s *segment) tier() int { return bits.Len(uint(s.rows)) / 3 }

// small says whether a segment would fit into another one.
func (s *segment) small() bool { return s.rows < segmentRows/2 }

// tidy merges small segments where there are mergeAt of about one size. Damaged ones
// stay as they are: a question or fsck will name them.
func (w *Writer) tidy() error {
	for {
		group := w.tierToMerge()
		if group == nil {
			return nil
		}
		err := w.replace(context.Background(), group)
		var damage CorruptError
		if errors.As(err, &damage) {
			for _, s := range group {
				w.unreadable[s.id] = true
			}
		} else if err != nil {
			return err
		}
	}
}

// tierToMerge is mergeAt segments of one tier that are neighbours in time, or nil.
func (w *Writer) tierToMerge() []*segment {
	tiers := make(map[int][]*segment)
	for _, s := range w.store.manifest().segments {
		if s.small() && !w.unreadable[s.id] {
			tiers[s.tier()] = append(tiers[s.tier()], s)
		}
	}
	for t := range bits.Len(segmentRows) {
		if len(tiers[t]) >= mergeAt {
			slices.SortFunc(tiers[t], byTime)
			return fitting(tiers[t][:mergeAt])
		}
	}
	return nil
}

func byTime(a, b *segment) int { return cmp.Or(cmp.Compare(a.first, b.first), cmp.Compare(a.id, b.id)) }

// fitting is as many of the segments, from the first, as fit into one.
func fitting(list []*segment) []*segment {
	rows := 0
	for i, s := range list {
		if rows += s.rows; rows > segmentRows {
			return list[:i]
		}
	}
	return list
}

// Compacted is what [Writer.Compact] did.
type Compacted struct {
	Merged  int   // segments that were written anew
	Written int   // segments that were made of them
	Dead    int64 // rows that did not count, and are gone from the disk
}

// Compact merges all small segments that are neighbours in time, writes those of older
// versions anew, and those with rows that do not count. What was appended and not
// committed is not touched. Readers go on undisturbed.
//
// Each step is durable by itself, and a crash leaves the one under way undone. A
// [CorruptError] names what could not be read; then nothing of the segments that it
// was to be merged with is changed. The Writer goes on after an error of ctx or that one.
func (w *Writer) Compact(ctx context.Context) (done Compacted, err error) {
	if w.err != nil {
		return done, w.err
	}
	if w.rows.len() > 0 || len(w.changed) > 0 {
		return done, errors.New("compact index: there are rows to be committed first")
	}
	for _, group := range w.groupsToMerge() {
		if err := ctx.Err(); err != nil {
			return done, fmt.Errorf("compact index: %w", err)
		}
		before := len(w.store.manifest().segments)
		rows := 0
		for _, s := range group {
			rows += s.rows
		}
		if err := w.replace(ctx, group); err != nil {
			return done, fmt.Errorf("compact index: %w", err)
		}
		done.Merged += len(group)
		written := len(w.store.manifest().segments) - before + len(group)
		done.Written += written
		done.Dead += int64(rows)
		if written > 0 {
			done.Dead -= int64(w.store.manifest().segments[before-len(group)].rows)
		}
	}
	return done, nil
}

// groupsToMerge is what Compact makes one segment of each.
func (w *Writer) groupsToMerge() (groups [][]*segment) {
	var list []*segment
	for _, s := range w.store.manifest().segments {
		if s.small() || w.outdated(s) {
			list = append(list, s)
		}
	}
	slices.SortFunc(list, byTime)
	for len(list) > 0 {
		group := fitting(list)
		list = list[len(group):]
		if len(group) > 1 || w.outdated(group[0]) {
			groups = append(groups, group)
		}
	}
	return groups
}

// outdated says whether a segment by itself would be better written anew.
func (w *Writer) outdated(s *segment) bool {
	wanted := w.wanted()
	return s.arrow != nil || slices.ContainsFunc(s.ordinals, func(o uint32) bool { return !wanted.has(o) })
}

// wanted are the ordinals whose rows count, or will once their blob is advanced.
func (w *Writer) wanted() ordinalSet {
	set := w.store.manifest().live.clone()
	for _, s := range w.open {
		set.add(s.ordinal)
	}
	return set
}

// replace puts one segment in the place of some, which MUST fit into one, in one step.
// Rows that do not count are left out; where none is left, nothing takes their place.
func (w *Writer) replace(ctx context.Context, old []*segment) error {
	if w.wait(); w.err != nil {
		return w.err
	}
	defer w.rows.reset()
	if err := w.collect(ctx, old); err != nil {
		return err
	}
	err := w.swap(old)
	if err != nil {
		w.err = fmt.Errorf("merge segments: %w", err)
		w.store.fail(w.err)
	}
	return err
}

// collect reads the segments' rows into memory.
func (w *Writer) collect(ctx context.Context, old []*segment) error {
	u, err := newUnpacker()
	if err != nil {
		return err
	}
	defer u.close()
	p, d := newPlan(Filter{}, w.wanted()), newScanAddresses(w.store.mem)
	defer d.release()
	for _, seg := range old {
		if err := errors.Join(ctx.Err(), w.collectSegment(seg, p, u, d)); err != nil {
			return err
		}
	}
	return nil
}

func (w *Writer) collectSegment(seg *segment, p *plan, u *unpacker, d *scanAddresses) (err error) {
	c, err := w.store.newCursor(seg, p, u, d)
	if err != nil || c == nil {
		return err
	}
	defer func() { err = errors.Join(err, c.source.close()) }()
	for {
		w.rows.appendCursor(c)
		if ok, err := c.next(); err != nil || !ok {
			return err
		}
	}
}

// swap writes what was collected and makes it count instead of the old segments.
func (w *Writer) swap(old []*segment) error {
	fsys, dir := w.store.fs, w.store.segments
	next := w.store.manifest().next()
	frames := [][]byte{encodeDrop(old)}
	next.drop(idsOf(old))
	if w.rows.len() > 0 {
		name := segmentName(dir, w.nextID, segmentSuffix)
		seg, err := w.sealer.seal(name+tempSuffix, w.nextID, w.rows, nil).finish()
		if err != nil {
			return err
		}
		if err := fsys.Rename(name+tempSuffix, name); err != nil {
			return errors.Join(err, fsys.Remove(name+tempSuffix))
		}
		if err := fsys.SyncDir(dir); err != nil {
			return err
		}
		w.nextID++
		next.addSegment(seg)
		frames = append(frames, seg.encode())
	}
	if err := w.store.journal.Append(frames...); err != nil {
		return err
	}
	next.nextID, next.nextOrd = w.nextID, w.nextOrd
	w.store.publish(next)
	w.store.removeFiles(old)
	return nil
}

// removeFiles removes the files of segments that count no longer. One that cannot be
// removed now goes when the index is next opened for writing. Scans under way have
// theirs open.
func (s *Store) removeFiles(old []*segment) {
	s.cache.forget(func(id uint64) bool {
		return !slices.ContainsFunc(old, func(x *segment) bool { return x.id == id })
	})
	for _, seg := range old {
		_ = s.fs.Remove(seg.name(s.segments))
	}
}

// appendCursor copies the rows that the cursor stands before.
func (c *columns) appendCursor(from *cursor) {
	n := c.grow(from.len())
	rows := c.rows[n:]
	addresses := from.addresses.scan.list()
	c.addresses.begin(addresses, from.addresses.scan.dictionary)
	c.stretches = c.stretches[:0]
	origin, record := noCode, int64(0) // of the row before
	code := noCode
	on := 0
	for i := range rows {
		if i == from.runs[on].until {
			on++
		}
		run, place := &from.runs[on], rowPlace{from.time[i], from.offset[i]}
		if o, r := from.origin[i], from.record[i]; o != origin || r != record {
			origin, record = o, r
			code = c.groupLike(from, o, r, place)
		}
		c.stretches = append(c.stretches, code)
		c.fits[code].add(place)
		c.ends[n+i] = ends{c.addresses.of(addresses, run.src), c.addresses.of(addresses, run.dst)}
		rows[i] = row{ports: run.ports, kind: run.kind, state: from.state[i], flags: from.flags[i] & (flagAllowed | uint8(flow.NullAll))}
		c.protocols[uint8(run.kind)] = true
	}
	for k, values := range from.counters {
		own := make([]uint64, len(rows))
		for i := range own {
			if rows[i].flags>>k&1 == 0 {
				own[i] = values[from.counted[i]]
			}
		}
		c.counters[k] = own
	}
	setNumbers(c, rows, c.stretches, from.time, from.offset)
}

// groupLike is the code of a group like one of the cursor's, of which a row has the given
// place.
func (c *columns) groupLike(from *cursor, origin uint32, record int64, place rowPlace) uint32 {
	o := &from.origins[origin]
	t := &o.texts
	set := c.settingOf(setting{from.texts[t[0]], from.texts[t[1]], from.texts[t[2]], from.texts[t[3]]})
	return c.groupOf(groupKey{c.ordinal(from.ordinals[o.ordinal], from.texts[t[4]]), set, record}, place)
}
