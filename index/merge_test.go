package index

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/whichpod/whichpod/flow"
)

// segmentFiles are those in the folder.
func segmentFiles(t *testing.T, dir string) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "index", "segments", "*"))
	must(t, err)
	return files
}

// TestFollowedIndexStaysSmall commits a few rows many times, as following does: the
// segments merge, the rows and the summaries of NICs stay what they were.
func TestFollowedIndexStaysSmall(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 9))
	dir := t.TempDir()
	s := mustStore(t, dir, Options{})
	w := mustWriter(t, s)
	var rows []flow.Row
	for n := range 200 {
		blob := fmt.Sprint("blob", n%3)
		mine := randomRows(r, blob, 1+r.IntN(40), int64(n)*1000)
		rows = append(rows, mine...)
		appendRows(t, w, mine)
		must(t, w.Advance(position(blob, int64(n+1)*1000), nil))
		must(t, w.Commit())
	}
	if n := len(segmentFiles(t, dir)); n != s.Stats().Segments || n > 4*mergeAt {
		t.Errorf("%d files, %d segments after 200 commits", n, s.Stats().Segments)
	}
	want := sorted(rows)
	checkRows(t, "the writer's", mustScan(t, s, Filter{}), want)
	ro := mustStore(t, dir, Options{ReadOnly: true})
	checkRows(t, "a reader's", mustScan(t, ro, Filter{}), want)
	for range 30 {
		f := randomFilter(r)
		checkRows(t, fmt.Sprintf("%+v", f), mustScan(t, ro, f), naive(want, f))
	}
	if got, want := merged(t, ro), counted(rows); len(got) != len(want) {
		t.Errorf("%d sightings, want %d", len(got), len(want))
	}
	must(t, ro.Verify(t.Context(), func(d CorruptError, _ int) { t.Error(d) }))
	if st := ro.Stats(); st.Rows != int64(len(rows)) || st.DeadRows != 0 {
		t.Errorf("stats %+v", st)
	}
}

// TestRowsThatWaitSurviveMerges appends rows of a blob that is advanced only after
// merges took the segments in which they were written.
func TestRowsThatWaitSurviveMerges(t *testing.T) {
	r := rand.New(rand.NewPCG(2, 9))
	s := mustStore(t, t.TempDir(), Options{})
	w := mustWriter(t, s)
	var rows []flow.Row
	for n := range 20 {
		slow, quick := randomRows(r, "slow", 10, int64(n)*1000), randomRows(r, "quick", 10, int64(n)*1000)
		rows = append(append(rows, slow...), quick...)
		appendRows(t, w, slow)
		appendRows(t, w, quick)
		must(t, w.Advance(position("quick", int64(n+1)*1000), nil))
		must(t, w.Commit())
	}
	if n := s.Stats().Segments; n > mergeAt {
		t.Fatalf("%d segments: nothing was merged", n)
	}
	must(t, w.Advance(position("slow", 20_000), nil))
	must(t, w.Commit())
	checkRows(t, "all", mustScan(t, s, Filter{}), sorted(rows))
}

// fragmented is an index of many small segments, some rows of which do not count, and
// the rows that do.
func fragmented(t *testing.T, dir string) []flow.Row {
	t.Helper()
	r := rand.New(rand.NewPCG(3, 9))
	must(t, os.CopyFS(dir, os.DirFS(filepath.Join("testdata", "v1"))))
	s := mustStore(t, dir, Options{})
	w := mustWriter(t, s)
	rows := states(twoBlobs())[2]
	for n := range 6 {
		appendRows(t, w, randomRows(r, "again", 10, 0))
		must(t, w.Advance(position("again", 1), nil))
		must(t, w.Commit())
		must(t, w.Restart("again"))
		mine := randomRows(r, fmt.Sprint("c", n), 10, 0)
		rows = append(rows, mine...)
		appendRows(t, w, mine)
		must(t, w.Advance(position(fmt.Sprint("c", n), 1), nil))
	}
	must(t, w.Commit())
	must(t, w.Close())
	must(t, s.Close())
	return sorted(rows)
}

