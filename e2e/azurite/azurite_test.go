//go:build e2e

// Package azurite_test reads flow logs from Azurite, Microsoft's emulator of Blob
// Storage, as from Azure: with the block lists, ETags and ranges of a real service.
//
// It needs the program azurite-blob (npm package azurite, 3.37.0) in the folder that
// WHICHPOD_E2E_BIN names, by default .e2e/node_modules/.bin at the root of the
// repository. Without it the test fails: it never passes by doing nothing.
package azurite_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/container"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/sas"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/whichpod/whichpod/e2e/process"
	"github.com/whichpod/whichpod/flow"
	"github.com/whichpod/whichpod/ingest"
	"github.com/whichpod/whichpod/ingest/azblob"
	"github.com/whichpod/whichpod/ingest/sourcetest"
)

// The emulator's account: "Use the Azurite emulator", learn.microsoft.com.
const (
	account = "devstoreaccount1"
	key     = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
)

var endpoint string

func TestMain(m *testing.M) {
	stop, err := start()
	if err != nil {
		fmt.Fprintln(os.Stderr, "start azurite:", err)
		os.Exit(1)
	}
	code := m.Run()
	stop()
	os.Exit(code)
}

// start runs Azurite on a free port of loopback until stop is called.
func start() (stop func(), err error) {
	bin := os.Getenv("WHICHPOD_E2E_BIN")
	if bin == "" {
		bin = "../../.e2e/node_modules/.bin"
	}
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "azurite")
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	cmd := exec.Command(filepath.Join(bin, "azurite-blob"), "--blobHost", "127.0.0.1", "--blobPort", fmt.Sprint(port),
		"--location", dir, "--silent", "--skipApiVersionCheck")
	cmd.Stdout, cmd.Stderr = &out, &out
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} // even if the test is killed
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("%w (npm install --prefix .e2e azurite@3.37.0)", err)
	}
	exited := make(chan error, 1)
	go func() { exited <- cmd.Wait() }()
	stop = func() {
		cmd.Process.Kill()
		<-exited
		os.RemoveAll(dir)
	}
	endpoint = fmt.Sprintf("http://127.0.0.1:%d/%s", port, account)
	if err := ready(fmt.Sprintf("127.0.0.1:%d", port), exited); err != nil {
		stop()
		return nil, fmt.Errorf("%w: %s", err, out.String())
	}
	return stop, nil
}

// freePort returns a port that nobody listens on, below the range of which systems
// take the ports of outgoing connections.
func freePort() (port int, err error) {
	for range 100 {
		port = 20000 + rand.IntN(10000)
		var l net.Listener
		if l, err = net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port)); err == nil {
			return port, l.Close()
		}
	}
	return 0, err
}

// ready waits until the port answers.
func ready(address string, exited chan error) error {
	deadline := time.Now().Add(process.Patience)
	for time.Now().Before(deadline) {
		select {
		case err := <-exited:
			exited <- err
			return fmt.Errorf("it ended: %v", err)
		case <-time.After(100 * time.Millisecond):
		}
		if c, err := net.Dial("tcp", address); err == nil {
			return c.Close()
		}
	}
	return fmt.Errorf("it does not answer within %v", process.Patience)
}

// store is a container of its own for each test.
type store struct {
	name   string
	client *container.Client
}

func newStore(t *testing.T) sourcetest.Store { return newContainer(t) }

