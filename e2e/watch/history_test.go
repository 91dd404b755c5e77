//go:build e2e

package watch_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/whichpod/whichpod/e2e/kube"
	"github.com/whichpod/whichpod/e2e/process"
)

// history is what etcd was told of pods, from the first revision to the last: the
// test's own watch, past the API server and whatever befalls it. The API server
// stores JSON for that.
type history struct {
	cluster *cluster
	stop    context.CancelFunc
	done    sync.WaitGroup

	mu       sync.Mutex
	revision int64               // all up to it is here
	now      map[string]*lifeLog // by key
	all      []*lifeLog
	gone     []int64 // when those that were removed were made
	ticks    []tick
	failed   error
}

// lifeLog is one pod, with the revisions at which something became so.
type lifeLog struct {
	pod              truePod
	created, removed int64
	shown, hidden    []int64 // of each hold
}

// tick is etcd's revision at a time: between two of the test's clock.
type tick struct {
	window
	revision int64
}

// What is last written need not be a pod's: the history is complete all the same.
func TestHistory(t *testing.T) {
	c := newCluster(t, "--storage-media-type=application/json")
	h := newHistory(t, c)
	makeTouched(t, c)
	body := object{APIVersion: "v1", Kind: "Namespace", Metadata: &metadata{Name: "team-0"}}
	process.Must(t, c.Send(context.Background(), kube.Request{Method: http.MethodPost, Path: "/api/v1/namespaces", Body: body}, nil))
	if pods := h.end(t); len(pods) != 1 || pods[0].name != "touched" || pods[0].created == (window{}) {
		t.Errorf("the history is of %v, want one pod that was made", pods)
	}
}

// newHistory begins with etcd's next revision.
func newHistory(t *testing.T, c *cluster) *history {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	h := &history{cluster: c, stop: cancel, now: make(map[string]*lifeLog)}
	process.Must(t, h.tick()) // before the first change that the watch is told of
	h.revision = h.ticks[0].revision
	h.done.Go(func() { h.fail(h.watch(ctx)) })
	h.done.Go(func() { h.fail(h.tell(ctx)) })
	t.Cleanup(func() { cancel(); h.done.Wait() })
	return h
}

func (h *history) fail(err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.failed == nil {
		h.failed = err
	}
}

// reached says whether all up to a revision is here.
func (h *history) reached(t *testing.T, revision int64) bool {
	t.Helper()
	h.mu.Lock()
	defer h.mu.Unlock()
	process.Must(t, h.failed)
	return h.revision >= revision
}

// holding is how many pods there are that have an address.
func (h *history) holding() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	n := 0
	for _, l := range h.now {
		if len(l.pod.holds) > 0 || l.pod.hostNetwork {
			n++
		}
	}
	return n
}

// exists says whether etcd has a pod.
func (h *history) exists(namespace, name string) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.now[podKeys+namespace+"/"+name] != nil
}

// pods is how many there are.
func (h *history) pods() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.now)
}

// since counts the pods that were made and removed after a time.
func (h *history) since(from int64) int {
	h.mu.Lock()
	defer h.mu.Unlock()
	i := slices.IndexFunc(h.ticks, func(t tick) bool { return t.from >= from })
	if i < 0 {
		return 0
	}
	n := 0
	for _, created := range h.gone {
		if created > h.ticks[i].revision {
			n++
		}
	}
	return n
}

// catchUp waits until all that happened so far is here. A watch tells how far it is
// only when something changes that it watches, so it writes a mark, which is no pod.
func (h *history) catchUp(t *testing.T) {
	t.Helper()
	revision, err := h.cluster.Put(podKeysEnd + "/mark")
	process.Must(t, err)
	process.Until(t, "the history is as far as etcd", func() bool { return h.reached(t, revision) })
}

// end waits until all that happened is here, and returns the pods.
func (h *history) end(t *testing.T) []*truePod {
	t.Helper()
	h.catchUp(t)
	h.stop()
	h.done.Wait()
	process.Must(t, h.tick()) // after the last change that the watch was told of
	pods := make([]*truePod, len(h.all))
	for i, l := range h.all {
		p := &l.pod
		p.created, p.removed = h.when(l.created), h.when(l.removed)
		for k := range p.holds {
			p.holds[k].shown, p.holds[k].hidden = h.when(l.shown[k]), h.when(l.hidden[k])
		}
		pods[i] = p
	}
	settle(pods)
	return pods
}

// when is the time in which a revision came about; that of none (0) is none. The first
// tick is older than every revision here, and the last one no older than any.
func (h *history) when(revision int64) window {
	if revision == 0 {
		return window{}
	}
	i, _ := slices.BinarySearchFunc(h.ticks, revision, func(t tick, r int64) int {
		if t.revision < r {
			return -1
		}
		return 1
	})
	return window{h.ticks[i-1].from, h.ticks[i].to}
}

// tell notes how far etcd is, many times a second.
func (h *history) tell(ctx context.Context) error {
	for ctx.Err() == nil {
		if err := h.tick(); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
		case <-time.After(20 * time.Millisecond):
		}
	}
	return nil
}

