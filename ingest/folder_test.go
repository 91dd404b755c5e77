package ingest_test

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/whichpod/whichpod/ingest"
	"github.com/whichpod/whichpod/ingest/sourcetest"
)

type folderStore struct{ dir string }

func newFolderStore(t *testing.T) sourcetest.Store { return folderStore{t.TempDir()} }

func (s folderStore) path(name string) string { return filepath.Join(s.dir, filepath.FromSlash(name)) }

func (s folderStore) Put(t *testing.T, name string, content []byte) {
	t.Helper()
	write(t, s.path(name), string(content))
}

func (s folderStore) Remove(t *testing.T, name string) {
	t.Helper()
	if err := os.Remove(s.path(name)); err != nil {
		t.Fatal(err)
	}
}

func (s folderStore) Source(t *testing.T) ingest.Source {
	t.Helper()
	return openFolder(t, s.dir)
}

func openFolder(t *testing.T, path string) *ingest.Folder {
	t.Helper()
	f, err := ingest.OpenFolder(path)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func write(t *testing.T, path, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

func names(t *testing.T, src ingest.Source) []string {
	t.Helper()
	var all []string
	if err := src.List(context.Background(), ingest.Hours{}, func(b ingest.Blob) error { all = append(all, b.Name); return nil }); err != nil {
		t.Fatal(err)
	}
	return all
}

func TestFolderConformance(t *testing.T) { sourcetest.Test(t, newFolderStore) }

func TestFolderNames(t *testing.T) {
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	blob := sourcetest.Name(1)
	inside := filepath.Join(dir, "mirror", "insights-logs-flowlogflowevent", filepath.FromSlash(blob))
	write(t, inside, "{}")
	write(t, filepath.Join(dir, "a", "PT1H.json"), "{}")
	write(t, filepath.Join(dir, "b", "PT1H.JSON"), "{}")
	write(t, filepath.Join(dir, "b", "notes"), "{}")
	for _, link := range [][2]string{{dir, "root"}, {inside, "file"}} {
		if err := os.Symlink(link[0], filepath.Join(dir, link[1])); err != nil {
			t.Fatal(err)
		}
	}
	a, b, notes := filepath.ToSlash(dir)+"/a/PT1H.json", filepath.ToSlash(dir)+"/b/PT1H.JSON", filepath.ToSlash(dir)+"/b/notes"
	for _, tc := range []struct {
		root string
		want []string
	}{
		{".", []string{a, b, blob}},
		{"mirror", []string{blob}},
		{"mirror/insights-logs-flowlogflowevent/flowLogResourceID=/SUB_NETWORKWATCHERRG", []string{blob}}, // inside the blob's own path
		{"root", []string{a, b, blob}}, // the root may be a link, links below it are not followed
		{"file", []string{blob}},
		{"b", []string{b}},
		{"b/notes", []string{notes}}, // a file by its own name needs no ending
	} {
		if diff := cmp.Diff(tc.want, names(t, openFolder(t, filepath.Join(dir, tc.root)))); diff != "" {
			t.Errorf("root %q (-want +got):\n%s", tc.root, diff)
		}
	}
}

func TestFolderThatIsNotThere(t *testing.T) {
	if _, err := ingest.OpenFolder(filepath.Join(t.TempDir(), "none")); !os.IsNotExist(unwrapAll(err)) {
		t.Errorf("got error %v, want one of a path that does not exist", err)
	}
}

func unwrapAll(err error) error {
	for {
		u, ok := err.(interface{ Unwrap() error })
		if !ok || os.IsNotExist(err) {
			return err
		}
		err = u.Unwrap()
	}
}

// A file that is appended to while it is read: the first read sees the listed bytes,
// and the end of the read says that it changed.
func TestFolderFileGrowsDuringRead(t *testing.T) {
	path := filepath.Join(t.TempDir(), "PT1H.json")
	write(t, path, "0123456789")
	src := openFolder(t, path)
	err := src.List(context.Background(), ingest.Hours{}, func(b ingest.Blob) error {
		r, err := src.Open(context.Background(), b, 0)
		if err != nil {
			return err
		}
		defer r.Close()
		write(t, path, "0123456789abc")
		got, err := io.ReadAll(r)
		if string(got) != "0123456789" {
			t.Errorf("got %q", got)
		}
		return err
	})
	if err == nil {
		t.Error("got no error, want ErrChanged")
	}
}
