package index

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/apache/arrow/go/v17/arrow/memory"
	"github.com/google/go-cmp/cmp"

	"github.com/whichpod/whichpod/flow"
)

// model is what a store must hold, kept the naive way.
type model struct {
	committed, advanced map[string][]flow.Row
	pending             map[string][]flow.Row
}

func (m *model) rows() (all []flow.Row) {
	for _, rows := range m.committed {
		all = append(all, rows...)
	}
	return sorted(all)
}

// TestRandomHistories drives a store and the model through the same random steps:
// appends, advances, restarts, commits, writers that are closed halfway, reopening,
// compaction.
func TestRandomHistories(t *testing.T) {
	seeds := uint64(60)
	if testing.Short() {
		seeds = 10
	}
	for seed := range seeds {
		t.Run(fmt.Sprint(seed), func(t *testing.T) { randomHistory(t, rand.New(rand.NewPCG(seed, 1))) })
	}
}

func randomHistory(t *testing.T, r *rand.Rand) {
	mem := memory.NewCheckedAllocator(memory.DefaultAllocator)
	defer mem.AssertSize(t, 0)
	dir := t.TempDir()
	s := mustStore(t, dir, Options{Mem: mem})
	w := mustWriter(t, s)
	m := &model{committed: map[string][]flow.Row{}, advanced: map[string][]flow.Row{}, pending: map[string][]flow.Row{}}
	next := int64(0)
	for range 40 {
		blob := fmt.Sprint("blob", r.IntN(4))
		switch r.IntN(13) {
		case 0, 1, 2, 3, 4:
			rows := randomRows(r, blob, r.IntN(3000)+1, next)
			next += 100_000
			appendRows(t, w, rows)
			m.pending[blob] = append(m.pending[blob], rows...)
		case 5, 6, 7:
			must(t, w.Advance(position(blob, next), nil))
			m.advanced[blob] = append(m.advanced[blob], m.pending[blob]...)
			delete(m.pending, blob)
		case 8:
			must(t, w.Restart(blob))
			delete(m.pending, blob)
			m.advanced[blob] = nil
		case 9, 10:
			must(t, w.Commit())
			m.committed = map[string][]flow.Row{}
			for b, rows := range m.advanced {
				m.committed[b] = slices.Clone(rows)
			}
		case 12: // as the command does: with nothing under way
			must(t, w.Close())
			w = mustWriter(t, s)
			m.pending, m.advanced = map[string][]flow.Row{}, map[string][]flow.Row{}
			for b, rows := range m.committed {
				m.advanced[b] = slices.Clone(rows)
			}
			_, err := w.Compact(t.Context())
			must(t, err)
			if st := s.Stats(); st.DeadRows != 0 {
				t.Fatalf("%d rows that do not count are left", st.DeadRows)
			}
		case 11: // the writer goes away with what it did not commit
			must(t, w.Close())
			if r.IntN(2) == 0 {
				must(t, s.Close())
				s = mustStore(t, dir, Options{Mem: mem})
			}
			w = mustWriter(t, s)
			m.pending, m.advanced = map[string][]flow.Row{}, map[string][]flow.Row{}
			for b, rows := range m.committed {
				m.advanced[b] = slices.Clone(rows)
			}
		}
	}
	all := m.rows()
	checkRows(t, "writable store", mustScan(t, s, Filter{}), all)
	ro := mustStore(t, dir, Options{ReadOnly: true, Mem: mem})
	checkRows(t, "reader beside the writer", mustScan(t, ro, Filter{}), all)
	if st := ro.Stats(); st.Rows != int64(len(all)) {
		t.Errorf("Stats().Rows = %d, want %d", st.Rows, len(all))
	}
	for range 15 {
		f := randomFilter(r)
		checkRows(t, fmt.Sprintf("%+v", f), mustScan(t, ro, f), naive(all, f))
	}
}

func randomFilter(r *rand.Rand) (f Filter) {
	prefixes := func() (list []netip.Prefix) {
		if r.IntN(3) > 0 {
			return nil
		}
		for range r.IntN(3) {
			a := randomAddress(r)
			list = append(list, netip.PrefixFrom(a, a.BitLen()-r.IntN(12)))
		}
		return list
	}
	f.Addresses, f.Src, f.Dst = prefixes(), prefixes(), prefixes()
	if r.IntN(2) == 0 {
		f.From = 1_700_000_000_000 + r.Int64N(40)
		f.To = f.From + r.Int64N(20) + 1
	}
	f.SrcPort, f.DstPort = r.IntN(4)-1, []int{0, 0, 441}[r.IntN(3)]
	if r.IntN(4) == 0 {
		f.NICs = []string{"000D3A000001", "none"}
	}
	return f
}

