package index

import (
	"fmt"
	"slices"
	"sort"
)

// blockSource reads the rows of a segment that match. Of a block that may hold any it
// decodes first what decides which rows match, and the rest of those rows only.
type blockSource struct {
	opened *opened
	unpack *unpacker // shared by a scanner's cursors: used inside next only
	plan   *segmentPlan
	tables *tables
	wanted []bool // by group: its rows are; nil is every one

	blocks bitSet // that may hold a match; nil is every one
	at     int    // the next one to be read
	done   int    // of its rows that match, those that were handed out

	*blockScratch
}

// blockScratch is what a block is decoded with. The cursors of a scan share one.
type blockScratch struct {
	block      block
	rows, runs []uint32 // of the block: those that match
	until      []uint32 // by run that matches: where its rows end among those that do
	groups     []uint64 // of those rows
	values     []uint64
	offsets    []uint64
	loud       []uint32 // of the rows that match and are not quiet: the places of their counters
	src, dst   []uint32 // of the runs that match: codes of addresses
	page       addressPage
}

// postingCodes is up to how many destinations postings are read for: beyond it most
// blocks have one of them anyway.
const postingCodes = 16 * pageAddresses

// newBlockSource opens a segment. It returns nil where no block can hold a match.
func (s *Store) newBlockSource(c *cursor, p *plan, u *unpacker, d *scanAddresses) (rowSource, error) {
	o, err := s.cache.get(c.seg.id, func() (*opened, error) { return s.open(c.seg, u) })
	if err != nil {
		return nil, err
	}
	b := &blockSource{opened: o, unpack: u, plan: &segmentPlan{plan: p}, blockScratch: &u.blocks}
	any, err := b.choose(p)
	if err == nil && any {
		b.tables, err = o.readTables(u)
	}
	if err != nil || !any {
		o.release()
		return nil, err
	}
	b.chooseGroups(p)
	c.addresses = newAddressCoder(d, len(o.pages), p.addressBytes, b.readAddresses)
	c.addresses.whole = p.whole()
	c.origins, c.ordinals, c.texts = b.tables.origins, b.tables.ordinals, b.tables.texts
	return b, nil
}

// readAddresses reads a page's, which are valid until it is called again. A scan of all rows
// asks for each once, and would fill the memory for those of the next question.
func (s *blockSource) readAddresses(page int) (addressList, error) {
	if s.plan.whole() {
		err := s.opened.readPage(&s.page, page, s.unpack)
		return s.page.addresses, err
	}
	return s.opened.list(page, s.unpack)
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
	s.wanted = make([]bool, len(t.groups))
	for i := range t.groups {
		s.wanted[i] = live[t.groups[i].ordinal] && wanted[t.groups[i].setting]
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
