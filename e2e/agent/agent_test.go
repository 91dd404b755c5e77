//go:build e2e

// Package agent_test tries "whichpod agent" against a real kernel under load: what it
// costs to keep up with a node that opens 20,000 translated connections a second, what
// is on record where the kernel dropped events, and what it says without its
// capability.
//
// It needs root, and what .ci/run installs. Where the machine allows no namespaces it
// says so and passes.
package agent_test

import (
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/whichpod/whichpod/attribution/nat"
	"github.com/whichpod/whichpod/e2e/process"
	"github.com/whichpod/whichpod/e2e/rig"
)

func TestMain(m *testing.M) { os.Exit(rig.Main(m, []string{"setpriv"})) }

var (
	nodeAddress = netip.MustParseAddr("10.224.0.4")
	podAddress  = netip.MustParseAddr("10.244.0.11")
	peer        = netip.MustParseAddr("203.0.113.66")
)

// machine is a node that masquerades, and a pod on it.
type machine struct {
	node    *rig.Node
	pod     *rig.Namespace
	shipped string
}

// made counts machines: the kernel takes a moment to forget one.
var made int

func newMachine(t testing.TB) *machine {
	t.Helper()
	m := &machine{shipped: t.TempDir()}
	made++
	name := fmt.Sprintf("n%d", made)
	m.node = rig.NewNode(t, name, rig.NodeConfig{MAC: "002248000001", Addresses: []netip.Addr{nodeAddress}, PodCIDRs: []netip.Prefix{netip.MustParsePrefix("10.244.0.0/24")}})
	m.node.Masquerade(t, "kubenet", nil)
	m.node.Track(t)
	m.node.Set(t, "net.netfilter.nf_conntrack_timestamp", 1)
	m.pod = m.node.NewPod(t, fmt.Sprintf("p%d", made), []netip.Addr{podAddress})
	t.Cleanup(func() { rig.VNet.Do(t, "ip link del "+name) })
	// Nobody is there: what is sent is gone, and nobody says so.
	rig.VNet.Do(t, "iptables -t raw -A PREROUTING -d "+peer.String()+" -j DROP")
	t.Cleanup(func() { rig.VNet.Do(t, "iptables -t raw -D PREROUTING -d "+peer.String()+" -j DROP") })
	return m
}

// agent starts the agent, and waits until it ships.
func (m *machine) agent(t testing.TB) *process.Process {
	t.Helper()
	p := m.node.Start(t, nil, rig.Program("whichpod"), "agent", "--cluster", "prod", "--node", "n1", "--out", m.shipped, "--spool", t.TempDir(), "--every", "1s")
	process.Until(t, "the agent ships", func() bool { return len(m.batches(t)) > 0 })
	return p
}

// flood makes connections from the pod, and waits until all are made.
func (m *machine) flood(t testing.TB, from, count, rate int) {
	t.Helper()
	p := m.pod.Start(t, nil, rig.Program("traffic"), "flood", "-from", fmt.Sprint(from), "-n", fmt.Sprint(count), "-rate", fmt.Sprint(rate), peer.String())
	if code := p.Wait(); code != 0 {
		t.Fatalf("flood: exit code %d", code)
	}
}

// batches are what was shipped.
func (m *machine) batches(t testing.TB) (all []*nat.Batch) {
	t.Helper()
	process.Must(t, filepath.WalkDir(m.shipped, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() || !strings.HasSuffix(path, ".wpnb") {
			return err
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		b, err := nat.DecodeBatch(data)
		all = append(all, b)
		return err
	}))
	return all
}

// seen is the last time in which the agent saw everything, as far as it was shipped.
func (m *machine) seen(t testing.TB) (last nat.Range) {
	t.Helper()
	for _, b := range m.batches(t) {
		for _, r := range b.Covered {
			if r.From != last.To {
				last.From = r.From
			}
			last.To = r.To
		}
	}
	return last
}

// calm makes connections while everything is seen, as it has been since a time (Unix
// milliseconds), and is for longer before and after them than is asked about. How soon
// the agent gets there, and when it reads of which connection, is up to the machine.
func (m *machine) calm(t testing.TB, from, count int, since int64) {
	t.Helper()
	const margin = 2000
	process.Until(t, "everything is seen", func() bool { r := m.seen(t); return r.From >= since && r.To-r.From >= margin })
	m.flood(t, from, count, 0)
	process.Until(t, "everything is shipped", func() bool {
		made, last := 0, int64(0)
		_, flows := begun(m.batches(t))
		for key, f := range flows {
			if int(key[0]) == from {
				made, last = made+1, max(last, f.FromLatest)
			}
		}
		return made == count && m.seen(t).To >= last+margin
	})
}

// dropped is how many events the kernel did not get into the sockets of those who
// listen on the node (the column Drops of /proc/net/netlink).
func (m *machine) dropped(t testing.TB) (n int) {
	t.Helper()
	out, err := m.node.Command("cat", "/proc/net/netlink").Output()
	process.Must(t, err)
	for line := range strings.Lines(string(out)) {
		if f := strings.Fields(line); f[1] == fmt.Sprint(syscall.NETLINK_NETFILTER) {
			drops, err := strconv.Atoi(f[8])
			process.Must(t, err)
			n += drops
		}
	}
	return n
}

// storm makes connections until none fits into the agent's socket any more, which
// depends on the kernel, and then as many again as in each wave before: none of those
// does.
func (m *machine) storm(t testing.TB, from int) (waves []time.Time) {
	t.Helper()
	for full := false; !full; {
		full = m.dropped(t) > 0
		waves = append(waves, time.Now())
		m.flood(t, from+len(waves)-1, wave, 0)
	}
	return append(waves, time.Now())
}