// matches is the filter as its documentation says it.
func matches(f Filter, r *flow.Row) bool {
	in := func(list []netip.Prefix, addresses ...netip.Addr) bool {
		for _, p := range list {
			if slices.ContainsFunc(addresses, p.Contains) {
				return true
			}
		}
		return len(list) == 0
	}
	return (f.To == 0 || r.Time < f.To) && (r.Time >= f.From || f.From == 0 && f.To == 0) &&
		in(f.Addresses, r.Src, r.Dst) && in(f.Src, r.Src) && in(f.Dst, r.Dst) &&
		(f.SrcPort <= 0 || int(r.SrcPort) == f.SrcPort) && (f.DstPort <= 0 || int(r.DstPort) == f.DstPort) &&
		(len(f.NICs) == 0 || slices.Contains(f.NICs, r.NIC))
}

// naive is the rows that match, looked at one by one.
func naive(rows []flow.Row, f Filter) []flow.Row {
	return slices.DeleteFunc(slices.Clone(rows), func(row flow.Row) bool { return !matches(f, &row) })
}

// TestWildRows keeps rows of which no two columns have anything to do with each other,
// of thousands of addresses: what a packed column expects never holds.
func TestWildRows(t *testing.T) {
	r := rand.New(rand.NewPCG(11, 11))
	s := mustStore(t, t.TempDir(), Options{})
	w := mustWriter(t, s)
	rows := randomRows(r, "wild", 20_000, 0)
	wild := func() int64 { return int64(r.Uint64()) >> r.IntN(64) }
	for i := range rows {
		row := &rows[i]
		row.Time, row.RecordTime, row.Offset = wild(), wild()%100, wild()
		row.SrcPort, row.DstPort, row.Protocol = uint16(wild()), uint16(wild()), uint8(wild())
		row.State, row.Direction = byte(wild()), byte(wild())
		var a [16]byte
		binary.LittleEndian.PutUint64(a[8:], r.Uint64()>>r.IntN(64))
		a[0] = byte(r.IntN(2))
		row.Src = netip.AddrFrom16(a)
		row.Dst = netip.AddrFrom4([4]byte{byte(r.IntN(4)), byte(r.Uint32()), byte(r.Uint32()), 1})
		if r.IntN(3) == 0 {
			row.Src, row.Dst = row.Dst, row.Src
		}
	}
	appendRows(t, w, rows)
	must(t, w.Advance(position("wild", 1), nil))
	must(t, w.Commit())
	want := sorted(rows)
	checkRows(t, "all", mustScan(t, s, Filter{}), want)
	for range 300 {
		row := rows[r.IntN(len(rows))]
		a := netip.PrefixFrom(row.Src, r.IntN(row.Src.BitLen()+1)).Masked()
		b := netip.PrefixFrom(row.Dst, row.Dst.BitLen()-r.IntN(3)*r.IntN(16)).Masked()
		f := []Filter{{Addresses: []netip.Prefix{a}}, {Src: []netip.Prefix{a}}, {Dst: []netip.Prefix{b}}, {Src: []netip.Prefix{a}, Dst: []netip.Prefix{b}},
			{Addresses: []netip.Prefix{a, b}, From: row.Time, To: row.Time + 1 + r.Int64N(1000)}, {DstPort: int(row.DstPort)}}[r.IntN(6)]
		checkRows(t, fmt.Sprintf("%+v", f), mustScan(t, s, f), naive(want, f))
	}
}