func newContainer(t testing.TB) *store {
	t.Helper()
	cred, err := container.NewSharedKeyCredential(account, key)
	if err != nil {
		t.Fatal(err)
	}
	name := fmt.Sprintf("logs-%08x", rand.Uint32())
	c, err := container.NewClientWithSharedKeyCredential(endpoint+"/"+name, cred, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Create(context.Background(), nil); err != nil {
		t.Fatal(err)
	}
	return &store{name, c}
}

func (s *store) url() string { return endpoint + "/" + s.name }

func (s *store) Source(t *testing.T) ingest.Source {
	t.Helper()
	return open(t, s.url())
}

func open(t *testing.T, url string) *azblob.Source {
	t.Helper()
	src, err := azblob.New(url, func(string) string { return "" })
	if err != nil {
		t.Fatal(err)
	}
	return src
}

func (s *store) Put(t *testing.T, name string, content []byte) {
	t.Helper()
	s.commit(t, name, content)
}

// commit writes a block blob as Azure does (flow-logs-read): blocks staged one by
// one, then a list of them all.
func (s *store) commit(t *testing.T, name string, blocks ...[]byte) {
	t.Helper()
	c := s.client.NewBlockBlobClient(name)
	var ids []string
	for i, b := range blocks {
		id := base64.StdEncoding.EncodeToString(fmt.Appendf(nil, "D%032d", i))
		if len(b) == 0 {
			continue
		}
		if _, err := c.StageBlock(context.Background(), id, nopCloser{bytes.NewReader(b)}, nil); err != nil {
			t.Fatal(err)
		}
		ids = append(ids, id)
	}
	if _, err := c.CommitBlockList(context.Background(), ids, nil); err != nil {
		t.Fatal(err)
	}
}

func (s *store) Remove(t *testing.T, name string) {
	t.Helper()
	if _, err := s.client.NewBlobClient(name).Delete(context.Background(), nil); err != nil {
		t.Fatal(err)
	}
}

type nopCloser struct{ io.ReadSeeker }

func (nopCloser) Close() error { return nil }

func blocks(records ...string) [][]byte {
	var all [][]byte
	for _, b := range sourcetest.Blocks(records...) {
		all = append(all, []byte(b))
	}
	return all
}

func TestConformance(t *testing.T) { sourcetest.Test(t, newStore) }

// The same logs give the same rows, names and offsets from a container and from a
// mirror of it on disk.
func TestContainerEqualsFolder(t *testing.T) {
	s, dir := newContainer(t), t.TempDir()
	for i := range 3 {
		records := []string{sourcetest.Record(0, 500), sourcetest.Record(500, 3), sourcetest.Record(503, 1000+i)}
		s.commit(t, sourcetest.Name(i), blocks(records...)...)
		path := filepath.Join(dir, "mirror", filepath.FromSlash(sourcetest.Name(i)))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(sourcetest.Blob(records...)), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	folder, err := ingest.OpenFolder(dir)
	if err != nil {
		t.Fatal(err)
	}
	azure, local := sourcetest.NewSink(t), sourcetest.NewSink(t)
	if sum := sourcetest.Run(t, s.Source(t), azure); sum.Read != 3 || len(sum.Rejected) > 0 {
		t.Errorf("from the container: %+v", sum)
	}
	sourcetest.Run(t, folder, local)
	for i := range 3 {
		name := sourcetest.Name(i)
		if n := len(azure.Rows(name)); n != 1503+i {
			t.Errorf("blob %d: got %d rows, want %d", i, n, 1503+i)
		}
		if diff := cmp.Diff(local.Rows(name), azure.Rows(name), cmpopts.EquateComparable(flow.Row{})); diff != "" {
			t.Errorf("blob %d (-folder +container):\n%s", i, diff)
		}
	}
}

// Azure adds blocks before the closing one and commits a longer list about every
// minute. Each run reads the new blocks only.
func TestGrowingBlockList(t *testing.T) {
	s, sink := newContainer(t), sourcetest.NewSink(t)
	var records []string
	for minute := range 5 {
		records = append(records, sourcetest.Record(minute*200, 200))
		s.commit(t, sourcetest.Name(1), blocks(records...)...)
		sum := sourcetest.Run(t, s.Source(t), sink)
		if sum.Rows != 200 || len(sum.Rejected) > 0 || minute > 0 && sum.Resumed != 1 {
			t.Errorf("minute %d: %+v", minute, sum)
		}
		if sum := sourcetest.Run(t, s.Source(t), sink); sum.Unchanged != 1 {
			t.Errorf("minute %d, again: %+v", minute, sum)
		}
	}
	// A blob that is written anew is read anew.
	s.commit(t, sourcetest.Name(1), blocks(sourcetest.Record(5000, 1500))...)
	if sum := sourcetest.Run(t, s.Source(t), sink); sum.Rewritten != 1 || len(sink.Rows(sourcetest.Name(1))) != 1500 {
		t.Errorf("written anew: %+v, %d rows", sum, len(sink.Rows(sourcetest.Name(1))))
	}
}

// A signature for reading and listing is enough, one without is refused in so many
// words.
func TestSignatures(t *testing.T) {
	s := newContainer(t)
	s.commit(t, sourcetest.Name(1), blocks(sourcetest.Record(0, 10))...)
	for _, tc := range []struct {
		allow sas.ContainerPermissions
		ok    bool
	}{
		{sas.ContainerPermissions{Read: true, List: true}, true},
		{sas.ContainerPermissions{Read: true}, false},
	} {
		signed, err := s.client.GetSASURL(tc.allow, time.Now().Add(time.Hour), nil)
		if err != nil {
			t.Fatal(err)
		}
		sum, err := ingest.Run(context.Background(), open(t, signed), sourcetest.NewSink(t), ingest.Options{})
		var e *azblob.Error
		if tc.ok && (err != nil || sum.Rows != 10) || !tc.ok && (!errors.As(err, &e) || !e.Denied) {
			t.Errorf("%+v: %+v, error %v", tc.allow, sum, err)
		}
		if err != nil && strings.Contains(err.Error(), "sig=") {
			t.Errorf("error shows the signature: %v", err)
		}
	}
	_, err := ingest.Run(context.Background(), open(t, endpoint+"/none"), sourcetest.NewSink(t), ingest.Options{})
	var e *azblob.Error
	if !errors.As(err, &e) || e.Code != "ContainerNotFound" {
		t.Errorf("got error %v, want that there is no container", err)
	}
}
