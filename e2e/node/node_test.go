//go:build e2e

package node_test

import (
	"bytes"
	"fmt"
	"maps"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/whichpod/whichpod/attribution"
	"github.com/whichpod/whichpod/e2e/kube"
	"github.com/whichpod/whichpod/e2e/process"
	"github.com/whichpod/whichpod/e2e/rig"
)

const (
	clusterName = "e2e"
	seed        = 20261123
	// settled is how old a watch must be before much can be exact: pods that nobody saw
	// may go on for a minute after it began (attribution, unseenTail).
	settled = 65 * time.Second
	// sampled is how often the recorder takes the counters of all connections.
	sampled = 10 * time.Second
	// lasts is how long pods come and go after that, in each mode. Addresses are used
	// again after less than half a minute.
	lasts = 50 * time.Second
	// often is how many rows must be exact. Pods live for half a minute here, and each
	// leaves doubt around its ends, the longer the slower the machine is: two cores with
	// nothing else to do show 97 to 99 %.
	often = 0.9
)

// Whom the pods call: somebody in the internet, a VM in the VNet, and Azure's DNS.
var targets = []string{"tcp/203.0.113.66:8443", "tcp/10.224.0.66:443", "udp/168.63.129.16:53"}

// Pods come and go, with a watch beside them, at first under the rules of pod-subnet,
// then under those of kubenet. Then it is asked who sent what: with the ledger of that
// watch, and with one that is made of the audit log alone.
func TestNode(t *testing.T) {
	for _, target := range targets {
		_, address, _ := strings.Cut(target, "/")
		rig.VNet.Do(t, fmt.Sprintf("ip addr add %s/32 dev lo", netip.MustParseAddrPort(address).Addr()))
	}
	server := rig.VNet.Serve(t, "", targets...)
	c := newControlPlane(t)
	ledgers := map[string]string{"watch": t.TempDir(), "audit": t.TempDir()}
	watch := rig.VNet.Start(t, nil, rig.Program("whichpod"), "watch", "--cluster", clusterName, "--data", ledgers["watch"], "--kubeconfig", c.Kubeconfig(t, "admin", c.Port()))
	process.Until(t, "the watch has listed the pods", func() bool { return bytes.Contains(watch.Log.Bytes(), []byte("listed all pods")) })
	node := newNode(t, c)
	shipped := t.TempDir()
	agent := node.Start(t, nil, rig.Program("whichpod"), "agent", "--cluster", clusterName, "--node", nodeName, "--out", shipped, "--spool", t.TempDir())
	recorder := rig.StartRecorder(t, sampled)
	drills := newDrills(t, c, node, recorder, server)
	d := startChurn(c, seed, targets...)

	began := time.Now()
	node.Masquerade(t, attribution.PodSubnet, nil)
	time.Sleep(settled) // nothing is waited for: this is what the recording is of
	drills.during(t, lasts, attribution.PodSubnet)
	native := stretch{attribution.PodSubnet, began, began.Add(settled), time.Now()}
	node.ClearMasquerade(t)
	node.Masquerade(t, attribution.Kubenet, []netip.Prefix{podCIDR})
	began = time.Now()
	drills.during(t, lasts, attribution.Kubenet)
	d.stop(t)
	masked := stretch{attribution.Kubenet, began, began, time.Now()}

	caughtUp(t, c, ledgers["watch"])
	drills.stop(t)
	for name, p := range map[string]*process.Process{"watch": watch, "agent": agent} {
		if code := p.End(syscall.SIGTERM); code != 0 {
			t.Errorf("whichpod %s: exit code %d, want 0", name, code)
		}
	}
	files := writeAudit(t, c.audit)
	rig.Whichpod(t, ledgers["audit"], append([]string{"import", "pods", "--cluster", clusterName, "--format", "kube-audit"}, files...))
	flows, calls := recorder.Stop(t), server.Calls(t)
	if i := slices.IndexFunc(calls, func(c rig.Call) bool { return c.UID == "" }); i >= 0 {
		t.Fatalf("nobody says who made the call %+v", calls[i])
	}
	for _, s := range []stretch{native, masked} {
		r := newRecording(t, d, node, s, flows, calls)
		r.happened(t)
		for source, data := range ledgers {
			t.Run(fmt.Sprintf("%s/%s", s.mode, source), func(t *testing.T) { r.judge(t, source, data) })
			t.Run(fmt.Sprintf("%s/%s and agent", s.mode, source), func(t *testing.T) { r.lifted(t, data, shipped) })
		}
	}
}

