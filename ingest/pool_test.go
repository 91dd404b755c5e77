package ingest

import (
	"testing"

	"github.com/apache/arrow/go/v17/arrow/memory"
)

// What is freed comes again, and all goes back to the allocator in the end, also what
// is freed after the pool.
func TestPool(t *testing.T) {
	mem := memory.NewCheckedAllocator(memory.NewGoAllocator())
	defer mem.AssertSize(t, 0)
	p := &pool{mem: mem}
	a := p.Allocate(1000)
	p.Free(a)
	if b := p.Allocate(600); &a[0] != &b[0] || len(b) != 600 {
		t.Errorf("got another buffer, of %d bytes", len(b))
	} else if c := p.Reallocate(1024, b); &c[0] != &b[0] {
		t.Error("a buffer moved that had room")
	} else {
		c[0] = 7
		d := p.Reallocate(5000, c)
		if d[0] != 7 {
			t.Error("the content did not move along")
		}
		p.Free(d)
	}
	held, large := p.Allocate(64), p.Allocate(3<<20)
	before := mem.CurrentAlloc()
	p.Free(large)
	if got := before - mem.CurrentAlloc(); got != 3<<20 {
		t.Errorf("freeing 3 MiB freed %d bytes", got)
	}
	p.close()
	p.Free(held)
	p.Free(nil)
}

func TestPoolLeaksNothing(t *testing.T) {
	mem := memory.NewCheckedAllocator(memory.NewGoAllocator())
	p := &pool{mem: mem}
	held := p.Allocate(100)
	p.close()
	if mem.CurrentAlloc() == 0 {
		t.Error("a buffer in use was freed")
	}
	p.Free(held)
	mem.AssertSize(t, 0)
}
