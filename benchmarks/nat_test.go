package benchmarks

import (
	"context"
	"flag"
	"fmt"
	"io"
	"testing"
	"time"

	"github.com/whichpod/whichpod/attribution"
	"github.com/whichpod/whichpod/attribution/nat"
	"github.com/whichpod/whichpod/attribution/natlog"
	"github.com/whichpod/whichpod/benchmarks/sim"
	"github.com/whichpod/whichpod/query"
)

var natFlows = flag.Float64("nat.flows", 30_000, "flows that TestNATEvidence simulates, about, under each mode")

// What the nodes' kernels translated names the pod behind a masked row: never a wrong
// one, and nearly always. Ports are given again to other pods and to the nodes' own
// processes two seconds after their last connection, and most flows want one that was
// used lately. The table that is logged is the measure; -nat.flows=1e6 is the full one.
func TestNATEvidence(t *testing.T) {
	t.Logf("%-12s %-10s %9s %9s %9s %9s %9s", "mode", "evidence", "rows", "masked", "exact", "wrong", "share")
	for _, mode := range sim.Modes {
		cfg := hostile(mode, *natFlows)
		w := sim.Generate(cfg)
		for _, with := range []bool{false, true} {
			var store *nat.Store
			name := "none"
			if with {
				store, name = evidence(t, w), "conntrack"
			}
			s := lift(t, loadWith(t, w, named, store, nil), w)
			t.Logf("%-12s %-10s %9d %9d %9d %9d %8.2f%%", mode, name, s.rows, s.masked, s.exact, s.wrong, 100*s.share())
			switch {
			case s.wrong > 0 || s.lost > 0:
				t.Errorf("%s: %d wrong pods, %d rows without the right one", mode, s.wrong, s.lost)
			case !with && s.exact > 0:
				t.Errorf("%s: %d masked rows are exact without evidence", mode, s.exact)
			case with && s.share() < 0.99:
				t.Errorf("%s: %.4f of the masked rows are exact, want 0.99", mode, s.share())
			case s.masked == 0:
				t.Errorf("%s: no row is masked", mode)
			}
		}
	}
}

// hostile is a cluster whose nodes give ports again as soon as they can.
func hostile(mode sim.Mode, flows float64) sim.Config {
	cfg := sim.DefaultConfig()
	cfg.Mode, cfg.Seed = mode, 11
	cfg.Warmup, cfg.Duration = 0, 30*time.Minute
	cfg.MeanLifetime, cfg.AddressesPerNode = 4*time.Minute, 20
	cfg.Traffic.PortReuse, cfg.Traffic.TimeWait, cfg.Traffic.NodeAbroad = 0.4, 2*time.Second, 0.25
	cfg.Traffic.FlowsPerSecond = flows / float64(cfg.Nodes*cfg.PodsPerNode) / cfg.Duration.Seconds()
	cfg.Traffic.NodeFlows = 2 * cfg.Traffic.FlowsPerSecond
	cfg.Faults.ClockSkew = 400 * time.Millisecond
	return cfg
}

// evidence is what all nodes of a world print of their connections.
func evidence(t testing.TB, w *sim.World) *nat.Store {
	t.Helper()
	store, err := nat.Open(t.TempDir(), nat.Options{})
	must(t, err)
	t.Cleanup(func() { must(t, store.Close()) })
	for i := range w.Config.Nodes {
		importNode(t, store, w, i, w.NICs[i].Name)
	}
	return store
}

func importNode(t testing.TB, store *nat.Store, w *sim.World, i int, name string) {
	t.Helper()
	r, to := io.Pipe()
	go func() { to.CloseWithError(w.WriteConntrack(to, i)) }()
	im, err := store.Begin(nat.Import{Cluster: w.Config.Cluster, Kind: "conntrack", Name: fmt.Sprint(i)})
	must(t, err)
	sum, err := natlog.Read(r, natlog.Options{Node: name}, im)
	must(t, err)
	if sum.Rejected > 0 || sum.Flows == 0 {
		t.Fatalf("node %d: %+v", i, sum)
	}
	_, err = im.Commit("")
	must(t, err)
}

// liftScore counts rows whose source pod is behind a node's address.
type liftScore struct{ rows, masked, exact, wrong, lost int }

func (s *liftScore) share() float64 { return float64(s.exact) / float64(max(s.masked, 1)) }

// lift compares each row's source with the truth.
func lift(t testing.TB, e *query.Engine, w *sim.World) (s liftScore) {
	t.Helper()
	truth := truthByPlace(w)
	err := e.All(context.Background(), 0, 0, func(a query.Attributed, _ func(int) bool) error {
		for i := range a.Len() {
			tr, ok := truth[place{a.Blob(i), a.Offset[i]}]
			if !ok {
				return fmt.Errorf("row at %s:%d is not in the truth", a.Blob(i), a.Offset[i])
			}
			s.rows++
			r, uid := a.Joined.Src[i], ""
			if tr.SrcPod != nil {
				uid = tr.SrcPod.UID
			}
			hidden := tr.Masked && uid != ""
			if hidden {
				s.masked++
			}
			switch {
			case r.Verdict == attribution.Exact && r.Candidates[0].UID != uid:
				s.wrong++
				t.Logf("wrong: %s, flow begun %v, is %+v, said %+v by %+v", tr.Row.Tuple(), a.Begins[i], tr.SrcPod, r.Candidates[0], a.Translated(i))
			case r.Verdict == attribution.Exact && hidden:
				s.exact++
			case hidden && r.Verdict != attribution.Gap && !r.Has(uid):
				s.lost++
			}
		}
		return nil
	})
	must(t, err)
	return s
}
