package podlog

import (
	"bufio"
	"encoding/json"
	"net/netip"
	"os"
	"path/filepath"
	"testing"

	"github.com/whichpod/whichpod/attribution"
	"github.com/whichpod/whichpod/attribution/nat"
	"github.com/whichpod/whichpod/attribution/natlog"
	"github.com/whichpod/whichpod/flow"
)

// Recordings of a real kubelet, with the truth beside them. They stand beside the
// repository, since they are too large for it.
const realSamples = "../../../shared/samples"

// truthLine says which pod sent a tuple.
type truthLine struct {
	NIC    string     `json:"nic"`
	Time   int64      `json:"t"`
	Begin  int64      `json:"begin"`
	Src    netip.Addr `json:"src"`
	Dst    netip.Addr `json:"dst"`
	Port   uint16     `json:"dport"`
	Sport  uint16     `json:"sport"`
	Proto  uint8      `json:"proto"`
	Masked bool       `json:"masked"`
	SrcPod *struct {
		UID string `json:"uid"`
	} `json:"src_pod"`
}

// realNode reads a recording's journal and hands each line of its truth to fn, with
// what is said of the source.
func realNode(t *testing.T, name, config string, fn func(l *truthLine, r *attribution.Resolution)) {
	t.Helper()
	realNodeWith(t, name, config, nil, fn)
}

// realNodeWith does so with evidence of what the node translated.
func realNodeWith(t *testing.T, name, config string, evidence *nat.Store, fn func(l *truthLine, r *attribution.Resolution)) {
	t.Helper()
	dir := filepath.Join(realSamples, name)
	if _, err := os.Stat(dir); err != nil {
		t.Skipf("no recordings here: %v", err)
	}
	file, err := os.ReadFile(filepath.Join(dir, "podwatch.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	l := attribution.NewLedger()
	if sum := readInto(t, l, string(file), Options{}); sum.Rejections != 0 || sum.Undated != 0 || sum.Pods == 0 {
		t.Fatalf("summary is %+v", sum)
	}
	cfg, err := attribution.ParseConfig([]byte(config))
	if err != nil {
		t.Fatal(err)
	}
	v := l.View(cfg).WithNAT(evidence)
	truth, err := os.Open(filepath.Join(dir, "truth.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	defer truth.Close()
	lines := bufio.NewScanner(truth)
	for n := 0; lines.Scan(); n++ {
		var tl truthLine
		if err := json.Unmarshal(lines.Bytes(), &tl); err != nil {
			t.Fatal(err)
		}
		q := attribution.Question{Address: tl.Src, Begin: flow.Span{From: tl.Begin, To: tl.Begin}, NIC: tl.NIC, Near: true, Sent: true, Destination: tl.Dst, DestinationPort: tl.Port, SourcePort: tl.Sport, Protocol: tl.Proto}
		r := v.Resolve(q)
		if evidence == nil || n%50 == 0 { // the oracle reads all evidence for each row
			if naive := v.Naive(q); !naive.Same(r) {
				t.Errorf("%+v: got %s, the oracle says %s", tl, text(r), text(naive))
			}
		}
		fn(&tl, r)
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
}

// Pod subnet: each row shows the pod's own address.
func TestRealPodSubnet(t *testing.T) {
	t.Parallel()
	count := map[attribution.Verdict]int{}
	realNode(t, "real-node-podsubnet", "clusters: [{name: c, network: pod-subnet, podCIDRs: [10.244.0.0/16]}]", func(l *truthLine, r *attribution.Resolution) {
		count[r.Verdict]++
		switch {
		case r.Verdict == attribution.Exact && r.Pod().UID == l.SrcPod.UID:
		case r.Verdict == attribution.Boundary && r.Has(l.SrcPod.UID):
		default:
			t.Errorf("%+v was %s: got %s", l, l.SrcPod.UID, text(r))
		}
	})
	t.Logf("%v", count)
	if n := count[attribution.Exact]; n < 9*count[attribution.Boundary] {
		t.Errorf("%v: want nine of ten to be exact", count)
	}
}

// Kubenet: the rows show the node's address; the right pod is among those behind it.
func TestRealKubenet(t *testing.T) {
	t.Parallel()
	count := map[attribution.Verdict]int{}
	realNode(t, "real-node-kubenet", "clusters: [{name: c, network: kubenet, podCIDRs: [10.244.0.0/16]}]", func(l *truthLine, r *attribution.Resolution) {
		count[r.Verdict]++
		if !l.Masked || (r.Verdict != attribution.Masked && r.Verdict != attribution.Gap) || !r.Has(l.SrcPod.UID) {
			t.Errorf("%+v was %s: got %s", l, l.SrcPod.UID, text(r))
		}
	})
	t.Logf("%v", count)
	if count[attribution.Masked] == 0 {
		t.Errorf("%v: want rows that are masked", count)
	}
}

// The same rows with what the node's own kernel translated, of which the recording has
// ports that were given again a millisecond later: nearly all are exact, and right.
func TestRealKubenetWithEvidence(t *testing.T) {
	t.Parallel()
	file, err := os.Open(filepath.Join(realSamples, "real-node-kubenet", "conntrack", "real-node-1.txt"))
	if err != nil {
		t.Skipf("no recordings here: %v", err)
	}
	defer file.Close()
	store, err := nat.Open(t.TempDir(), nat.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	w, err := store.Begin(nat.Import{Cluster: "c", Kind: "conntrack", Name: file.Name()})
	if err != nil {
		t.Fatal(err)
	}
	sum, err := natlog.Read(file, natlog.Options{Node: "real-node-1"}, w)
	if err != nil || sum.Rejected != 0 || sum.Losses != 2 || sum.Flows == 0 { // at its end it was quiet for 13 and for 10 seconds
		t.Fatalf("got %+v, %v", sum, err)
	}
	if _, err := w.Commit(""); err != nil {
		t.Fatal(err)
	}
	rows, exact := 0, 0
	realNodeWith(t, "real-node-kubenet", "clusters: [{name: c, network: kubenet, podCIDRs: [10.244.0.0/16]}]", store, func(l *truthLine, r *attribution.Resolution) {
		rows++
		switch {
		case r.Verdict == attribution.Exact && r.Pod().UID == l.SrcPod.UID && r.Pod().Sources.String() == "nat":
			exact++
		case r.Verdict == attribution.Exact || !r.Has(l.SrcPod.UID):
			t.Errorf("%+v was %s: got %s", l, l.SrcPod.UID, text(r))
		}
	})
	t.Logf("%d of %d rows are exact", exact, rows)
	if exact*1000 < rows*990 {
		t.Errorf("%d of %d rows are exact, want 99 %%", exact, rows)
	}
}
