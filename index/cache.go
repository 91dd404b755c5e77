package index

import "sync"

// cacheBytes bounds the dictionaries and postings that are kept for the next scan:
// those of some 12 million rows with a few thousand addresses.
const cacheBytes = 24 << 20

// cache keeps what was decoded of the segments that were asked for last.
type cache struct {
	mu    sync.Mutex
	held  map[uint64]*opened
	order []uint64 // by last use, oldest first
	bytes int64
}

func (c *cache) get(id uint64, load func() (*opened, error)) (*opened, error) {
	c.mu.Lock()
	o := c.held[id]
	if o != nil {
		c.touch(id)
	}
	c.mu.Unlock()
	if o != nil {
		return o, nil
	}
	o, err := load()
	if err != nil {
		return nil, err
	}
	c.put(id, o)
	return o, nil
}

func (c *cache) put(id uint64, o *opened) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.held == nil {
		c.held = make(map[uint64]*opened)
	}
	if c.held[id] != nil || o.bytes > cacheBytes {
		return
	}
	c.held[id] = o
	c.order = append(c.order, id)
	c.bytes += o.bytes
	for c.bytes > cacheBytes {
		oldest := c.order[0]
		c.order = c.order[1:]
		c.bytes -= c.held[oldest].bytes
		delete(c.held, oldest)
	}
}

// touch moves id to the end. There are few: a scan of all segments is linear anyway.
func (c *cache) touch(id uint64) {
	for i, o := range c.order {
		if o == id {
			c.order = append(append(c.order[:i:i], c.order[i+1:]...), id)
			return
		}
	}
}
