package sim

import (
	"bytes"
	"strings"
	"testing"
	"time"
)

// A node that is replaced leaves nobody behind, and its addresses go to the next: pods that
// have the same ones, on a node with another name, whose interface logs them.
func TestReplacedNode(t *testing.T) {
	for _, mode := range Modes {
		cfg := AllFaults()
		cfg.Mode, cfg.Duration, cfg.Warmup, cfg.Replaced, cfg.Faults.LostFor = mode, 25*time.Minute, 5*time.Minute, 2, time.Minute
		w := Generate(cfg)
		for i := range cfg.Replaced {
			n := &w.NICs[i]
			first, next := n.Lives()[0], n.Lives()[1]
			if first.To >= next.From || first.Name == next.Name || first.MAC == next.MAC {
				t.Fatalf("%s: lives %+v", mode, n.Lives())
			}
			had, again, both := map[string]bool{}, 0, 0
			for _, p := range w.Pods {
				for _, s := range p.Sandboxes {
					switch {
					case p.Node != i:
					case p.NodeName == first.Name && s.To > first.To, p.NodeName == next.Name && s.From < next.From:
						t.Errorf("%s: %s on %s has its address from %d to %d, the node lives %+v", mode, p.Name, p.NodeName, s.From, s.To, n.Lives())
					case p.NodeName == first.Name:
						had[s.Addr.String()] = true
					case had[s.Addr.String()] && !p.HostNetwork:
						again++
					}
				}
			}
			for tr := range w.Truth() {
				if at := tr.Time - n.Skew; tr.NIC == first.MAC && at > first.To+2 || tr.NIC == next.MAC && at < next.From-2 {
					t.Errorf("%s: %s is logged at %s, which lives %+v", mode, tr.Tuple(), tr.NIC, n.Lives())
				} else if tr.NIC == next.MAC {
					both++
				}
			}
			if both == 0 || again == 0 && mode.PerNode() {
				t.Errorf("%s: the next node logs %d rows, and its pods have %d addresses again", mode, both, again)
			}
		}
		var journal bytes.Buffer
		if err := w.WriteObjects(&journal); err != nil {
			t.Fatal(err)
		}
		for _, l := range w.NICs[0].Lives() {
			if !strings.Contains(journal.String(), l.Name) {
				t.Errorf("%s: the journal lacks %s", mode, l.Name)
			}
		}
	}
}
