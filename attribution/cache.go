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
}

type cached[V any] struct {
	value V
	bytes int64
}

func newGenerations[K comparable, V any](limit int64) *generations[K, V] {
	return &generations[K, V]{limit: limit, young: make(map[K]cached[V])}
}

func (g *generations[K, V]) get(key K) (V, bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if c, ok := g.young[key]; ok {
		return c.value, true
	}
	c, ok := g.old[key]
	if ok {
		g.keep(key, c)
	}
	return c.value, ok
}

// put remembers a value of about so many bytes, and returns what to use: another
// goroutine may have been faster.
func (g *generations[K, V]) put(key K, value V, bytes int64) V {
	g.mu.Lock()
	defer g.mu.Unlock()
	if c, ok := g.young[key]; ok {
		return c.value
	}
	g.keep(key, cached[V]{value, bytes})
	return value
}

func (g *generations[K, V]) keep(key K, c cached[V]) {
	if g.spent.Load()+c.bytes > g.limit/2 {
		g.old, g.young = g.young, make(map[K]cached[V])
		g.spent.Store(0)
	}
	g.young[key] = c
	g.spent.Add(c.bytes)
}
