package natlog

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"

	"github.com/whichpod/whichpod/attribution/nat"
)

// life is a connection as it was: who had a key from when to when, Unix milliseconds.
type life struct {
	key      nat.Key
	original nat.Tuple // untranslated: as on the wire
	from, to int64
}

func (l *life) event(kind Kind, at int64) Event {
	return Event{At: at * 1000, Kind: kind, Protocol: l.key.Protocol, Original: l.original,
		Reply: nat.Tuple{Src: l.key.Dst, SrcPort: l.key.DstPort, Dst: l.key.Src, DstPort: l.key.SrcPort}}
}

const epoch = int64(1_795_438_000_000)

// lives fills the time with connections of few keys, given again at once or later, by
// pods and by the node itself.
func lives(r *rand.Rand) []life {
	node, peer := netip.MustParseAddr("10.224.0.4"), netip.MustParseAddr("203.0.113.66")
	var out []life
	for k := range 3 {
		key := nat.Key{Src: node, Dst: peer, Protocol: 6, SrcPort: uint16(1024 + k), DstPort: 443}
		for at := epoch + r.Int64N(3000); at < epoch+200_000; {
			l := life{key: key, from: at, to: at + 1 + r.Int64N([]int64{20, 2000, 30_000}[r.IntN(3)])}
			l.original = nat.Tuple{Src: node, SrcPort: key.SrcPort, Dst: peer, DstPort: 443}
			if r.IntN(3) > 0 {
				l.original.Src = netip.AddrFrom4([4]byte{10, 244, 0, byte(10 + r.IntN(3))})
			}
			out = append(out, l)
			at = l.to + r.Int64N([]int64{2, 1500, 15_000}[r.IntN(3)])
		}
	}
	return out
}

// record runs sessions of a tracker over the events of lives on a node, with losses,
// into a store.
func record(t *testing.T, r *rand.Rand, store *nat.Store, node string, all []life) {
	t.Helper()
	type happening struct {
		at    int64
		order int
		event Event
	}
	var events []happening
	for i := range all {
		l := &all[i]
		events = append(events, happening{l.from, 1, l.event(New, l.from)}, happening{l.to, 0, l.event(Destroy, l.to)})
		if l.to-l.from > 10 {
			events = append(events, happening{(l.from + l.to) / 2, 2, l.event(Update, (l.from+l.to)/2)})
		}
	}
	slices.SortFunc(events, func(a, b happening) int { return cmp.Or(cmp.Compare(a.at, b.at), cmp.Compare(a.order, b.order)) })
	for from := epoch; from < epoch+200_000; {
		to := from + 5000 + r.Int64N(80_000)
		w, err := store.Begin(nat.Import{Cluster: "c", Kind: "test", Name: fmt.Sprint(node, from)})
		if err != nil {
			t.Fatal(err)
		}
		tr := NewTracker(node, w)
		if r.IntN(2) == 0 { // a dump at the start
			for i := range all {
				if l := &all[i]; l.from <= from && from < l.to {
					e := l.event(Listed, from)
					take(t, tr, &e)
				}
			}
		}
		lossFrom, lossTo := int64(0), int64(0)
		if r.IntN(2) == 0 {
			lossFrom = from + r.Int64N(to-from)
			lossTo = lossFrom + r.Int64N(10_000)
		}
		told := lossFrom == 0
		for i := range events {
			h := &events[i]
			if h.at < from || h.at >= to {
				continue
			}
			if !told && h.at > lossTo {
				lose(t, tr, lossFrom, lossTo)
				told = true
			}
			if h.at >= lossFrom && h.at <= lossTo && lossFrom != 0 {
				continue
			}
			e := h.event
			if r.IntN(2) == 0 { // the time is known less exactly, and not before the event
				late := r.Int64N(50)
				if i+1 < len(events) {
					late = min(late, events[i+1].at-h.at)
				}
				e.Since, e.At = h.at*1000-r.Int64N(50_000), (h.at+late)*1000
			}
			take(t, tr, &e)
		}
		if !told {
			lose(t, tr, lossFrom, to)
		}
		if err := tr.Close(); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Commit(""); err != nil {
			t.Fatal(err)
		}
		from = to - 3000 + r.Int64N(8000)
	}
}

func take(t *testing.T, tr *Tracker, e *Event) {
	t.Helper()
	if err := tr.Take(e); err != nil {
		t.Fatal(err)
	}
}

func lose(t *testing.T, tr *Tracker, from, to int64) {
	t.Helper()
	if err := tr.Lost(from, to); err != nil {
		t.Fatal(err)
	}
}

// Whatever was recorded, lost, restarted or given again: where the evidence is called
// certain, everybody who had the key in the time asked about is among the senders. The
// oracle looks at all lives.
func TestSendersAreNeverWrong(t *testing.T) {
	certain, sole, asked := 0, 0, 0
	for seed := range uint64(20) {
		r := rand.New(rand.NewPCG(seed, 1))
		store, err := nat.Open(t.TempDir(), nat.Options{})
		if err != nil {
			t.Fatal(err)
		}
		all := lives(r)
		record(t, r, store, "n", all)
		for range 3000 {
			q := nat.Asked{Cluster: "c", Key: all[r.IntN(len(all))].key, Tolerance: 100}
			q.From = epoch + r.Int64N(200_000)
			q.To = q.From + r.Int64N([]int64{10, 2000, 12_000}[r.IntN(3)])
			got, err := store.Senders(&q)
			if err != nil {
				t.Fatal(err)
			}
			asked++
			if !got.Certain {
				continue
			}
			certain++
			if len(got.Flows) == 1 {
				sole++
			}
			for i := range all {
				l := &all[i]
				if l.key != q.Key || l.from > q.To || l.to <= q.From {
					continue
				}
				own := l.original.Src == l.key.Src
				if !slices.ContainsFunc(got.Flows, func(f nat.Flow) bool {
					return own && !f.Translated() || f.Original == l.original
				}) {
					t.Fatalf("seed %d: from %d to %d %v had the key from %d to %d, and is not among %+v", seed, q.From-epoch, q.To-epoch, l.original, l.from-epoch, l.to-epoch, got.Flows)
				}
			}
		}
		if err := store.Close(); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("%d of %d certain, %d with one sender", certain, asked, sole)
	if certain < asked/5 || sole < asked/10 {
		t.Errorf("%d of %d are certain, %d with one sender: the test shows nothing", certain, asked, sole)
	}
}
