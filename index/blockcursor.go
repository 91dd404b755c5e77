package index

import (
	"fmt"
	"slices"
	"sort"

	"github.com/whichpod/whichpod/flow"
)

// blockSource reads the rows of a segment that match. Of a block that may hold any it
// decodes first what decides which rows match, and the rest of those rows only.
type blockSource struct {
	opened    *opened
	addresses *addressReader
	unpack    *unpacker // shared by a scanner's cursors: used inside next only
	plan      *segmentPlan
	tables    *tables
	groups    []bool // by code: wanted; nil is every one

	blocks bitSet // that may hold a match; nil is every one
	at     int    // the next one to be read
	done   int    // of its rows that match, those that were handed out

	*blockScratch
}

// blockScratch is what a block is decoded with. The cursors of a scan share one.
type blockScratch struct {
	block      block
	runs, rows []uint32 // of the block, those that match; a row's run stands at its place in runs
	times      []int64  // of those rows
	values     []uint64
}

// postingCodes is up to how many destinations postings are read for: beyond it most
// blocks have one of them anyway.
const postingCodes = 16 * pageAddresses

// newBlockSource opens a segment. It returns nil where no block can hold a match.
func (s *Store) newBlockSource(c *cursor, p *plan, u *unpacker) (rowSource, error) {
	o, err := s.cache.get(c.seg.id, func() (*opened, error) { return s.open(c.seg, u) })
	if err != nil {
		return nil, err
	}
	b := &blockSource{opened: o, addresses: newAddressReader(o, p.addressBytes), unpack: u, plan: &segmentPlan{plan: p}, blockScratch: &u.blocks}
	any, err := b.choose(p)
	if err == nil && any {
		b.tables, err = o.readTables(u)
	}
	if err != nil || !any {
		o.release()
		return nil, err
	}
	b.chooseGroups(p)
	for dict := range c.texts {
		if dict != dictAddress {
			c.texts[dict] = b.tables.texts
		}
	}
	return b, nil
}

func (s *blockSource) close() error {
	s.opened.release()
	return nil
}

// choose finds the codes that are wanted and the blocks that can hold them. It returns
// false where there are none.
func (s *blockSource) choose(p *plan) (any bool, err error) {
	q := s.plan
	if q.addresses, err = s.opened.codesOf(p.addresses, s.unpack); err != nil {
		return false, err
	}
	if q.src, err = s.opened.codesOf(p.src, s.unpack); err != nil {
		return false, err
	}
	if q.dst, err = s.opened.codesOf(p.dst, s.unpack); err != nil {
		return false, err
	}
	for _, c := range []codeRanges{q.addresses, q.src, q.dst} {
		if c != nil && len(c) == 0 {
			return false, nil
		}
	}
	if q.src != nil {
		s.keep(s.sources(newBitSet(s.opened.blocks), q.src))
	}
	if q.dst != nil && q.dst.size() <= postingCodes {
		set := newBitSet(s.opened.blocks)
		if err := s.destinations(set, q.dst); err != nil {
			return false, err
		}
		s.keep(set)
	}
	if q.addresses != nil && q.addresses.size() <= postingCodes {
		set := s.sources(newBitSet(s.opened.blocks), q.addresses)
		if err := s.destinations(set, q.addresses); err != nil {
			return false, err
		}
		s.keep(set)
	}
	return s.blocks == nil || slices.ContainsFunc(s.blocks, func(w uint64) bool { return w != 0 }), nil
}

// keep leaves only the blocks of set.
func (s *blockSource) keep(set bitSet) {
	if s.blocks == nil {
		s.blocks = set
		return
	}
	for i := range set {
		s.blocks[i] &= set[i]
	}
}

// sources adds the blocks in which any of the codes is a source. Rows are sorted by it.
func (s *blockSource) sources(set bitSet, codes codeRanges) bitSet {
	o := s.opened
	for _, r := range codes {
		from := sort.Search(o.blocks, func(i int) bool { return o.highSrc(i) >= r.low })
		for i := from; i < o.blocks && o.lowSrc(i) < r.high; i++ {
			set.add(i)
		}
	}
	return set
}

// destinations adds the blocks in which any of the codes is a destination.
func (s *blockSource) destinations(set bitSet, codes codeRanges) error {
	var list []uint32
	for _, r := range codes {
		for code := r.low; code < r.high; code++ {
			p, err := s.opened.page(int(code/pageAddresses), s.unpack)
			if err != nil {
				return err
			}
			list = p.appendBlocks(list[:0], int(code%pageAddresses))
			for _, b := range list {
				if int(b) >= s.opened.blocks {
					return CorruptError{Path: s.opened.file.Name(), Offset: s.opened.pagePart(int(code / pageAddresses)).offset, Detail: fmt.Sprintf("postings name block %d of %d", b, s.opened.blocks)}
				}
				set.add(int(b))
			}
		}
	}
	return nil
}

