package attribution

import (
	"math/rand/v2"
	"sync"
	"testing"
)

// A table has what was added, and nothing else, over all growth, until it begins anew.
func TestStretches(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(1, 9))
	var table *stretches
	want := make(map[uint64]*Resolution)
	for range 3 * mostStretch {
		first, as := r.IntN(300), end(r.IntN(numEnds))
		key := stretchKey(first, first+1+r.IntN(300), as)
		got := table.get(key)
		if got != want[key] {
			t.Fatalf("stretch %x is %p, want %p", key, got, want[key])
		}
		if got != nil {
			continue
		}
		if len(want) == mostStretch {
			clear(want)
		}
		want[key] = &Resolution{Candidates: make([]*Candidate, r.IntN(3))}
		table = table.with(key, want[key])
		size := int64(stretchBytes * len(table.slots))
		for _, said := range want {
			size += int64(resolutionBytes + pointerBytes*len(said.Candidates))
		}
		if len(want)%100 == 1 && (table.size() != size || table.count != len(want) || 2*table.count > len(table.slots)) {
			t.Fatalf("%d stretches in %d slots take %d bytes, want %d and %d bytes", table.count, len(table.slots), table.size(), len(want), size)
		}
	}
}

// Who looks a stretch up while others are added finds it, or nothing.
func TestStretchesWhileOneIsAdded(t *testing.T) {
	t.Parallel()
	for range 1000 {
		table := &stretches{slots: make([]stretch, 64)}
		var wait sync.WaitGroup
		wait.Go(func() {
			for i := range 31 {
				table.with(stretchKey(i, i+1, sender), &Resolution{Verdict: Verdict(i % 4)})
			}
		})
		for i := range 31 {
			if r := table.get(stretchKey(i, i+1, sender)); r != nil && r.Verdict != Verdict(i%4) {
				t.Errorf("stretch %d is another one's", i)
			}
		}
		wait.Wait()
	}
}
