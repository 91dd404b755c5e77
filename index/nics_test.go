package index

import (
	"context"
	"fmt"
	"iter"
	"maps"
	"math/rand/v2"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/whichpod/whichpod/flow"
)

// merged are all sightings of a store, one for each NIC and address.
func merged(t *testing.T, s *Store) map[string]Sighting {
	t.Helper()
	out := make(map[string]Sighting)
	for one, err := range s.NICs(context.Background()) {
		must(t, err)
		key := fmt.Sprint(one.NIC, one.Address)
		if before, ok := out[key]; ok && !one.Capped {
			one.First, one.Last = min(one.First, before.First), max(one.Last, before.Last)
			one.Sent, one.Received = one.Sent+before.Sent, one.Received+before.Received
		}
		out[key] = one
	}
	return out
}

// counted says the same from the rows.
func counted(rows []flow.Row) map[string]Sighting {
	out := make(map[string]Sighting)
	for _, r := range rows {
		near, sent := r.Dst, int64(0)
		if r.Direction == flow.Outbound {
			near, sent = r.Src, 1
		}
		key := fmt.Sprint(r.NIC, near)
		one, ok := out[key]
		if !ok {
			one = Sighting{NIC: r.NIC, Address: near, First: r.Time, Last: r.Time}
		}
		one.First, one.Last = min(one.First, r.Time), max(one.Last, r.Time)
		one.Sent, one.Received = one.Sent+sent, one.Received+1-sent
		out[key] = one
	}
	return out
}

// The summaries say what the rows say that count: of several segments, after a blob
// was begun again, in another process, and where segments carry no summary.
func TestNICs(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	dir := t.TempDir()
	s := mustStore(t, dir, Options{})
	w := mustWriter(t, s)
	for n := range 3 {
		for _, blob := range []string{"a", "b", "c"} {
			appendRows(t, w, randomRows(r, blob, 900, int64(n)*10_000))
			must(t, w.Advance(position(blob, int64(n+1)*10_000), nil))
		}
		if n == 1 {
			must(t, w.Restart("b"))
		}
		appendRows(t, w, randomRows(r, "d", 50, int64(n)*1000)) // never advanced
		must(t, w.Commit())
	}
	want := counted(mustScan(t, s, Filter{}))
	if diff := cmp.Diff(want, merged(t, s), cmpopts.EquateComparable(netip.Addr{})); diff != "" {
		t.Errorf("the writer's (-rows +summaries):\n%s", diff)
	}
	wantedNICs(t, s)
	other := mustStore(t, dir, Options{ReadOnly: true})
	if diff := cmp.Diff(want, merged(t, other), cmpopts.EquateComparable(netip.Addr{})); diff != "" {
		t.Errorf("a reader's (-rows +summaries):\n%s", diff)
	}
	for _, seg := range other.current.segments {
		if seg.sightings == nil {
			t.Error("a segment was written without a summary")
		}
		seg.sightings = nil // as a program before them wrote it
	}
	for range 2 {
		if diff := cmp.Diff(want, merged(t, other), cmpopts.EquateComparable(netip.Addr{})); diff != "" {
			t.Errorf("without summaries (-rows +looked through):\n%s", diff)
		}
	}
}

// wantedNICs holds those of some addresses against all: what is wanted is there, the rest
// mostly not, and no NIC is missing.
func wantedNICs(t *testing.T, s *Store) {
	t.Helper()
	wanted := func(a netip.Addr) bool { return a.AsSlice()[len(a.AsSlice())-1]%3 == 0 }
	count := func(seq iter.Seq2[Sighting, error]) (all map[Sighting]int, nics map[string]bool, others int) {
		all, nics = make(map[Sighting]int), make(map[string]bool)
		for one, err := range seq {
			must(t, err)
			if nics[one.NIC] = true; wanted(one.Address) {
				all[one]++
			} else {
				others++
			}
		}
		return all, nics, others
	}
	all, nics, others := count(s.NICs(context.Background()))
	some, ofSome, rest := count(s.NICsOf(context.Background(), wanted))
	if !maps.Equal(all, some) || !maps.Equal(nics, ofSome) || rest >= others || len(all) == 0 {
		t.Errorf("%d sightings of %d NICs, and %d more; want %d of %d, and fewer than %d", len(some), len(ofSome), rest, len(all), len(nics), others)
	}
}

// A NIC with more addresses behind it than a node can have is named, and nothing of it
// is kept; nor is there an end of what is kept of all.
func TestNICsAreBounded(t *testing.T) {
	for name, c := range map[string]struct{ nics, addresses, capped int }{
		"as many as are kept": {2, nicAddresses, 0},
		"one more":            {1, nicAddresses + 1, 1},
		"too many of all":     {segmentSightings/nicAddresses + 1, nicAddresses, 1},
	} {
		t.Run(name, func(t *testing.T) {
			s := mustStore(t, t.TempDir(), Options{})
			w := mustWriter(t, s)
			var rows []flow.Row
			for nic := range c.nics {
				for a := range c.addresses {
					rows = append(rows, flow.Row{Time: 1_700_000_000_000, NIC: fmt.Sprintf("000D3A%06X", nic), Direction: flow.Outbound, State: flow.Begin,
						Src: netip.AddrFrom4([4]byte{10, 1, byte(a >> 8), byte(a)}), Dst: netip.AddrFrom4([4]byte{10, 0, 0, 1}), Blob: "a", Offset: int64(len(rows))})
				}
			}
			appendRows(t, w, rows)
			must(t, w.Advance(position("a", 1<<30), nil))
			must(t, w.Commit())
			kept, capped := 0, 0
			for one, err := range s.NICs(context.Background()) {
				must(t, err)
				if one.Capped {
					capped++
				} else {
					kept++
				}
			}
			if want := (c.nics - c.capped) * c.addresses; kept != want || capped != c.capped {
				t.Errorf("%d pairs are kept and %d NICs capped, want %d and %d", kept, capped, want, c.capped)
			}
			s.current.segments[0].sightings = nil
			again := 0
			for one, err := range s.NICs(context.Background()) {
				must(t, err)
				if one.Capped {
					again++
				}
			}
			if want := min(c.capped, c.nics/max(1, c.nics)*max(0, c.addresses-nicAddresses)); again != want {
				t.Errorf("looked through: %d NICs are capped, want %d", again, want)
			}
		})
	}
}
