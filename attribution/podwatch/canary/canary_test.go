package canary

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/yaml"
)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// apiServer keeps one namespace's pods. Each time one is asked for, it has the next of
// the states given.
type apiServer struct {
	t      *testing.T
	states []string // JSON of status
	fail   func(method string, n int) (code int, text string)

	mu       sync.Mutex
	made     *pod
	there    bool
	requests []string
	asked    chan struct{} // gets one for each GET; nil: nobody listens
}

const podUID = "5f2c0001-0000-4000-8000-000000000001"

func (s *apiServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	for _, method := range s.requests {
		if method == r.Method {
			n++
		}
	}
	s.requests = append(s.requests, r.Method)
	code, text := 0, ""
	if s.fail != nil {
		code, text = s.fail(r.Method, n)
	}
	if code != 0 && code < 500 {
		w.WriteHeader(code)
		fmt.Fprintf(w, `{"kind":"Status","code":%d,"message":%q}`, code, text)
		return
	}
	switch r.Method {
	case http.MethodPost:
		s.made, s.there = &pod{}, true
		if err := json.NewDecoder(r.Body).Decode(s.made); err != nil {
			s.t.Error(err)
		}
		s.made.Metadata.Namespace, s.made.Metadata.UID = "drills", podUID
	case http.MethodDelete:
		if code == 0 {
			s.there = false
		}
	case http.MethodGet:
		if len(s.states) > 0 {
			must(s.t, json.Unmarshal([]byte(s.states[0]), &s.made.Status))
			s.states = s.states[min(1, len(s.states)-1):]
		}
		if s.asked != nil {
			s.asked <- struct{}{}
		}
	}
	if want := "/api/v1/namespaces/drills/pods"; r.URL.Path != want && r.URL.Path != want+"/"+s.made.Metadata.Name {
		s.t.Errorf("%s of %s", r.Method, r.URL.Path)
	}
	if code != 0 { // it was done, and the answer says that it was not
		w.WriteHeader(code)
		return
	}
	must(s.t, json.NewEncoder(w).Encode(s.made))
}

func start(t *testing.T, s *apiServer) *Canary {
	s.t = t
	server := httptest.NewServer(s)
	t.Cleanup(server.Close)
	cfg := DefaultConfig()
	cfg.API, cfg.Namespace, cfg.To, cfg.PollEvery = &rest.Config{Host: server.URL}, "drills", netip.MustParseAddrPort("203.0.113.66:8443"), time.Millisecond
	c, err := New(cfg)
	must(t, err)
	return c
}

const (
	waits = `{"phase":"Pending","containerStatuses":[{"state":{"waiting":{"reason":"ImagePullBackOff","message":"no such image"}}}]}`
	runs  = `{"phase":"Running","hostIP":"10.224.0.4","podIP":"10.244.0.9","containerStatuses":[{"state":{"running":{}}}]}`
	ended = `{"phase":"Succeeded","hostIP":"10.224.0.4","podIP":"10.244.0.9","podIPs":[{"ip":"10.244.0.9"},{"ip":"fd00::9"}],
		"containerStatuses":[{"state":{"terminated":{"exitCode":1,"startedAt":"2026-11-23T13:00:01Z","finishedAt":"2026-11-23T13:00:06Z"}}}]}`
	evicted = `{"phase":"Failed","reason":"NodeAffinity","message":"Predicate NodeAffinity failed"}`
)

func TestRun(t *testing.T) {
	s := &apiServer{states: []string{waits, runs, ended}}
	c := start(t, s)
	got, err := c.Run(t.Context())
	must(t, err)
	want := &Sent{Namespace: "drills", Name: c.name, UID: podUID, Addresses: []netip.Addr{netip.MustParseAddr("10.244.0.9"), netip.MustParseAddr("fd00::9")},
		NodeAddresses: []netip.Addr{netip.MustParseAddr("10.224.0.4")}, Port: c.port, ExitCode: 1,
		Started: time.Date(2026, 11, 23, 13, 0, 1, 0, time.UTC), Ended: time.Date(2026, 11, 23, 13, 0, 6, 0, time.UTC)}
	if diff := cmp.Diff(want, got, cmpopts.EquateComparable(netip.Addr{}), cmpopts.IgnoreFields(Sent{}, "Created")); diff != "" {
		t.Error(diff)
	}
	if s.there {
		t.Error("the pod was not deleted")
	}
	if want := fmt.Sprintf("%d %[1]d", c.port); s.made.Spec.Security.Sysctls[0].Value != want || c.port < firstPort || c.port >= firstPort+numPorts {
		t.Errorf("the pod may send from %v, want %q", s.made.Spec.Security.Sysctls, want)
	}
}

