package query

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/apache/arrow/go/v17/arrow/memory"

	"github.com/whichpod/whichpod/attribution"
	"github.com/whichpod/whichpod/flow"
	"github.com/whichpod/whichpod/index"
)

// Times in tests are seconds after ten o'clock.
var ten = time.Date(2026, 11, 23, 10, 0, 0, 0, time.UTC)

func sec(s float64) int64 { return ten.UnixMilli() + int64(s*1000) }

func addr(s string) netip.Addr { return netip.MustParseAddr(s) }

const (
	aIP, bIP   = "10.244.0.9", "10.244.1.5" // of pods; aIP is a's, then a2's
	nIP, mIP   = "10.224.0.4", "10.224.0.5" // of nodes
	internet   = "203.0.113.66"
	nNIC, mNIC = "000D3A00000A", "000D3A00000B"
	blob       = "flowLogResourceID=/X/y=2026/m=11/d=23/h=10/m=00/macAddress=000D3A00000A/PT1H.json"
)

// pod makes a fact: taken on, address seen and running from then, until the kubelet's
// word (0: it lives).
func pod(uid, name, node, nodeIP, ip string, made, stopped float64) attribution.Fact {
	b := attribution.Bounds{SeenBy: sec(made + 2), SeenLast: sec(made + 2), RunningBy: sec(made + 1), AliveAt: sec(made + 1), FirstVersion: uint64(made + 1), LastVersion: uint64(made + 1)}
	if stopped != 0 {
		b.AliveAt, b.StoppedFirst, b.StoppedLast = sec(stopped-1), sec(stopped), sec(stopped)
	}
	f := attribution.Fact{Cluster: "prod", Pod: attribution.PodFact{UID: uid, Presence: b,
		Identity: &attribution.Identity{Namespace: "web", Name: name, Node: node, Owner: "StatefulSet/api", HostAddresses: []netip.Addr{addr(nodeIP)}, Version: uint64(made + 1)}}}
	f.Pod.Presence.NotBefore = sec(made)
	if ip != "" {
		f.Pod.Holdings = []attribution.Holding{{Address: addr(ip), Bounds: b}}
	}
	return f
}

// The cluster of the tests: api-0 is a, then, with the name and the address used
// again, a2; b is on another node. The watch was lost from 2000 to 2100 and ended at 4000.
func cluster() []attribution.Fact {
	watched := func(from, to float64) attribution.Fact {
		return attribution.Fact{Cluster: "prod", Watched: &attribution.Range{From: sec(from), To: sec(to)}}
	}
	a2 := pod("a2", "api-0", "n", nIP, aIP, 1200, 0)
	a2.Pod.Presence.SeenLast, a2.Pod.Holdings[0].Bounds.SeenLast = sec(2100), sec(2100)
	b := pod("b", "api-1", "m", mIP, bIP, 10, 0)
	b.Pod.Presence.SeenLast, b.Pod.Holdings[0].Bounds.SeenLast = sec(2100), sec(2100)
	return []attribution.Fact{watched(-3000, 2000), watched(2100, 4000), pod("a", "api-0", "n", nIP, aIP, 10, 1000), a2, b}
}

func config() attribution.Config {
	cfg := attribution.DefaultConfig()
	cfg.Clusters = []attribution.Cluster{{Name: "prod", Network: attribution.Overlay, PodCIDRs: []netip.Prefix{netip.MustParsePrefix("10.244.0.0/16")}}}
	return cfg
}