// tick notes how far etcd is now.
func (h *history) tick() error {
	from := now()
	revision, err := h.cluster.Revision()
	if err != nil {
		return fmt.Errorf("ask etcd for its revision: %w", err)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.ticks = append(h.ticks, tick{window{from, now()}, revision})
	return nil
}

// etcdEvents is one message of a watch through etcd's JSON gateway.
type etcdEvents struct {
	Result struct {
		Header struct {
			Revision int64 `json:"revision,string"`
		} `json:"header"`
		Canceled bool   `json:"canceled"`
		Reason   string `json:"cancel_reason"`
		Events   []struct {
			Type string `json:"type"`
			KV   struct {
				Key         []byte `json:"key"`
				Value       []byte `json:"value"`
				ModRevision int64  `json:"mod_revision,string"`
			} `json:"kv"`
		} `json:"events"`
	} `json:"result"`
}

// The API server keeps pods below podKeys, and the test its marks below podKeysEnd,
// where etcd's order goes on.
const podKeys, podKeysEnd = "/registry/pods/", "/registry/pods0"

// watch takes in what is written, until the context ends.
func (h *history) watch(ctx context.Context) error {
	question, err := json.Marshal(map[string]any{"create_request": map[string]any{
		"key": []byte(podKeys), "range_end": []byte(podKeysEnd + "0"), "start_revision": h.revision + 1}})
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, h.cluster.EtcdURL()+"/v3/watch", bytes.NewReader(question))
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	for dec := json.NewDecoder(resp.Body); ; {
		var m etcdEvents
		switch err := dec.Decode(&m); {
		case ctx.Err() != nil:
			return nil
		case err == io.EOF || err == nil && m.Result.Canceled:
			return fmt.Errorf("etcd ended the watch: %s", m.Result.Reason)
		case err != nil:
			return err
		}
		h.mu.Lock()
		for i := range m.Result.Events {
			e := &m.Result.Events[i]
			if err := h.event(string(e.KV.Key), e.KV.Value, e.KV.ModRevision, e.Type == "DELETE"); err != nil {
				h.mu.Unlock()
				return err
			}
		}
		h.revision = max(h.revision, m.Result.Header.Revision)
		h.mu.Unlock()
	}
}

// event takes in one change of a pod.
func (h *history) event(key string, value []byte, revision int64, deleted bool) error {
	if !strings.HasPrefix(key, podKeys) {
		return nil // a mark
	}
	l := h.now[key]
	if deleted {
		if l != nil {
			l.hide(revision)
			l.removed = revision
			delete(h.now, key)
			h.gone = append(h.gone, l.created)
		}
		return nil
	}
	var o object
	if err := json.Unmarshal(value, &o); err != nil {
		return fmt.Errorf("etcd: %s: %w", key, err)
	}
	if l == nil {
		l = &lifeLog{created: revision, pod: truePod{uid: o.Metadata.UID, namespace: o.Metadata.Namespace, name: o.Metadata.Name, node: o.Spec.NodeName,
			hostNetwork: o.Spec.HostNetwork, end: o.Metadata.Labels["end"]}}
		h.now[key] = l
		h.all = append(h.all, l)
	}
	if o.Status == nil || o.Status.PodIP == nil {
		return nil
	}
	if l.pod.nodeAddress = *o.Status.HostIP; l.pod.hostNetwork {
		return nil
	}
	return l.status(o.Status, revision)
}

// hide notes that the API does not show the last address any more, as one that is held.
func (l *lifeLog) hide(revision int64) {
	if n := len(l.hidden); n > 0 && l.hidden[n-1] == 0 {
		l.hidden[n-1] = revision
	}
}

// status notes what the status shows: the address, and in its message since when the
// pod has had it, and when it stopped.
func (l *lifeLog) status(s *status, revision int64) error {
	var at []int64
	for _, text := range strings.Fields(s.Message) {
		t, err := time.Parse(time.RFC3339Nano, text)
		if err != nil {
			return fmt.Errorf("pod %s: message %q: %w", l.pod.name, s.Message, err)
		}
		at = append(at, t.UnixMilli())
	}
	p := &l.pod
	if n := len(p.holds); n == 0 || p.holds[n-1].address != *s.PodIP {
		if len(at) == 0 {
			return fmt.Errorf("pod %s has address %s, and no message says since when", p.name, s.PodIP)
		}
		l.hide(revision)
		if n > 0 && p.holds[n-1].to == 0 {
			p.holds[n-1].to, p.holds[n-1].until = at[0], at[0]
		}
		p.holds = append(p.holds, hold{address: *s.PodIP, from: at[0]})
		l.shown, l.hidden = append(l.shown, revision), append(l.hidden, 0)
	}
	if len(at) > 1 {
		p.holds[len(p.holds)-1].to, p.holds[len(p.holds)-1].until = at[1], at[1]
		l.hide(revision)
	}
	return nil
}

// settle bounds the end of holds that KWOK itself ended: at some time after the object
// was removed, and before it gave the address to the next pod.
func settle(pods []*truePod) {
	for _, list := range handed(pods) {
		for i, h := range list {
			if h.to != 0 || h.hidden == (window{}) {
				continue
			}
			h.to, h.until = h.hidden.from, h.hidden.to
			if i+1 < len(list) {
				h.until = list[i+1].from
			}
		}
	}
}

// handed returns, by address, the holds in the order in which they began.
func handed(pods []*truePod) map[netip.Addr][]*hold {
	out := make(map[netip.Addr][]*hold)
	for _, p := range pods {
		for i := range p.holds {
			out[p.holds[i].address] = append(out[p.holds[i].address], &p.holds[i])
		}
	}
	for _, list := range out {
		slices.SortFunc(list, func(a, b *hold) int { return int(a.from - b.from) })
	}
	return out
}
