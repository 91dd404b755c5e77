package index

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/whichpod/whichpod/flow"
	"github.com/whichpod/whichpod/internal/journal/disk/disktest"
)

var errInjected = errors.New("injected")

// ingest is a run of the pipeline over two blobs: for each it takes what the store
// does not have yet, and commits after each half. It is what gets run again after a
// crash.
func ingest(opt Options, dir string, blobs map[string][]flow.Row) error {
	return write(opt, dir, func(s *Store, w *Writer) error {
		for half := range 2 {
			for _, blob := range []string{"a", "b"} {
				rows := blobs[blob]
				end := len(rows) / 2 * (half + 1)
				p, _ := w.Position(blob)
				if p.Offset >= int64(end) {
					continue
				}
				b := batchOf(s.mem, rows[p.Offset:end])
				err := w.Append(b)
				b.Release()
				if err := errors.Join(err, w.Advance(flow.Position{Blob: blob, Offset: int64(end)}, nil)); err != nil {
					return err
				}
			}
			if err := w.Commit(); err != nil {
				return err
			}
		}
		return nil
	})
}

// write calls fn with a writer, and closes all.
func write(opt Options, dir string, fn func(*Store, *Writer) error) (err error) {
	s, err := Open(dir, opt)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	w, err := s.Writer()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.Close()) }()
	return fn(s, w)
}

// states are what a store may hold after any crash: nothing, the first halves, all.
func states(blobs map[string][]flow.Row) (list [][]flow.Row) {
	a, b := blobs["a"], blobs["b"]
	return [][]flow.Row{nil, sorted(append(slices.Clone(a[:len(a)/2]), b[:len(b)/2]...)), sorted(append(slices.Clone(a), b...))}
}

func twoBlobs() map[string][]flow.Row {
	r := rand.New(rand.NewPCG(3, 4))
	return map[string][]flow.Row{"a": randomRows(r, "a", 200, 0), "b": randomRows(r, "b", 100, 0)}
}

// checkAfterCrash opens what a crash left, compares it with the states it may be in,
// runs the same ingest again and wants every row once.
func checkAfterCrash(t *testing.T, name, dir string, blobs map[string][]flow.Row) {
	t.Helper()
	s, err := Open(dir, Options{})
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	got, err := scan(s, Filter{})
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	want := states(blobs)
	k := slices.IndexFunc(want, func(rows []flow.Row) bool { return slices.Equal(rows, got) })
	if k < 0 {
		t.Fatalf("%s: %d rows, neither all of a commit nor nothing", name, len(got))
	}
	w, err := s.Writer()
	must(t, err)
	for blob, rows := range blobs {
		if p, _ := w.Position(blob); p.Offset != int64(len(rows)/2*k) {
			t.Fatalf("%s: blob %s stands at %d with the rows of %d commits", name, blob, p.Offset, k)
		}
	}
	must(t, errors.Join(w.Close(), s.Close()))
	must(t, ingest(Options{shorten: 1}, dir, blobs))
	s = mustStore(t, dir, Options{})
	checkRows(t, name+", ingested again", mustScan(t, s, Filter{}), want[2])
	files, err := filepath.Glob(filepath.Join(dir, "index", "segments", "*"))
	must(t, err)
	if len(files) != s.Stats().Segments {
		t.Errorf("%s: %d files for %d segments: %v", name, len(files), s.Stats().Segments, files)
	}
	must(t, s.Close())
}

// powerLoss knows what would be left of a folder if the machine stopped now: of each
// file what was fsynced, and no rename since the folder was.
type powerLoss struct {
	synced  map[string]int64 // by path; of files made since the start
	renamed []string
}

// happens takes note of an operation that is about to be done.
func (p *powerLoss) happens(op disktest.Op) error {
	switch op.Name {
	case "create":
		p.synced[op.Path] += 0
	case "sync":
		info, err := os.Stat(op.Path)
		if err != nil {
			return err
		}
		p.synced[op.Path] = info.Size()
	case "rename":
		p.synced[op.Path] = p.synced[op.Path+tempSuffix]
		p.renamed = append(p.renamed, op.Path)
	case "syncdir":
		p.renamed = nil
	}
	return nil
}

