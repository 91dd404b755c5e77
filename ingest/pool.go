package ingest

import (
	"math/bits"
	"sync"

	"github.com/apache/arrow/go/v17/arrow/memory"
)

// pool is an allocator that keeps what batches free for those that come, so that a
// run takes the memory of the batches on their way once. Its buffers are not cleared.
// It is for concurrent use.
type pool struct {
	mem memory.Allocator

	mu     sync.Mutex
	idle   [maxClass][][]byte // by the power of two that their capacity is
	closed bool
}

// maxClass bounds the buffers that are kept: those of a batch are shorter than 1 MiB.
const maxClass = 21

func class(size int) int { return bits.Len(uint(max(size, 64) - 1)) }

// Allocate returns a buffer of the given length with any content.
func (p *pool) Allocate(size int) []byte {
	c := class(size)
	if c >= maxClass {
		return p.mem.Allocate(size)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if list := p.idle[c]; len(list) > 0 {
		b := list[len(list)-1]
		p.idle[c] = list[:len(list)-1]
		return b[:size]
	}
	return p.mem.Allocate(1 << c)[:size]
}

// Reallocate changes the length of a buffer of the pool, and perhaps its place.
func (p *pool) Reallocate(size int, b []byte) []byte {
	if c := class(size); c < maxClass && cap(b) == 1<<c {
		return b[:size]
	}
	out := p.Allocate(size)
	copy(out, b)
	p.Free(b)
	return out
}

// Free takes a buffer back.
func (p *pool) Free(b []byte) {
	c := class(cap(b))
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed || c >= maxClass || cap(b) != 1<<c {
		p.mem.Free(b[:cap(b)])
		return
	}
	p.idle[c] = append(p.idle[c], b)
}

// close frees what is idle, and what is still in use when that is freed.
func (p *pool) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	for _, list := range p.idle {
		for _, b := range list {
			p.mem.Free(b[:cap(b)])
		}
	}
	p.idle = [maxClass][][]byte{}
}
