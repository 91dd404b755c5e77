//go:build e2e

// Package nat_test tries in a real kernel what each network mode hides, and what NAT
// evidence brings back. Four clusters share one VNet (see e2e/rig), one of each mode,
// two of them with the same addresses for their pods. Their pods call each other and
// everybody else, from so few ports that the same ones are used by one pod after the
// other. The flow log is written from what the far side of the nodes' interfaces saw;
// who called is known from the servers. Every row is attributed twice: without
// evidence, and with that of "whichpod agent" on each node.
//
// It needs root, and what .ci/run installs. Where the machine allows no namespaces it
// says so and passes.
package nat_test

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/whichpod/whichpod/e2e/rig"
)

func TestMain(m *testing.M) { os.Exit(rig.Main(m, nil)) }

// The test's times. Nothing is waited for with them: they are what is recorded.
const (
	// watched is how long the journals had been kept before the first pod came.
	watched = 5 * time.Minute
	// before, between and after the pods of one slot are replaced.
	before, between, after = 14 * time.Second, 6 * time.Second, 14 * time.Second
	// drain is how long the connections are given to end, and the watches to see what
	// was late.
	drain = 12 * time.Second
)

func TestNAT(t *testing.T) {
	r := record(t)
	r.hostile(t)
	plain := r.data(t)
	without := r.judge(t, plain)
	fmt.Print("\n", table(r.clusters, without))
	fmt.Print("\n", classes(r, without))
	for _, c := range r.clusters {
		t.Run(c.Name, func(t *testing.T) { c.check(t, without[c]) })
	}
}

// recording is what happened, and what is left of it.
type recording struct {
	clusters []*cluster
	nodes    []*rig.Node
	rows     []rig.Row
	truth    rig.Truth
	unseen   []rig.Call // that the VNet never saw
	dir      string     // with the flow log, the journals and the configuration
}

// record lets the clusters live for a while.
func record(t *testing.T) *recording {
	t.Helper()
	r := &recording{dir: t.TempDir()}
	since := time.Now().Add(-watched)
	servers := []*rig.Server{serve(t)}
	vm := rig.NewHost(t, "client", netip.MustParseAddr(client))
	for i, p := range plans {
		c := newCluster(t, i, p)
		r.clusters, r.nodes = append(r.clusters, c), append(r.nodes, c.Nodes...)
	}
	recorder := rig.StartRecorder(t, 5*time.Second)
	var clients []*rig.Process
	for _, c := range r.clusters {
		c.fill(t)
		for i := range c.Nodes {
			clients = append(clients, vm.Call(t, "", []string{"-every", "1500ms"}, fmt.Sprintf("tcp/%s:%d", c.Nodes[i].Addresses[0], nodePort)))
		}
	}
	time.Sleep(before)
	for _, c := range r.clusters {
		c.end(t)
	}
	time.Sleep(between)
	for _, c := range r.clusters {
		c.replace(t)
	}
	time.Sleep(after)
	for _, c := range r.clusters {
		clients = append(clients, c.hosts...)
		for _, p := range c.Pods {
			p.Silence()
		}
	}
	for _, p := range clients {
		p.End(syscall.SIGKILL)
	}
	time.Sleep(drain)
	flows := recorder.Stop(t)
	for _, c := range r.clusters {
		servers = append(servers, c.servers()...)
	}
	var calls []rig.Call
	for _, s := range servers {
		calls = append(calls, s.Calls(t)...)
	}
	r.rows = rig.Rows(flows, r.nodes)
	r.truth, r.unseen = rig.NewTruth(t, flows, calls)
	r.write(t, since)
	return r
}

// serve runs all servers that are no pods, in the VNet itself.
func serve(t *testing.T) *rig.Server {
	t.Helper()
	var targets []string
	has := make(map[string]bool)
	for _, list := range others {
		for _, target := range list {
			_, address, _ := strings.Cut(target, "/")
			a := netip.MustParseAddrPort(address).Addr()
			if !has[a.String()] {
				rig.VNet.Do(t, fmt.Sprintf("ip addr add %s/%d dev lo", a, a.BitLen()))
				has[a.String()] = true
			}
			targets = append(targets, target)
		}
	}
	return rig.VNet.Serve(t, "", targets...)
}