// However a run fails, the pod is deleted if it may be there.
func TestRunFails(t *testing.T) {
	no := func(method string, code int, times int) func(string, int) (int, string) {
		return func(m string, n int) (int, string) {
			if m == method && n < times {
				return code, "no"
			}
			return 0, ""
		}
	}
	for name, c := range map[string]struct {
		server   *apiServer
		want     string // in the error; empty: none
		requests []string
	}{
		"no right to create":          {&apiServer{fail: no("POST", 403, 9)}, "the API server says 403: no", []string{"POST"}},
		"created, and called failed":  {&apiServer{fail: no("POST", 500, 9)}, "create canary", []string{"POST", "DELETE"}},
		"no right to get":             {&apiServer{fail: no("GET", 403, 9)}, "the API server says 403: no", []string{"POST", "GET", "DELETE"}},
		"gone":                        {&apiServer{fail: no("GET", 404, 9)}, "the API server says 404: no", []string{"POST", "GET", "DELETE"}},
		"the API server is away once": {&apiServer{states: []string{ended}, fail: no("GET", 503, 1)}, "", []string{"POST", "GET", "GET", "DELETE"}},
		"too busy to delete":          {&apiServer{states: []string{ended}, fail: no("DELETE", 503, 2)}, "", []string{"POST", "GET", "DELETE", "DELETE", "DELETE"}},
		"no right to delete":          {&apiServer{states: []string{ended}, fail: no("DELETE", 403, 9)}, "which is still there", []string{"POST", "GET", "DELETE"}},
		"the kubelet refuses":         {&apiServer{states: []string{evicted}}, "NodeAffinity", []string{"POST", "GET", "DELETE"}},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := start(t, c.server).Run(t.Context())
			if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
				t.Errorf("the error is %v, want %q", err, c.want)
			}
			if diff := cmp.Diff(c.requests, c.server.requests); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// An interrupted run says what it waited for, and deletes its pod.
func TestRunInterrupted(t *testing.T) {
	s := &apiServer{states: []string{waits}, asked: make(chan struct{}, 1<<16)}
	c := start(t, s)
	ctx, cancel := context.WithCancel(t.Context())
	failed := make(chan error)
	go func() {
		_, err := c.Run(ctx)
		failed <- err
	}()
	<-s.asked
	<-s.asked // by then the answer before was read
	cancel()
	if err := <-failed; !errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), "ImagePullBackOff no such image") {
		t.Errorf("the error is %v", err)
	}
	if s.there {
		t.Error("the pod was not deleted")
	}
}

// deploy/drill.yaml gives the rights that a canary needs, and no others.
func TestRightsInDeploy(t *testing.T) {
	data, err := os.ReadFile("../../../deploy/drill.yaml")
	must(t, err)
	rules := 0
	for _, doc := range strings.Split(string(data), "\n---\n") {
		var o struct {
			Kind  string
			Rules []struct{ APIGroups, Resources, Verbs []string }
		}
		must(t, yaml.Unmarshal([]byte(doc), &o))
		if o.Kind == "ClusterRole" || o.Kind == "ClusterRoleBinding" {
			t.Errorf("%s gives rights in all namespaces", o.Kind)
		}
		for _, r := range o.Rules {
			rules++
			if !slices.Equal(r.APIGroups, []string{""}) || !slices.Equal(r.Resources, []string{"pods"}) || !slices.Equal(r.Verbs, []string{"create", "get", "delete"}) {
				t.Errorf("rule %+v, want create, get and delete on pods", r)
			}
		}
	}
	if rules != 1 {
		t.Errorf("%d rules, want 1", rules)
	}
}
