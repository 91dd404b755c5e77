package sim

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/whichpod/whichpod/flow"
)

// small is a quarter of an hour of three busy nodes: enough for everything to happen.
func small(base Config, mode Mode) Config {
	base.Mode, base.Nodes, base.PodsPerNode, base.AddressesPerNode = mode, 3, 10, 12
	base.Duration, base.Warmup, base.MeanLifetime = 15*time.Minute, 7*time.Minute, 40*time.Second
	return base
}

// digest is a hash of everything that a World writes.
func digest(t *testing.T, w *World) string {
	t.Helper()
	h := sha256.New()
	dir := t.TempDir()
	for _, err := range []error{w.WriteWatch(h), w.WriteTruth(h), w.WriteConfig(h), w.WriteBlobs(dir)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, b := range w.Blobs() {
		raw, err := os.ReadFile(filepath.Join(dir, Container, filepath.FromSlash(b)))
		if err != nil {
			t.Fatal(err)
		}
		h.Write(raw)
	}
	return fmt.Sprintf("%x", h.Sum(nil))
}

func TestSameConfigSameBytes(t *testing.T) {
	for _, mode := range Modes {
		a, b := Generate(small(AllFaults(), mode)), Generate(small(AllFaults(), mode))
		if x, y := digest(t, a), digest(t, b); x != y {
			t.Errorf("%s: two runs differ: %s and %s", mode, x, y)
		}
		other := small(AllFaults(), mode)
		other.Seed = 2
		if digest(t, a) == digest(t, Generate(other)) {
			t.Errorf("%s: another seed gives the same bytes", mode)
		}
	}
}

// podsOf is all about the pods that no mode may change.
func podsOf(w *World) []string {
	var out []string
	for _, p := range w.Pods {
		line := fmt.Sprint(p.UID, p.Namespace, p.Name, p.Node, p.created, p.scheduled, p.acked, p.asked, p.finished, p.deleted)
		for _, s := range p.Sandboxes {
			line += fmt.Sprint(s.From, s.To, s.sendFrom, s.sendTo, s.ready, s.reported)
		}
		out = append(out, line)
	}
	return out
}

func TestModesShareTraffic(t *testing.T) {
	cfg := AllFaults()
	cfg.Replaced = 1
	base := Generate(small(cfg, Kubenet))
	want := intents(&base.Config, base.Pods, base.NICs)
	for _, mode := range Modes[1:] {
		w := Generate(small(cfg, mode))
		if !slices.Equal(podsOf(base), podsOf(w)) {
			t.Errorf("%s: other pods than under kubenet", mode)
		}
		if !slices.Equal(want, intents(&w.Config, w.Pods, w.NICs)) {
			t.Errorf("%s: other traffic than under kubenet", mode)
		}
		type end struct {
			begin, last, end int64
			src, dst         int32
			class            Class
		}
		ends := func(w *World) []end {
			var out []end
			for i := range w.flows {
				f := &w.flows[i]
				// Who is behind a stale address, or can be called from outside, is the mode's doing.
				if f.class < ToStale {
					out = append(out, end{f.begin, f.last, f.end, f.srcPod, f.dstPod, f.class})
				}
			}
			return out
		}
		if !slices.Equal(ends(base), ends(w)) {
			t.Errorf("%s: other flows than under kubenet", mode)
		}
	}
}

// record is what a test reads of a blob.
type blobFile struct {
	Records []struct {
		Time           time.Time
		FlowLogVersion int
		MacAddress     string
		FlowRecords    struct {
			Flows []struct {
				ACLID      string
				FlowGroups []struct {
					Rule       string
					FlowTuples []string
				}
			}
		}
	}
}

func TestBlobsAndTruthAgree(t *testing.T) {
	for _, mode := range Modes {
		w := Generate(small(AllFaults(), mode))
		dir := t.TempDir()
		if err := w.WriteBlobs(dir); err != nil {
			t.Fatal(err)
		}
		blobs := map[string][]byte{}
		total := 0
		for _, name := range w.Blobs() {
			raw, err := os.ReadFile(filepath.Join(dir, Container, filepath.FromSlash(name)))
			if err != nil {
				t.Fatal(err)
			}
			blobs[name] = raw
			total += checkBlob(t, name, raw)
		}
		if total != w.Len() || total < 10_000 {
			t.Errorf("%s: %d tuples in the blobs, %d lines of truth; want the same, and above 10,000", mode, total, w.Len())
		}
		for truth := range w.Truth() {
			checkTuple(t, blobs[truth.Blob], &truth)
		}
		var out bytes.Buffer
		if err := w.WriteTruth(&out); err != nil {
			t.Fatal(err)
		}
		if n := bytes.Count(out.Bytes(), []byte("\n")); n != total {
			t.Errorf("%s: %d lines of truth.jsonl for %d tuples", mode, n, total)
		}
	}
}

// checkBlob parses a blob, checks its shape and counts its tuples.
func checkBlob(t *testing.T, name string, raw []byte) int {
	t.Helper()
	var b blobFile
	if err := json.Unmarshal(raw, &b); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	n := 0
	for i, r := range b.Records {
		if i > 0 && r.Time.Sub(b.Records[i-1].Time) < time.Minute {
			t.Errorf("%s: two records within a minute, at %v", name, r.Time)
		}
		if r.FlowLogVersion != 4 || !strings.Contains(name, "macAddress="+r.MacAddress+"/PT1H.json") ||
			!strings.Contains(name, r.Time.Format("/y=2006/m=01/d=02/h=15/m=00/")) {
			t.Errorf("%s: record of version %d, NIC %s, time %v", name, r.FlowLogVersion, r.MacAddress, r.Time)
		}
		for _, f := range r.FlowRecords.Flows {
			for _, g := range f.FlowGroups {
				last := ""
				for _, tuple := range g.FlowTuples {
					n++
					at := tuple[:13]
					if strings.Count(tuple, ",") != 12 || at < last {
						t.Fatalf("%s: tuple %q after time %s", name, tuple, last)
					}
					last = at
					var stamp int64
					fmt.Sscan(at, &stamp)
					if age := r.Time.Sub(time.UnixMilli(stamp)); age < 3*time.Second || age > 63*time.Second {
						t.Fatalf("%s: tuple %q is %v older than its record", name, tuple, age)
					}
				}
			}
		}
	}
	return n
}

// checkTuple looks up the bytes that a truth row points at.
func checkTuple(t *testing.T, raw []byte, truth *Truth) {
	t.Helper()
	c := truth.Counters
	want := fmt.Sprintf(`%d,%s,%s,%d,%d,%d,%c,%c,NX,%d,%d,%d,%d"`, truth.Time, truth.Src, truth.Dst, truth.SrcPort, truth.DstPort,
		truth.Protocol, truth.Direction, truth.State, c.PacketsSent, c.BytesSent, c.PacketsReceived, c.BytesReceived)
	if got := string(raw[truth.Offset : truth.Offset+int64(len(want))]); got != want {
		t.Fatalf("at offset %d: got %s, want %s", truth.Offset, got, want)
	}
}

// owners says who held an address at a moment.
func owners(holds []Hold, addr netip.Addr, at int64) (uids []string) {
	i, _ := slices.BinarySearchFunc(holds, addr, func(h Hold, a netip.Addr) int { return h.Addr.Compare(a) })
	for ; i < len(holds) && holds[i].Addr == addr; i++ {
		if holds[i].From <= at && at < holds[i].To {
			uids = append(uids, holds[i].UID)
		}
	}
	return uids
}

func TestTruthHeldTheAddress(t *testing.T) {
	for _, cfg := range []Config{DefaultConfig(), AllFaults()} {
		for _, mode := range Modes {
			cfg := small(cfg, mode)
			cfg.Faults.ClockSkew = 0 // so that a row's begin is true time
			w := Generate(cfg)
			nodes := map[netip.Addr]string{}
			for _, n := range w.NICs {
				nodes[n.IP], nodes[n.IP6] = n.Name, n.Name
			}
			begun := map[bool]int{}
			for truth := range w.Truth() {
				at := truth.Begin
				if truth.Direction == flow.Inbound {
					at -= 2 // the receiver's copy is up to 2 ms late
				}
				checkEnd(t, w, &truth, truth.SrcPod, truth.Src, truth.Masked, nodes, at)
				checkEnd(t, w, &truth, truth.DstPod, truth.Dst, false, nodes, truth.Begin)
				begun[truth.Begin < cfg.startMS()]++
			}
			if begun[true] == 0 || begun[false] == 0 {
				t.Errorf("%s: want flows from before the start and after, got %v", mode, begun)
			}
		}
	}
}

func checkEnd(t *testing.T, w *World, truth *Truth, pod *Pod, addr netip.Addr, masked bool, nodes map[netip.Addr]string, at int64) {
	t.Helper()
	held := slices.Concat(owners(w.Holds, addr, at), owners(w.Holds, addr, truth.Begin))
	switch {
	case pod == nil && nodes[addr] == "" && len(owners(w.Holds, addr, truth.Begin)) > 0 && len(owners(w.Holds, addr, at)) > 0:
		t.Fatalf("truth names no pod for %v at %d, but %v held it", addr, at, held)
	case pod != nil && masked && (nodes[addr] != pod.NodeName || pod.HostNetwork):
		t.Fatalf("masked flow of %s on %s shows %v of node %q", pod.Name, pod.NodeName, addr, nodes[addr])
	case pod != nil && !masked && !slices.Contains(held, pod.UID):
		t.Fatalf("truth names %s %s for %v at %d (%+v), held by %v", pod.UID, pod.Name, addr, at, truth, held)
	}
}

// TestMasqueradeTable is the table of who appears at the sender's NIC. Sources per line:
// overlay and kubenet https://learn.microsoft.com/azure/aks/concepts-network-azure-cni-overlay,
// flat modes https://learn.microsoft.com/azure/aks/concepts-network-legacy-cni, platform
// addresses Azure/azure-container-networking cns/restserver/internalapi_linux.go, same node
// https://learn.microsoft.com/azure/network-watcher/vnet-flow-logs-aks-scenarios.
func TestMasqueradeTable(t *testing.T) {
	table := []struct {
		class Class
		node  map[Mode]bool // the node's address appears
	}{
		{ToOtherNode, map[Mode]bool{Kubenet: false, Overlay: false, NodeSubnet: false, PodSubnet: false}},
		{ToNodeAddress, map[Mode]bool{Kubenet: true, Overlay: true, NodeSubnet: false, PodSubnet: false}},
		{ToVM, map[Mode]bool{Kubenet: true, Overlay: true, NodeSubnet: false, PodSubnet: false}},
		{ToPeered, map[Mode]bool{Kubenet: true, Overlay: true, NodeSubnet: true, PodSubnet: false}},
		{ToOnPrem, map[Mode]bool{Kubenet: true, Overlay: true, NodeSubnet: true, PodSubnet: false}},
		{ToInternet, map[Mode]bool{Kubenet: true, Overlay: true, NodeSubnet: true, PodSubnet: false}},
		{ToPlatform, map[Mode]bool{Kubenet: true, Overlay: true, NodeSubnet: true, PodSubnet: true}},
	}
	for _, mode := range Modes {
		cfg := small(DefaultConfig(), mode)
		cfg.DualStack = true
		w := Generate(cfg)
		seen := map[Class]int{}
		translated := 0
		for truth := range w.Truth() {
			if truth.Class == ToSameNode {
				t.Fatalf("%s: pod to pod on one node was logged", mode)
			}
			if truth.SrcPod == nil || truth.SrcPod.HostNetwork {
				continue
			}
			seen[truth.Class]++
			if truth.Masked && truth.SrcPort < ephemeralLow {
				translated++
			}
			for _, line := range table {
				if line.class == truth.Class && line.node[mode] != truth.Masked {
					t.Fatalf("%s, %s: masked is %v, want %v: %+v", mode, truth.Class, truth.Masked, line.node[mode], truth)
				}
			}
		}
		for _, line := range table {
			if seen[line.class] == 0 {
				t.Errorf("%s: no row of class %s", mode, line.class)
			}
		}
		if w.Unlogged[ToSameNode] == 0 || mode != PodSubnet && translated == 0 {
			t.Errorf("%s: %d flows inside nodes, %d rows with a translated port; want both", mode, w.Unlogged[ToSameNode], translated)
		}
	}
}

func TestOneHolderAtATime(t *testing.T) {
	for _, mode := range Modes {
		w := Generate(small(DefaultConfig(), mode))
		soon := 0
		for i := 1; i < len(w.Holds); i++ {
			a, b := w.Holds[i-1], w.Holds[i]
			if a.Addr != b.Addr || a.Host {
				continue
			}
			if b.From < a.To {
				t.Errorf("%s: %v held by %s until %d and by %s from %d", mode, a.Addr, a.UID, a.To, b.UID, b.From)
			}
			if b.From-a.To < 5000 {
				soon++
			}
		}
		if soon < 10 {
			t.Errorf("%s: %d addresses used again within 5 s, want 10", mode, soon)
		}
	}
}

func TestPlannedTimesAreInOrder(t *testing.T) {
	w := Generate(small(AllFaults(), Overlay))
	names := map[string]int{}
	for _, p := range w.Pods {
		names[p.Namespace+"/"+p.Name]++
		times := []int64{p.created, p.scheduled, p.acked}
		for _, s := range p.Sandboxes {
			times = append(times, s.From, s.sendFrom, s.sendTo, s.To)
		}
		if !slices.IsSorted(times) {
			t.Errorf("pod %s: times %v", p.Name, times)
		}
	}
	if most := slices.MaxFunc(mapValues(names), cmp.Compare[int]); most < 3 {
		t.Errorf("no name was used three times")
	}
}

func mapValues[K comparable](m map[K]int) (out []int) {
	for _, v := range m {
		out = append(out, v)
	}
	return out
}
