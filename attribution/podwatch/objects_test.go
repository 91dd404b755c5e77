package podwatch

import (
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/whichpod/whichpod/attribution"
)

// newCluster is an API server with pods, and with nodes and ConfigMaps beside them.
func newCluster() (pods, nodes, configs *apiServer) {
	pods, nodes, configs = newAPIServer(), newAPIServer(), newAPIServer()
	nodes.path, configs.path = "/api/v1/nodes", "/api/v1/namespaces/kube-system/configmaps"
	pods.beside = []*apiServer{nodes, configs}
	return pods, nodes, configs
}

func (s *apiServer) node(typ, name, address string) {
	s.object(typ, name, func(version int) string {
		return fmt.Sprintf(`{"kind":"Node","metadata":{"name":%q,"uid":"uid-%s","resourceVersion":"%d","creationTimestamp":"2026-11-20T12:00:00Z","labels":{"kubernetes.azure.com/agentpool":"np1","beta.kubernetes.io/arch":"amd64"},
"managedFields":[{"manager":"kubelet","time":"2026-11-20T12:00:09Z"}]},"spec":{"podCIDR":"10.244.1.0/24","podCIDRs":["10.244.1.0/24"]},"status":{"conditions":[{"type":"Ready","lastHeartbeatTime":"2026-11-20T12:%02d:00Z"}],"images":[{"names":["x"]}],"addresses":[{"type":"InternalIP","address":%q},{"type":"Hostname","address":%q}]}}`,
			name, name, version, version%60, address, name)
	})
}

func (s *apiServer) config(typ, name, data string) {
	s.object(typ, name, func(version int) string {
		return fmt.Sprintf(`{"kind":"ConfigMap","metadata":{"name":%q,"namespace":"kube-system","uid":"uid-%s","resourceVersion":"%d"},"data":{"ip-masq-agent":%q,"secret":"x"}}`, name, name, version, data)
	})
}

// there are the objects of a kind that the ledger takes for existing.
func there(l *attribution.Ledger, kind attribution.Kind) map[string]bool {
	out := map[string]bool{}
	l.Objects("prod", kind, func(f attribution.ObjectFact) {
		if f.State != nil {
			out[f.Name] = true
		}
	})
	return out
}

func stateOf(l *attribution.Ledger, kind attribution.Kind, name string) *attribution.State {
	var out *attribution.State
	l.Objects("prod", kind, func(f attribution.ObjectFact) {
		if f.Name == name {
			out = f.State
		}
	})
	return out
}

// Objects are trimmed on arrival, and come with their kind's own coverage; what stays
// as it was, a node's heartbeat, is not written down again.
func TestWatchesWhatDecides(t *testing.T) {
	api, nodes, configs := newCluster()
	for i := range 5 {
		nodes.node("ADDED", fmt.Sprintf("n%d", i), fmt.Sprintf("10.224.0.%d", i+4))
	}
	configs.config("ADDED", "azure-ip-masq-agent-config", "nonMasqueradeCIDRs: [10.0.0.0/8]")
	configs.config("ADDED", "coredns", "x")
	ledger := attribution.NewLedger()
	stop := testWatcher(t, api, ledger, "", nil)
	until(t, "nodes and ConfigMaps listed", func() bool {
		return len(there(ledger, attribution.Nodes)) == 5 && len(there(ledger, attribution.ConfigMaps)) == 1
	})
	want := attribution.NewState("uid-n3", time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC).UnixMilli(), []attribution.Field{
		{Key: "address", Value: "10.224.0.7"}, {Key: "label/kubernetes.azure.com/agentpool", Value: "np1"}, {Key: "podCIDR", Value: "10.244.1.0/24"}})
	if diff := cmp.Diff(want, stateOf(ledger, attribution.Nodes, "n3")); diff != "" {
		t.Errorf("node: -want +got:\n%s", diff)
	}
	configs.config("MODIFIED", "azure-ip-masq-agent-config", "nonMasqueradeCIDRs: [10.1.0.0/16]")
	nodes.node("DELETED", "n1", "10.224.0.5")
	for range 50 {
		nodes.node("MODIFIED", "n2", "10.224.0.6") // heartbeats
	}
	nodes.node("MODIFIED", "n4", "10.224.0.99")
	until(t, "changes seen", func() bool {
		return stateOf(ledger, attribution.Nodes, "n4").Get("address") == "10.224.0.99" && len(there(ledger, attribution.Nodes)) == 4 &&
			stateOf(ledger, attribution.ConfigMaps, "azure-ip-masq-agent-config").Get("data/ip-masq-agent") == "nonMasqueradeCIDRs: [10.1.0.0/16]"
	})
	must(t, stop())
	version := uint64(0)
	ledger.Objects("prod", attribution.Nodes, func(f attribution.ObjectFact) {
		if f.Name == "n2" {
			version = f.Version
		}
	})
	if version != 103 {
		t.Errorf("node n2 is on record at version %d, want 103: its heartbeats say nothing", version)
	}
	now := time.Now().UnixMilli() + 1000
	for kind, watched := range map[attribution.Kind]bool{attribution.Nodes: true, attribution.ConfigMaps: true, attribution.Namespaces: false, attribution.NodeNetworks: false} {
		if got := ledger.KindWatchedUntil("prod", kind, now) != 0; got != watched {
			t.Errorf("%v: watched is %v, want %v", kind, got, watched)
		}
	}
}

