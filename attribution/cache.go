package attribution

import (
	"sync"
	"sync/atomic"
)

// generations is a cache of two generations: when the young one has grown to half of
// what is allowed, it becomes the old one, and what was old and not asked for again is
// let go.
type generations[K comparable, V any] struct {
	limit int64 // in bytes, about

	mu         sync.Mutex
	young, old map[K]cached[V]
	spent      atomic.Int64 // on the young ones
	turned     int          // how often the young one became the old one
}

type cached[V any] struct {
	value V
	*weight
}

// weight is what a value of a cache takes in bytes, about. Values grow while they are
// in it, as more is worked out of them. A nil one is of a value in no cache.
type weight struct {
	bytes atomic.Int64
	all   *atomic.Int64 // the cache's spent
}

func (w *weight) add(bytes int64) {
	if w != nil {
		w.bytes.Add(bytes)
		w.all.Add(bytes)
	}
}

func newGenerations[K comparable, V any](limit int64) *generations[K, V] {
	return &generations[K, V]{limit: limit, young: make(map[K]cached[V])}
}

// weigh is the weight for a value that is to be put.
func (g *generations[K, V]) weigh(bytes int64) *weight {
	w := &weight{all: &g.spent}
	w.bytes.Store(bytes)
	return w
}

func (g *generations[K, V]) get(key K) (V, bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	c, ok := g.young[key]
	if ok && (g.spent.Load() <= g.limit/2 || len(g.young) == 1) {
		return c.value, true
	}
	if !ok {
		c, ok = g.old[key]
	}
	if ok {
		g.keep(key, c)
	}
	return c.value, ok
}

// put remembers a value, and returns what to use: another goroutine may have been
// faster.
func (g *generations[K, V]) put(key K, value V, w *weight) V {
	g.mu.Lock()
	defer g.mu.Unlock()
	if c, ok := g.young[key]; ok {
		return c.value
	}
	g.keep(key, cached[V]{value, w})
	return value
}

func (g *generations[K, V]) keep(key K, c cached[V]) {
	bytes := c.bytes.Load()
	if g.spent.Load()+bytes > g.limit/2 {
		g.turn()
	}
	g.young[key] = c
	g.spent.Add(bytes)
}

func (g *generations[K, V]) turn() {
	g.old, g.young = g.young, make(map[K]cached[V])
	g.spent.Store(0)
	g.turned++
}

// turns is how often values were let go. Who keeps values without asking for them again
// asks for this now and then, and lets go of them when it is another number: so they, too,
// are bounded.
func (g *generations[K, V]) turns() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.spent.Load() > g.limit/2 && len(g.young) > 1 {
		g.turn()
	}
	return g.turned
}
