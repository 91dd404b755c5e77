//go:build e2e

package azurite_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/netip"
	"net/url"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/sas"

	"github.com/whichpod/whichpod/attribution/nat"
	"github.com/whichpod/whichpod/attribution/natlog"
	"github.com/whichpod/whichpod/attribution/natwatch"
	"github.com/whichpod/whichpod/ingest/azblob"
)

// silent is a kernel in which one connection was open from the start, and nothing
// happens.
type silent struct{}

func (silent) List(fn func(natlog.Event) error) error {
	pod, node, peer := netip.MustParseAddr("10.244.0.11"), netip.MustParseAddr("10.224.0.4"), netip.MustParseAddr("203.0.113.66")
	return fn(natlog.Event{Kind: natlog.Listed, Protocol: 6, Original: nat.Tuple{Src: pod, SrcPort: 40000, Dst: peer, DstPort: 443},
		Reply: nat.Tuple{Src: peer, SrcPort: 443, Dst: node, DstPort: 1027}})
}

func (silent) Next(deadline time.Time) (natlog.Event, error) {
	time.Sleep(time.Until(deadline))
	return natlog.Event{}, natwatch.ErrIdle
}

func (silent) Close() error { return nil }

// forgetful passes requests on to the emulator, and never an answer: as for an agent
// that is killed before it comes.
func forgetful(t *testing.T) *httptest.Server {
	t.Helper()
	to, err := url.Parse(endpoint)
	if err != nil {
		t.Fatal(err)
	}
	proxy := &httputil.ReverseProxy{
		Rewrite:        func(r *httputil.ProxyRequest) { r.Out.URL.Scheme, r.Out.URL.Host = to.Scheme, to.Host },
		ModifyResponse: func(*http.Response) error { return errors.New("the answer is lost") },
		ErrorHandler:   func(w http.ResponseWriter, _ *http.Request, _ error) { panic(http.ErrAbortHandler) },
	}
	s := httptest.NewServer(proxy)
	t.Cleanup(s.Close)
	return s
}

// An agent whose batches arrived, and who does not know it, ships them again when it
// runs again: in the container each is once, and ingest takes each once, however often
// it runs.
func TestAgentShipsOnce(t *testing.T) {
	s, spool := newContainer(t), t.TempDir()
	allowed, err := s.client.GetSASURL(sas.ContainerPermissions{Create: true, Write: true}, time.Now().Add(time.Hour), nil)
	if err != nil {
		t.Fatal(err)
	}
	run := func(container string, lasts time.Duration) natwatch.Stats {
		t.Helper()
		to, err := azblob.NewUploader(container, func(string) string { return "" })
		if err != nil {
			t.Fatal(err)
		}
		cfg := natwatch.DefaultConfig()
		cfg.Cluster, cfg.Node, cfg.Spool, cfg.BatchEvery = "prod", "n1", spool, 200*time.Millisecond
		a, err := natwatch.New(cfg, silent{}, to)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), lasts)
		defer cancel()
		if err := a.Run(ctx); err != nil {
			t.Fatal(err)
		}
		return a.Stats()
	}
	// The first run ships, and never learns of it.
	first := run(strings.Replace(allowed, strings.TrimSuffix(endpoint, "/"+account), forgetful(t).URL, 1), time.Second)
	names := s.names(t)
	if first.Shipped != 0 || first.SpooledBatches != int(first.Batches) || first.Batches == 0 || len(names) == 0 {
		t.Fatalf("got %+v, in the container %q", first, names)
	}
	second := run(allowed, time.Second)
	if want := first.Batches + second.Batches; second.Shipped != want || second.SpooledBatches != 0 || len(s.names(t)) != int(want) {
		t.Errorf("got %+v after %d batches, in the container %d blobs", second, first.Batches, len(s.names(t)))
	}

	dir := t.TempDir()
	bin := filepath.Join(dir, "whichpod")
	if out, err := exec.Command("go", "build", "-o", bin, "../../cmd/whichpod").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for i, want := range []string{fmt.Sprintf(`"batches": %d,`, second.Shipped), `"batches": 0,`} {
		out, err := exec.Command(bin, "ingest", s.url(), "-o", "json", "--data", filepath.Join(dir, "data")).Output()
		if err != nil || !strings.Contains(string(out), want) {
			t.Errorf("ingest %d: %v, printed %s, want %s", i+1, err, out, want)
		}
	}
	store, err := nat.Open(filepath.Join(dir, "data", "nat"), nat.Options{ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	if n := int(store.Stats()[0].Records); n != 2 { // each run listed the connection
		t.Errorf("%d records, want 2", n)
	}
}

// names are those of all blobs.
func (s *store) names(t *testing.T) (names []string) {
	t.Helper()
	pages := s.client.NewListBlobsFlatPager(nil)
	for pages.More() {
		page, err := pages.NextPage(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, b := range page.Segment.BlobItems {
			names = append(names, *b.Name)
		}
	}
	return names
}