// strike makes a copy of dir what a power loss leaves of it.
func (p *powerLoss) strike(dir, replica string) error {
	at := func(path string) string { return filepath.Join(replica, strings.TrimPrefix(path, dir)) }
	for path, size := range p.synced {
		info, err := os.Stat(at(path))
		if err == nil && info.Size() > size {
			err = os.Truncate(at(path), size)
		}
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	for _, path := range p.renamed {
		if err := os.Rename(at(path), at(path)+tempSuffix); err != nil {
			return err
		}
	}
	return nil
}

// TestCrashBeforeEachOperation copies the folder before each operation that changes
// something: once as a process that dies there would leave it, once as a machine that
// loses power would.
func TestCrashBeforeEachOperation(t *testing.T) {
	blobs := twoBlobs()
	dir, copies := t.TempDir(), t.TempDir()
	n := 0
	loss := &powerLoss{synced: make(map[string]int64)}
	fsys := &disktest.FS{Hook: func(op disktest.Op) error {
		name := filepath.Join(copies, fmt.Sprintf("%03d %s", n, op.Name))
		must(t, os.CopyFS(name, os.DirFS(dir)))
		must(t, os.CopyFS(name+", no power", os.DirFS(dir)))
		must(t, loss.strike(dir, name+", no power"))
		n++
		return loss.happens(op)
	}}
	must(t, ingest(Options{disk: fsys}, dir, blobs))
	if n < 20 {
		t.Fatalf("only %d operations", n)
	}
	entries, err := os.ReadDir(copies)
	must(t, err)
	for _, e := range entries {
		checkAfterCrash(t, "before "+e.Name(), filepath.Join(copies, e.Name()), blobs)
	}
}

// failEach calls try with an empty folder and a disk on which one operation fails, whole
// or halfway: the first one, then the second, until there are no more. Each time it then
// calls check with the name of the operation, and with what try returned: nil, or the
// injected error.
func failEach(t *testing.T, try func(dir string, opt Options) error, check func(name, dir string, err error)) {
	t.Helper()
	for _, injected := range []error{errInjected, disktest.ErrShort} {
		for n := 0; ; n++ {
			dir := t.TempDir()
			count, name := 0, ""
			var mu sync.Mutex // operations may be of more than one goroutine
			fsys := &disktest.FS{Hook: func(op disktest.Op) error {
				mu.Lock()
				defer mu.Unlock()
				if count++; count == n+1 {
					name = fmt.Sprintf("operation %d: %s %s", n, op.Name, filepath.Base(op.Path))
					return injected
				}
				return nil
			}}
			err := try(dir, Options{disk: fsys})
			if name == "" {
				break // past the last one
			}
			if err != nil && !errors.Is(err, injected) {
				t.Fatalf("%s: the error was lost: %v", name, err)
			}
			check(name, dir, err)
		}
	}
}

// TestEachOperationFails lets each operation of an ingestion fail once.
func TestEachOperationFails(t *testing.T) {
	blobs := twoBlobs()
	failEach(t, func(dir string, opt Options) error {
		opt.shorten = 1
		return ingest(opt, dir, blobs)
	}, func(name, dir string, err error) {
		if err == nil {
			t.Fatalf("%s: the error was lost", name)
		}
		checkAfterCrash(t, name, dir, blobs)
	})
}

// ingestSegments appends rows as many segments, the next one before the last is durable,
// and commits them together.
func ingestSegments(opt Options, dir string, rows []flow.Row) error {
	return write(opt, dir, func(s *Store, w *Writer) error {
		for some := range slices.Chunk(rows, 50) {
			b := batchOf(s.mem, some)
			err := w.Append(b)
			b.Release()
			if err != nil {
				return err
			}
			w.seal()
		}
		if err := w.Advance(position("a", 1), nil); err != nil {
			return err
		}
		return w.Commit()
	})
}

// TestEachOperationOfManySegmentsFails lets each operation fail once while other segments
// are on their way.
func TestEachOperationOfManySegmentsFails(t *testing.T) {
	rows := twoBlobs()["a"]
	failEach(t, func(dir string, opt Options) error { return ingestSegments(opt, dir, rows) }, func(name, dir string, err error) {
		if err == nil {
			t.Fatalf("%s: the error was lost", name)
		}
		s := mustStore(t, dir, Options{})
		if got := mustScan(t, s, Filter{}); len(got) > 0 {
			checkRows(t, name, got, sorted(rows))
		}
		files, err := filepath.Glob(filepath.Join(dir, "index", "segments", "*"))
		must(t, err)
		if len(files) != s.Stats().Segments {
			t.Errorf("%s: %d files for %d segments: %v", name, len(files), s.Stats().Segments, files)
		}
		must(t, s.Close())
	})
}

// TestCommitWaitsForFsync: the fsync of the first segment ends only once the third one is
// being written, and still no segment gets its name before all of it is durable.
func TestCommitWaitsForFsync(t *testing.T) {
	var mu sync.Mutex
	loss := &powerLoss{synced: make(map[string]int64)}
	created, renamed := 0, 0
	var first sync.Once
	third := make(chan struct{})
	fsys := &disktest.FS{Hook: func(op disktest.Op) error {
		temporary := strings.HasSuffix(op.Path, segmentSuffix+tempSuffix)
		if temporary && op.Name == "sync" {
			first.Do(func() { <-third })
		}
		mu.Lock()
		defer mu.Unlock()
		if temporary && op.Name == "create" {
			if created++; created == 3 {
				close(third)
			}
		}
		if op.Name == "rename" {
			renamed++
			info, err := os.Stat(op.Path + tempSuffix)
			must(t, err)
			if durable := loss.synced[op.Path+tempSuffix]; durable != info.Size() {
				t.Errorf("%s: renamed with %d of %d bytes durable", op.Path, durable, info.Size())
			}
		}
		return loss.happens(op)
	}}
	dir, rows := t.TempDir(), twoBlobs()["a"]
	must(t, ingestSegments(Options{disk: fsys}, dir, rows))
	if renamed != 4 {
		t.Errorf("%d segments, want 4", renamed)
	}
	s := mustStore(t, dir, Options{})
	checkRows(t, "reopened", mustScan(t, s, Filter{}), sorted(rows))
	must(t, s.Close())
}

// TestWriteAfterFailedCommit: a store of which a Commit failed takes no other one.
func TestWriteAfterFailedCommit(t *testing.T) {
	blobs := twoBlobs()
	fail := false
	fsys := &disktest.FS{Hook: func(op disktest.Op) error {
		if fail && op.Name == "sync" && filepath.Base(op.Path) == manifestName {
			return errInjected
		}
		return nil
	}}
	dir := t.TempDir()
	s := mustStore(t, dir, Options{disk: fsys})
	w := mustWriter(t, s)
	appendRows(t, w, blobs["a"])
	must(t, w.Advance(position("a", 1), nil))
	fail = true
	if err := w.Commit(); !errors.Is(err, errInjected) {
		t.Fatalf("got %v", err)
	}
	fail = false
	b := batchOf(s.mem, blobs["b"])
	defer b.Release()
	for what, err := range map[string]error{"Append": w.Append(b), "Advance": w.Advance(position("b", 1), nil), "Restart": w.Restart("a"), "Commit": w.Commit()} {
		if !errors.Is(err, errInjected) {
			t.Errorf("%s after a failed Commit: %v", what, err)
		}
	}
	must(t, w.Close())
	if _, err := s.Writer(); !errors.Is(err, errInjected) {
		t.Errorf("another Writer after a failed Commit: %v", err)
	}
	must(t, s.Close())
	s = mustStore(t, dir, Options{}) // here the frames did reach the disk
	checkRows(t, "reopened", mustScan(t, s, Filter{}), sorted(blobs["a"]))
}
