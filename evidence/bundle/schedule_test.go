package bundle

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/whichpod/whichpod/index"
	"github.com/whichpod/whichpod/ingest"
)

// A window waits for the logs of its interfaces, until the deadline; then it says what
// is late. What comes later makes an amendment that names what it amends.
func TestSchedule(t *testing.T) {
	t.Parallel()
	cfg := smallCluster()
	cfg.Traffic.FlowsPerSecond = 0.5 // so that each interface logs each minute
	l := newLab(t, cfg, false)
	blobs := copied(t, filepath.Join(filepath.Dir(l.data), "blobs"))
	path, whole := cutShort(t, blobs)
	raw, err := ingest.OpenFolder(blobs)
	must(t, err)
	data := filepath.Join(t.TempDir(), "data")
	s := Schedule{To: Folder(l.out), Window: 5 * time.Minute, Deadline: time.Hour, Since: l.minute(0), Until: l.minute(15), Now: func() time.Time { return time.UnixMilli(l.minute(30)) }}
	run := func() []Summary {
		t.Helper()
		l.ingest(data, raw)
		store, err := index.Open(data, index.Options{ReadOnly: true})
		must(t, err)
		in := l.input()
		in.Index, in.Raw = store, nil
		lock, err := Folder(l.out).Lock()
		must(t, err)
		out, err := s.Run(context.Background(), in, l.key)
		must(t, errors.Join(err, lock.Close(), store.Close()))
		return out
	}
	first := run()
	if len(first) >= 3 {
		t.Fatalf("%d windows did not wait for a late log", len(first))
	}
	if again := run(); len(again) > 0 {
		t.Errorf("a second run wrote %v", again)
	}
	s.Deadline = 0
	rest := run()
	if len(first)+len(rest) != 3 || !strings.Contains(strings.Join(rest[len(rest)-1].Missing, " "), "logged no row after") {
		t.Errorf("after the deadline: %+v", rest)
	}
	l.good(l.out, nil)
	must(t, os.WriteFile(path, whole, 0o644))
	amendments := run()
	if len(amendments) == 0 {
		t.Fatal("no amendment of late rows")
	}
	for _, a := range amendments {
		link, err := readLink(filepath.Join(l.out, a.Name))
		must(t, err)
		if link.Amends == nil {
			t.Fatalf("%s amends nothing", a.Name)
		}
		old, err := readLink(filepath.Join(l.out, link.Amends.Name))
		must(t, err)
		if *link.Amends != old.Ref || old.Since != link.Since || old.Until != link.Until {
			t.Errorf("%s amends %+v", a.Name, link.Amends)
		}
	}
	l.good(l.out, nil)
	l.good(filepath.Join(l.out, amendments[0].Name), l.raw)
	if again := run(); len(again) > 0 {
		t.Errorf("a last run wrote %v", again)
	}
}

// cutShort leaves the first half of a node's flow log.
func cutShort(t *testing.T, blobs string) (path string, whole []byte) {
	t.Helper()
	must(t, filepath.WalkDir(blobs, func(p string, e fs.DirEntry, err error) error {
		if err == nil && !e.IsDir() && strings.Contains(p, "h=10") && path == "" {
			path = p
			whole, err = os.ReadFile(p)
			must(t, err)
			must(t, os.WriteFile(p, whole[:len(whole)/10], 0o644))
		}
		return err
	}))
	if path == "" {
		t.Fatal("no flow log of that hour")
	}
	return path, whole
}
