//go:build e2e

// Package nat_test tries in a real kernel what each network mode hides, and what NAT
// evidence brings back. Four clusters share one VNet (see e2e/rig), one of each mode,
// two of them with the same addresses for their pods. Their pods call each other and
// everybody else, from so few ports that the same ones are used by one pod after the
// other. The flow log is written from what the far side of the nodes' interfaces saw;
// who called is known from the servers. Every row is attributed without evidence, with
// that of "whichpod agent" on each node, and with what the tool conntrack printed there.
//
// It needs root, and what .ci/run installs. Where the machine allows no namespaces it
// says so and passes.
package nat_test

import (
	"bytes"
	"cmp"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/whichpod/whichpod/benchmarks/scenario"
	"github.com/whichpod/whichpod/e2e/process"
	"github.com/whichpod/whichpod/e2e/rig"
)

func TestMain(m *testing.M) { os.Exit(rig.Main(m, []string{"chrt"})) }

// The test's times. Nothing is waited for with them: they are what is recorded.
const (
	// watched is how long the journals had been kept before the first pod came.
	watched = 5 * time.Minute
	// alone is how long the nodes call alone, with the pods there.
	alone = 3 * time.Second
	// before, between and after the pods of one slot are replaced.
	before, between, after = 14 * time.Second, 6 * time.Second, 14 * time.Second
	// drain is how long the connections are given to end, and the watches to see what
	// was late.
	drain = 12 * time.Second
)

