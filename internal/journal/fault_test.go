package journal_test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/whichpod/whichpod/internal/journal"
	"github.com/whichpod/whichpod/internal/journal/disk/disktest"
)

var errInjected = errors.New("injected")

// script runs the life of a journal and says which groups were acknowledged.
func script(fsys *disktest.FS, path string) (acked []string, err error) {
	j, err := journal.OpenOn(fsys, path, magic, 1, nil)
	if err != nil {
		return nil, err
	}
	defer j.Close()
	for _, g := range []string{"a", "b", "c"} {
		if err := j.Append([]byte(g), []byte(g)); err != nil {
			return acked, err
		}
		acked = append(acked, g, g)
	}
	if err := j.Rewrite([]byte("r")); err != nil {
		return acked, err
	}
	acked = []string{"r"}
	if err := j.Append([]byte("s")); err != nil {
		return acked, err
	}
	return append(acked, "s"), nil
}

// TestEachOperationFails lets every operation fail in turn, in each way it can. The
// reopened journal must hold what was acknowledged, plus at most the one group that
// was under way.
func TestEachOperationFails(t *testing.T) {
	states := [][]string{nil, {"a", "a"}, {"a", "a", "b", "b"}, {"a", "a", "b", "b", "c", "c"}, {"r"}, {"r", "s"}}
	for _, injected := range []error{errInjected, disktest.ErrShort} {
		for n := 0; ; n++ {
			path := filepath.Join(t.TempDir(), "j")
			var failed *disktest.Op
			count := 0
			fsys := &disktest.FS{Hook: func(op disktest.Op) error {
				count++
				if count == n+1 {
					failed = &op
					return injected
				}
				return nil
			}}
			acked, err := script(fsys, path)
			if failed == nil {
				if err != nil || n < 15 {
					t.Fatalf("%d operations, error %v: the script no longer does what this test is about", n, err)
				}
				break
			}
			name := fmt.Sprintf("operation %d, %s", n, failed.Name)
			if !errors.Is(err, injected) {
				t.Fatalf("%s: got %v", name, err)
			}
			j, got := mustOpen(t, path)
			if len(j.Damage()) > 0 {
				t.Fatalf("%s: damage %v", name, j.Damage())
			}
			k := slices.IndexFunc(states, func(s []string) bool { return slices.Equal(s, acked) })
			next := states[min(k+1, len(states)-1)]
			if !slices.Equal(got, acked) && !slices.Equal(got, next) {
				t.Fatalf("%s: acknowledged %q, replayed %q", name, acked, got)
			}
			if failed.Name == "write" && k < 3 && !slices.Equal(got, acked) {
				t.Fatalf("%s: a write that failed left %q", name, got)
			}
		}
	}
}

func TestFailedSyncPoisons(t *testing.T) {
	fail := false
	fsys := &disktest.FS{Hook: func(op disktest.Op) error {
		if fail && op.Name == "sync" {
			return errInjected
		}
		return nil
	}}
	path := filepath.Join(t.TempDir(), "j")
	j, err := journal.OpenOn(fsys, path, magic, 1, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer j.Close()
	fail = true
	if err := j.Append([]byte("a")); !errors.Is(err, errInjected) {
		t.Fatalf("got %v", err)
	}
	fail = false
	for range 2 {
		if err := j.Append([]byte("b")); !errors.Is(err, errInjected) {
			t.Fatalf("after a failed fsync: got %v, want the same error", err)
		}
	}
	if err := j.Rewrite([]byte("c")); !errors.Is(err, errInjected) {
		t.Fatalf("Rewrite after a failed fsync: got %v", err)
	}
}

func TestFailedWriteIsTakenBack(t *testing.T) {
	fail := ""
	fsys := &disktest.FS{Hook: func(op disktest.Op) error {
		if op.Name == fail || fail == "truncate" && op.Name == "write" {
			return disktest.ErrShort
		}
		return nil
	}}
	path := filepath.Join(t.TempDir(), "j")
	j, err := journal.OpenOn(fsys, path, magic, 1, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer j.Close()
	fail = "write"
	if err := j.Append([]byte("a")); !errors.Is(err, disktest.ErrShort) {
		t.Fatalf("got %v", err)
	}
	fail = ""
	mustAppend(t, j, "b") // the disk has room again
	if got, damage := read(t, path); !cmp.Equal(got, []string{"b"}) || damage != nil {
		t.Fatalf("got %q, %v", got, damage)
	}
	fail = "truncate"
	if err := j.Append([]byte("c")); !errors.Is(err, disktest.ErrShort) {
		t.Fatalf("got %v", err)
	}
	fail = ""
	if err := j.Append([]byte("d")); err == nil {
		t.Fatal("a group that could not be taken back must end the journal")
	}
}

func TestRewriteLeavesNoTemporaryFile(t *testing.T) {
	dir := t.TempDir()
	fail := ""
	fsys := &disktest.FS{Hook: func(op disktest.Op) error {
		if op.Name == fail {
			return errInjected
		}
		return nil
	}}
	j, err := journal.OpenOn(fsys, filepath.Join(dir, "j"), magic, 1, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer j.Close()
	mustAppend(t, j, "a")
	for _, fail = range []string{"write", "sync", "rename"} {
		if err := j.Rewrite([]byte("b")); !errors.Is(err, errInjected) {
			t.Fatalf("%s: got %v", fail, err)
		}
		if _, err := os.Stat(filepath.Join(dir, "j.new")); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: the temporary file is still there", fail)
		}
	}
	fail = ""
	mustAppend(t, j, "c")
	if got, _ := read(t, filepath.Join(dir, "j")); !cmp.Equal(got, []string{"a", "c"}) {
		t.Errorf("got %q", got)
	}
}