// chooseGroups finds the groups whose rows count and are of a wanted NIC.
func (s *blockSource) chooseGroups(p *plan) {
	t := s.tables
	live := make([]bool, len(t.ordinals))
	all := len(p.nics) == 0
	for i, o := range t.ordinals {
		live[i] = p.live.has(o)
		all = all && live[i]
	}
	if all {
		return
	}
	wanted := make([]bool, len(t.settings))
	for i, x := range t.settings {
		wanted[i] = len(p.nics) == 0 || slices.Contains(p.nics, t.texts[x[0]])
	}
	s.groups = make([]bool, len(t.groups))
	for i := range t.groups {
		s.groups[i] = live[t.groups[i].ordinal] && wanted[t.groups[i].setting]
	}
}

// next reads on to the next rows that match: a window of the block under way, or of the
// next one that has any.
func (s *blockSource) next(c *cursor) (bool, error) {
	for ; s.at < s.opened.blocks; s.at++ {
		if s.blocks != nil && !s.blocks.has(s.at) {
			continue
		}
		first, last := s.opened.times(s.at)
		if last < s.plan.from || first >= s.plan.to {
			continue
		}
		part := s.opened.blockPart(s.at)
		raw, err := s.unpack.read(s.opened.file, part)
		if err != nil {
			return false, err
		}
		if err := s.decode(c, raw, first < s.plan.from || last >= s.plan.to); err != nil {
			if err, ok := err.(CorruptError); ok {
				return false, err
			}
			return false, CorruptError{Path: s.opened.file.Name(), Offset: part.offset, Detail: err.Error()}
		}
		if len(s.rows) > 0 {
			if s.done == 0 {
				s.at++
			}
			return true, nil
		}
	}
	return false, nil
}

// decode fills the cursor with the next window of the block's rows that match.
func (s *blockSource) decode(c *cursor, raw []byte, timed bool) error {
	if err := s.block.parse(raw, s.opened.seg.addresses); err != nil {
		return err
	}
	s.matchRuns()
	if len(s.rows) == 0 {
		return nil
	}
	groups, err := s.readGroups()
	if err != nil {
		return err
	}
	s.readTimes(groups)
	if s.groups != nil || timed {
		s.matchRows(groups, timed)
	}
	if len(s.rows) == 0 {
		return nil
	}
	groups = s.window(groups)
	c.time = append(c.time[:0], s.times...)
	s.fillOffsets(c, groups)
	s.fillGroups(c, groups)
	s.fillRuns(c)
	if err := s.fillCounters(c); err != nil {
		return err
	}
	c.rows = c.rows[:0]
	for i := range s.rows {
		c.rows = append(c.rows, uint32(i))
	}
	c.addresses, err = s.addresses.number(c.addresses[:0], s.unpack, c.src, c.dst)
	return err
}

// matchRuns sets rows to those of the runs that match, and runs to the run of each.
func (s *blockSource) matchRuns() {
	b, q := &s.block, s.plan
	s.rows, s.runs = s.rows[:0], s.runs[:0]
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
				s.rows = append(s.rows, uint32(row))
				s.runs = append(s.runs, uint32(run))
			}
		}
	}
}

// readGroups returns the groups of the rows, in memory that is used anew by the next
// block.
func (s *blockSource) readGroups() ([]uint64, error) {
	s.block.scratch = s.block.columns[packGroup].pick(s.block.scratch[:0], s.rows)
	for _, g := range s.block.scratch {
		if g >= uint64(len(s.tables.groups)) {
			return nil, fmt.Errorf("row is of group %d, tables have %d", g, len(s.tables.groups))
		}
	}
	return s.block.scratch, nil
}

func (s *blockSource) readTimes(groups []uint64) {
	s.values = s.block.columns[packTime].pick(s.values[:0], s.rows)
	s.times = s.times[:0]
	for i, v := range s.values {
		s.times = append(s.times, s.tables.groups[groups[i]].time+int64(v))
	}
}

// matchRows leaves out rows by group and time. groups and times keep step.
func (s *blockSource) matchRows(groups []uint64, timed bool) {
	n := 0
	for i := range s.rows {
		if s.groups != nil && !s.groups[groups[i]] || timed && (s.times[i] < s.plan.from || s.times[i] >= s.plan.to) {
			continue
		}
		s.rows[n], s.runs[n], groups[n], s.times[n] = s.rows[i], s.runs[i], groups[i], s.times[i]
		n++
	}
	s.rows, s.runs, s.times = s.rows[:n], s.runs[:n], s.times[:n]
}

// window leaves only the next rows that the cursor has room for, and returns their
// groups. done is 0 once they are the last of the block.
func (s *blockSource) window(groups []uint64) []uint64 {
	from, all := s.done, len(s.rows)
	to := min(from+s.plan.window, all)
	if s.done = to; to == all {
		s.done = 0
	}
	s.rows, s.runs, s.times = s.rows[from:to], s.runs[from:to], s.times[from:to]
	return groups[from:to]
}