// write writes what is left of a recording: the flow log of all nodes in one container,
// a journal for each cluster, and what a person says of the clusters.
func (r *recording) write(t *testing.T, since time.Time) {
	t.Helper()
	rig.WriteFlowLog(t, filepath.Join(r.dir, "blobs"), r.rows)
	config := "clusters:\n"
	for _, c := range r.clusters {
		c.WriteJournal(t, filepath.Join(r.dir, c.Name+".jsonl"), since)
		config += fmt.Sprintf("- {name: %s, network: %s, vnetCIDRs: [%s], podCIDRs: [%s], nics: {%s: %s, %s: %s}}\n", c.Name, c.mode, list(vnetCIDRs),
			list(prefixes(strings.Join(c.pods[:], " "))), c.Nodes[0].MAC, c.Nodes[0], c.Nodes[1].MAC, c.Nodes[1])
	}
	rig.Must(t, os.WriteFile(r.config(), []byte(config), 0o644))
}

func (r *recording) config() string { return filepath.Join(r.dir, "config.yaml") }

// data is a data folder with the recording in it.
func (r *recording) data(t *testing.T) string {
	t.Helper()
	data := t.TempDir()
	for _, c := range r.clusters {
		rig.Whichpod(t, data, []string{"import", "pods", "--format", "watch", "--cluster", c.Name, filepath.Join(r.dir, c.Name+".jsonl")})
	}
	rig.Whichpod(t, data, []string{"ingest", filepath.Join(r.dir, "blobs")})
	return data
}

// hostile makes sure that ports were used again: the same address and port of a node,
// to the same server, by one pod or process after the other.
func (r *recording) hostile(t *testing.T) {
	t.Helper()
	type end struct {
		protocol uint8
		from, to netip.AddrPort
	}
	senders := make(map[end]map[string]bool)
	for f, ends := range r.truth {
		if nodeOf(r.nodes, f.From.Addr()) == nil {
			continue
		}
		k := end{f.Protocol, f.From, f.To}
		if senders[k] == nil {
			senders[k] = make(map[string]bool)
		}
		senders[k][ends.Sender] = true
	}
	again := 0
	for _, s := range senders {
		if len(s) > 1 {
			again++
		}
	}
	t.Logf("%d flows; of %d ports of nodes to a server, %d were used by several senders", len(r.truth), len(senders), again)
	if again < len(senders)/10 {
		t.Error("too few ports were used again to show anything")
	}
}

// judge attributes all rows, and returns them by the cluster whose node logged them.
func (r *recording) judge(t *testing.T, data string) map[*cluster][]rig.Judged {
	t.Helper()
	out := make(map[*cluster][]rig.Judged)
	for _, j := range rig.Judge(t, data, r.config(), r.rows, r.truth) {
		for _, c := range r.clusters {
			if j.Node == c.Nodes[0] || j.Node == c.Nodes[1] {
				out[c] = append(out[c], j)
			}
		}
	}
	return out
}

// hidden says whether a row shows a node's address for a pod.
func (c *cluster) hidden(j *rig.Judged) bool {
	return j.Sender != "" && (nodeOf(c.Nodes, j.SrcIP) != nil)
}

func nodeOf(nodes []*rig.Node, a netip.Addr) *rig.Node {
	for _, n := range nodes {
		for _, own := range n.Addresses {
			if own == a {
				return n
			}
		}
	}
	return nil
}

// check holds the answers without evidence against the truth.
func (c *cluster) check(t *testing.T, rows []rig.Judged) {
	shown := rig.Count(rows, func(j *rig.Judged) bool { return j.Sender != "" && !c.hidden(j) })
	hidden := rig.Count(rows, c.hidden)
	nobody := rig.Count(rows, func(j *rig.Judged) bool { return j.Sender == "" })
	shown.Report(t, "under the pod's address")
	hidden.Report(t, "under the node's address")
	nobody.Report(t, "of no pod")
	if shown.Rows == 0 || shown.Share("exact") < 0.95 {
		t.Errorf("%.1f %% of %d rows under the pod's address are exact, want 95 %%", 100*shown.Share("exact"), shown.Rows)
	}
	if hidden.Rows == 0 || hidden.Share("masked") < 1 {
		t.Errorf("%.1f %% of %d rows under the node's address are masked, want all", 100*hidden.Share("masked"), hidden.Rows)
	}
}

func list(prefixes []netip.Prefix) string {
	var out []string
	for _, p := range prefixes {
		out = append(out, p.String())
	}
	return strings.Join(out, ", ")
}
