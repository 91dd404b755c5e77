package podwatch

import (
	"encoding/json"
	"testing"
)

// A bookmark of which a bit was flipped is not used, or says the same: one that led past
// events would leave a hole that nobody knows of.
func TestFlippedBookmark(t *testing.T) {
	t.Parallel()
	want := bookmark{Cluster: "prod", Kind: "pods", Version: "81234", Alive: 1_795_438_860_000}
	want.Check = want.sum()
	data, err := json.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	if got, ok := parseBookmark(data); !ok || got != want {
		t.Fatalf("got %+v, %v, want %+v", got, ok, want)
	}
	if _, ok := parseBookmark([]byte(`{"cluster": "prod", "kind": "pods", "resourceVersion": "81234", "watchedUntil": 1795438860000}`)); !ok {
		t.Error("one of an earlier version is not used")
	}
	for i := range data {
		for bit := range 8 {
			data[i] ^= 1 << bit
			got, ok := parseBookmark(data)
			if got.Check = want.Check; ok && got != want {
				t.Errorf("byte %d, bit %d: read %s as %+v", i, bit, data, got)
			}
			data[i] ^= 1 << bit
		}
	}
}