func (s *blockSource) fillOffsets(c *cursor, groups []uint64) {
	s.values = s.block.columns[packOffset].pick(s.values[:0], s.rows)
	c.offset = c.offset[:0]
	for i, v := range s.values {
		c.offset = append(c.offset, s.tables.groups[groups[i]].expected(c.time[i])+unzigzag(v))
	}
}

// fillGroups sets what rows have by their group.
func (s *blockSource) fillGroups(c *cursor, groups []uint64) {
	c.record, c.ordinal = c.record[:0], c.ordinal[:0]
	for dict := range c.codes {
		c.codes[dict] = c.codes[dict][:0]
	}
	for _, k := range groups {
		g := &s.tables.groups[k]
		c.record, c.ordinal = append(c.record, g.record), append(c.ordinal, s.tables.ordinals[g.ordinal])
		for i, text := range s.tables.settings[g.setting] {
			c.codes[tableOrder[i]] = append(c.codes[tableOrder[i]], text)
		}
		c.codes[dictBlob] = append(c.codes[dictBlob], s.tables.paths[g.ordinal])
	}
}

// fillRuns sets what rows have by their run.
func (s *blockSource) fillRuns(c *cursor) {
	b := &s.block
	c.src, c.dst = c.src[:0], c.dst[:0]
	for _, run := range s.runs {
		c.src, c.dst = append(c.src, b.src[run]), append(c.dst, b.dst[run])
	}
	c.srcPort, c.dstPort = c.srcPort[:0], c.dstPort[:0]
	for _, v := range s.ofRuns(packSrcPort) {
		c.srcPort = append(c.srcPort, uint16(v))
	}
	for _, v := range s.ofRuns(packDstPort) {
		c.dstPort = append(c.dstPort, uint16(v))
	}
	protocol, direction := c.data[flow.ColProtocol][:0], c.data[flow.ColDirection][:0]
	for _, v := range s.ofRuns(packKind) {
		protocol, direction = append(protocol, byte(v)), append(direction, byte(v>>8))
	}
	c.data[flow.ColProtocol], c.data[flow.ColDirection] = protocol, direction
}

// ofRuns is a column's value for each row, by its run.
func (s *blockSource) ofRuns(col int) []uint64 {
	column := &s.block.columns[col]
	s.values = s.values[:0]
	if len(s.runs)*few < column.n {
		for _, run := range s.runs {
			s.values = append(s.values, column.at(int(run)))
		}
		return s.values
	}
	s.block.scratch = column.all(s.block.scratch[:0])
	for _, run := range s.runs {
		s.values = append(s.values, s.block.scratch[run])
	}
	return s.values
}

// fillCounters sets state, whether it was allowed, and counters.
func (s *blockSource) fillCounters(c *cursor) error {
	b := &s.block
	n := len(s.rows)
	b.scratch = b.columns[packClass].pick(b.scratch[:0], s.rows)
	state := c.data[flow.ColState][:0]
	allowed := append(c.data[flow.ColAllowed][:0], make([]byte, (n+7)/8)...)
	loud, nulls := false, uint64(0)
	for i, class := range b.scratch {
		state = append(state, byte(class))
		allowed[i/8] |= byte(class>>12) & 1 << (i % 8)
		loud = loud || class&classQuiet == 0
		nulls |= class >> 8
	}
	c.data[flow.ColState], c.data[flow.ColAllowed] = state, allowed
	for k := range c.valid {
		c.valid[k] = c.valid[k][:0]
		if nulls>>k&1 != 0 {
			c.valid[k] = append(c.valid[k], make([]byte, (n+7)/8)...)
			for i, class := range b.scratch {
				c.valid[k][i/8] |= byte(^class>>(8+k)&1) << (i % 8)
			}
		} else {
			c.valid[k] = nil
		}
	}
	for k := range c.counters {
		c.counters[k] = append(c.counters[k][:0], make([]uint64, n)...)
	}
	if !loud {
		return nil
	}
	return s.fillLoud(c)
}

// fillLoud sets the counters of the rows that are not quiet, of which there are some.
func (s *blockSource) fillLoud(c *cursor) error {
	b := &s.block
	if err := b.readClasses(); err != nil {
		return err
	}
	var places, loud []uint32 // of the rows that match, those that are loud; and the place of their counters
	for i, row := range s.rows {
		if b.class[row]&classQuiet == 0 {
			places, loud = append(places, uint32(i)), append(loud, uint32(b.loudAt[row]))
		}
	}
	for k := range c.counters {
		s.values = b.columns[packCounter0+k].pick(s.values[:0], loud)
		for i, place := range places {
			c.counters[k][place] = s.values[i]
		}
	}
	return nil
}
