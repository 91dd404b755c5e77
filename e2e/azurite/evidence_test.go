//go:build e2e

package azurite_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/blockblob"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/sas"

	"github.com/whichpod/whichpod/evidence/bundle"
	"github.com/whichpod/whichpod/evidence/bundle/bundletest"
	"github.com/whichpod/whichpod/ingest/azblob"
)

func evidenceStore(t *testing.T, url string, hold azblob.Hold) *azblob.Store {
	t.Helper()
	s, err := azblob.NewStore(url, hold, func(string) string { return "" })
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// A container is a destination as a folder is one, at its root and below a prefix.
func TestEvidenceDestination(t *testing.T) {
	for _, prefix := range []string{"", "/prod/evidence"} {
		t.Run("prefix"+prefix, func(t *testing.T) {
			bundletest.Test(t, func(t *testing.T) bundletest.Place {
				url := newContainer(t).url() + prefix
				c := &bundle.Container{Blobs: evidenceStore(t, url, azblob.Hold{})}
				return bundletest.Place{Destination: c, Verify: func(ctx context.Context, key *bundle.PublicKey) ([]bundle.Report, error) {
					return bundle.VerifyContainer(ctx, &bundle.Container{Blobs: evidenceStore(t, url, azblob.Hold{})}, "", key, bundle.Options{})
				}}
			})
		})
	}
}

// What was staged before a cut is not sent again, nothing is overwritten, and a
// container without support for immutability is called that.
func TestEvidenceStore(t *testing.T) {
	ctx, c := t.Context(), newContainer(t)
	s := evidenceStore(t, c.url(), azblob.Hold{})
	data := make([]byte, 20<<20)
	_, _ = rand.NewChaCha8([32]byte{1}).Read(data)
	if err := s.Put(ctx, "a.tar", "a.tar", io.MultiReader(bytes.NewReader(data[:17<<20]), cut{})); !errors.Is(err, errCut) {
		t.Fatalf("got %v", err)
	}
	if names := c.names(t); len(names) > 0 {
		t.Errorf("after a cut: %q", names)
	}
	staged, err := c.client.NewBlockBlobClient("a.tar").GetBlockList(ctx, blockblob.BlockListTypeUncommitted, nil)
	if err != nil || len(staged.UncommittedBlocks) != 2 {
		t.Fatalf("%d blocks, error %v", len(staged.UncommittedBlocks), err)
	}
	for range 2 {
		err := s.Put(ctx, "a.tar", "a.tar", bytes.NewReader(data))
		if err != nil && !errors.Is(err, fs.ErrExist) {
			t.Fatal(err)
		}
	}
	in, err := s.Open(ctx, "a.tar")
	if err != nil {
		t.Fatal(err)
	}
	got := sha256.New()
	if _, err := io.Copy(got, in); err != nil || [32]byte(got.Sum(nil)) != sha256.Sum256(data) {
		t.Errorf("other bytes, error %v", err)
	}
	in.Close()
	var unheld *azblob.UnheldError
	for _, h := range []azblob.Hold{{Retain: time.Hour}, {Legal: true}} {
		held := evidenceStore(t, c.url(), h)
		if err := held.Check(ctx); !errors.As(err, &unheld) {
			t.Errorf("%+v: got %v", h, err)
		}
		if err := held.Put(ctx, fmt.Sprint(h.Legal), "x", strings.NewReader("x")); !errors.As(err, &unheld) {
			t.Errorf("%+v: got %v", h, err)
		}
	}
}

var errCut = errors.New("cut")

type cut struct{}

func (cut) Read([]byte) (int, error) { return 0, errCut }

// A scheduled export into a container that is killed, at any point, leaves whole
// bundles only, and the next run goes on with the chain. A signature for reading,
// listing and writing is enough, even to verify.
func TestKilledExportIntoContainer(t *testing.T) {
	c, dir := newContainer(t), t.TempDir()
	signed, err := c.client.GetSASURL(sas.ContainerPermissions{Read: true, List: true, Create: true, Write: true}, time.Now().Add(time.Hour), nil)
	if err != nil {
		t.Fatal(err)
	}
	bin, demo, private, public := filepath.Join(dir, "whichpod"), filepath.Join(dir, "demo"), filepath.Join(dir, "private.pem"), filepath.Join(dir, "public.pem")
	for _, words := range [][]string{
		{"go", "build", "-o", bin, "../../cmd/whichpod"},
		{bin, "demo", "--keep", demo},
		{"openssl", "genpkey", "-algorithm", "ed25519", "-out", private},
		{"openssl", "pkey", "-in", private, "-pubout", "-out", public},
	} {
		if out, err := exec.Command(words[0], words[1:]...).CombinedOutput(); err != nil {
			t.Fatalf("%q: %v: %s", words, err, out)
		}
	}
	command := func() *exec.Cmd {
		cmd := exec.Command(bin, "export", "--bundle", "--once", "--window", "2m", "--deadline", "0s", "--until", "2026-11-20T10:10:00Z", "--out", signed, "--key", private,
			"--data", filepath.Join(demo, "data"), "--config", filepath.Join(demo, "config.yaml"), "--raw", filepath.Join(demo, "blobs"))
		cmd.Env = append(os.Environ(), "TMPDIR="+t.TempDir())
		return cmd
	}
	verify := func() int {
		out, err := exec.Command(bin, "verify", signed, "--key", public).CombinedOutput()
		if n := strings.Count(string(out), ": OK: "); err == nil || n == 0 && strings.Contains(string(out), "no bundle is in") {
			return n
		}
		t.Fatalf("%v: %s", err, out)
		return 0
	}
	r := rand.New(rand.NewPCG(8, 8))
	killed, longest := 0, 300*time.Millisecond
	for range 25 {
		cmd := command()
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		longest += 30 * time.Millisecond // so that some runs get further
		time.AfterFunc(time.Duration(r.Int64N(int64(longest))), func() { _ = cmd.Process.Signal(syscall.SIGKILL) })
		if cmd.Wait() != nil {
			killed++
		}
		if verify() >= 8 {
			break
		}
	}
	if killed == 0 {
		t.Fatal("no run was killed")
	}
	if out, err := command().CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	n := verify()
	if n < 9 {
		t.Errorf("%d bundles, want one for each window", n)
	}
	if out, err := command().CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("a run with nothing to do: %v: %s", err, out)
	}
	t.Logf("%d runs were killed", killed)
	one := strings.Replace(signed, "?", "/000002.tar?", 1)
	if out, err := exec.Command(bin, "verify", one, "--key", public, "--raw", filepath.Join(demo, "blobs")).CombinedOutput(); err != nil || !strings.Contains(string(out), "every row derived again") {
		t.Errorf("one of them: %v: %s", err, out)
	}
	chain, err := (&bundle.Container{Blobs: evidenceStore(t, signed, azblob.Hold{})}).Chain(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	amend := exec.Command(bin, "export", "--bundle", "--amend", chain[1].Name, "--out", signed, "--key", private, "--data", filepath.Join(demo, "data"), "--config", filepath.Join(demo, "config.yaml"))
	if out, err := amend.CombinedOutput(); err != nil || verify() != n+1 {
		t.Errorf("an amendment: %v: %s", err, out)
	}
	if out, err := exec.Command(bin, "export", "--bundle", "--out", c.url(), "--key", private, "--retain", "90d").CombinedOutput(); err == nil || !strings.Contains(string(out), "no support for version-level immutability") {
		t.Errorf("with --retain: %v: %s", err, out)
	}
}
