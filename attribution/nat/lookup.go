package nat

import (
	"container/list"
	"slices"
	"sort"
	"sync"
)

// Blocks that a store keeps decoded: about 90 kB each. Rows asked about in their
// order need one of each segment.
const cachedBlocks = 64

// blockCache keeps the blocks that were used last.
type blockCache struct {
	mu    sync.Mutex
	known map[blockID]*list.Element
	order list.List // of *cachedBlock, the last used first
}

type blockID struct{ segment, block int }

type cachedBlock struct {
	id    blockID
	flows []Flow // never changed
}

func (c *blockCache) get(seg *segment, block int) ([]Flow, error) {
	id := blockID{seg.id, block}
	c.mu.Lock()
	defer c.mu.Unlock()
	if e := c.known[id]; e != nil {
		c.order.MoveToFront(e)
		return e.Value.(*cachedBlock).flows, nil
	}
	flows, err := seg.block(block)
	if err != nil {
		return nil, err
	}
	if c.known == nil {
		c.known = make(map[blockID]*list.Element)
	}
	c.known[id] = c.order.PushFront(&cachedBlock{id, flows})
	if c.order.Len() > cachedBlocks {
		oldest := c.order.Remove(c.order.Back()).(*cachedBlock)
		delete(c.known, oldest.id)
	}
	return flows, nil
}

// around is how many records of a key are looked at beyond the first that shows that none
// before it can matter: enough to notice evidence that contradicts itself, and few enough
// for a port that somebody uses all day, as each is held against each.
const around = 64

// lookup appends the records of a key that can tell about [from, to] to into: all that
// may have been open then, and their neighbours.
func (s *Store) lookup(c *cluster, k *Key, from, to int64, into []Flow) ([]Flow, error) {
	start := len(into)
	for _, seg := range c.segments {
		if k.Src.Compare(seg.senders[0]) < 0 || k.Src.Compare(seg.senders[len(seg.senders)-1]) > 0 {
			continue
		}
		var err error
		if into, err = s.lookupIn(seg, k, from, to, into); err != nil {
			return into, err
		}
	}
	found := into[start:]
	if len(s.hidden) > 0 {
		found = slices.DeleteFunc(found, func(f Flow) bool { return s.hidden[f.Import] })
	}
	slices.SortFunc(found, func(a, b Flow) int { return a.compare(&b) })
	return into[:start+len(found)], nil
}

// lookupIn does so in one segment. Records of a key are sorted by when they are
// certain to have begun: first those are read, backwards, that had begun by to, and
// then those after it that may have.
func (s *Store) lookupIn(seg *segment, k *Key, from, to int64, into []Flow) ([]Flow, error) {
	w := walker{store: s, seg: seg}
	if err := w.seek(k, to); err != nil {
		return into, err
	}
	back := w
	for left := around; left > 0; {
		f, err := back.previous()
		if err != nil {
			return into, err
		}
		if f == nil || f.Key != *k {
			break
		}
		into = append(into, *f)
		if f.ToLatest < from && !s.hidden[f.Import] {
			left--
		}
	}
	for left := around; left > 0; {
		f, err := w.next()
		if err != nil {
			return into, err
		}
		if f == nil || f.Key != *k {
			break
		}
		into = append(into, *f)
		if f.FromEarliest > to && !s.hidden[f.Import] {
			left--
		}
	}
	return into, nil
}

// walker is a place between two records of a segment.
type walker struct {
	store *Store
	seg   *segment
	block int // of the record after the place
	at    int
}

// seek goes behind the last record of the key that is certain to have begun by t.
func (w *walker) seek(k *Key, t int64) error {
	blocks := w.seg.blocks
	after := func(key *Key, from int64) bool {
		c := key.Compare(k)
		return c > 0 || (c == 0 && from > t)
	}
	w.block = sort.Search(len(blocks), func(i int) bool { return after(&blocks[i].first, blocks[i].from) })
	w.at = 0
	if w.block == 0 {
		return nil
	}
	flows, err := w.store.cache.get(w.seg, w.block-1)
	if err != nil {
		return err
	}
	if at := sort.Search(len(flows), func(i int) bool { return after(&flows[i].Key, flows[i].FromLatest) }); at < len(flows) {
		w.block--
		w.at = at
	}
	return nil
}

// next returns the record after the place, or nil, and goes behind it.
func (w *walker) next() (*Flow, error) {
	if w.block >= len(w.seg.blocks) {
		return nil, nil
	}
	flows, err := w.store.cache.get(w.seg, w.block)
	if err != nil {
		return nil, err
	}
	f := &flows[w.at]
	if w.at++; w.at == len(flows) {
		w.block, w.at = w.block+1, 0
	}
	return f, nil
}

// previous returns the record before the place, or nil, and goes before it.
func (w *walker) previous() (*Flow, error) {
	if w.at == 0 {
		if w.block == 0 {
			return nil, nil
		}
		w.block--
		w.at = int(w.seg.blocks[w.block].flows)
	}
	flows, err := w.store.cache.get(w.seg, w.block)
	if err != nil {
		return nil, err
	}
	w.at--
	return &flows[w.at], nil
}
