package attribution

import (
	"math"
	"sync"
	"sync/atomic"
)

// cache keeps values up to a limit, about. Beyond it, it drops any of them: who scans asks
// for all of them over and over, and then to drop what was not asked for the longest would
// be to drop what is asked for next.
type cache[K comparable, V any] struct {
	limit int64 // in bytes, about

	mu     sync.Mutex
	values map[K]cached[V]
	spent  atomic.Int64
	drops  int // how many were dropped, ever
}

type cached[V any] struct {
	value V
	*weight
}

// weight is what a value of a cache takes in bytes, about. Values grow while they are
// in it, as more is worked out of them. A nil one is of a value in no cache.
type weight struct {
	bytes atomic.Int64  // negative once the cache dropped it
	all   *atomic.Int64 // the cache's spent
}

// noWeight is what is far below all weights.
const noWeight = math.MinInt64 / 2

func (w *weight) add(bytes int64) {
	if w != nil && w.bytes.Add(bytes) > 0 { // else the cache does not count it any more
		w.all.Add(bytes)
	}
}

// dropped says whether the cache does not have the value any more.
func (w *weight) dropped() bool { return w.bytes.Load() < 0 }

func newCache[K comparable, V any](limit int64) *cache[K, V] {
	return &cache[K, V]{limit: limit, values: make(map[K]cached[V])}
}

// weigh is the weight for a value that is to be put.
func (c *cache[K, V]) weigh(bytes int64) *weight {
	w := &weight{all: &c.spent}
	w.bytes.Store(bytes)
	return w
}

func (c *cache[K, V]) get(key K) (V, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	v, ok := c.values[key]
	if ok {
		c.trim(v.weight)
	}
	return v.value, ok
}

// put remembers a value, and returns what to use: another goroutine may have been
// faster.
func (c *cache[K, V]) put(key K, value V, w *weight) V {
	c.mu.Lock()
	defer c.mu.Unlock()
	if v, ok := c.values[key]; ok {
		return v.value
	}
	c.values[key] = cached[V]{value, w}
	c.spent.Add(w.bytes.Load())
	c.trim(w)
	return value
}

// dropped is how many values were dropped, ever. Who keeps values without asking for them
// again asks for this now and then, and when it is another number lets go of those that
// were dropped: so they, too, are bounded.
func (c *cache[K, V]) dropped() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.trim(nil)
	return c.drops
}

// trim drops values where there is too much, until an eighth of the limit is free, but not
// the value in use. Which ones, is up to the map, which begins anywhere.
func (c *cache[K, V]) trim(used *weight) {
	if c.spent.Load() <= c.limit {
		return
	}
	for key, v := range c.values {
		if v.weight == used || len(c.values) == 1 {
			continue
		}
		delete(c.values, key)
		c.spent.Add(-v.bytes.Swap(noWeight))
		if c.drops++; c.spent.Load() <= c.limit-c.limit/8 {
			return
		}
	}
}
