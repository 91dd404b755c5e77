package benchmarks

import (
	"flag"
	"testing"
	"time"

	"github.com/whichpod/whichpod/attribution"
	"github.com/whichpod/whichpod/benchmarks/sim"
	"github.com/whichpod/whichpod/benchmarks/trial"
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
		tr := load(t, trial.Options{}, sim.Generate(hostile(mode, *natFlows)))
		judge := func(evidence string, e *query.Engine) liftScore {
			s := lift(t, tr, e)
			t.Logf("%-12s %-10s %9d %9d %9d %9d %8.2f%%", mode, evidence, s.rows, s.masked, s.exact, s.wrong, 100*s.share())
			if s.wrong > 0 || s.lost > 0 {
				t.Errorf("%s: %d wrong pods, %d rows without the right one", mode, s.wrong, s.lost)
			}
			if s.masked == 0 {
				t.Errorf("%s: no row is masked", mode)
			}
			return s
		}
		if s := judge("none", tr.Engine()); s.exact > 0 {
			t.Errorf("%s: %d masked rows are exact without evidence", mode, s.exact)
		}
		must(t, tr.WithNAT(func(e *query.Engine) error {
			if s := judge("conntrack", e); s.share() < 0.99 {
				t.Errorf("%s: %.4f of the masked rows are exact, want 0.99", mode, s.share())
			}
			return nil
		}))
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

// liftScore counts rows whose source pod is behind a node's address.
type liftScore struct{ rows, masked, exact, wrong, lost int }

func (s *liftScore) share() float64 { return float64(s.exact) / float64(max(s.masked, 1)) }

// lift compares each row's source with the truth.
func lift(t testing.TB, tr *trial.Trial, e *query.Engine) (s liftScore) {
	t.Helper()
	must(t, tr.Rows(t.Context(), e, func(row trial.Row) {
		s.rows++
		r, uid := row.SaidSrc, ""
		if row.SrcPod != nil {
			uid = row.SrcPod.UID
		}
		hidden := row.Masked && uid != ""
		if hidden {
			s.masked++
		}
		switch {
		case r.Verdict == attribution.Exact && r.Candidates[0].UID != uid:
			s.wrong++
			t.Logf("wrong: %s, flow begun %v, is %+v, said %+v by %+v", row.Row.Tuple(), row.Begun(), row.SrcPod, r.Candidates[0], row.Among.Translated(row.Index))
		case r.Verdict == attribution.Exact && hidden:
			s.exact++
		case hidden && r.Verdict != attribution.Gap && !r.Has(uid):
			s.lost++
		}
	}))
	return s
}
