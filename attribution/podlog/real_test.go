package podlog

import (
	"bufio"
	"encoding/json"
	"net/netip"
	"os"
	"path/filepath"
	"testing"

	"github.com/whichpod/whichpod/attribution"
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
	Masked bool       `json:"masked"`
	SrcPod *struct {
		UID string `json:"uid"`
	} `json:"src_pod"`
}

// realNode reads a recording's journal and hands each line of its truth to fn, with
// what is said of the source.
func realNode(t *testing.T, name, config string, fn func(l *truthLine, r *attribution.Resolution)) {
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
	v := l.View(cfg)
	truth, err := os.Open(filepath.Join(dir, "truth.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	defer truth.Close()
	lines := bufio.NewScanner(truth)
	for lines.Scan() {
		var tl truthLine
		if err := json.Unmarshal(lines.Bytes(), &tl); err != nil {
			t.Fatal(err)
		}
		q := attribution.Question{Address: tl.Src, Begin: flow.Span{From: tl.Begin, To: tl.Begin}, NIC: tl.NIC, Near: true, Sent: true, Destination: tl.Dst, DestinationPort: tl.Port}
		r := v.Resolve(q)
		if naive := v.Naive(q); !naive.Same(r) {
			t.Errorf("%+v: got %s, the oracle says %s", tl, text(r), text(naive))
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
