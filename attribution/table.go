package attribution

import (
	"math/bits"
	"sync/atomic"
)

// table finds numbers by the hash of what they stand for: open addressing, without a
// pointer. A number is never taken out, so a copy of a table value goes on reading,
// also beside the one writer; it may come across numbers that were added later.
type table struct {
	slots []uint32 // 1 + a number; 0 is free. A power of two of them, or none
	used  int
}

// newTable has room for so many numbers.
func newTable(n int) table {
	return table{slots: make([]uint32, max(16, 1<<bits.Len(uint(n+n/3))))}
}

// find looks for a number of which is says that it is the one.
func (t *table) find(hash uint64, is func(uint32) bool) (uint32, bool) {
	if len(t.slots) == 0 {
		return 0, false
	}
	mask := uint64(len(t.slots) - 1)
	for i := t.start(hash); ; i = (i + 1) & mask {
		switch n := atomic.LoadUint32(&t.slots[i]); {
		case n == 0:
			return 0, false
		case is(n - 1):
			return n - 1, true
		}
	}
}

// start is where the search for a hash begins: its upper bits decide.
func (t *table) start(hash uint64) uint64 {
	hi, _ := bits.Mul64(hash, uint64(len(t.slots)))
	return hi
}

// add takes in a number that is not there. hashOf is asked for the others when the
// table has to grow: at three quarters.
func (t *table) add(hash uint64, n uint32, hashOf func(uint32) uint64) {
	if 4*(t.used+1) > 3*len(t.slots) {
		old := t.slots
		t.slots = make([]uint32, max(16, 2*len(old)))
		for _, m := range old {
			if m != 0 {
				t.put(hashOf(m-1), m)
			}
		}
	}
	t.put(hash, n+1)
	t.used++
}

func (t *table) put(hash uint64, slot uint32) {
	mask := uint64(len(t.slots) - 1)
	i := t.start(hash)
	for t.slots[i] != 0 {
		i = (i + 1) & mask
	}
	atomic.StoreUint32(&t.slots[i], slot)
}
