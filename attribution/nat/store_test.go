package nat

import (
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/whichpod/whichpod/internal/journal/disk/disktest"
)

var addresses = cmpopts.EquateComparable(netip.Addr{})

func addr(last byte) netip.Addr { return netip.AddrFrom4([4]byte{10, 244, 0, last}) }

// randomFlow has keys that repeat, IPv6, untranslated ones and brackets of all kinds.
func randomFlow(r *rand.Rand) Flow {
	f := Flow{Key: Key{Src: addr(200), Dst: addr(byte(1 + r.IntN(3))), Protocol: 6, SrcPort: uint16(1024 + r.IntN(20)), DstPort: 443},
		Node: fmt.Sprintf("n%d", r.IntN(2)), Place: r.Uint64N(1 << 50)}
	if r.IntN(4) == 0 {
		f.Src, f.Dst = netip.MustParseAddr("fd00::4"), netip.MustParseAddr("2001:db8::1")
	}
	if r.IntN(5) > 0 {
		f.Original = Tuple{Src: addr(byte(10 + r.IntN(5))), SrcPort: f.SrcPort, Dst: f.Dst, DstPort: f.DstPort}
		if r.IntN(2) == 0 {
			f.Original.SrcPort++
		}
		if r.IntN(3) == 0 {
			f.Original.Dst, f.Original.DstPort = addr(99), 80
		}
	}
	f.FromLatest = 1 + r.Int64N(1_000_000)
	f.FromEarliest = []int64{0, f.FromLatest, r.Int64N(f.FromLatest)}[r.IntN(3)]
	f.ToEarliest = f.FromLatest + r.Int64N(3000)
	f.ToLatest = []int64{NoEnd, f.ToEarliest, f.ToEarliest + r.Int64N(3000)}[r.IntN(3)]
	return f
}

