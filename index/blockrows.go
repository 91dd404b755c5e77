package index

import (
	"fmt"
	"slices"
)

// decode fills the cursor with the next window of the block's rows that match.
func (s *blockSource) decode(c *cursor, raw []byte, timed bool) error {
	if err := s.block.parse(raw, s.opened.seg.addresses); err != nil {
		return err
	}
	s.matchRuns()
	if len(s.rows) == 0 {
		return nil
	}
	if err := s.readGroups(); err != nil {
		return err
	}
	if s.wanted != nil || timed {
		s.matchRows(timed)
	}
	if len(s.rows) == 0 {
		return nil
	}
	s.window()
	s.fillGroups(c)
	if err := s.fillCounters(c); err != nil {
		return err
	}
	return s.fillRuns(c)
}

// matchRuns sets runs to those that match, and rows to their rows.
func (s *blockSource) matchRuns() {
	b, q := &s.block, s.plan
	s.rows, s.runs, s.until = s.rows[:0], s.runs[:0], s.until[:0]
	if q.all() {
		s.matchAll()
		return
	}
	srcPort, dstPort := &b.columns[packSrcPort], &b.columns[packDstPort]
	for run := range b.runs {
		switch {
		case q.src != nil && !q.src.has(b.src[run]):
		case q.dst != nil && !q.dst.has(b.dst[run]):
		case q.addresses != nil && !q.addresses.has(b.src[run]) && !q.addresses.has(b.dst[run]):
		case q.srcPort > 0 && int(srcPort.at(run)) != q.srcPort:
		case q.dstPort > 0 && int(dstPort.at(run)) != q.dstPort:
		default:
			for row := b.start[run]; row < b.start[run+1]; row++ {
				s.rows = append(s.rows, row)
			}
			s.runs, s.until = append(s.runs, uint32(run)), append(s.until, uint32(len(s.rows)))
		}
	}
}

// matchAll does what matchRuns does where every run matches.
func (s *blockSource) matchAll() {
	b := &s.block
	s.rows, s.runs = slices.Grow(s.rows, b.rows)[:b.rows], slices.Grow(s.runs, b.runs)[:b.runs]
	for i := range s.rows {
		s.rows[i] = uint32(i)
	}
	for i := range s.runs {
		s.runs[i] = uint32(i)
	}
	s.until = append(s.until, b.start[1:]...)
}

func (s *blockSource) readGroups() error {
	s.groups = s.block.columns[packGroup].pick(s.groups[:0], s.rows)
	if most := slices.Max(s.groups); most >= uint64(len(s.tables.groups)) {
		return fmt.Errorf("row is of group %d, tables have %d", most, len(s.tables.groups))
	}
	return nil
}

// matchRows leaves out rows by group and time, and then runs of which no row is left.
func (s *blockSource) matchRows(timed bool) {
	if timed {
		s.values = s.block.columns[packTime].pick(s.values[:0], s.rows)
	}
	i, n, runs := 0, 0, 0
	for k, until := range s.until {
		before := n
		for ; i < int(until); i++ {
			group := s.groups[i]
			if s.wanted != nil && !s.wanted[group] {
				continue
			}
			if timed {
				if t := s.tables.groups[group].time + int64(s.values[i]); t < s.plan.from || t >= s.plan.to {
					continue
				}
			}
			s.rows[n], s.groups[n] = s.rows[i], group
			n++
		}
		if n > before {
			s.runs[runs], s.until[runs] = s.runs[k], uint32(n)
			runs++
		}
	}
	s.rows, s.groups, s.runs, s.until = s.rows[:n], s.groups[:n], s.runs[:runs], s.until[:runs]
}

// window leaves only the next rows that the cursor has room for. done is 0 once they
// are the last of the block.
func (s *blockSource) window() {
	from, all := s.done, len(s.rows)
	to := min(from+s.plan.window, all)
	if s.done = to; to == all {
		s.done = 0
	}
	if to-from == all {
		return
	}
	s.rows, s.groups = append(s.rows[:0], s.rows[from:to]...), append(s.groups[:0], s.groups[from:to]...)
	first, _ := slices.BinarySearch(s.until, uint32(from+1))
	last, _ := slices.BinarySearch(s.until, uint32(to))
	s.runs, s.until = append(s.runs[:0], s.runs[first:last+1]...), append(s.until[:0], s.until[first:last+1]...)
	for i := range s.until {
		s.until[i] = min(s.until[i], uint32(to)) - uint32(from)
	}
}

