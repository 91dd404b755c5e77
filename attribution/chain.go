package attribution

import "sync/atomic"

// chains keep, for each key, the pods that belong to it, in the order in which they
// came: the pods of an address, the pods of a node. Keys are numbered from 0. Nothing
// is changed once it is set but the end of a chain, so a copy of a chains value goes on
// reading beside the one writer, up to what was there when it was copied.
type chains[K comparable] struct {
	keys  []K
	table table
	heads []uint32 // of each key: 1 + its first link
	tails []uint32 // and its last one; only the writer looks at them
	links []link
	hash  func(K) uint64
}

type link struct {
	pod  uint32
	next uint32 // 1 + a link; 0 ends the chain
}

// find is the number of a key.
func (c *chains[K]) find(key K) (uint32, bool) {
	slots := c.table.slots
	if len(slots) == 0 {
		return 0, false
	}
	mask := uint64(len(slots) - 1)
	for i := c.table.start(c.hash(key)) & mask; ; i = (i + 1) & mask { // as table.find does
		n := atomic.LoadUint32(&slots[i])
		if n == 0 {
			return 0, false
		}
		if int(n) <= len(c.keys) && c.keys[n-1] == key {
			return n - 1, true
		}
	}
}

// id is the number of a key, which is taken in where it is new.
func (c *chains[K]) id(key K) uint32 {
	if n, ok := c.find(key); ok {
		return n
	}
	n := uint32(len(c.keys))
	c.keys, c.heads, c.tails = append(c.keys, key), append(c.heads, 0), append(c.tails, 0)
	c.table.add(c.hash(key), n, func(n uint32) uint64 { return c.hash(c.keys[n]) })
	return n
}

// add puts a pod at the end of a key's chain.
func (c *chains[K]) add(key, pod uint32) {
	c.links = append(c.links, link{pod: pod})
	end := uint32(len(c.links))
	if last := c.tails[key]; last == 0 {
		atomic.StoreUint32(&c.heads[key], end)
	} else {
		atomic.StoreUint32(&c.links[last-1].next, end)
	}
	c.tails[key] = end
}

// each calls yield with the pods of a key, until it returns false.
func (c *chains[K]) each(key uint32, yield func(pod uint32) bool) {
	at := atomic.LoadUint32(&c.heads[key])
	for at != 0 && int(at) <= len(c.links) {
		l := &c.links[at-1]
		if !yield(l.pod) {
			return
		}
		at = atomic.LoadUint32(&l.next)
	}
}

// snapshot reads on, whatever c takes in later.
func (c *chains[K]) snapshot() chains[K] {
	out := *c
	out.tails = nil
	return out
}

// index makes the table anew.
func (c *chains[K]) index() {
	c.table = newTable(len(c.keys))
	for n, key := range c.keys {
		c.table.add(c.hash(key), uint32(n), nil)
	}
}

// upTo are numbers of links, without those that were added since c was copied.
func (c *chains[K]) upTo(links []uint32) []uint32 {
	out := make([]uint32, len(links))
	for i := range links {
		if n := atomic.LoadUint32(&links[i]); int(n) <= len(c.links) {
			out[i] = n
		}
	}
	return out
}

// nextOf is the number of the link after one, if it was there when c was copied.
func (c *chains[K]) nextOf(i int) uint32 {
	if n := atomic.LoadUint32(&c.links[i].next); int(n) <= len(c.links) {
		return n
	}
	return 0
}