func TestNAT(t *testing.T) {
	r := record(t)
	r.hostile(t)
	without := r.judge(t, r.data(t), r.config())
	agents := r.judge(t, r.shippedEvidence(t), r.config())
	printed := r.judge(t, r.printedEvidence(t), r.config())
	learned := r.judge(t, r.shippedEvidence(t), r.configWithoutNICs())
	all := slices.Concat(r.lines(without, "none"), r.lines(agents, "agent"), r.lines(printed, "conntrack"), r.lines(learned, "agent, NICs learned"), simulated(t))
	slices.SortStableFunc(all, func(a, b line) int { return cmp.Compare(a.name, b.name) })
	fmt.Printf("\n%s\nwithout evidence:\n%s\nwith evidence:\n%s\n", table(all), r.classes(without), r.classes(agents))
	r.recordKernel(t, without, agents)
	for i := range all {
		t.Run(all[i].name+"/"+all[i].evidence, func(t *testing.T) { all[i].check(t) })
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
	lost     bool       // conntrack printed less than it should have
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
	e := r.startEvidence(t)
	recorder := rig.StartRecorder(t, 5*time.Second)
	var clients []*process.Process
	for _, c := range r.clusters {
		c.fill(t)
	}
	time.Sleep(alone)
	for _, c := range r.clusters {
		c.begin(t)
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
	r.lost = e.stop(t)
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

// evidence is what tells of the translations of the nodes: the agent, and beside it the
// tool conntrack.
type evidence struct{ agents, tools []*process.Process }

func (r *recording) startEvidence(t *testing.T) evidence {
	t.Helper()
	var e evidence
	for _, c := range r.clusters {
		for _, n := range c.Nodes {
			e.agents = append(e.agents, n.Start(t, nil, rig.Program("whichpod"), "agent", "--cluster", c.Name, "--node", n.String(),
				"--out", r.file("shipped"), "--spool", r.file("spool-"+n.String()), "--every", "5s"))
			out, err := os.Create(r.file(n.String() + ".txt"))
			process.Must(t, err)
			// The tool's buffer stays small, whatever size it is told, and what does not fit in
			// is lost: it must not have to wait.
			e.tools = append(e.tools, n.Start(t, out, "chrt", "--fifo", "10", "conntrack", "-E", "-o", "timestamp,extended"))
		}
	}
	return e
}

// stop ends both. lost says whether the tool missed something. The agents say so
// themselves, in what they ship.
func (e evidence) stop(t *testing.T) (lost bool) {
	t.Helper()
	for _, p := range e.agents {
		if code := p.End(syscall.SIGTERM); code != 0 {
			t.Errorf("whichpod agent: exit code %d, want 0", code)
		}
	}
	for _, p := range e.tools {
		p.End(syscall.SIGTERM)
		lost = lost || bytes.Contains(p.Log.Bytes(), []byte("losing events"))
	}
	return lost
}

// shippedEvidence is a data folder with the recording and what the agents shipped.
func (r *recording) shippedEvidence(t *testing.T) string {
	t.Helper()
	data := r.data(t)
	rig.Whichpod(t, data, []string{"ingest", r.file("shipped")})
	return data
}

// printedEvidence is a data folder with the recording and what conntrack printed.
func (r *recording) printedEvidence(t *testing.T) string {
	t.Helper()
	data := r.data(t)
	for _, c := range r.clusters {
		for _, n := range c.Nodes {
			rig.Whichpod(t, data, []string{"import", "nat", "--format", "conntrack", "--cluster", c.Name, "--node", n.String(), r.file(n.String() + ".txt")})
		}
	}
	return data
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
				nodad := ""
				if a.Is6() {
					nodad = " nodad" // else it can not be listened at for a moment
				}
				rig.VNet.Do(t, fmt.Sprintf("ip addr add %s/%d dev lo%s", a, a.BitLen(), nodad))
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
	rig.WriteFlowLog(t, r.file("blobs"), r.rows)
	config, without := "clusters:\n", "clusters:\n"
	for _, c := range r.clusters {
		c.WriteJournal(t, r.file(c.Name+".jsonl"), since)
		said := fmt.Sprintf("- {name: %s, network: %s, vnetCIDRs: [%s], podCIDRs: [%s]", c.Name, c.mode, list(scenario.VNet), list(prefixes(strings.Join(c.pods[:], " "))))
		config += fmt.Sprintf("%s, nics: {%s: %s, %s: %s}}\n", said, c.Nodes[0].MAC, c.Nodes[0], c.Nodes[1].MAC, c.Nodes[1])
		without += said + "}\n"
	}
	process.Must(t, os.WriteFile(r.config(), []byte(config), 0o644))
	process.Must(t, os.WriteFile(r.configWithoutNICs(), []byte(without), 0o644))
}

func (r *recording) file(name string) string { return filepath.Join(r.dir, name) }
func (r *recording) config() string          { return r.file("config.yaml") }

// configWithoutNICs leaves to the rows whose the interfaces are.
func (r *recording) configWithoutNICs() string { return r.file("learn.yaml") }

// data is a data folder with the recording in it.
func (r *recording) data(t *testing.T) string {
	t.Helper()
	data := t.TempDir()
	for _, c := range r.clusters {
		rig.Whichpod(t, data, []string{"import", "pods", "--format", "watch", "--cluster", c.Name, r.file(c.Name + ".jsonl")})
	}
	rig.Whichpod(t, data, []string{"ingest", r.file("blobs")})
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
	if again < 300 {
		t.Error("too few ports were used again to show anything")
	}
}

// judge attributes all rows, and returns them by the node that they were sent from.
func (r *recording) judge(t *testing.T, data, config string) map[*rig.Node][]rig.Judged {
	t.Helper()
	out := make(map[*rig.Node][]rig.Judged)
	for _, j := range rig.Judge(t, data, config, r.rows, r.truth) {
		for _, c := range r.clusters {
			if !slices.Contains(c.Nodes, j.Node) {
				continue
			}
			for _, n := range c.Nodes {
				if n.Behind(j.SrcIP) {
					out[n] = append(out[n], j)
				}
			}
		}
	}
	return out
}

// lines are those of the table, for one way of asking.
func (r *recording) lines(answers map[*rig.Node][]rig.Judged, evidence string) []line {
	var out []line
	for _, c := range r.clusters {
		for i, n := range c.Nodes {
			l := line{name: c.Name + ports[i].name, evidence: evidence, hard: i == 0 || evidence == "conntrack" && r.lost}
			for k := range answers[n] {
				j := &answers[n][k]
				l.add(j, j.Sender != "", slices.Contains(n.Addresses, j.SrcIP))
			}
			out = append(out, l)
		}
	}
	return out
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

func list(prefixes []netip.Prefix) string {
	var out []string
	for _, p := range prefixes {
		out = append(out, p.String())
	}
	return strings.Join(out, ", ")
}
