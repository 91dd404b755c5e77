package sim

import (
	"bytes"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/whichpod/whichpod/flow"
)

func withIncidents(mode Mode, n int) *World {
	cfg := DefaultConfig()
	cfg.Mode, cfg.Duration, cfg.Warmup, cfg.Incidents = mode, 6*time.Minute, 0, n
	return Generate(cfg)
}

// Incidents are the same under every mode, each is called once, by who is said, and
// they leave all other traffic as it is.
func TestIncidents(t *testing.T) {
	type planted struct {
		at    int64
		uid   string
		class Class
	}
	var first []planted
	for _, mode := range Modes {
		w, without := withIncidents(mode, 8), withIncidents(mode, 0)
		var all []planted
		for _, in := range w.Incidents {
			all = append(all, planted{in.At, in.Pod.UID, in.Class})
			calls := 0
			for r := range w.Truth() {
				if r.Dst != in.To.Addr() || r.DstPort != in.To.Port() || r.Direction != flow.Outbound || r.State != flow.Begin || r.Time != r.Begin {
					continue
				}
				if calls++; r.SrcPod != in.Pod || r.Time != in.At || r.Class != in.Class {
					t.Errorf("%s, %s: %+v", mode, in.To, r)
				}
			}
			if calls != 1 {
				t.Errorf("%s, %s: %d calls", mode, in.To, calls)
			}
		}
		if first == nil {
			first = all
		}
		if diff := cmp.Diff(first, all, cmp.AllowUnexported(planted{})); diff != "" || len(all) != 8 {
			t.Errorf("%s: %s", mode, diff)
		}
		sites := make(map[netip.AddrPort]bool)
		for _, in := range w.Incidents {
			sites[in.To] = true
		}
		if diff := cmp.Diff(others(without, nil), others(w, sites)); diff != "" {
			t.Errorf("%s: other traffic is another: %s", mode, diff)
		}
	}
}

// others are the rows in order, as text, without those of some places.
func others(w *World, sites map[netip.AddrPort]bool) (out []string) {
	for r := range w.Truth() {
		if !sites[netip.AddrPortFrom(r.Dst, r.DstPort)] {
			out = append(out, r.NIC+" "+r.Row.Tuple())
		}
	}
	return out
}

// Blobs and journals that come bit by bit are in the end those that come at once; what
// is there of them at any time is a beginning.
func TestBitByBit(t *testing.T) {
	w := withIncidents(Overlay, 2)
	whole, grown := t.TempDir(), t.TempDir()
	if err := w.WriteBlobs(whole); err != nil {
		t.Fatal(err)
	}
	var journal, pieces bytes.Buffer
	if err := w.WriteWatch(&journal); err != nil {
		t.Fatal(err)
	}
	from := int64(0)
	for at := w.Config.startMS(); at <= w.Config.endMS()+120_000; at += 60_000 {
		if err := w.WriteBlobsUntil(grown, at); err != nil {
			t.Fatal(err)
		}
		if err := w.WriteWatchBetween(&pieces, from, at); err != nil {
			t.Fatal(err)
		}
		from = at
		for _, path := range w.Blobs() {
			part, err := os.ReadFile(filepath.Join(grown, Container, path))
			if os.IsNotExist(err) {
				continue
			}
			all, err2 := os.ReadFile(filepath.Join(whole, Container, path))
			if err != nil || err2 != nil || !bytes.HasPrefix(all, part[:len(part)-2]) || !bytes.HasSuffix(part, []byte("]}")) {
				t.Fatalf("%s is no beginning of what it becomes: %v, %v", path, err, err2)
			}
		}
	}
	for _, path := range w.Blobs() {
		got, err := os.ReadFile(filepath.Join(grown, Container, path))
		want, err2 := os.ReadFile(filepath.Join(whole, Container, path))
		if err != nil || err2 != nil || !bytes.Equal(got, want) {
			t.Errorf("%s: %d bytes, want %d: %v, %v", path, len(got), len(want), err, err2)
		}
	}
	if !bytes.Equal(journal.Bytes(), pieces.Bytes()) {
		t.Errorf("the pieces of the journal have %d bytes, it has %d", pieces.Len(), journal.Len())
	}
}