func open(t *testing.T, dir string, opt Options) *Store {
	t.Helper()
	s, err := Open(dir, opt)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func commitFlows(t *testing.T, s *Store, flows []Flow, digest string) {
	t.Helper()
	w, err := s.Begin(Import{Cluster: "c", Kind: "test", Name: "file"})
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range flows {
		if err := w.Add(f); err != nil {
			t.Fatal(err)
		}
	}
	w.Cover("n0", "", 5, 50)
	if _, err := w.Commit(digest); err != nil {
		t.Fatal(err)
	}
}

// all reads every record, in order.
func (s *Store) all(t *testing.T, cluster string) []Flow {
	t.Helper()
	var out []Flow
	for _, seg := range s.clusters[cluster].segments {
		for i := range seg.blocks {
			flows, err := seg.block(i)
			if err != nil {
				t.Fatal(err)
			}
			out = append(out, flows...)
		}
	}
	slices.SortFunc(out, func(a, b Flow) int { return a.compare(&b) })
	return out
}

// What was added in any order comes back from disk, through merges and a reopening,
// once each; and a lookup finds, of a key, whatever can have been open.
func TestStoreKeepsRecords(t *testing.T) {
	dir, r := t.TempDir(), rand.New(rand.NewPCG(1, 1))
	s := open(t, dir, Options{})
	var want []Flow
	for i := range 3*maxSegments + 1 {
		var batch []Flow
		for range 1 + r.IntN(1500) {
			f := randomFlow(r)
			batch = append(batch, f)
			f.Import = uint32(i + 1)
			want = append(want, f)
		}
		commitFlows(t, s, batch, "")
	}
	if n := len(s.clusters["c"].segments); n > maxSegments {
		t.Errorf("%d segments are left, want at most %d", n, maxSegments)
	}
	slices.SortFunc(want, func(a, b Flow) int { return a.compare(&b) })
	want = slices.CompactFunc(want, func(a, b Flow) bool {
		return a.Key == b.Key && a.FromLatest == b.FromLatest && a.compareContent(&b) == 0
	})
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open(t, dir, Options{ReadOnly: true})
	if diff := cmp.Diff(want, s.all(t, "c"), addresses); diff != "" {
		t.Fatal(diff)
	}
	if got := s.Knows(addr(200)); !slices.Equal(got, []string{"c"}) || s.Knows(addr(201)) != nil {
		t.Errorf("knows %v", got)
	}
	for range 2000 {
		q := randomFlow(r)
		from := r.Int64N(1_000_000)
		to := from + r.Int64N(100)
		got, err := s.lookup(s.clusters["c"], &q.Key, from, to, nil)
		if err != nil {
			t.Fatal(err)
		}
		// Between begin and end for certain: these MUST be among them. Further ones
		// are told apart by what is certain.
		for _, f := range want {
			if f.Key == q.Key && f.FromLatest <= to && f.ToEarliest >= from && !slices.Contains(got, f) {
				if n := later(want, &f, from); n < around {
					t.Fatalf("%+v is not found from %d to %d, %d after it", f, from, to, n)
				}
			}
		}
	}
}

// later counts the records of f's key that begin after it and end before from.
func later(all []Flow, f *Flow, from int64) int {
	n := 0
	for i := range all {
		if o := &all[i]; o.Key == f.Key && o.FromLatest >= f.FromLatest && o.ToLatest < from {
			n++
		}
	}
	return n
}

func TestStoreIsIdempotentAndRemembersWhen(t *testing.T) {
	dir := t.TempDir()
	clock := time.UnixMilli(1000)
	s := open(t, dir, Options{Now: func() time.Time { return clock }})
	f := Flow{Key: Key{Src: addr(200), Dst: addr(1), Protocol: 6, SrcPort: 1, DstPort: 2}, Node: "n0", Original: Tuple{Src: addr(10), Dst: addr(1), SrcPort: 1, DstPort: 2},
		FromEarliest: 10, FromLatest: 10, ToEarliest: 20, ToLatest: 20}
	commitFlows(t, s, []Flow{f}, "digest")
	clock = time.UnixMilli(2000)
	commitFlows(t, s, []Flow{f}, "digest")
	if got := s.Stats(); got[0].Records != 1 || len(s.imports) != 2 {
		t.Errorf("got %+v after the same file twice", got)
	}
	g := f
	g.SrcPort = 7
	commitFlows(t, s, []Flow{g}, "other")
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	for known, want := range map[int64][2]bool{999: {false, false}, 1500: {true, false}, 2000: {true, true}, 0: {true, true}} {
		s := open(t, dir, Options{ReadOnly: true, AsKnownAt: known})
		for i, key := range []Key{f.Key, g.Key} {
			got, err := s.Senders(&Asked{Cluster: "c", Key: key, From: 12, To: 15})
			if err != nil || got.Certain != want[i] || len(got.Flows) > 0 != want[i] {
				t.Errorf("known at %d: got %+v, %v, want %v", known, got, err, want[i])
			}
		}
	}
}

// What was imported later changes nothing of what was known, however much of the same key and
// address that is, and wherever it was merged to.
func TestImportsAfterAreHidden(t *testing.T) {
	dir := t.TempDir()
	clock := time.UnixMilli(1000)
	s := open(t, dir, Options{Now: func() time.Time { return clock }})
	f := Flow{Key: Key{Src: addr(200), Dst: addr(1), Protocol: 6, SrcPort: 1, DstPort: 2}, Node: "n0", Original: Tuple{Src: addr(10), Dst: addr(1), SrcPort: 1, DstPort: 2},
		FromEarliest: 10, FromLatest: 10, ToEarliest: 10, ToLatest: NoEnd}
	commitFlows(t, s, []Flow{f}, "")
	clock = time.UnixMilli(2000)
	for i := range 2 * maxSegments {
		var more []Flow
		for k := range around {
			g, h := f, f
			g.FromLatest = int64(20 + i*around + k)
			g.FromEarliest, g.ToEarliest, g.ToLatest = g.FromLatest, g.FromLatest, g.FromLatest
			h.Src = addr(201)
			more = append(more, g, h)
		}
		commitFlows(t, s, more, "")
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	for known, want := range map[int64]int{1500: 1, 2000: 1 + 2*maxSegments*around} {
		s := open(t, dir, Options{ReadOnly: true, AsKnownAt: known})
		got, err := s.lookup(s.clusters["c"], &f.Key, 1_000_000, 1_000_000, nil)
		if err != nil || !slices.Contains(got, withImport(f, 1)) && known == 1500 || len(got) > want {
			t.Errorf("known at %d: got %d records, %v", known, len(got), err)
		}
		if later := s.Knows(addr(201)); !slices.Equal(s.Knows(addr(200)), []string{"c"}) || (len(later) > 0) != (known == 2000) {
			t.Errorf("known at %d: knows %v of what came later", known, later)
		}
	}
}

func withImport(f Flow, number uint32) Flow {
	f.Import = number
	return f
}

// Two recordings of one node that agree are fine; where they do not, nothing is certain.
func TestContradiction(t *testing.T) {
	s := open(t, t.TempDir(), Options{})
	f := Flow{Key: Key{Src: addr(200), Dst: addr(1), Protocol: 6, SrcPort: 1, DstPort: 2}, Node: "n0", Original: Tuple{Src: addr(10), Dst: addr(1), SrcPort: 1, DstPort: 2},
		FromEarliest: 10_000, FromLatest: 10_000, ToEarliest: 20_000, ToLatest: 20_000}
	same, other := f, f
	same.FromEarliest, same.ToLatest = 9990, 20_010
	other.Original.Src = addr(11)
	other.FromEarliest, other.FromLatest = 15_000, 15_000
	ask := &Asked{Cluster: "c", Key: f.Key, From: 11_000, To: 13_000, Tolerance: 1000}
	commitFlows(t, s, []Flow{f}, "")
	commitFlows(t, s, []Flow{same}, "")
	if got, err := s.Senders(ask); err != nil || !got.Certain || len(got.Flows) != 2 {
		t.Errorf("of two that agree: %+v, %v", got, err)
	}
	commitFlows(t, s, []Flow{other}, "")
	if got, err := s.Senders(ask); err != nil || got.Certain || !got.Contradicted {
		t.Errorf("of two that do not: %+v, %v", got, err)
	}
}

// Two recordings of a node overlap, and only the second saw a connection end: the first
// does not keep it open for as long as the second goes on.
func TestOverlappingRecordings(t *testing.T) {
	begun := Flow{Key: Key{Src: addr(200), Dst: addr(1), Protocol: 6, SrcPort: 1, DstPort: 2}, Node: "n0", Original: Tuple{Src: addr(10), Dst: addr(1), SrcPort: 1, DstPort: 2},
		FromEarliest: 10_000, FromLatest: 10_000, ToEarliest: 10_000, ToLatest: NoEnd}
	ended := begun
	ended.FromEarliest, ended.FromLatest, ended.ToEarliest, ended.ToLatest = 0, 50_000, 50_000, 50_000
	listed := ended
	listed.FromLatest = 20_000
	updated := begun
	updated.ToEarliest = 30_000
	for _, tt := range []struct {
		name   string
		flows  []Flow
		lasted int64 // certainly
	}{
		{"only its end", []Flow{begun, ended}, 40_000},
		{"listed", []Flow{begun, listed}, 50_000},
		{"listed before it was last seen", []Flow{updated, listed}, 50_000},
		{"not at all", []Flow{begun}, 40_000},
	} {
		for order := range 2 {
			s := open(t, t.TempDir(), Options{})
			for i := range tt.flows {
				n := (i + order) % len(tt.flows)
				w, err := s.Begin(Import{Cluster: "c", Kind: "test", Name: "file"})
				if err != nil {
					t.Fatal(err)
				}
				if err := w.Add(tt.flows[n]); err != nil {
					t.Fatal(err)
				}
				w.Cover("n0", "", []int64{5000, 20_000}[n], []int64{40_000, 900_000}[n])
				if _, err := w.Commit(""); err != nil {
					t.Fatal(err)
				}
			}
			for at, want := range map[int64]bool{15_000: true, tt.lasted - 1000: true, 60_000: false, 500_000: false} {
				got, err := s.Senders(&Asked{Cluster: "c", Key: begun.Key, From: at - 1000, To: at + 1000, Nodes: []string{"n0"}, Tolerance: 1000})
				if err != nil || got.Certain != want {
					t.Errorf("%s, order %d: at %d it is %+v with %v, want certain %v", tt.name, order, at, got, err, want)
				}
			}
		}
	}
}

// What a damaged journal does not name is not deleted, and its name is not given again.
func TestDamagedJournalKeepsSegments(t *testing.T) {
	dir, r := t.TempDir(), rand.New(rand.NewPCG(4, 4))
	s := open(t, dir, Options{})
	for range 3 {
		commitFlows(t, s, []Flow{randomFlow(r)}, "")
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, journalName)
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, at := range []int{len(whole) / 2, len(whole) - 20} { // the second line, and the last
		bad := slices.Clone(whole)
		bad[at] ^= 1
		if err := os.WriteFile(path, bad, 0o644); err != nil {
			t.Fatal(err)
		}
		s := open(t, dir, Options{})
		if len(s.Damage()) == 0 {
			t.Fatalf("nobody noticed that byte %d is wrong", at)
		}
		commitFlows(t, s, []Flow{randomFlow(r)}, "")
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		for n := range 3 {
			if _, err := os.Stat(filepath.Join(dir, fmt.Sprintf("%08d-000%s", n+1, segmentSuffix))); err != nil {
				t.Error(err)
			}
		}
	}
}

// A byte that is wrong anywhere in a segment is found, and nothing is certain then.
func TestDamage(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, Options{})
	r := rand.New(rand.NewPCG(2, 2))
	var flows []Flow
	for range 700 {
		flows = append(flows, randomFlow(r))
	}
	commitFlows(t, s, flows, "")
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	names, err := filepath.Glob(filepath.Join(dir, "*"+segmentSuffix))
	if err != nil || len(names) != 1 {
		t.Fatal(names, err)
	}
	whole, err := os.ReadFile(names[0])
	if err != nil {
		t.Fatal(err)
	}
	for at := 0; at < len(whole); at += 1 + r.IntN(500) {
		bad := slices.Clone(whole)
		bad[at] ^= 1 << r.IntN(8)
		if err := os.WriteFile(names[0], bad, 0o644); err != nil {
			t.Fatal(err)
		}
		s := open(t, dir, Options{ReadOnly: true})
		found := len(s.Damage()) > 0
		for i := range flows {
			got, err := s.Senders(&Asked{Cluster: "c", Key: flows[i].Key, From: flows[i].FromLatest, To: flows[i].FromLatest})
			if found = found || err != nil; err != nil && (got.Certain || !got.Damaged) {
				t.Fatalf("damaged at %d: %+v with %v", at, got, err)
			}
		}
		if !found {
			t.Errorf("nobody noticed that byte %d is wrong", at)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Remove(names[0]); err != nil {
		t.Fatal(err)
	}
	if s := open(t, dir, Options{ReadOnly: true}); len(s.Damage()) != 1 || !s.Stats()[0].Damaged {
		t.Errorf("a segment is gone: %v", s.Damage())
	}
}

// Each file operation fails in turn: an import counts as a whole or not at all, and what
// counted before is still there.
func TestFaults(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 3))
	batches := make([][]Flow, maxSegments+3) // enough for a merge
	for i := range batches {
		for range 20 {
			batches[i] = append(batches[i], randomFlow(r))
		}
	}
	for fail := 0; ; fail++ {
		dir, n := t.TempDir(), 0
		injected := errors.New("injected")
		hook := func(op disktest.Op) error {
			if n++; n == fail+1 {
				if op.Name == "write" && fail%2 == 0 {
					return disktest.ErrShort
				}
				return injected
			}
			return nil
		}
		done := fill(dir, &disktest.FS{Hook: hook}, batches)
		s, err := Open(dir, Options{})
		if err != nil {
			t.Fatalf("operation %d failed, and then: %v", fail, err)
		}
		if len(s.Damage()) > 0 {
			t.Fatalf("operation %d failed: %v", fail, s.Damage())
		}
		var got []Flow
		if s.clusters["c"] != nil {
			got = s.all(t, "c")
		}
		if n := len(got) / 20; len(got)%20 != 0 || n < done || n > done+1 {
			t.Fatalf("operation %d failed: %d records of %d imports that were done", fail, len(got), done)
		}
		entries, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		segments := slices.DeleteFunc(entries, func(e fs.DirEntry) bool { return !strings.HasSuffix(e.Name(), segmentSuffix) })
		if len(segments) != len(s.names) {
			t.Fatalf("operation %d failed: %d files for %d segments", fail, len(segments), len(s.names))
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		if n <= fail {
			return // none failed: all have had their turn
		}
	}
}

// fill imports the batches until something fails, and returns how many counted.
func fill(dir string, fsys *disktest.FS, batches [][]Flow) (done int) {
	s, err := Open(dir, Options{FS: fsys})
	if err != nil {
		return 0
	}
	defer s.Close()
	for _, b := range batches {
		w, err := s.Begin(Import{Cluster: "c"})
		if err != nil {
			return done
		}
		for _, f := range b {
			if err := w.Add(f); err != nil {
				return done
			}
		}
		if _, err := w.Commit(""); err != nil {
			return done
		}
		done++
	}
	return done
}

// A folder as version 1 wrote it is still read. Only a new version may write another.
func TestVersionOneIsRead(t *testing.T) {
	const dir = "testdata/v1"
	want := []Flow{
		{Key: Key{Src: addr(200), Dst: addr(1), Protocol: 6, SrcPort: 1024, DstPort: 443}, Node: "node-a",
			Original: Tuple{Src: addr(10), Dst: addr(1), SrcPort: 40000, DstPort: 443}, FromEarliest: 1000, FromLatest: 1001, ToEarliest: 2000, ToLatest: 2001, Import: 1, Place: 7},
		{Key: Key{Src: addr(200), Dst: addr(1), Protocol: 6, SrcPort: 1024, DstPort: 443}, Node: "node-a",
			FromLatest: 3000, ToEarliest: 3000, ToLatest: 3000, Import: 1, Place: 9},
		{Key: Key{Src: netip.MustParseAddr("fd00::4"), Dst: netip.MustParseAddr("2001:db8::1"), Protocol: 17, SrcPort: 53000, DstPort: 53}, Node: "node-b",
			Original:     Tuple{Src: netip.MustParseAddr("fd00::b"), Dst: netip.MustParseAddr("fd00:1::a"), SrcPort: 53000, DstPort: 5353},
			FromEarliest: 4000, FromLatest: 4000, ToEarliest: 5000, ToLatest: NoEnd, Import: 1, Place: 1<<40 | 3},
	}
	if *writeFixture {
		s := open(t, dir, Options{Now: func() time.Time { return time.UnixMilli(9000) }})
		w, err := s.Begin(Import{Cluster: "c", Kind: "agent", Name: "folder"})
		if err != nil {
			t.Fatal(err)
		}
		w.Batch("node-a", "session-a", 1)
		w.Batch("node-b", "session-b", 3)
		for _, f := range want {
			if err := w.Add(f); err != nil {
				t.Fatal(err)
			}
		}
		w.Cover("node-a", "session-a", 900, 3500)
		if _, err := w.Commit(""); err != nil {
			t.Fatal(err)
		}
	}
	s := open(t, dir, Options{ReadOnly: true})
	if diff := cmp.Diff(want, s.all(t, "c"), addresses); diff != "" {
		t.Error(diff)
	}
	im := s.Import(1)
	if session, number := im.BatchAt(want[2].Place); session != "session-b" || number != 3 || im.KnownAt != 9000 || im.Kind != "agent" {
		t.Errorf("got session %q, batch %d, %+v", session, number, im)
	}
	if !s.Taken("session-a", 1) || s.Taken("session-a", 2) || s.Taken("session-c", 1) {
		t.Error("the batches that were taken are not known")
	}
	if diff := cmp.Diff(map[string][]Range{"node-a": {{900, 3500}}}, s.Stats()[0].Covered); diff != "" {
		t.Error(diff)
	}
}
