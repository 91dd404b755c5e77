package bundle_test

import (
	"bytes"
	"context"
	"crypto/x509"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/whichpod/whichpod/evidence/bundle"
	"github.com/whichpod/whichpod/evidence/bundle/bundletest"
	"github.com/whichpod/whichpod/evidence/stamp"
	"github.com/whichpod/whichpod/evidence/stamp/stamptest"
)

// stampFile is where a bundle keeps its time stamp.
const stampFile = "manifest.tsr"

func authority(t *testing.T) (*stamptest.Authority, *stamp.Authority) {
	t.Helper()
	server := stamptest.New(stamptest.ForTimeStamps)
	t.Cleanup(server.Close)
	a, err := stamp.NewAuthority(server.URL)
	must(t, err)
	return server, a
}

// stamped writes the bundle of an hour with a time stamp, or without.
func stamped(t *testing.T, to bundle.Destination, hour int, by bundle.Stamper) bundle.Summary {
	t.Helper()
	key, _ := bundletest.Keys(t)
	in := bundletest.Input(t, hour)
	in.Stamper = by
	lock, err := to.Lock()
	must(t, err)
	s, err := bundle.Write(context.Background(), to, in, key)
	must(t, errors.Join(err, lock.Close()))
	return s
}

// problems of all bundles in a folder, a line each, with the name in front.
func problems(t *testing.T, dir string, roots ...*x509.Certificate) string {
	t.Helper()
	_, public := bundletest.Keys(t)
	reports, err := bundle.Verify(context.Background(), dir, public, bundle.Options{Authorities: roots})
	must(t, err)
	return problemsOf(reports)
}

func problemsOf(reports []bundle.Report) string {
	var out strings.Builder
	for _, r := range reports {
		for _, p := range r.Problems {
			out.WriteString(r.Name + ": " + p + "\n")
		}
	}
	return out.String()
}

// Each bundle of a chain has a stamp of its own manifest. One that is gone, of another
// bundle, of other bytes or by another authority is named.
func TestTimeStamps(t *testing.T) {
	t.Parallel()
	server, a := authority(t)
	dir := filepath.Join(t.TempDir(), "bundles")
	one, two := stamped(t, bundle.Folder(dir), 1, a), stamped(t, bundle.Folder(dir), 2, a)
	if one.Stamp == nil || !one.Stamp.Time.Equal(server.At) || one.Stamp.Trusted {
		t.Errorf("written: %+v", one.Stamp)
	}
	_, public := bundletest.Keys(t)
	reports, err := bundle.Verify(context.Background(), dir, public, bundle.Options{Authorities: []*x509.Certificate{server.Root}})
	must(t, err)
	if got := reports[0].Stamp; problemsOf(reports) != "" || got == nil || !got.Time.Equal(server.At) || !got.Trusted {
		t.Errorf("stamp is %+v, problems are %q", got, problemsOf(reports))
	}
	if got := problems(t, dir); got != "" {
		t.Errorf("without a root: %s", got)
	}
	other, b := authority(t)
	if got := problems(t, dir, other.Root); strings.Count(got, "unknown authority") != 2 {
		t.Errorf("another authority: %q", got)
	}

	first, second := filepath.Join(dir, one.Name, stampFile), filepath.Join(dir, two.Name, stampFile)
	mine, err1 := os.ReadFile(first)
	theirs, err2 := os.ReadFile(second)
	must(t, errors.Join(err1, err2, os.WriteFile(first, theirs, 0o644)))
	for _, roots := range [][]*x509.Certificate{nil, {server.Root}} {
		if got := problems(t, dir, roots...); !strings.HasPrefix(got, one.Name+": "+stampFile+" is no time stamp of this manifest") || strings.Count(got, "\n") != 1 {
			t.Errorf("of another manifest: %q", got)
		}
	}
	must(t, os.WriteFile(first, mine[:len(mine)/2], 0o644))
	if got := problems(t, dir); !strings.Contains(got, one.Name+": "+stampFile) {
		t.Errorf("cut short: %q", got)
	}
	must(t, os.WriteFile(first, make([]byte, stamp.MaxAnswer+1), 0o644))
	if got := problems(t, dir); !strings.Contains(got, "want at most") {
		t.Errorf("too long: %q", got)
	}
	must(t, os.Remove(first))
	if got := problems(t, dir); got != "" {
		t.Errorf("gone, and not asked for: %q", got)
	}
	if got := problems(t, dir, server.Root); got != one.Name+": "+stampFile+" is missing: nobody says when this bundle was there\n" {
		t.Errorf("gone: %q", got)
	}
	forged, err := b.Stamp(context.Background(), read(t, filepath.Join(dir, one.Name, "manifest.json")))
	must(t, errors.Join(err, os.WriteFile(first, forged, 0o644)))
	if got := problems(t, dir, server.Root, other.Root); got != "" {
		t.Errorf("two authorities: %q", got)
	}
	if got := problems(t, dir, server.Root); !strings.HasPrefix(got, one.Name+": "+stampFile) {
		t.Errorf("forged: %q", got)
	}
}

