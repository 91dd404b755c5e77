package podwatch

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"path/filepath"
	"sort"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"k8s.io/client-go/rest"

	"github.com/whichpod/whichpod/attribution"
)

// apiServer is one kind of an API server's objects: pods, with others beside them. It
// has their history since the last compaction, paged lists, watches with bookmarks. It
// shares nothing with the client.
type apiServer struct {
	mu        sync.Mutex
	path      string
	beside    []*apiServer
	version   int
	compacted int // versions up to it are forgotten
	pods      map[string]string
	log       []change
	wake      chan struct{}
	forbid    string // a verb
	silent    bool   // watches say nothing
	held      int    // what came after this version is under way, and never arrives; 0: nothing is
	lists     int
	questions int           // how far the API is
	cut       chan struct{} // closed to end all watches
}

type change struct {
	version int
	frame   string
}

func newAPIServer() *apiServer {
	return &apiServer{path: "/api/v1/pods", pods: map[string]string{}, wake: make(chan struct{}), cut: make(chan struct{}), version: 100, compacted: 100}
}

func (s *apiServer) put(typ, uid, address string) {
	s.object(typ, uid, func(version int) string {
		return fmt.Sprintf(`{"kind":"Pod","metadata":{"name":"p-%s","namespace":"n","uid":%q,"resourceVersion":"%d","creationTimestamp":"2026-11-20T12:00:00Z"},"spec":{"nodeName":"n1"},"status":{"phase":"Running","hostIP":"10.224.0.4","podIP":%q}}`, uid, uid, version, address)
	})
}

// object changes an object, whose JSON hangs on its new version.
func (s *apiServer) object(typ, uid string, at func(version int) string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.version++
	pod := at(s.version)
	if typ == "DELETED" {
		delete(s.pods, uid)
	} else {
		s.pods[uid] = pod
	}
	s.log = append(s.log, change{s.version, fmt.Sprintf(`{"type":%q,"object":%s}`, typ, pod)})
	close(s.wake)
	s.wake = make(chan struct{})
}

func (s *apiServer) compact() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.compacted, s.log = s.version, nil
}

// hangUp ends all watches.
func (s *apiServer) hangUp() {
	s.mu.Lock()
	defer s.mu.Unlock()
	close(s.cut)
	s.cut = make(chan struct{})
}

func (s *apiServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	beside := s.beside
	s.mu.Unlock()
	for _, o := range beside {
		if o.path == r.URL.Path {
			o.ServeHTTP(w, r)
			return
		}
	}
	q := r.URL.Query()
	verb := "list"
	if q.Get("watch") != "" {
		verb = "watch"
	}
	s.mu.Lock()
	forbidden := s.forbid == verb || s.forbid == "all"
	s.mu.Unlock()
	switch {
	case r.URL.Path != s.path:
		http.NotFound(w, r)
	case forbidden:
		w.WriteHeader(http.StatusForbidden)
		fmt.Fprintf(w, `{"kind":"Status","code":403,"message":"forbidden: cannot %s"}`, verb)
	case verb == "watch":
		s.watch(w, r)
	default:
		s.list(w, q.Get("continue"), q.Get("limit"))
	}
}

func (s *apiServer) list(w http.ResponseWriter, from, limit string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if limit == "1" {
		s.questions++
	} else {
		s.lists++
	}
	var uids []string
	for uid := range s.pods {
		if uid > from {
			uids = append(uids, uid)
		}
	}
	sort.Strings(uids)
	n, _ := strconv.Atoi(limit)
	next := ""
	if n > 0 && len(uids) > n {
		uids, next = uids[:n], uids[n-1]
	}
	items := make([]string, 0, len(uids))
	for _, uid := range uids {
		items = append(items, s.pods[uid])
	}
	fmt.Fprintf(w, `{"kind":"PodList","metadata":{"resourceVersion":"%d","continue":%q},"items":[%s]}`, s.version, next, strings.Join(items, ","))
}

