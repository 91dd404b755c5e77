package attribution

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
)

// A table has what was added, and nothing else, over all growth, until it begins anew; and
// of what says the same only one.
func TestStretches(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(1, 9))
	pods := make([]Candidate, 20)
	combined := func() *Resolution {
		said := &Resolution{Verdict: Verdict(r.IntN(3)), Notes: [][]string{nil, {noteBegin}, {noteBegin, noteLate}}[r.IntN(3)]}
		for range r.IntN(4) {
			said.Candidates = append(said.Candidates, &pods[r.IntN(len(pods))])
		}
		return said
	}
	var table *stretches
	want, said, shared, renewed := make(map[uint64]*Resolution), make(map[string]*Resolution), 0, 0
	for range 6 * mostStretch {
		first, as := r.IntN(300), end(r.IntN(numEnds))
		key := stretchKey(first, first+1+r.IntN(300), as)
		got := table.get(key)
		if got != want[key] {
			t.Fatalf("stretch %x is %p, want %p", key, got, want[key])
		}
		if got != nil {
			continue
		}
		if len(want)+len(said)+2 > mostStretch {
			clear(want)
			clear(said)
			renewed++
		}
		x, fresh := combined(), r.IntN(4) > 0
		name := fmt.Sprint(x.Verdict, x.Notes, x.Candidates)
		table, got = table.with(key, x, fresh)
		switch {
		case !fresh:
			want[key] = x
		case said[name] == nil:
			want[key], said[name] = x, x
		default:
			want[key] = said[name]
			shared++
		}
		if got != want[key] {
			t.Fatalf("stretch %x has got %p, want %p", key, got, want[key])
		}
		size := int64(stretchBytes * len(table.slots))
		for _, x := range said {
			size += x.bytes()
		}
		if n := len(want) + len(said); n%100 == 1 && (table.size() != size || table.count != n || 4*table.count > 3*len(table.slots)) {
			t.Fatalf("%d keys in %d slots take %d bytes, want %d and %d bytes", table.count, len(table.slots), table.size(), n, size)
		}
	}
	if shared < 1000 || renewed < 3 {
		t.Errorf("%d were shared, and the table began anew %d times: too little to tell", shared, renewed)
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
				table.with(stretchKey(i, i+1, sender), &Resolution{Verdict: Verdict(i % 4)}, i%3 == 0)
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
