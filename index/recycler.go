package index

import (
	"sync"

	"github.com/apache/arrow/go/v17/arrow/memory"
)

// recycler is an allocator that keeps what batches of a scan free for those that come.
// Its buffers are not cleared, and are not for what anybody may keep a view of: texts.
// It is for concurrent use.
type recycler struct {
	mem memory.Allocator

	mu     sync.Mutex
	idle   map[int][][]byte // by length
	closed bool
}

// Allocate returns a buffer with any content.
func (r *recycler) Allocate(size int) []byte {
	r.mu.Lock()
	defer r.mu.Unlock()
	list := r.idle[size]
	if len(list) == 0 {
		return r.mem.Allocate(size)
	}
	r.idle[size] = list[:len(list)-1]
	return list[len(list)-1]
}

// Reallocate returns a buffer of another length with the same content.
func (r *recycler) Reallocate(size int, b []byte) []byte {
	out := r.Allocate(size)
	copy(out, b)
	r.Free(b)
	return out
}

// Free takes a buffer back.
func (r *recycler) Free(b []byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		r.mem.Free(b)
		return
	}
	if r.idle == nil {
		r.idle = make(map[int][][]byte)
	}
	r.idle[len(b)] = append(r.idle[len(b)], b)
}

// close frees what is idle, and from then on what batches free.
func (r *recycler) close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closed = true
	for _, list := range r.idle {
		for _, b := range list {
			r.mem.Free(b)
		}
	}
	r.idle = nil
}