// wave is how many connections of a storm have the same source port.
const wave = 30_000

// begun are the flows that the batches tell of, with the times between which they
// began, by source port and the peer's port.
func begun(batches []*nat.Batch) (lost uint64, flows map[[2]uint16]nat.Flow) {
	flows = make(map[[2]uint16]nat.Flow)
	for _, b := range batches {
		lost += b.Lost
		for _, f := range b.Flows {
			if f.Original.Src == podAddress {
				flows[[2]uint16{f.SrcPort, f.DstPort}] = f
			}
		}
	}
	return lost, flows
}

// The agent is stopped while far more connections are made than its socket can hold.
// What the kernel dropped is a gap: nobody is certain to have had a key in it, even of
// what was kept. Before and after it everything is known.
func TestLoss(t *testing.T) {
	m := newMachine(t)
	p := m.agent(t)
	const calm = 100
	m.calm(t, 20000, calm, 0)
	p.Signal(t, syscall.SIGSTOP)
	waves := m.storm(t, 21000)
	from, to := waves[0], waves[len(waves)-1]
	p.Signal(t, syscall.SIGCONT)
	process.Until(t, "the loss is shipped", func() bool { lost, _ := begun(m.batches(t)); return lost > 0 })
	m.calm(t, 29000, calm, to.UnixMilli())
	after := m.seen(t).From
	if code := p.End(syscall.SIGTERM); code != 0 {
		t.Errorf("the agent's exit code is %d", code)
	}
	data := t.TempDir()
	rig.Whichpod(t, data, []string{"ingest", m.shipped})
	store, err := nat.Open(filepath.Join(data, "nat"), nat.Options{ReadOnly: true})
	process.Must(t, err)
	defer store.Close()
	lost, flows := begun(m.batches(t))
	count := map[string]int{}
	ask := func(what string, key [2]uint16, at int64) {
		got, err := store.Senders(&nat.Asked{Cluster: "prod", Key: nat.Key{Src: nodeAddress, SrcPort: key[0], Dst: peer, DstPort: key[1], Protocol: syscall.IPPROTO_UDP},
			From: at - 1000, To: at + 1000, Nodes: []string{"n1"}, Tolerance: 1000})
		process.Must(t, err)
		count[what]++
		if got.Certain {
			count[what+", certain"]++
		}
	}
	for key, f := range flows {
		switch {
		case key[0] < 21000:
			ask("before", key, f.FromLatest)
		case key[0] >= 29000:
			ask("after", key, f.FromLatest)
		}
	}
	for w, began := range waves[:len(waves)-1] {
		took := waves[w+1].Sub(began)
		for i := range wave {
			key := [2]uint16{uint16(21000 + w), uint16(1 + i)}
			if f, kept := flows[key]; kept {
				ask("in the loss, kept", key, f.FromLatest)
			} else {
				ask("in the loss, dropped", key, began.Add(took*time.Duration(i)/wave).UnixMilli())
			}
		}
	}
	t.Logf("the kernel dropped events %d times; connections: %v; the loss lasted %v, and all was seen again %d ms after it", lost, count, to.Sub(from), after-to.UnixMilli())
	for what, want := range map[string]int{"before": calm, "before, certain": calm, "after": calm, "after, certain": calm,
		"in the loss, kept, certain": 0, "in the loss, dropped, certain": 0} {
		if count[what] != want {
			t.Errorf("%s: %d, want %d", what, count[what], want)
		}
	}
	if lost == 0 || count["in the loss, dropped"] < 1000 {
		t.Error("the kernel dropped too little to show anything")
	}
}

// Without its capability the agent says what it needs.
func TestWithoutCapability(t *testing.T) {
	m := newMachine(t)
	p := m.node.Start(t, nil, "setpriv", "--bounding-set", "-net_admin", "--inh-caps", "-net_admin", rig.Program("whichpod"),
		"agent", "--cluster", "prod", "--node", "n1", "--out", m.shipped, "--spool", t.TempDir())
	code, said := p.Wait(), string(p.Log.Bytes())
	if code != 2 || !strings.Contains(said, "whichpod: error: ") || !strings.Contains(said, "operation not permitted") || !strings.Contains(said, "whichpod: hint: the agent needs CAP_NET_ADMIN") {
		t.Errorf("exit code %d, said %q", code, said)
	}
}

// BenchmarkAgent makes 20,000 translated connections a second for ten seconds, beside
// the agent, and waits until all have ended. "make bench-agent" runs it.
func BenchmarkAgent(b *testing.B) {
	const rate, seconds = 20_000, 10
	for b.Loop() {
		m := newMachine(b)
		p := m.agent(b)
		begin := time.Now()
		m.flood(b, 20000, rate*seconds, rate)
		took := time.Since(begin)
		process.Until(b, "all have ended", func() bool {
			out, err := m.node.Command("cat", "/proc/sys/net/netfilter/nf_conntrack_count").Output()
			process.Must(b, err)
			return strings.TrimSpace(string(out)) == "0"
		})
		if code := p.End(syscall.SIGTERM); code != 0 {
			b.Fatalf("the agent's exit code is %d", code)
		}
		lost, flows := begun(m.batches(b))
		used := p.Usage()
		b.ReportMetric(rate*seconds/took.Seconds(), "connections/s")
		b.ReportMetric(float64(len(flows)), "recorded")
		b.ReportMetric(float64(lost), "drops")
		b.ReportMetric(time.Duration(used.Utime.Nano()+used.Stime.Nano()).Seconds(), "CPU-s")
		b.ReportMetric(float64(used.Maxrss)/1024, "MiB-peak")
		lines := strings.Split(strings.TrimSpace(string(p.Log.Bytes())), "\n")
		b.Log(lines[len(lines)-1])
	}
}
