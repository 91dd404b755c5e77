package attribution

import (
	"hash/maphash"
	"slices"
	"sync/atomic"
)

// stretches is what is said of runs of a track one after the other, as one end of a flow
// sees them. Of many the same is said, as runs at the ends of a stretch may add nothing: so
// what is said stands in the table under a key of its own, too, and those share it.
//
// It is a hash table with open addressing: a lookup is one wait for memory, and takes no
// lock, which the processor would wait for as well. Only one goroutine may add to it at a
// time.
type stretches struct {
	slots []stretch // a power of two, and at most three quarters of them are in use
	count int
	bytes int64 // what it takes, about
}

type stretch struct {
	key  atomic.Uint64 // of a stretch, or of what is said; 0 is free; set after said
	said atomic.Pointer[Resolution]
}

const (
	stretchBytes = 16
	leastStretch = 4       // has room for two
	mostStretch  = 1 << 12 // keys, of one address
)

// stretchKey is never 0.
func stretchKey(first, last int, as end) uint64 {
	return uint64(first)<<32 | uint64(last)<<8 | uint64(as+1)
}

// saidKey is the key of what is said, which is no stretch's. Hardly ever, something else
// has the same: so like compares, and what was there before is shared no more.
func saidKey(r *Resolution) uint64 {
	var h maphash.Hash
	h.SetSeed(saidSeed)
	h.WriteByte(byte(r.Verdict))
	for _, c := range r.Candidates {
		maphash.WriteComparable(&h, c)
	}
	for _, n := range r.Notes {
		h.WriteString(n)
	}
	return h.Sum64() | 1<<63
}

var saidSeed = maphash.MakeSeed()

// like is a resolution in the table that says what a combined one does, or nil.
func (t *stretches) like(r *Resolution) *Resolution {
	have := t.get(saidKey(r))
	if have == nil || have.Verdict != r.Verdict || !slices.Equal(have.Candidates, r.Candidates) || !slices.Equal(have.Notes, r.Notes) {
		return nil
	}
	return have
}

// slot is where a stretch is or would be.
func (t *stretches) slot(key uint64) *stretch {
	mask := uint64(len(t.slots) - 1)
	for at := key * 0x9e3779b97f4a7c15 >> 32; ; at++ {
		s := &t.slots[at&mask]
		if have := s.key.Load(); have == key || have == 0 {
			return s
		}
	}
}

// get is what is said of a stretch, or nil where that is not here. t may be nil.
func (t *stretches) get(key uint64) *Resolution {
	if t == nil {
		return nil
	}
	if s := t.slot(key); s.key.Load() == key {
		return s.said.Load()
	}
	return nil
}

// with is the table with what combine made for a stretch, and what the stretch has: that,
// or what is like it. fresh says that it is none of those that were combined. The table is
// t, or a larger one, or, where t has as many keys as may be, a new one. t may be nil.
func (t *stretches) with(key uint64, r *Resolution, fresh bool) (*stretches, *Resolution) {
	if t == nil || t.count+2 > mostStretch {
		t = &stretches{slots: make([]stretch, leastStretch), bytes: stretchBytes * leastStretch}
	}
	if 4*(t.count+2) > 3*len(t.slots) {
		t = t.grown()
	}
	if fresh {
		if like := t.like(r); like != nil {
			r = like
		} else {
			t.add(saidKey(r), r)
			t.bytes += r.bytes()
		}
	}
	t.add(key, r)
	return t, r
}

func (t *stretches) grown() *stretches {
	out := &stretches{slots: make([]stretch, 2*len(t.slots)), bytes: t.bytes + int64(stretchBytes*len(t.slots))}
	for i := range t.slots {
		if s := &t.slots[i]; s.key.Load() != 0 {
			out.add(s.key.Load(), s.said.Load())
		}
	}
	return out
}

func (t *stretches) add(key uint64, r *Resolution) {
	s := t.slot(key)
	if s.key.Load() == 0 {
		t.count++
	}
	s.said.Store(r)
	s.key.Store(key)
}

// size is what the table takes in bytes, about.
func (t *stretches) size() int64 {
	if t == nil {
		return 0
	}
	return t.bytes
}