// caughtUp waits until the ledger of a watch says that the present is watched: what was
// still under way when the watch ends would count as missed. It changes a pod that no
// node has now and then, so that there is something to see.
func caughtUp(t *testing.T, c *controlPlane, data string) {
	t.Helper()
	since := time.Now().UnixMilli()
	process.Must(t, c.send(http.MethodPost, pods, &object{APIVersion: "v1", Kind: "Pod", Metadata: &metadata{Name: "touched"}, Spec: &spec{Containers: []container{{Name: "c", Image: image}}}}, nil))
	process.Until(t, "the watch catches up", func() bool {
		body := object{Metadata: &metadata{Labels: map[string]string{"at": fmt.Sprint(time.Now().UnixMilli())}}}
		process.Must(t, c.Send(t.Context(), kube.Request{Method: http.MethodPatch, Path: pods + "/touched", Kind: "application/merge-patch+json", Body: body}, nil))
		l, err := attribution.OpenLedger(filepath.Join(data, "ledger"), attribution.Options{ReadOnly: true})
		process.Must(t, err)
		for _, s := range l.View(attribution.DefaultConfig()).Stats() {
			if n := len(s.Watched); s.Name == clusterName && n > 0 && s.Watched[n-1].To >= since {
				return true
			}
		}
		return false
	})
}

// stretch is a time in which one network mode was in force. All was settled in its
// second part.
type stretch struct {
	mode              attribution.Network
	from, settled, to time.Time
}

// recording is what was logged in one stretch, with the truth.
type recording struct {
	stretch
	rows          []rig.Row
	truth         rig.Truth
	kinds         map[string]string // of the pods, by UID
	blobs, config string
}

func newRecording(t *testing.T, d *churn, node *rig.Node, s stretch, flows []*rig.Flow, calls []rig.Call) *recording {
	t.Helper()
	r := &recording{stretch: s, kinds: d.kinds, blobs: t.TempDir(), config: filepath.Join(t.TempDir(), "config.yaml")}
	r.truth, _ = rig.NewTruth(t, flows, calls) // what was called before the recording began is unseen
	var begun []*rig.Flow
	for _, f := range flows {
		if f.Begin >= s.from.UnixMilli() && f.Begin < s.to.UnixMilli() {
			begun = append(begun, f)
		} else {
			delete(r.truth, f)
		}
	}
	r.rows = rig.Rows(begun, []*rig.Node{node})
	rig.WriteFlowLog(t, r.blobs, r.rows)
	process.Must(t, os.WriteFile(r.config, fmt.Appendf(nil, "clusters: [{name: %s, network: %s, vnetCIDRs: [10.224.0.0/12], podCIDRs: [%s]}]\n", clusterName, s.mode, podCIDR), 0o644))
	return r
}

// happened makes sure that the recording holds what the test is about.
func (r *recording) happened(t *testing.T) {
	t.Helper()
	kinds := make(map[string]int)                     // rows of each kind of pod
	holders := make(map[netip.Addr]map[string]bool)   // pods that called from an address
	addresses := make(map[string]map[netip.Addr]bool) // addresses that a pod called from
	for f, ends := range r.truth {
		kinds[r.kinds[ends.Sender]]++
		a := f.From.Addr()
		if holders[a] == nil {
			holders[a] = make(map[string]bool)
		}
		if addresses[ends.Sender] == nil {
			addresses[ends.Sender] = make(map[netip.Addr]bool)
		}
		holders[a][ends.Sender], addresses[ends.Sender][a] = true, true
	}
	for _, k := range kindsOfPods {
		if kinds[k.name] < 20 {
			t.Errorf("%d flows of pods of the kind %q, want 20 at least", kinds[k.name], k.name)
		}
	}
	t.Logf("%d rows, %d flows of %d pods: %v", len(r.rows), len(r.truth), len(addresses), kinds)
	if r.mode != attribution.PodSubnet {
		return
	}
	reused, moved := 0, 0
	for a, pods := range holders {
		if a != nodeAddress && len(pods) > 1 {
			reused++
		}
	}
	for uid, list := range addresses {
		delete(list, nodeAddress) // to Azure's DNS
		if r.kinds[uid] == "sandbox" && len(list) > 1 {
			moved++
		}
	}
	t.Logf("%d addresses were used by several pods; %d pods called from several addresses", reused, moved)
	if reused < 8 || moved < 1 {
		t.Error("too few addresses were used again, or no pod got another, to show anything")
	}
}

// ask asks for every row who sent it, from a ledger that is there, and evidence.
func (r *recording) ask(t *testing.T, ledger string, evidence ...string) []rig.Judged {
	t.Helper()
	data := t.TempDir()
	process.Must(t, os.CopyFS(data, os.DirFS(ledger)))
	rig.Whichpod(t, data, append([]string{"ingest", r.blobs}, evidence...))
	return rig.Judge(t, data, r.config, r.rows, r.truth)
}

