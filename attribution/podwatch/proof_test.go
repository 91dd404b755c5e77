package podwatch

import (
	"testing"
	"time"

	"github.com/whichpod/whichpod/attribution"
)

func TestProofsAreFulfilledByVersion(t *testing.T) {
	var p proofs
	for _, x := range []proof{{100, 5}, {200, 5}, {300, 9}, {400, 8}} {
		p.add(x)
	}
	for _, c := range []struct {
		version uint64
		until   int64
	}{
		{4, 0},
		{5, 200},
		{5, 0},   // each counts once
		{8, 400}, // asked later, answered by a server that had not heard: true all the same
		{0, 0},   // a version that is no number
		{100, 300},
	} {
		if got := p.fulfil(c.version); got != c.until {
			t.Errorf("version %d: all until %d was seen, want %d", c.version, got, c.until)
		}
	}
	for range mostProofs + 10 {
		p.add(proof{1, 1})
	}
	if len(p.list) != mostProofs {
		t.Errorf("%d proofs are kept, want %d", len(p.list), mostProofs)
	}
}

// What the API has and the watch has not shown yet may be lost for ever, if all ends
// now. That time does not count as watched, whatever else arrives.
func TestWhatIsUnderWayIsNotWatched(t *testing.T) {
	api, ledger := newAPIServer(), attribution.NewLedger()
	stop := testWatcher(t, api, ledger, "", nil)
	asked := func(n int) func() bool {
		return func() bool { api.mu.Lock(); defer api.mu.Unlock(); return api.questions > n }
	}
	watchedUntil := func() int64 { return ledger.KindWatchedUntil("prod", attribution.Pods, attribution.Open) }
	until(t, "the first list", func() bool { return watchedUntil() > 0 })
	first := watchedUntil()
	until(t, "time is watched", func() bool { api.put("ADDED", "u1", "10.244.0.1"); return watchedUntil() > first })
	api.mu.Lock()
	api.held = api.version
	questions := api.questions
	api.mu.Unlock()
	api.put("ADDED", "u2", "10.244.0.2") // never arrives
	happened := time.Now().UnixMilli()
	until(t, "questions are answered", asked(questions+5))
	api.put("ADDED", "u3", "10.244.0.3") // nor does this; but a bookmark of the old version does
	until(t, "questions are answered", asked(questions+10))
	must(t, stop())
	if got := watchedUntil(); got > happened {
		t.Errorf("watched until %d, though what happened at %d was never seen", got, happened)
	}
}
