package sim

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/whichpod/whichpod/flow"
)

// TestConntrackTellsThePod follows each masked flow that began during the run: exactly one
// connection has its translated tuple then, and it is the sender's.
func TestConntrackTellsThePod(t *testing.T) {
	cfg := small(AllFaults(), Overlay)
	cfg.Faults.ClockSkew = 0
	w := Generate(cfg)
	for node := range cfg.Nodes {
		var out bytes.Buffer
		if err := w.WriteConntrack(&out, node); err != nil {
			t.Fatal(err)
		}
		senders, open := map[string]string{}, map[string]string{} // translated tuple at ms → pod's address
		for line := range strings.Lines(out.String()) {
			f := strings.Fields(line)
			var sec, micro int64
			fmt.Sscanf(f[0], "[%d.%d]", &sec, &micro)
			i := strings.Index(line, "src=")
			parts := strings.Fields(strings.ReplaceAll(line[i:], "[UNREPLIED]", ""))
			reply := strings.Join(parts[4:8], " ") + " " + f[5]
			if f[1] == "[NEW]" {
				if open[reply] != "" {
					t.Fatalf("node %d: %s is translated for %s and for %s", node, reply, open[reply], parts[0])
				}
				open[reply] = parts[0]
				senders[fmt.Sprint(sec*1000+micro/1000, reply)] = parts[0]
			}
			if f[1] == "[DESTROY]" {
				delete(open, reply)
			}
		}
		found := 0
		for truth := range w.Truth() {
			if !truth.Masked || truth.State != flow.Begin || truth.Direction != flow.Outbound || truth.NIC != w.NICs[node].MAC || truth.Time != truth.Begin {
				continue
			}
			reply := pair(truth.Dst, truth.Src, truth.DstPort, truth.SrcPort) + " " + fmt.Sprint(truth.Protocol)
			got := senders[fmt.Sprint(truth.Begin, reply)]
			ok := false
			for _, s := range truth.SrcPod.Sandboxes {
				ok = ok || got == "src="+s.Addr.String() || got == "src="+s.Addr6.String()
			}
			if !ok {
				t.Fatalf("node %d: %s at %d is of %q, want %s", node, reply, truth.Begin, got, truth.SrcPod.Name)
			}
			found++
		}
		if found < 1000 {
			t.Errorf("node %d: %d masked flows, want 1000", node, found)
		}
	}
}