// However the watches are broken, and whichever, the ledger ends up with what the API
// server has.
func TestOtherKindsSurviveEverything(t *testing.T) {
	for seed := range uint64(3) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			r := rand.New(rand.NewPCG(seed, 2))
			dir := t.TempDir()
			api, nodes, _ := newCluster()
			open := func() *attribution.Ledger {
				l, err := attribution.OpenLedger(dir, attribution.Options{})
				must(t, err)
				return l
			}
			ledger := open()
			bookmark := filepath.Join(dir, "watch.json")
			stop := testWatcher(t, api, ledger, bookmark, nil)
			agree := func() bool {
				return same(there(ledger, attribution.Nodes), nodes.exist()) && same(existing(ledger), api.exist())
			}
			for step := range 40 {
				name := fmt.Sprintf("n%02d", r.IntN(12))
				if nodes.exist()[name] && r.IntN(3) == 0 {
					nodes.node("DELETED", name, "10.224.0.4")
				} else {
					nodes.node("ADDED", name, fmt.Sprintf("10.224.0.%d", r.IntN(250)+4))
				}
				switch r.IntN(5) {
				case 0:
					nodes.hangUp()
				case 1:
					nodes.compact()
					nodes.hangUp()
				case 2:
					must(t, stop())
					must(t, ledger.Close())
					nodes.node("ADDED", "while-away", "10.224.0.200")
					if r.IntN(2) == 0 {
						nodes.compact()
					}
					ledger = open()
					stop = testWatcher(t, api, ledger, bookmark, nil)
				}
				if step%10 == 9 {
					until(t, "ledger and API server agree", agree)
				}
			}
			until(t, "ledger and API server agree", agree)
			must(t, stop())
			must(t, ledger.Close())
			ledger = open()
			defer ledger.Close()
			if !agree() {
				t.Errorf("after a restart: %v, want %v", there(ledger, attribution.Nodes), nodes.exist())
			}
		})
	}
}

// A right or a kind that is missing stops no other watch. It is said once, with what is
// missing, and works once it is there.
func TestMissingRightForAnotherKind(t *testing.T) {
	api, nodes, configs := newCluster()
	nodes.forbid, configs.forbid = "all", "watch"
	nodes.node("ADDED", "n1", "10.224.0.4")
	var mu sync.Mutex
	said := map[string]int{}
	ledger := attribution.NewLedger()
	stop := testWatcher(t, api, ledger, "", func(c *Config) {
		c.Refused = 30 * time.Millisecond
		c.Report = func(s string) {
			mu.Lock()
			defer mu.Unlock()
			if strings.Contains(s, "allows no") || strings.Contains(s, "no such kind") {
				said[s]++
			}
		}
	})
	count := func() int { mu.Lock(); defer mu.Unlock(); return len(said) }
	until(t, "three kinds are said to be unwatched", func() bool { return count() == 3 })
	api.put("ADDED", "u1", "10.244.0.1")
	until(t, "a pod is seen all the same", func() bool { return existing(ledger)["u1"] })
	for _, s := range []*apiServer{nodes, configs} {
		s.mu.Lock()
		s.forbid = ""
		s.mu.Unlock()
	}
	until(t, "the node is seen", func() bool { return there(ledger, attribution.Nodes)["n1"] })
	until(t, "ConfigMaps are watched", func() bool {
		return ledger.KindWatchedUntil("prod", attribution.ConfigMaps, time.Now().UnixMilli()) != 0
	})
	must(t, stop())
	for _, want := range []string{
		`the API server allows no "list" on "nodes": forbidden`,
		`the API server allows no "watch" on "configmaps" in namespace "kube-system"`,
		`the API server has no such kind in the group "acn.azure.com"`,
	} {
		n := 0
		for s, times := range said {
			if strings.Contains(s, want) {
				n += times
			}
		}
		if n != 1 {
			t.Errorf("%q was said %d times, want once: %v", want, n, said)
		}
	}
}

// A CustomResourceDefinition may come later.
func TestKindThatComesLater(t *testing.T) {
	api, _, _ := newCluster()
	ledger := attribution.NewLedger()
	missing := make(chan struct{}, 1)
	stop := testWatcher(t, api, ledger, "", func(c *Config) {
		c.Refused = 0
		c.Report = func(s string) {
			if strings.Contains(s, "no such kind") {
				missing <- struct{}{}
			}
		}
	})
	<-missing
	nncs := newAPIServer()
	nncs.path = "/apis/acn.azure.com/v1alpha/nodenetworkconfigs"
	nncs.object("ADDED", "n1", func(version int) string {
		return fmt.Sprintf(`{"kind":"NodeNetworkConfig","metadata":{"name":"n1","namespace":"kube-system","uid":"u1","resourceVersion":"%d"},"status":{"networkContainers":[{"type":"overlay","assignmentMode":"static","nodeIP":"10.224.0.4"}]}}`, version)
	})
	api.mu.Lock()
	api.beside = append(api.beside, nncs)
	api.mu.Unlock()
	until(t, "the NodeNetworkConfig is seen", func() bool { return there(ledger, attribution.NodeNetworks)["n1"] })
	must(t, stop())
	if got := stateOf(ledger, attribution.NodeNetworks, "n1").Get("type"); got != "overlay" {
		t.Errorf("type is %q, want overlay", got)
	}
}