// compact is what the command does.
func compact(dir string, opt Options) (done Compacted, err error) {
	s, err := Open(dir, opt)
	if err != nil {
		return done, err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	w, err := s.Writer()
	if err != nil {
		return done, err
	}
	defer func() { err = errors.Join(err, w.Close()) }()
	return w.Compact(context.Background())
}

func TestCompact(t *testing.T) {
	dir := t.TempDir()
	want := fragmented(t, dir)
	beside := mustStore(t, dir, Options{ReadOnly: true}) // opened before
	open, err := beside.Scan(t.Context(), Filter{})      // and one that reads on
	must(t, err)
	before := len(segmentFiles(t, dir))
	done, err := compact(dir, Options{})
	must(t, err)
	if done.Merged != before || done.Written != 1 || done.Dead != 60 || len(segmentFiles(t, dir)) != 1 {
		t.Errorf("%+v of %d segments; files are now %v", done, before, segmentFiles(t, dir))
	}
	var got []flow.Row
	for {
		b, err := open.Next()
		if err != nil {
			break
		}
		for i := range b.Len() {
			got = append(got, b.Row(i))
		}
		b.Release()
	}
	must(t, open.Close())
	checkRows(t, "a scan under way", got, want)
	checkRows(t, "a reader that opened before", mustScan(t, beside, Filter{}), want)
	s := mustStore(t, dir, Options{})
	checkRows(t, "opened anew", mustScan(t, s, Filter{}), want)
	if st := s.Stats(); st.DeadRows != 0 || st.Rows != int64(len(want)) {
		t.Errorf("stats %+v", st)
	}
	must(t, s.Close())
	done, err = compact(dir, Options{})
	must(t, err)
	if done != (Compacted{}) {
		t.Errorf("again: %+v", done)
	}
}

// TestCompactFails lets each operation fail in turn. Whatever is left holds the same
// rows, and compacts.
func TestCompactFails(t *testing.T) {
	original := t.TempDir()
	want := fragmented(t, original)
	failures := 0
	failEach(t, func(dir string, opt Options) error {
		must(t, os.CopyFS(dir, os.DirFS(original)))
		_, err := compact(dir, opt)
		return err
	}, func(name, dir string, err error) {
		if err != nil {
			failures++
		}
		s := mustStore(t, dir, Options{})
		checkRows(t, name, mustScan(t, s, Filter{}), want)
		if files := segmentFiles(t, dir); len(files) != s.Stats().Segments {
			t.Fatalf("%s: %d segments, files %v", name, s.Stats().Segments, files)
		}
		must(t, s.Close())
		_, err = compact(dir, Options{})
		must(t, err)
		s = mustStore(t, dir, Options{})
		checkRows(t, name+", again", mustScan(t, s, Filter{}), want)
		if s.Stats().Segments != 1 {
			t.Fatalf("%s: %d segments after all", name, s.Stats().Segments)
		}
		must(t, s.Close())
	})
	if failures < 10 {
		t.Errorf("only %d operations failed", failures)
	}
}

// TestCompactDamaged names what cannot be read and leaves it as it is; ingestion goes on.
func TestCompactDamaged(t *testing.T) {
	dir := t.TempDir()
	fragmented(t, dir)
	files := segmentFiles(t, dir)
	raw, err := os.ReadFile(files[2])
	must(t, err)
	raw[20] ^= 1
	must(t, os.WriteFile(files[2], raw, 0o600))
	_, err = compact(dir, Options{})
	var damage CorruptError
	if !errors.As(err, &damage) || damage.Path != files[2] {
		t.Errorf("got %v, want damage in %s", err, files[2])
	}
	if now := segmentFiles(t, dir); !slices.Equal(now, files) {
		t.Errorf("files were %v, are %v", files, now)
	}
	s := mustStore(t, dir, Options{})
	w := mustWriter(t, s)
	r := rand.New(rand.NewPCG(4, 9))
	for n := range 20 {
		appendRows(t, w, randomRows(r, "on", 10, int64(n)*1000))
		must(t, w.Advance(position("on", int64(n+1)*1000), nil))
		must(t, w.Commit())
	}
}

// TestDrop drops whole segments by age. Rows of the rest, counts and positions stay.
func TestDrop(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 9))
	dir := t.TempDir()
	s := mustStore(t, dir, Options{})
	w := mustWriter(t, s)
	var kept, gone []flow.Row
	const cut = 1_700_000_000_000
	for n := range 4 {
		for _, blob := range []string{"a", fmt.Sprint("b", n)} {
			rows := randomRows(r, blob, 30, int64(n)*1000)
			for i := range rows {
				rows[i].Time += int64(n-2) * 1000
			}
			if n < 2 {
				gone = append(gone, rows...)
			} else {
				kept = append(kept, rows...)
			}
			appendRows(t, w, rows)
			must(t, w.Advance(position(blob, int64(n+1)*1000), nil))
		}
		must(t, w.Commit())
	}
	d, err := w.DropBefore(t.Context(), cut)
	must(t, err)
	if d.Segments != 2 || d.Rows != int64(len(gone)) || d.Last >= cut || d.First < cut-2000 || d.Bytes == 0 {
		t.Errorf("%+v", d)
	}
	check := func(s *Store) {
		t.Helper()
		checkRows(t, "what is left", mustScan(t, s, Filter{}), sorted(kept))
		if st := s.Stats(); st.Rows != int64(len(kept)) || st.DeadRows != 0 || st.First < cut || len(segmentFiles(t, dir)) != 2 {
			t.Errorf("%+v", st)
		}
	}
	check(s)
	for blob, offset := range map[string]int64{"a": 4000, "b0": 1000, "b3": 4000} {
		if p, ok := w.Position(blob); !ok || p.Offset != offset {
			t.Errorf("%s was read to %v, want %d", blob, p, offset)
		}
	}
	if d, err := w.DropBefore(t.Context(), cut); err != nil || d != (Dropped{}) {
		t.Errorf("again: %+v, %v", d, err)
	}
	must(t, w.Close())
	must(t, s.Close())
	s = mustStore(t, dir, Options{shorten: 1})
	check(s)
}