// TestManySegments fills segments to the brim and beyond before the first Advance.
func TestManySegments(t *testing.T) {
	if testing.Short() {
		t.Skip("1.3 million rows")
	}
	r := rand.New(rand.NewPCG(7, 7))
	s := mustStore(t, t.TempDir(), Options{})
	w := mustWriter(t, s)
	rows := randomRows(r, "big", segmentRows*5/2, 0)
	appendRows(t, w, rows[:segmentRows*2])
	must(t, w.Commit()) // nothing was advanced
	if st := s.Stats(); st.Rows != 0 || st.Segments != 0 {
		t.Fatalf("before Advance: %+v", st)
	}
	appendRows(t, w, rows[segmentRows*2:])
	must(t, w.Advance(position("big", 1), nil))
	must(t, w.Commit())
	if n := s.Stats().Segments; n != 4 { // an early one, two full ones, and what is left
		t.Errorf("%d segments, want 4", n)
	}
	checkRows(t, "all", mustScan(t, s, Filter{}), sorted(rows))
}

func TestRowsWaitForTheirAdvance(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	dir := t.TempDir()
	s := mustStore(t, dir, Options{})
	w := mustWriter(t, s)
	a, b := randomRows(r, "a", 100, 0), randomRows(r, "b", 100, 0)
	appendRows(t, w, a)
	appendRows(t, w, b)
	must(t, w.Advance(position("a", 1), nil))
	must(t, w.Commit()) // b's rows are on disk now, and do not count
	checkRows(t, "a only", mustScan(t, s, Filter{}), sorted(a))
	must(t, w.Advance(position("b", 1), nil))
	must(t, w.Commit())
	checkRows(t, "both", mustScan(t, s, Filter{}), sorted(append(a, b...)))
	must(t, s.Close())
	s = mustStore(t, dir, Options{})
	checkRows(t, "both, reopened", mustScan(t, s, Filter{}), sorted(append(a, b...)))
}

func TestPositions(t *testing.T) {
	dir := t.TempDir()
	s := mustStore(t, dir, Options{})
	w := mustWriter(t, s)
	if _, ok := w.Position("x"); ok {
		t.Error("a blob that nobody read has a position")
	}
	p := position("x", 42)
	must(t, w.Advance(p, nil))
	if got, ok := w.Position("x"); !ok || got != p {
		t.Errorf("after Advance: %v, %v", got, ok)
	}
	must(t, w.Commit())
	must(t, w.Restart("x"))
	if _, ok := w.Position("x"); ok {
		t.Error("after Restart the position is still there")
	}
	must(t, w.Close())
	must(t, s.Close())
	w = mustWriter(t, mustStore(t, dir, Options{}))
	if got, ok := w.Position("x"); !ok || got != p {
		t.Errorf("a Restart that was not committed: %v, %v", got, ok)
	}
}

func TestRejections(t *testing.T) {
	dir := t.TempDir()
	s := mustStore(t, dir, Options{})
	w := mustWriter(t, s)
	tail := flow.Rejection{Blob: "x", Offset: 9, Reason: ReasonTruncated, Detail: "cut"}
	p := position("x", 9)
	p.Tail = "cut"
	for i := range 20 {
		must(t, w.Advance(p, []flow.Rejection{{Blob: "x", Offset: int64(i), Reason: "tuple", Detail: "bad"}, tail}))
	}
	must(t, w.Commit())
	must(t, s.Close())
	s = mustStore(t, dir, Options{})
	st := s.Stats()
	if want := map[string]int64{"tuple": 20, ReasonTruncated: 1}; !cmp.Equal(st.Rejections, want) {
		t.Errorf("counts %v, want %v", st.Rejections, want)
	}
	if len(st.Rejected) != keptDetails+1 || st.Rejected[0].Offset != 9 || !slices.Contains(st.Rejected, tail) {
		t.Errorf("details %v", st.Rejected)
	}
	if len(st.Tails) != 1 || st.Tails[0] != p {
		t.Errorf("tails %v", st.Tails)
	}
	w = mustWriter(t, s)
	must(t, w.Advance(position("x", 10), nil)) // the tail became a record
	must(t, w.Commit())
	if st := s.Stats(); !cmp.Equal(st.Rejections, map[string]int64{"tuple": 20}) || len(st.Tails) != 0 {
		t.Errorf("after the tail went away: %v, %v", st.Rejections, st.Tails)
	}
	must(t, w.Restart("x"))
	must(t, w.Commit())
	if st := s.Stats(); len(st.Rejections) != 0 || len(st.Rejected) != 0 {
		t.Errorf("after Restart: %v", st.Rejections)
	}
}