func (s *apiServer) watch(w http.ResponseWriter, r *http.Request) {
	from, _ := strconv.Atoi(r.URL.Query().Get("resourceVersion"))
	for first := true; ; first = false {
		s.mu.Lock()
		wake, cut, silent := s.wake, s.cut, s.silent
		if from < s.compacted {
			s.mu.Unlock()
			if first {
				w.WriteHeader(http.StatusGone)
			}
			fmt.Fprintln(w, `{"type":"ERROR","object":{"kind":"Status","code":410,"message":"too old resource version"}}`)
			return
		}
		for _, c := range s.log {
			if c.version > from && !silent && (s.held == 0 || c.version <= s.held) {
				fmt.Fprintln(w, c.frame)
				from = c.version
			}
		}
		if !silent {
			fmt.Fprintf(w, `{"type":"BOOKMARK","object":{"kind":"Pod","metadata":{"resourceVersion":"%d"}}}`+"\n", from)
		}
		s.mu.Unlock()
		w.(http.Flusher).Flush()
		select {
		case <-wake:
		case <-cut:
			return
		case <-r.Context().Done():
			return
		}
	}
}

// newWatcher makes a watcher of the server, which ends with the test.
func newWatcher(t *testing.T, api *apiServer, ledger Ledger, bookmark string, change func(*Config)) *Watcher {
	t.Helper()
	server := httptest.NewServer(api)
	t.Cleanup(func() { server.CloseClientConnections(); server.Close() })
	cfg := DefaultConfig()
	cfg.Cluster, cfg.API, cfg.Bookmark = "prod", &rest.Config{Host: server.URL}, bookmark
	cfg.ProveEvery = 2 * time.Millisecond
	cfg.PageSize, cfg.FlushEvery, cfg.MaxRetry, cfg.AskAgain = 3, 0, 10*time.Millisecond, 10*time.Millisecond
	if change != nil {
		change(&cfg)
	}
	w, err := New(cfg, ledger)
	must(t, err)
	return w
}

// testWatcher starts a watcher and returns what stops it and waits for its end.
func testWatcher(t *testing.T, api *apiServer, ledger Ledger, bookmark string, change func(*Config)) (stop func() error) {
	t.Helper()
	w := newWatcher(t, api, ledger, bookmark, change)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- w.Run(ctx) }()
	return func() error {
		cancel()
		return <-done
	}
}

// until waits for a condition.
func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for range 2000 {
		if ok() {
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
	t.Fatalf("never: %s", what)
}

func existing(l *attribution.Ledger) map[string]bool {
	out := map[string]bool{}
	l.Existing("prod", func(uid string, _ uint64, _ int64) { out[uid] = true })
	return out
}

func (s *apiServer) exist() map[string]bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := map[string]bool{}
	for uid := range s.pods {
		out[uid] = true
	}
	return out
}

func same(a, b map[string]bool) bool {
	x, _ := json.Marshal(a)
	y, _ := json.Marshal(b)
	return string(x) == string(y)
}

func TestListsInPagesAndWatches(t *testing.T) {
	api, ledger := newAPIServer(), attribution.NewLedger()
	for i := range 10 {
		api.put("ADDED", fmt.Sprintf("u%02d", i), fmt.Sprintf("10.244.0.%d", i+1))
	}
	stop := testWatcher(t, api, ledger, "", nil)
	until(t, "ten pods listed", func() bool { return len(existing(ledger)) == 10 })
	api.put("DELETED", "u03", "10.244.0.4")
	api.put("ADDED", "u99", "10.244.0.99")
	until(t, "changes seen", func() bool { return same(existing(ledger), api.exist()) })
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	v := ledger.View(attribution.DefaultConfig())
	if got := v.Owners(netip.MustParseAddr("10.244.0.4")); len(got) != 1 || !got[0].Lingers {
		t.Errorf("a pod deleted without the kubelet's word: %+v", got)
	}
	if got := v.Stats()[0].Watched; len(got) != 1 {
		t.Errorf("watched %v, want one stretch", got)
	}
}

