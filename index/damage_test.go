package index

import (
	"context"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/whichpod/whichpod/flow"
	"github.com/whichpod/whichpod/internal/journal"
)

// smallStore holds two commits of one blob each and is closed.
func smallStore(t testing.TB) (dir string, rows []flow.Row) {
	t.Helper()
	dir = t.TempDir()
	r := rand.New(rand.NewPCG(8, 8))
	s := mustStore(t, dir, Options{})
	w := mustWriter(t, s)
	for _, blob := range []string{"a", "b"} {
		mine := randomRows(r, blob, batchRows+500, 0)
		rows = append(rows, mine...)
		appendRows(t, w, mine)
		must(t, w.Advance(position(blob, 1), nil))
		must(t, w.Commit())
	}
	must(t, w.Close())
	must(t, s.Close())
	return dir, sorted(rows)
}

// TestFlippedBytes flips one bit at many places of a segment. Verify must find each;
// a scan must either find it or return every row as it was.
func TestFlippedBytes(t *testing.T) {
	dir, rows := smallStore(t)
	path := filepath.Join(dir, "index", "segments", "0000000001.seg")
	file, err := os.ReadFile(path)
	must(t, err)
	s := mustStore(t, dir, Options{ReadOnly: true})
	step := max(len(file)/300, 1)
	for at := 0; at < len(file); at += step {
		file[at] ^= 0x10
		must(t, os.WriteFile(path, file, 0o600))
		file[at] ^= 0x10
		var found []CorruptError
		must(t, s.Verify(context.Background(), func(d CorruptError, _ int) { found = append(found, d) }))
		if len(found) != 1 || found[0].Path != path || found[0].Offset > int64(at) {
			t.Fatalf("byte %d: Verify reports %v", at, found)
		}
		fresh := mustStore(t, dir, Options{ReadOnly: true}) // without cached dictionaries
		got, err := scan(fresh, Filter{})
		var damage CorruptError
		if at < len(segmentMagic) { // for other programs; we do not need it
			checkRows(t, "damaged magic", got, rows)
			continue
		}
		if !errors.As(err, &damage) || damage.Offset != found[0].Offset || damage.Hint() == "" {
			t.Fatalf("byte %d: scan says %v, Verify %v", at, err, found)
		}
	}
}

func TestShortOrMissingSegment(t *testing.T) {
	dir, rows := smallStore(t)
	path := filepath.Join(dir, "index", "segments", "0000000002.seg")
	for _, c := range []struct {
		name    string
		breakIt func() error
	}{
		{"short", func() error { return os.Truncate(path, 1000) }},
		{"missing", func() error { return os.Remove(path) }},
	} {
		name := c.name
		must(t, c.breakIt())
		s := mustStore(t, dir, Options{ReadOnly: true})
		_, err := scan(s, Filter{})
		var damage CorruptError
		if !errors.As(err, &damage) || damage.Path != path {
			t.Errorf("%s: %v", name, err)
		}
		var told []CorruptError
		s = mustStore(t, dir, Options{ReadOnly: true, OnDamage: func(d CorruptError) { told = append(told, d) }})
		got := mustScan(t, s, Filter{})
		if len(told) != 1 || len(got) != len(rows)/2 || got[0].Blob != "a" {
			t.Errorf("%s, going on: %d rows, told %v", name, len(got), told)
		}
	}
}

func TestDamagedManifest(t *testing.T) {
	dir, rows := smallStore(t)
	path := filepath.Join(dir, "index", manifestName)
	file, err := os.ReadFile(path)
	must(t, err)
	for at := 8; at < len(file); at += 3 {
		file[at] ^= 1
		must(t, os.WriteFile(path, file, 0o600))
		file[at] ^= 1
		for _, opt := range []Options{{}, {ReadOnly: true}} {
			_, err := Open(dir, opt)
			var damage CorruptError
			if !errors.As(err, &damage) || damage.Path != path {
				t.Fatalf("byte %d, %+v: %v", at, opt, err)
			}
		}
		told := 0
		s := mustStore(t, dir, Options{ReadOnly: true, OnDamage: func(CorruptError) { told++ }})
		if got := mustScan(t, s, Filter{}); told != 1 || len(got) >= len(rows) {
			t.Fatalf("byte %d, going on: %d rows, told %d times", at, len(got), told)
		}
	}
}

func TestNewerVersion(t *testing.T) {
	dir, _ := smallStore(t)
	path := filepath.Join(dir, "index", manifestName)
	file, err := os.ReadFile(path)
	must(t, err)
	file[4]++
	must(t, os.WriteFile(path, file, 0o600))
	for _, opt := range []Options{{}, {ReadOnly: true}} {
		_, err := Open(dir, opt)
		var newer NewerVersionError
		if !errors.As(err, &newer) || newer.Got != version+1 || newer.Max != version {
			t.Errorf("%+v: %v", opt, err)
		}
	}
}

func TestTwoProcesses(t *testing.T) {
	dir := t.TempDir()
	mustStore(t, dir, Options{})
	if _, err := Open(dir, Options{}); !errors.Is(err, journal.ErrLocked) {
		t.Errorf("got %v", err)
	}
	mustStore(t, dir, Options{ReadOnly: true})
}

// FuzzFrame gives arbitrary bytes to the manifest. Frames that decode must encode to
// something that decodes to the same.
func FuzzFrame(f *testing.F) {
	dir, _ := smallStore(f)
	s := mustStore(f, dir, Options{ReadOnly: true})
	for _, seg := range s.current.segments {
		f.Add(seg.encode())
	}
	for _, b := range s.current.blobs {
		f.Add(b.encode())
	}
	f.Fuzz(func(t *testing.T, payload []byte) {
		d := &decoder{b: payload}
		switch d.byte() {
		case frameSegment:
			if seg, err := decodeSegment(d); err == nil {
				again := &decoder{b: seg.encode()[1:]}
				if _, err := decodeSegment(again); err != nil {
					t.Fatalf("%v\n%+v", err, seg)
				}
			}
		case frameBlob:
			if b, err := decodeBlob(d); err == nil {
				again := &decoder{b: b.encode()[1:]}
				if _, err := decodeBlob(again); err != nil {
					t.Fatalf("%v\n%+v", err, b)
				}
			}
		}
	})
}

// FuzzParts gives arbitrary bytes to the reader of each part of a segment.
func FuzzParts(f *testing.F) {
	dir := f.TempDir()
	must(f, ingest(Options{}, dir, twoBlobs())) // small, for the fuzzer's sake
	s := mustStore(f, dir, Options{ReadOnly: true})
	p := partsOf(f, s, s.current.segments[0])
	for _, b := range p.bytes {
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) { p.readAnything(b) })
}