// TestOldVersions reads what earlier versions wrote, and goes on writing there.
func TestOldVersions(t *testing.T) {
	blobs := twoBlobs()
	want := states(blobs)[2]
	for _, version := range []string{"v1", "v2"} {
		t.Run(version, func(t *testing.T) {
			dir := t.TempDir()
			must(t, os.CopyFS(dir, os.DirFS(filepath.Join("testdata", version))))
			s := mustStore(t, dir, Options{ReadOnly: true})
			checkRows(t, "read", mustScan(t, s, Filter{}), want)
			r := rand.New(rand.NewPCG(9, 9))
			for range 50 {
				f := randomFilter(r)
				checkRows(t, fmt.Sprintf("%+v", f), mustScan(t, s, f), naive(want, f))
			}
			must(t, s.Verify(t.Context(), func(d CorruptError, _ int) { t.Error(d) }))
			s = mustStore(t, dir, Options{})
			w := mustWriter(t, s)
			more := randomRows(rand.New(rand.NewPCG(7, 7)), "c", 100, 0)
			appendRows(t, w, more)
			must(t, w.Advance(position("c", 1), nil))
			must(t, w.Commit())
			must(t, s.Close())
			s = mustStore(t, dir, Options{ReadOnly: true})
			checkRows(t, "added to", mustScan(t, s, Filter{}), sorted(append(slices.Clone(want), more...)))
		})
	}
}

func TestReadOnly(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "none")
	s := mustStore(t, dir, Options{ReadOnly: true})
	if rows := mustScan(t, s, Filter{}); rows != nil {
		t.Error("rows from nowhere")
	}
	if _, err := s.Writer(); err == nil {
		t.Error("a read-only store gave a Writer")
	}
	if _, err := os.Stat(dir); !os.IsNotExist(err) {
		t.Error("the folder is there now")
	}
}

// TestShortManifest commits one blob again and again, as following it does.
func TestShortManifest(t *testing.T) {
	r := rand.New(rand.NewPCG(6, 6))
	dir := t.TempDir()
	s := mustStore(t, dir, Options{})
	w := mustWriter(t, s)
	rows := randomRows(r, "x", 100, 0)
	appendRows(t, w, rows)
	for i := range 50 {
		must(t, w.Advance(position("x", int64(i)), nil))
		must(t, w.Commit())
	}
	must(t, w.Close())
	must(t, s.Close())
	long := s.Stats().Bytes
	s = mustStore(t, dir, Options{shorten: 1})
	if short := s.Stats().Bytes; short > long-49*40 {
		t.Errorf("%d bytes on disk, %d before", short, long)
	}
	must(t, s.Close())
	s = mustStore(t, dir, Options{})
	checkRows(t, "shortened", mustScan(t, s, Filter{}), sorted(rows))
	if p, _ := mustWriter(t, s).Position("x"); p != position("x", 49) {
		t.Errorf("position %v", p)
	}
}

func TestOneWriter(t *testing.T) {
	s := mustStore(t, t.TempDir(), Options{})
	w := mustWriter(t, s)
	if _, err := s.Writer(); err == nil {
		t.Error("two writers at once")
	}
	must(t, w.Close())
	mustWriter(t, s)
}

// Batches of builders whose dictionaries grow come in any order, from one segment to the
// next, and each row keeps its addresses.
func TestBatchesOfGrowingDictionaries(t *testing.T) {
	t.Parallel()
	for seed := range uint64(20) {
		r := rand.New(rand.NewPCG(seed, 11))
		s := mustStore(t, t.TempDir(), Options{})
		w := mustWriter(t, s)
		builders := make([]*flow.Builder, 1+r.IntN(3))
		for i := range builders {
			builders[i] = flow.NewBuilder(memory.DefaultAllocator)
			defer builders[i].Release()
		}
		var want []flow.Row
		for commit := range 4 {
			blob := fmt.Sprint("blob", commit)
			var offset int64
			for range r.IntN(6) {
				b := builders[r.IntN(len(builders))]
				rows := randomRows(r, blob, 1+r.IntN(60), offset)
				offset += int64(len(rows)) * 7
				for i := range rows {
					b.Append(&rows[i])
				}
				want = append(want, rows...)
				batch := b.NewBatch()
				must(t, w.Append(batch))
				batch.Release()
			}
			must(t, w.Advance(position(blob, offset), nil))
			must(t, w.Commit())
		}
		checkRows(t, fmt.Sprint("seed ", seed), mustScan(t, s, Filter{}), sorted(want))
	}
}