// However the watch is broken, the ledger ends up with what the API server has; and
// time is unwatched only where the API server had forgotten what happened.
func TestSurvivesEverything(t *testing.T) {
	for seed := range uint64(5) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			r := rand.New(rand.NewPCG(seed, 1))
			dir := t.TempDir()
			api := newAPIServer()
			open := func() *attribution.Ledger {
				l, err := attribution.OpenLedger(dir, attribution.Options{})
				if err != nil {
					t.Fatal(err)
				}
				return l
			}
			ledger := open()
			stop := testWatcher(t, api, ledger, filepath.Join(dir, "bookmark"), nil)
			gone, next := 0, 0
			for step := range 60 {
				for range r.IntN(5) {
					next++
					api.put("ADDED", fmt.Sprintf("u%04d", next), fmt.Sprintf("10.244.%d.%d", next/250, next%250+1))
				}
				for uid := range api.exist() {
					if r.IntN(4) == 0 {
						api.put("DELETED", uid, "10.244.0.1")
					}
				}
				switch r.IntN(6) {
				case 0:
					api.hangUp()
				case 1: // our own restart, in which things happen, and perhaps are forgotten
					must(t, stop())
					must(t, ledger.Close())
					next++
					api.put("ADDED", fmt.Sprintf("u%04d", next), "10.244.9.9")
					if r.IntN(2) == 0 {
						api.put("DELETED", fmt.Sprintf("u%04d", next), "10.244.9.9")
						api.compact()
						gone++
					}
					ledger = open()
					stop = testWatcher(t, api, ledger, filepath.Join(dir, "bookmark"), nil)
				}
				if step%10 == 9 {
					until(t, "ledger and API server agree", func() bool { return same(existing(ledger), api.exist()) })
				}
			}
			until(t, "ledger and API server agree", func() bool { return same(existing(ledger), api.exist()) })
			must(t, stop())
			must(t, ledger.Close())
			ledger = open()
			defer ledger.Close()
			if !same(existing(ledger), api.exist()) {
				t.Errorf("after a restart: %v, want %v", existing(ledger), api.exist())
			}
			if got := len(ledger.View(attribution.DefaultConfig()).Stats()[0].Watched); got > gone+1 {
				t.Errorf("watched in %d stretches, want at most %d: history was forgotten %d times", got, gone+1, gone)
			}
		})
	}
}

func TestStalledWatchIsAskedAnew(t *testing.T) {
	api, ledger := newAPIServer(), attribution.NewLedger()
	api.silent = true
	stop := testWatcher(t, api, ledger, "", func(c *Config) { c.Stall = 20 * time.Millisecond })
	until(t, "listed", func() bool { api.mu.Lock(); defer api.mu.Unlock(); return api.lists > 0 })
	api.put("ADDED", "u1", "10.244.0.1")
	api.mu.Lock()
	api.silent = false
	api.mu.Unlock()
	until(t, "the pod is seen", func() bool { return existing(ledger)["u1"] })
	must(t, stop())
	if api.lists != 1 {
		t.Errorf("listed %d times, want once: nothing was missed", api.lists)
	}
}

func TestMissingRightIsNamed(t *testing.T) {
	for _, verb := range []string{"list", "watch"} {
		api := newAPIServer()
		api.forbid = verb
		short := func(c *Config) { c.Refused = 30 * time.Millisecond }
		err := newWatcher(t, api, attribution.NewLedger(), "", short).Run(context.Background())
		var forbidden *ForbiddenError
		if !errors.As(err, &forbidden) || forbidden.Verb != verb || forbidden.Resource != "pods" || forbidden.Hint() == "" {
			t.Errorf("without the right to %s: %v", verb, err)
		}
	}
}

// An API server that was just started refuses everybody until it knows its rules.
func TestShortRefusalIsNotBelieved(t *testing.T) {
	for _, verb := range []string{"list", "watch"} {
		api, ledger := newAPIServer(), attribution.NewLedger()
		api.forbid = verb
		refused := make(chan struct{}, 100)
		stop := testWatcher(t, api, ledger, "", func(c *Config) {
			c.Report = func(s string) {
				if strings.Contains(s, "allows no") {
					select {
					case refused <- struct{}{}:
					default:
					}
				}
			}
		})
		<-refused
		api.mu.Lock()
		api.forbid = ""
		api.mu.Unlock()
		api.put("ADDED", "u1", "10.244.0.1")
		until(t, "the pod is seen", func() bool { return existing(ledger)["u1"] })
		must(t, stop())
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