// fillGroups sets what rows have by their group, and what is told by it: groups are far
// away in memory.
func (s *blockSource) fillGroups(c *cursor) {
	n := len(s.rows)
	s.values = s.block.columns[packTime].pick(s.values[:0], s.rows)
	s.offsets = s.block.columns[packOffset].pick(s.offsets[:0], s.rows)
	values, offsets := s.values[:n], s.offsets[:n]
	c.origin = slices.Grow(c.origin[:0], n)[:n]
	c.time, c.record, c.offset = slices.Grow(c.time[:0], n)[:n], slices.Grow(c.record[:0], n)[:n], slices.Grow(c.offset[:0], n)[:n]
	origins, times, records, expected := c.origin, c.time, c.record, c.offset
	for i, group := range s.groups[:n] {
		g := &s.tables.groups[group]
		t := g.time + int64(values[i])
		times[i], expected[i] = t, g.expected(t)+unzigzag(offsets[i])
		origins[i], records[i] = g.origin, g.record
	}
}

// fillRuns sets what rows have by their run.
func (s *blockSource) fillRuns(c *cursor) error {
	b, n := &s.block, len(s.runs)
	s.values = b.columns[packSrcPort].pick(s.values[:0], s.runs)
	s.values = b.columns[packDstPort].pick(s.values, s.runs)
	s.values = b.columns[packKind].pick(s.values, s.runs)
	srcPorts, dstPorts, kinds := s.values[:n], s.values[n:][:n], s.values[2*n:][:n]
	s.src, s.dst = pick(s.src, b.src, s.runs), pick(s.dst, b.dst, s.runs)
	if err := c.addresses.encode(s.src, s.dst); err != nil { // which may read over the block
		return err
	}
	src, dst, until := s.src[:n], s.dst[:n], s.until[:n]
	c.runs = slices.Grow(c.runs[:0], n)[:n]
	for i := range c.runs {
		r := &c.runs[i]
		r.src, r.dst, r.until = src[i], dst[i], int(until[i])
		r.ports, r.kind = uint32(uint16(srcPorts[i]))<<16|uint32(uint16(dstPorts[i])), uint16(kinds[i])
	}
	return nil
}

// fillCounters sets state, flags and counters. Which rows are quiet nobody could foresee, so
// that is no jump.
func (s *blockSource) fillCounters(c *cursor) error {
	b, n := &s.block, len(s.rows)
	s.values = b.columns[packClass].pick(s.values[:0], s.rows)
	c.state, c.flags, c.counted = slices.Grow(c.state[:0], n)[:n], slices.Grow(c.flags[:0], n)[:n], slices.Grow(c.counted[:0], n)[:n]
	loud := uint32(0)
	for i, class := range s.values {
		c.state[i], c.flags[i] = byte(class), byte(class>>8)
		one := 1 - uint32(class/classQuiet&1)
		loud += one
		c.counted[i] = loud & -one
	}
	for k := range c.counters {
		c.counters[k] = append(c.counters[k][:0], 0)
	}
	if n < b.rows {
		return s.pickCounters(c)
	}
	if int(loud) != b.loud {
		return fmt.Errorf("%d rows have counters, want %d", loud, b.loud)
	}
	for k := range c.counters {
		c.counters[k] = b.columns[packCounter0+k].all(c.counters[k])
	}
	return nil
}

// pickCounters sets the counters of rows that are not all of the block's.
func (s *blockSource) pickCounters(c *cursor) error {
	s.loud = s.loud[:0]
	for i, at := range c.counted {
		if at > 0 {
			s.loud = append(s.loud, s.rows[i])
		}
	}
	if len(s.loud) == 0 {
		return nil
	}
	b := &s.block
	if err := b.readClasses(); err != nil {
		return err
	}
	for i, row := range s.loud {
		s.loud[i] = uint32(b.loudAt[row])
	}
	for k := range c.counters {
		c.counters[k] = b.columns[packCounter0+k].pick(c.counters[k], s.loud)
	}
	return nil
}
