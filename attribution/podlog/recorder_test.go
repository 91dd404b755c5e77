package podlog

import (
	"errors"
	"testing"

	"github.com/whichpod/whichpod/attribution"
)

// A removal is known to have taken place after what had been seen before it.
func TestRemovalIsBounded(t *testing.T) {
	var facts []attribution.Fact
	r := NewRecorder("prod", nil, func(f []attribution.Fact) error { facts = append(facts, f...); return nil })
	pod := []byte(`{"metadata":{"name":"p","namespace":"n","uid":"u","resourceVersion":"7"}}`)
	if err := errors.Join(r.Event(pod, 100, 50, false), r.Event(pod, 200, 150, true), r.Flush()); err != nil {
		t.Fatal(err)
	}
	if got, want := facts[1].Pod.Deleted, (attribution.Removal{At: 200, After: 150, Version: 7}); got != want {
		t.Errorf("the removal is %+v, want %+v", got, want)
	}
	if got := facts[0].Pod.Deleted; got != (attribution.Removal{}) {
		t.Errorf("a pod that is there was removed: %+v", got)
	}
}
