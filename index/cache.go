package index

import "sync"

const (
	// cacheBytes bounds the directories, tables and pages that are kept for the next scan:
	// about 120 KB for a full segment.
	cacheBytes = 48 << 20
	// cacheFiles bounds the files that stay open. Half of what a process may have open
	// elsewhere than on a server is more.
	cacheFiles = 512
)

// cache keeps open the segments that were asked for last.
type cache struct {
	mu    sync.Mutex
	held  map[uint64]*opened
	clock uint64 // counts questions
	bytes int64

	closed bool
}

// get returns a segment that the caller MUST release.
func (c *cache) get(id uint64, load func() (*opened, error)) (*opened, error) {
	c.mu.Lock()
	o := c.held[id]
	if o != nil {
		c.clock++
		o.used = c.clock
		o.retain()
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
	if c.closed || c.held[id] != nil || o.bytes() > cacheBytes {
		return
	}
	if c.held == nil {
		c.held = make(map[uint64]*opened)
	}
	o.retain()
	c.clock++
	o.used = c.clock
	c.held[id] = o
	c.bytes += o.bytes()
	for c.bytes > cacheBytes || len(c.held) > cacheFiles {
		c.drop(c.oldest())
	}
}

// oldest is the one that was asked for the longest time ago.
func (c *cache) oldest() (id uint64) {
	least := c.clock + 1
	for k, o := range c.held {
		if o.used < least {
			id, least = k, o.used
		}
	}
	return id
}

// drop forgets one that is held. The lock is the caller's.
func (c *cache) drop(id uint64) {
	o := c.held[id]
	delete(c.held, id)
	c.bytes -= o.bytes()
	o.release()
}

// forget drops the segments that are not wanted any more.
func (c *cache) forget(wanted func(id uint64) bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for id := range c.held {
		if !wanted(id) {
			c.drop(id)
		}
	}
}

// close drops all, and keeps nothing from then on.
func (c *cache) close() {
	c.forget(func(uint64) bool { return false })
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
}
