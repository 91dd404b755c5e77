package index

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
)

// places are the parts of a file in which an offset can be reported, by their first
// byte: a flipped byte is to be found in the part that it is in.
func places(t *testing.T, s *Store, path string) map[int64]bool {
	t.Helper()
	out := map[int64]bool{}
	for _, seg := range s.manifest().segments {
		if seg.name(s.segments) != path {
			continue
		}
		for i := range segmentMagic {
			out[int64(i)] = true
		}
		u, err := newUnpacker()
		must(t, err)
		defer u.close()
		o, err := s.open(seg, u)
		must(t, err)
		defer o.release()
		out[seg.directory.offset], out[o.tablesPart().offset] = true, true
		for i := range o.blocks {
			out[o.blockPart(i).offset] = true
		}
		for i := range o.pages {
			out[o.pagePart(i).offset] = true
		}
	}
	return out
}

// TestCheckFindsEveryByte flips every byte of a small index, file by file. Check names
// the file, and an offset in the part of it that the byte is in.
func TestCheckFindsEveryByte(t *testing.T) {
	dir := t.TempDir()
	must(t, ingest(Options{}, dir, twoBlobs()))
	s := mustStore(t, dir, Options{ReadOnly: true})
	if err := Check(t.Context(), dir, func(d CorruptError, _ int) { t.Error(d) }); err != nil {
		t.Fatal(err)
	}
	for _, path := range append(segmentFiles(t, dir), filepath.Join(dir, "index", manifestName)) {
		file, err := os.ReadFile(path)
		must(t, err)
		parts := places(t, s, path)
		begin := int64(0) // of the part that at is in
		for at := range file {
			if parts[int64(at)] {
				begin = int64(at)
			}
			file[at] ^= byte(1 << (at % 8))
			must(t, os.WriteFile(path, file, 0o600))
			file[at] ^= byte(1 << (at % 8))
			var found []CorruptError
			err := Check(t.Context(), dir, func(d CorruptError, _ int) { found = append(found, d) })
			var newer NewerVersionError
			if errors.As(err, &newer) && newer.Path == path {
				continue // the version's byte
			}
			must(t, err)
			if len(found) == 0 || found[0].Path != path {
				t.Fatalf("byte %d of %s: %v", at, path, found)
			}
			if len(parts) > 0 && found[0].Offset != begin || found[0].Offset > int64(at) {
				t.Fatalf("byte %d of %s, in the part from %d: %v", at, path, begin, found)
			}
		}
		must(t, os.WriteFile(path, file, 0o600))
	}
}