// row reads "SRC:PORT DST:PORT DIRECTION STATE SENT RECEIVED"; a dash is a null
// counter. The NIC is n's for an outbound row of n's and so on.
func row(at float64, text string) flow.Row {
	f := strings.Fields(text)
	src, dst := netip.MustParseAddrPort(f[0]), netip.MustParseAddrPort(f[1])
	r := flow.Row{Time: sec(at), Direction: f[2][0], State: f[3][0], Src: src.Addr(), SrcPort: src.Port(), Dst: dst.Addr(), DstPort: dst.Port(), Protocol: 6,
		NIC: nNIC, Encryption: "NX", Allowed: f[3] != "D", Rule: "allow", ACL: "acl", RecordTime: sec(at + 30), Blob: blob}
	if r.Direction == flow.Inbound {
		r.NIC = mNIC
	}
	r.Counters.Null = flow.NullAll
	if f[4] != "-" {
		r.Counters.Null = 0
		if _, err := fmt.Sscan(f[4]+" "+f[5], &r.Counters.BytesSent, &r.Counters.BytesReceived); err != nil {
			panic(err)
		}
		r.Counters.PacketsSent, r.Counters.PacketsReceived = 1, 1
	}
	return r
}

// engine makes one over rows and facts. Offsets count up by a hundred.
func engine(t testing.TB, facts []attribution.Fact, rows ...flow.Row) *Engine {
	t.Helper()
	return engineIn(t, memory.DefaultAllocator, facts, rows...)
}

// engineIn is engine, and what it scans is allocated from mem.
func engineIn(t testing.TB, mem memory.Allocator, facts []attribution.Fact, rows ...flow.Row) *Engine {
	t.Helper()
	store, err := index.Open(filepath.Join(t.TempDir(), "index"), index.Options{Mem: mem})
	must(t, err)
	t.Cleanup(func() { must(t, store.Close()) })
	w, err := store.Writer()
	must(t, err)
	b := flow.NewBuilder(memory.DefaultAllocator)
	defer b.Release()
	for i := range rows {
		rows[i].Offset = int64(100 * (i + 1))
		b.Append(&rows[i])
	}
	if batch := b.NewBatch(); batch != nil {
		must(t, w.Append(batch))
		batch.Release()
		must(t, w.Advance(flow.Position{Blob: blob, Offset: int64(100 * (len(rows) + 1))}, nil))
		must(t, w.Commit())
	}
	must(t, w.Close())
	l := attribution.NewLedger()
	_, err = l.Append(facts...)
	must(t, err)
	e := New(store, l.View(config()))
	e.at(4060) // a minute after the watch of cluster was heard last
	return e
}

// at sets the engine's clock.
func (e *Engine) at(s float64) { e.now = func() time.Time { return time.UnixMilli(sec(s)) } }

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func endpoint(t testing.TB, s string) Endpoint {
	t.Helper()
	if s == "" {
		return Endpoint{}
	}
	e, err := ParseEndpoint(s)
	must(t, err)
	return e
}

func who(t testing.TB, e *Engine, of, to string, q Question) *Answer {
	t.Helper()
	q.Of, q.To = endpoint(t, of), endpoint(t, to)
	a, err := e.Who(context.Background(), q)
	must(t, err)
	return a
}

func talkers(t testing.TB, e *Engine, of string, q Question) *Answer {
	t.Helper()
	q.Of = endpoint(t, of)
	a, err := e.Talkers(context.Background(), q)
	must(t, err)
	return a
}

// text renders an answer: verdict, candidates, rows, bytes each way.
func (a *Answer) text() string {
	out := a.Verdict.String()
	for i := range a.Candidates {
		if c := &a.Candidates[i]; c.Kind == "node" {
			out += " @" + c.Node
		} else {
			out += " " + c.UID
		}
	}
	return fmt.Sprintf("%s rows=%d bytes=%d/%d", out, a.Flows.Rows, a.Flows.BytesSent, a.Flows.BytesReceived)
}

// answersText renders an answer and those inside.
func answersText(a *Answer) string {
	out := []string{a.text()}
	for i := range a.Answers {
		out = append(out, a.Answers[i].text())
	}
	return strings.Join(out, " | ")
}

// tree is a document as encoding/json reads it.
func tree(t testing.TB, v any) map[string]any {
	t.Helper()
	data, err := json.Marshal(v)
	must(t, err)
	var out map[string]any
	must(t, json.Unmarshal(data, &out))
	return out
}
