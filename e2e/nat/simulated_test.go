//go:build e2e

package nat_test

import (
	"bufio"
	"encoding/csv"
	"fmt"
	"io"
	"iter"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/whichpod/whichpod/benchmarks/sim"
	"github.com/whichpod/whichpod/e2e/process"
	"github.com/whichpod/whichpod/e2e/rig"
)

// hostile is a cluster with many flows from few ports: half of them take a port that
// the same node lately used to the same destination, seconds after it became free, and
// so do the nodes' own processes. Clocks are off.
func hostile(mode sim.Mode) sim.Config {
	c := sim.DefaultConfig()
	c.Mode, c.Cluster, c.Seed = mode, string(mode), 20261123
	c.Nodes, c.PodsPerNode, c.AddressesPerNode = 8, 15, 20
	c.Duration, c.Warmup = 35*time.Minute, 0
	c.MeanLifetime = 4 * time.Minute
	c.Traffic.FlowsPerSecond, c.Traffic.NodeFlows = 1.1, 2.2
	c.Traffic.PortReuse, c.Traffic.TimeWait, c.Traffic.NodeAbroad = 0.5, 2*time.Second, 0.25
	c.Faults.ClockSkew = 400 * time.Millisecond
	return c
}

// simulated attributes a million simulated flows, a quarter in each mode, with and
// without what "conntrack -E" would have printed on their nodes.
func simulated(t *testing.T) []line {
	t.Helper()
	var without, with []line
	for _, mode := range sim.Modes {
		s := newSimulation(t, hostile(mode))
		without = append(without, s.ask(t, "none"))
		s.evidence(t)
		with = append(with, s.ask(t, "conntrack"))
	}
	return append(without, with...)
}

// simulation is a simulated cluster with what the program knows of it.
type simulation struct {
	world     *sim.World
	dir, data string
	truth     map[place]sender
}

// sender is who is at the ends of a row. With own, the sender has an address of its
// own, and is not on the host's network; masked is behind its node's.
type sender struct {
	rig.Ends
	own, masked bool
}

// place is where a row stood: other rows can be equal to it.
type place struct {
	blob   string
	offset int64
}

func newSimulation(t *testing.T, config sim.Config) *simulation {
	t.Helper()
	s := &simulation{world: sim.Generate(config), dir: t.TempDir(), data: t.TempDir(), truth: make(map[place]sender)}
	for tr := range s.world.Truth() {
		who := sender{masked: tr.Masked}
		if tr.SrcPod != nil {
			who.Sender, who.own = tr.SrcPod.UID, !tr.SrcPod.HostNetwork
		}
		if tr.DstPod != nil {
			who.Receiver = tr.DstPod.UID
		}
		s.truth[place{tr.Blob, tr.Offset}] = who
	}
	process.Must(t, s.world.WriteBlobs(s.file("blobs")))
	s.write(t, "watch.jsonl", s.world.WriteWatch)
	s.write(t, "config.yaml", s.world.WriteConfig)
	rig.Whichpod(t, s.data, []string{"import", "pods", "--format", "watch", "--cluster", config.Cluster, s.file("watch.jsonl")})
	rig.Whichpod(t, s.data, []string{"ingest", s.file("blobs")})
	return s
}

func (s *simulation) file(name string) string { return filepath.Join(s.dir, name) }

func (s *simulation) write(t *testing.T, name string, content func(io.Writer) error) {
	t.Helper()
	f, err := os.Create(s.file(name))
	process.Must(t, err)
	process.Must(t, content(f))
	process.Must(t, f.Close())
}

// evidence imports what the nodes' kernels would have told.
func (s *simulation) evidence(t *testing.T) {
	t.Helper()
	for i, nic := range s.world.NICs {
		if !nic.Node {
			continue
		}
		name := fmt.Sprintf("conntrack-%d.txt", i)
		s.write(t, name, func(w io.Writer) error { return s.world.WriteConntrack(w, i) })
		rig.Whichpod(t, s.data, []string{"import", "nat", "--format", "conntrack", "--cluster", s.world.Config.Cluster, "--node", nic.Name, s.file(name)})
	}
}

// ask attributes all rows and counts the answers.
func (s *simulation) ask(t *testing.T, evidence string) line {
	t.Helper()
	l := line{name: "simulated " + s.world.Config.Cluster, evidence: evidence, simulated: true}
	export := exec.Command(rig.Program("whichpod"), "export", "--format", "csv", "--config", s.file("config.yaml"), "--data", s.data)
	out, err := export.StdoutPipe()
	process.Must(t, err)
	export.Stderr = os.Stderr
	process.Must(t, export.Start())
	rows := 0
	for row := range records(t, out) {
		offset, err := strconv.ParseInt(row("offset"), 10, 64)
		process.Must(t, err)
		who, ok := s.truth[place{row("blob"), offset}]
		if !ok {
			t.Fatalf("%s has no row at byte %d", row("blob"), offset)
		}
		a := rig.Answer{SrcVerdict: row("src_verdict"), SrcPodUID: row("src_pod_uid"), SrcCandidates: strings.Fields(row("src_candidates")),
			SrcSource: row("src_source"), DstVerdict: row("dst_verdict"), DstPodUID: row("dst_pod_uid")}
		l.add(&rig.Judged{Answer: a, Ends: who.Ends}, who.own, who.masked)
		rows++
	}
	process.Must(t, export.Wait())
	if rows != len(s.truth) {
		t.Errorf("%s: %d rows were exported, of %d", l.name, rows, len(s.truth))
	}
	return l
}

// records are the rows of a table, each a function from a column's name to its value.
func records(t *testing.T, in io.Reader) iter.Seq[func(column string) string] {
	t.Helper()
	table := csv.NewReader(bufio.NewReaderSize(in, 1<<20))
	table.ReuseRecord = true
	header, err := table.Read()
	process.Must(t, err)
	columns := make(map[string]int)
	for i, name := range header {
		columns[strings.Clone(name)] = i
	}
	return func(yield func(func(string) string) bool) {
		for {
			record, err := table.Read()
			if err == io.EOF {
				return
			}
			process.Must(t, err)
			value := func(column string) string {
				i, ok := columns[column]
				if !ok {
					t.Fatalf("the table has no column %q", column)
				}
				return record[i]
			}
			if !yield(value) {
				return
			}
		}
	}
}