// But for the stamp and the links to manifests, which it is not part of, the same input
// gives the same bytes.
func TestStampChangesNothingElse(t *testing.T) {
	t.Parallel()
	_, a := authority(t)
	with, without := t.TempDir(), t.TempDir()
	s := stamped(t, bundle.Folder(with), 1, a)
	stamped(t, bundle.Folder(without), 1, nil)
	must(t, os.Remove(filepath.Join(with, s.Name, stampFile)))
	count := 0
	must(t, filepath.WalkDir(with, func(path string, e os.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		rel, err := filepath.Rel(with, path)
		count++
		if !bytes.Equal(read(t, path), read(t, filepath.Join(without, rel))) {
			t.Errorf("%s differs", rel)
		}
		return err
	}))
	if count < 9 {
		t.Errorf("only %d files", count)
	}
}

// A bundle in a container has its stamp in the tar file.
func TestTimeStampInAContainer(t *testing.T) {
	server, a := authority(t)
	m := &memory{}
	p := contained(t, m)
	for hour := range 2 {
		stamped(t, p, hour, a)
	}
	_, public := bundletest.Keys(t)
	reports, err := bundle.VerifyContainer(context.Background(), &bundle.Container{Blobs: m}, "", public, bundle.Options{Authorities: []*x509.Certificate{server.Root}})
	must(t, err)
	if problemsOf(reports) != "" || len(reports) != 2 || reports[1].Stamp == nil {
		t.Errorf("%+v", reports)
	}
}

// Where the authority is away, no bundle is written; the next run goes on with the chain.
func TestAuthorityAway(t *testing.T) {
	t.Parallel()
	server, a := authority(t)
	dir := filepath.Join(t.TempDir(), "bundles")
	to := bundle.Folder(dir)
	one := stamped(t, to, 1, a)
	server.Busy.Store(1 << 40)
	ctx, cancel := context.WithCancel(context.Background())
	cancel() // so that it is not asked again
	key, _ := bundletest.Keys(t)
	lock, err := to.Lock()
	must(t, err)
	in := bundletest.Input(t, 2)
	in.Stamper = gone{a, ctx}
	_, err = bundle.Write(context.Background(), to, in, key)
	if must(t, lock.Close()); !errors.Is(err, bundle.ErrUnstamped) || !strings.Contains(err.Error(), server.URL) {
		t.Errorf("got %v", err)
	}
	server.Busy.Store(0)
	two := stamped(t, to, 2, a)
	if got := problems(t, dir, server.Root); got != "" || two.Sequence != one.Sequence+1 {
		t.Errorf("number %d; %s", two.Sequence, got)
	}
}

// gone is an authority that is asked in vain.
type gone struct {
	*stamp.Authority
	over context.Context
}

func (g gone) Stamp(_ context.Context, message []byte) ([]byte, error) {
	return g.Authority.Stamp(g.over, message)
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	data, err := os.ReadFile(path)
	must(t, err)
	return data
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
