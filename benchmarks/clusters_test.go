package benchmarks

import (
	"slices"
	"testing"
	"time"

	"github.com/whichpod/whichpod/attribution"
	"github.com/whichpod/whichpod/benchmarks/sim"
	"github.com/whichpod/whichpod/benchmarks/trial"
	"github.com/whichpod/whichpod/query"
)

// Two clusters of one virtual network with the same pod range, and so with the same
// pod addresses at the same times, in one folder of blobs: no row is given to a pod of
// the wrong cluster, with and without what their nodes translated. Rows teach which NIC is
// whose as well as the configuration tells.
func TestClustersWithOnePodRange(t *testing.T) {
	var told [2][2]int // ends that are exact where the configuration names the NICs; without evidence, and with it
	for _, hidden := range []bool{false, true} {
		tr := load(t, trial.Options{HideNICs: hidden}, twins()...)
		check := func(evidence int, e *query.Engine) error {
			for i, s := range rightCluster(t, tr, e, joined) {
				cluster := tr.Worlds[i].Config.Cluster
				t.Logf("evidence %v, NICs named %v: %d ends in %s are exact, %d wrong", evidence > 0, !hidden, s.exact, cluster, s.wrong)
				if !hidden {
					told[evidence][i] = s.exact
				}
				if want := told[evidence][i]; s.wrong > 0 || s.exact < 10_000 || float64(s.exact) < 0.99*float64(want) {
					t.Errorf("evidence %v, NICs named %v: %d ends in %s are exact, %d wrong; %d where they are named", evidence > 0, !hidden, s.exact, cluster, s.wrong, want)
				}
			}
			if hidden {
				rightNICs(t, e, tr.Worlds)
			}
			return nil
		}
		must(t, check(0, tr.Engine()))
		must(t, tr.WithNAT(func(e *query.Engine) error { return check(1, e) }))
	}
}

// Where no row's interface is known, an end is exact only where the other cluster can
// not have had the address either.
func TestClustersOfUnknownNICs(t *testing.T) {
	tr := load(t, trial.Options{HideNICs: true}, twins()...)
	e := tr.Engine()
	scores := rightCluster(t, tr, e, func(r *trial.Row) (src, dst *attribution.Resolution) {
		q := sourceOf(r)
		q.NIC, q.Near = "", false
		src = e.View().Resolve(q)
		return src, e.View().Resolve(attribution.Question{Address: q.Destination, Begin: q.Begin, Answered: r.Among.Answered[r.Index]})
	})
	for i, s := range scores {
		cluster := tr.Worlds[i].Config.Cluster
		t.Logf("%d ends in %s are exact, %d wrong", s.exact, cluster, s.wrong)
		if s.wrong > 0 || s.exact < 5_000 {
			t.Errorf("%d ends in %s are exact, %d wrong", s.exact, cluster, s.wrong)
		}
	}
}

// joined is how the ends of a row were joined with the ledger.
func joined(r *trial.Row) (src, dst *attribution.Resolution) { return r.SaidSrc, r.SaidDst }

// rightNICs compares what rows taught of NICs with the truth: each node's is known, no
// other machine's is, and nothing contradicts it.
func rightNICs(t *testing.T, e *query.Engine, worlds []*sim.World) {
	t.Helper()
	is := make(map[string]string)
	for _, w := range worlds {
		for i := range w.Config.Nodes {
			is[w.NICs[i].MAC] = w.Config.Cluster + "/" + w.NICs[i].Name
		}
	}
	said := e.View().NICs()
	for _, n := range said.Nodes {
		if got := n.Cluster + "/" + n.Node; got != is[n.NIC] {
			t.Errorf("NIC %s is taken to be of %s, and is of %q", n.NIC, got, is[n.NIC])
		}
		delete(is, n.NIC)
	}
	if len(is) > 0 || said.Configured > 0 || len(said.Contradictions) > 0 {
		t.Errorf("%d NICs of nodes are not known, %d are configured; contradictions: %v", len(is), said.Configured, said.Contradictions)
	}
}

// twins are clusters that share all but their nodes' addresses.
func twins() []*sim.World {
	return []*sim.World{sim.Generate(twin("east", 3, 0)), sim.Generate(twin("west", 4, 500))}
}

func twin(name string, seed uint64, from int) sim.Config {
	cfg := sim.DefaultConfig()
	cfg.Cluster, cfg.Seed, cfg.NodesFrom = name, seed, from
	cfg.Duration, cfg.Warmup, cfg.MeanLifetime, cfg.AddressesPerNode = 15*time.Minute, 0, 4*time.Minute, 20
	return cfg
}

// clusterScore counts the ends of a cluster's rows that are exact, and those of them
// that are another pod's, or another cluster's.
type clusterScore struct{ exact, wrong int }

// rightCluster compares the ends of all rows with the truth, by the clusters whose the
// rows are.
func rightCluster(t *testing.T, tr *trial.Trial, e *query.Engine, ends func(r *trial.Row) (src, dst *attribution.Resolution)) []clusterScore {
	t.Helper()
	scores := make([]clusterScore, len(tr.Worlds))
	must(t, tr.Rows(t.Context(), e, func(row trial.Row) {
		s := &scores[slices.Index(tr.Worlds, row.World)]
		judge := func(r *attribution.Resolution, is *sim.Pod) {
			if r.Verdict != attribution.Exact {
				return
			}
			s.exact++
			if c := r.Candidates[0]; is == nil || c.UID != is.UID || c.Cluster != row.World.Config.Cluster {
				s.wrong++
				t.Logf("%s is %+v, said %+v", row.Row.Tuple(), is, c)
			}
		}
		src, dst := ends(&row)
		judge(src, row.SrcPod)
		judge(dst, row.DstPod)
	}))
	return scores
}
