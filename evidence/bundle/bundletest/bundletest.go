// Package bundletest holds the tests that each destination of bundles passes: a folder,
// a container in memory, a container of Azurite.
package bundletest

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/whichpod/whichpod/evidence/bundle"
	"github.com/whichpod/whichpod/index"
)

// Place is a destination that is empty, and how to check what is in it.
type Place struct {
	bundle.Destination
	Verify func(context.Context, *bundle.PublicKey) ([]bundle.Report, error)
}

// Keys are a key to sign with, the same each time, and its public key.
func Keys(t testing.TB) (bundle.Signer, *bundle.PublicKey) {
	t.Helper()
	private := ed25519.NewKeyFromSeed(bytes.Repeat([]byte{9}, ed25519.SeedSize))
	der, err := x509.MarshalPKCS8PrivateKey(private)
	must(t, err)
	key, err := bundle.ParsePrivateKey(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
	must(t, err)
	der, err = x509.MarshalPKIXPublicKey(private.Public())
	must(t, err)
	public, err := bundle.ParsePublicKey(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
	must(t, err)
	return key, public
}

// Input is that of a bundle without rows, about an hour.
func Input(t testing.TB, hour int) bundle.Input {
	t.Helper()
	dir := t.TempDir()
	w, err := index.Open(dir, index.Options{})
	must(t, err)
	must(t, w.Close())
	store, err := index.Open(dir, index.Options{ReadOnly: true})
	must(t, err)
	t.Cleanup(func() { must(t, store.Close()) })
	since := time.Date(2026, 11, 20, hour, 0, 0, 0, time.UTC).UnixMilli()
	return bundle.Input{Index: store, Ledger: filepath.Join(dir, "ledger"), NAT: filepath.Join(dir, "nat"), Since: since, Until: since + time.Hour.Milliseconds()}
}

// Test runs all tests, each on a place of its own.
func Test(t *testing.T, empty func(*testing.T) Place) {
	t.Run("Chain", func(t *testing.T) { testChain(t, empty(t)) })
	t.Run("NothingAfterAnError", func(t *testing.T) { testError(t, empty(t)) })
	t.Run("NeverOverwritten", func(t *testing.T) { testTaken(t, empty(t)) })
}

// Each bundle names the one before it, and all can be read again.
func testChain(t *testing.T, p Place) {
	ctx := context.Background()
	key, public := Keys(t)
	if chain, err := p.Chain(ctx); err != nil || len(chain) > 0 {
		t.Fatalf("empty: %v, error %v", chain, err)
	}
	var written []bundle.Summary
	for hour := range 12 { // more than one page of a list, and two digits
		written = append(written, write(t, p, hour, key))
	}
	chain, err := p.Chain(ctx)
	must(t, err)
	for i := range chain {
		want := bundle.Ref{Name: written[i].Name, Digest: written[i].Digest}
		if chain[i].Ref != want || chain[i].Sequence != int64(i+1) {
			t.Errorf("link %d: got %+v, want %+v", i, chain[i], want)
		}
		var c bundle.Completeness
		dir, done, err := p.Fetch(ctx, chain[i].Ref)
		must(t, err)
		data, err := os.ReadFile(filepath.Join(dir, "completeness.json"))
		must(t, errors.Join(err, done()))
		if must(t, json.Unmarshal(data, &c)); len(c.Missing) != len(written[i].Missing) {
			t.Errorf("link %d: completeness.json is %s", i, data)
		}
	}
	good(t, p, public, len(written))
}

// A bundle that could not be finished is not there, and the next takes its number.
func testError(t *testing.T, p Place) {
	key, public := Keys(t)
	first := write(t, p, 1, key)
	lock, err := p.Lock()
	must(t, err)
	_, err = bundle.Write(context.Background(), p, Input(t, 2), broken{})
	if must(t, lock.Close()); !errors.Is(err, errBroken) {
		t.Errorf("got %v", err)
	}
	good(t, p, public, 1)
	if second := write(t, p, 2, key); second.Sequence != first.Sequence+1 {
		t.Errorf("the next is number %d", second.Sequence)
	}
	good(t, p, public, 2)
}

// A writer that did not see the last bundle fails, and changes nothing.
func testTaken(t *testing.T, p Place) {
	key, public := Keys(t)
	write(t, p, 1, key)
	before, err := p.Chain(context.Background())
	must(t, err)
	if _, err := bundle.Write(context.Background(), blind{p}, other(t, 1), key); err == nil {
		t.Error("a second bundle of the same number was written")
	}
	after, err := p.Chain(context.Background())
	must(t, err)
	if diff := cmp.Diff(before, after); diff != "" {
		t.Error(diff)
	}
	good(t, p, public, 1)
}

// other is the input of another bundle of the same name.
func other(t testing.TB, hour int) bundle.Input {
	in := Input(t, hour)
	in.Missing = []string{"something"}
	return in
}

// blind is a destination as a writer sees it that looked too early.
type blind struct{ Place }

func (blind) Chain(context.Context) ([]bundle.Link, error) { return nil, nil }

// broken signs nothing.
type broken struct{}

var errBroken = errors.New("broken")

func (broken) Sign(context.Context, []byte) ([]byte, error) { return nil, errBroken }
func (broken) KeyID() (string, error)                       { return "broken", nil }
func (broken) PEM() ([]byte, error)                         { return nil, errBroken }

func write(t *testing.T, p Place, hour int, key bundle.Signer) bundle.Summary {
	t.Helper()
	lock, err := p.Lock()
	must(t, err)
	s, err := bundle.Write(context.Background(), p, Input(t, hour), key)
	must(t, errors.Join(err, lock.Close()))
	return s
}

func good(t *testing.T, p Place, key *bundle.PublicKey, n int) {
	t.Helper()
	reports, err := p.Verify(context.Background(), key)
	must(t, err)
	if len(reports) != n {
		t.Errorf("%d bundles, want %d", len(reports), n)
	}
	for i := range reports {
		if !reports[i].OK() || !reports[i].Signed {
			t.Errorf("%s: %q", reports[i].Name, reports[i].Problems)
		}
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
