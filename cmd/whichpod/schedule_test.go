//go:build unix

package main

import (
	"context"
	"crypto/ed25519"
	"crypto/x509"
	"encoding/pem"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/whichpod/whichpod/evidence/bundle"
)

// A scheduled export that is killed, at any point, leaves whole bundles only, and the
// next run goes on with the chain.
func TestKilledScheduleLeavesWholeBundles(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	program, data, out := filepath.Join(dir, "whichpod"), filepath.Join(dir, "cluster"), filepath.Join(dir, "bundles")
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(self, program); err != nil {
		t.Fatal(err)
	}
	if msg, err := exec.Command(program, "demo", "--keep", data).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, msg)
	}
	key, public := writeKey(t, dir)
	command := func() *exec.Cmd {
		return exec.Command(program, "export", "--bundle", "--once", "--window", "2m", "--deadline", "0s", "--until", "2026-11-20T10:10:00Z", "--out", out, "--key", key,
			"--data", filepath.Join(data, "data"), "--config", filepath.Join(data, "config.yaml"), "--raw", filepath.Join(data, "blobs"))
	}
	check := func() int {
		if chain, err := bundle.Folder(out).Chain(context.Background()); err != nil || len(chain) == 0 {
			if err != nil {
				t.Fatalf("a bundle is not whole: %v", err)
			}
			return 0
		}
		reports, err := bundle.Verify(context.Background(), out, public, bundle.Options{})
		if err != nil {
			t.Fatal(err)
		}
		for i := range reports {
			if !reports[i].OK() {
				t.Fatalf("%s: %q", reports[i].Name, reports[i].Problems)
			}
		}
		return len(reports)
	}
	r := rand.New(rand.NewPCG(8, 8))
	killed, partial, longest := 0, 0, 400*time.Millisecond
	for range 25 {
		cmd := command()
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		longest += 150 * time.Millisecond // so that some runs get further
		time.AfterFunc(time.Duration(r.Int64N(int64(longest))), func() { _ = cmd.Process.Signal(syscall.SIGKILL) })
		if cmd.Wait() != nil {
			killed++
		}
		left, err := filepath.Glob(filepath.Join(out, ".partial-*"))
		if err != nil {
			t.Fatal(err)
		}
		partial += len(left)
		if check() >= 8 {
			break
		}
	}
	if killed == 0 {
		t.Fatal("no run was killed")
	}
	t.Logf("%d runs were killed, %d of them within a bundle", killed, partial)
	if msg, err := command().CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, msg)
	}
	if n := check(); n < 9 {
		t.Errorf("%d bundles, want one for each window", n)
	}
	entries, err := os.ReadDir(out)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), ".partial-") {
			t.Errorf("%s was left behind", e.Name())
		}
	}
	if msg, err := command().CombinedOutput(); err != nil || len(msg) > 0 {
		t.Errorf("a run with nothing to do: %v: %s", err, msg)
	}
}

// writeKey writes a private key and returns its path and the public key.
func writeKey(t *testing.T, dir string) (string, *bundle.PublicKey) {
	t.Helper()
	private := ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "private.pem")
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	if der, err = x509.MarshalPKIXPublicKey(private.Public()); err != nil {
		t.Fatal(err)
	}
	public, err := bundle.ParsePublicKey(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
	if err != nil {
		t.Fatal(err)
	}
	return path, public
}
