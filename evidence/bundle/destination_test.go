package bundle_test

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/whichpod/whichpod/evidence/bundle"
	"github.com/whichpod/whichpod/evidence/bundle/bundletest"
)

func TestDestinations(t *testing.T) {
	t.Run("Folder", func(t *testing.T) {
		bundletest.Test(t, func(t *testing.T) bundletest.Place {
			dir := filepath.Join(t.TempDir(), "bundles")
			return bundletest.Place{Destination: bundle.Folder(dir), Verify: func(ctx context.Context, key *bundle.PublicKey) ([]bundle.Report, error) {
				return bundle.Verify(ctx, dir, key, bundle.Options{})
			}}
		})
	})
	t.Run("Container", func(t *testing.T) {
		bundletest.Test(t, func(t *testing.T) bundletest.Place { return contained(t, &memory{}) })
	})
}

func contained(t *testing.T, m *memory) bundletest.Place {
	t.Setenv("TMPDIR", t.TempDir())
	t.Cleanup(func() {
		if left, err := os.ReadDir(os.TempDir()); err != nil || len(left) > 0 {
			t.Errorf("left behind: %v, error %v", left, err)
		}
	})
	return bundletest.Place{Destination: &bundle.Container{Blobs: m}, Verify: func(ctx context.Context, key *bundle.PublicKey) ([]bundle.Report, error) {
		return bundle.VerifyContainer(ctx, &bundle.Container{Blobs: m}, "", key, bundle.Options{})
	}}
}

// memory is a container in memory.
type memory struct {
	mu    sync.Mutex
	blobs map[string][]byte
	lost  error // of a Put that worked: its answer does not arrive
}

var errLost = errors.New("lost")

func (m *memory) String() string { return "memory" }

func (m *memory) Names(_ context.Context, suffix string) ([]string, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.DeleteFunc(slices.Collect(maps.Keys(m.blobs)), func(n string) bool { return !strings.HasSuffix(n, suffix) }), nil
}

func (m *memory) Open(_ context.Context, name string) (io.ReadCloser, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	data, ok := m.blobs[name]
	if !ok {
		return nil, fs.ErrNotExist
	}
	return io.NopCloser(bytes.NewReader(data)), nil
}

func (m *memory) Put(_ context.Context, name, _ string, r io.Reader) error {
	data, err := io.ReadAll(r)
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, ok := m.blobs[name]; ok && err == nil {
		err = fs.ErrExist
	}
	if err != nil {
		return err
	}
	if m.blobs == nil {
		m.blobs = make(map[string][]byte)
	}
	m.blobs[name] = data
	return m.lost
}

// A writer whose upload was finished without its knowing succeeds when it tries again:
// the same input gives the same blob. Another's blob is not taken for its own.
func TestLostAnswer(t *testing.T) {
	m := &memory{lost: fs.ErrExist} // as after a retry of a request that had worked
	p := contained(t, m)
	key, public := bundletest.Keys(t)
	if _, err := bundle.Write(context.Background(), p, bundletest.Input(t, 1), key); err != nil {
		t.Errorf("got %v", err)
	}
	m.lost = errLost
	if _, err := bundle.Write(context.Background(), p, bundletest.Input(t, 2), key); !errors.Is(err, errLost) {
		t.Errorf("got %v", err)
	}
	m.lost = nil
	late := &bundle.Container{Blobs: &memory{blobs: map[string][]byte{"000001.tar": m.blobs["000001.tar"]}}}
	chain, err := late.Chain(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	for missing, want := range map[string]error{"": nil, "something": bundle.ErrTaken} {
		in := bundletest.Input(t, 2)
		if missing != "" {
			in.Missing = []string{missing}
		}
		if _, err := bundle.Write(context.Background(), seen{p, chain}, in, key); !errors.Is(err, want) {
			t.Errorf("missing %q: got %v, want %v", missing, err, want)
		}
	}
	reports, err := p.Verify(context.Background(), public)
	if err != nil || len(reports) != 2 || !reports[0].OK() || !reports[1].OK() {
		t.Errorf("%+v, error %v", reports, err)
	}
}

// seen is a destination with the chain as it was.
type seen struct {
	bundletest.Place
	chain []bundle.Link
}

func (s seen) Chain(context.Context) ([]bundle.Link, error) { return s.chain, nil }

// What is wrong with a blob is named: each byte of it counts, its name too.
func TestDamagedTar(t *testing.T) {
	m := &memory{}
	p := contained(t, m)
	key, public := bundletest.Keys(t)
	for hour := range 3 {
		if _, err := bundle.Write(context.Background(), p, bundletest.Input(t, hour), key); err != nil {
			t.Fatal(err)
		}
	}
	whole := maps.Clone(m.blobs)
	const name = "000002.tar"
	bad := func(what string) {
		t.Helper()
		reports, err := p.Verify(context.Background(), public)
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		for i := range reports {
			if !reports[i].OK() {
				return
			}
		}
		t.Errorf("%s is not noticed", what)
	}
	data := whole[name]
	for at := 0; at < len(data); at += 509 {
		m.blobs[name] = bytes.Clone(data)
		m.blobs[name][at] ^= 0x20
		bad("a flipped byte")
	}
	for n := 0; n < len(data); n += 4096 {
		m.blobs[name] = data[:n]
		bad("a cut")
	}
	m.blobs[name] = append(bytes.Clone(data), 0)
	bad("a byte too much")
	m.blobs[name] = whole["000003.tar"]
	bad("another bundle")
	delete(m.blobs, name)
	bad("a missing one")
	m.blobs[name] = data
	reports, err := p.Verify(context.Background(), public)
	if err != nil || len(reports) != 3 || !reports[1].OK() {
		t.Errorf("whole again: %+v, error %v", reports, err)
	}
}

// Names in a tar file lead nowhere else, and no file is longer than what was read.
func TestHostileTar(t *testing.T) {
	_, public := bundletest.Keys(t)
	outside := filepath.Join(t.TempDir(), "in", "x.tar")
	if err := os.Mkdir(filepath.Dir(outside), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, h := range []tar.Header{
		{Name: "../escaped"}, {Name: "/escaped"}, {Name: "a/../../escaped"}, {Name: "a"}, {Name: "a/"}, {Name: ".a/b"}, {Name: ""},
		{Name: "a/b", Typeflag: tar.TypeSymlink, Linkname: "/etc/passwd"}, {Name: "a/b", Typeflag: tar.TypeLink, Linkname: "a/c"}, {Name: "a/d", Typeflag: tar.TypeDir},
	} {
		var file bytes.Buffer
		w := tar.NewWriter(&file)
		if err := errors.Join(w.WriteHeader(&h), w.Close(), os.WriteFile(outside, file.Bytes(), 0o644)); err != nil {
			t.Fatal(err)
		}
		reports, err := bundle.Verify(context.Background(), outside, public, bundle.Options{})
		if err != nil || len(reports) != 1 || len(reports[0].Problems) != 1 || !strings.Contains(reports[0].Problems[0], "no whole bundle") {
			t.Errorf("%+v: %+v, error %v", h, reports, err)
		}
	}
}