// hidden says whether a row shows the node's address for a pod's.
func (r *recording) hidden(j *rig.Judged) bool {
	return r.ripe(j) && j.SrcIP == nodeAddress && j.Sender != "" && r.kinds[j.Sender] != "host"
}

// lifted holds the answers against the truth where there is an agent's evidence.
func (r *recording) lifted(t *testing.T, ledger, evidence string) {
	all := r.ask(t, ledger, evidence)
	hidden := rig.Count(all, r.hidden)
	others := rig.Count(all, func(j *rig.Judged) bool { return !r.hidden(j) })
	hidden.Report(t, "under the node's address")
	others.Report(t, "all others")
	if hidden.Rows == 0 || hidden.Share("exact") < often {
		t.Errorf("%.1f %% of %d rows under the node's address are exact, want %.0f %%", 100*hidden.Share("exact"), hidden.Rows, 100*often)
		r.doubtful(t, all, r.hidden)
	}
}

// doubtful logs of each pod which of the chosen rows are not exact: whether some are of
// all pods in a time, or all of one pod, tells what became of the share.
func (r *recording) doubtful(t *testing.T, all []rig.Judged, chosen func(*rig.Judged) bool) {
	t.Helper()
	type rows struct{ n, exact, first, last int64 }
	pods := make(map[string]*rows)
	for i := range all {
		j := &all[i]
		if !chosen(j) {
			continue
		}
		p := pods[j.Sender]
		if p == nil {
			p = &rows{}
			pods[j.Sender] = p
		}
		if p.n++; j.SrcVerdict == "exact" {
			p.exact++
			continue
		}
		if p.first == 0 {
			p.first = j.Row.Time
		}
		p.first, p.last = min(p.first, j.Row.Time), max(p.last, j.Row.Time)
	}
	for _, uid := range slices.Sorted(maps.Keys(pods)) {
		if p := pods[uid]; p.exact < p.n {
			t.Logf("%s %s: %d of %d rows are not exact, from %s to %s", r.kinds[uid], uid, p.n-p.exact, p.n, time.UnixMilli(p.first).UTC().Format(time.TimeOnly+".000"), time.UnixMilli(p.last).UTC().Format(time.TimeOnly+".000"))
		}
	}
}

// judge holds the answers against the truth without such evidence.
func (r *recording) judge(t *testing.T, source, ledger string) {
	all := r.ask(t, ledger)
	early := rig.Count(all, func(j *rig.Judged) bool { return !r.ripe(j) })
	own := rig.Count(all, func(j *rig.Judged) bool { return r.ripe(j) && podCIDR.Contains(j.SrcIP) })
	shared := rig.Count(all, r.hidden)
	host := rig.Count(all, func(j *rig.Judged) bool { return r.ripe(j) && r.kinds[j.Sender] == "host" })
	early.Report(t, "when the watch was young")
	own.Report(t, "under the pod's address")
	shared.Report(t, "under the node's address")
	host.Report(t, "of host-network pods")
	if r.mode == attribution.PodSubnet && own.Share("exact") < often {
		t.Errorf("%.1f %% of %d rows under the pod's address are exact, want %.0f %%", 100*own.Share("exact"), own.Rows, 100*often)
		r.doubtful(t, all, func(j *rig.Judged) bool { return r.ripe(j) && podCIDR.Contains(j.SrcIP) })
	}
	if r.mode == attribution.Kubenet && own.Rows > 0 {
		t.Errorf("%d rows show a pod's address: the node does not masquerade", own.Rows)
	}
	// An audit log shows who is on a node, but not that nobody else is (docs/verdicts.md).
	if n := shared.Verdicts["masked"] + shared.Verdicts["gap"]; shared.Rows == 0 || shared.Named < shared.Rows || n < shared.Rows {
		t.Errorf("of %d rows under the node's address %d are masked or a gap, and %d name the sender; want all", shared.Rows, n, shared.Named)
	}
	if source == "watch" && shared.Share("masked") < 0.95 {
		t.Errorf("%.1f %% of %d rows under the node's address are masked, want 95 %%", 100*shared.Share("masked"), shared.Rows)
	}
	if host.Rows == 0 || host.Verdicts["exact"] > 0 {
		t.Errorf("%d of %d rows of host-network pods are exact, want none", host.Verdicts["exact"], host.Rows)
	}
}

// ripe says whether all was settled when the row's flow began.
func (r *recording) ripe(j *rig.Judged) bool { return j.Flow.Begin >= r.settled.UnixMilli() }
