package benchmarks

import (
	"bytes"
	"context"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/whichpod/whichpod/attribution"
	"github.com/whichpod/whichpod/attribution/nat"
	"github.com/whichpod/whichpod/benchmarks/sim"
	"github.com/whichpod/whichpod/flow"
	"github.com/whichpod/whichpod/query"
)

// Two clusters of one virtual network with the same pod range, and so with the same
// pod addresses at the same times, in one folder of blobs: no row is given to a pod of
// the wrong cluster, with and without what their nodes translated. Rows teach which NIC is
// whose as well as the configuration tells.
func TestClustersWithOnePodRange(t *testing.T) {
	worlds := []*sim.World{sim.Generate(twin("east", 3, 0)), sim.Generate(twin("west", 4, 500))}
	for _, with := range []bool{false, true} {
		var told [2]int // ends that are exact where the configuration names the NICs
		for _, named := range []bool{true, false} {
			e := loadTwins(t, worlds, with, named)
			for i, w := range worlds {
				exact, wrong := rightCluster(t, e, w, joined)
				t.Logf("evidence %v, NICs named %v: %d ends in %s are exact, %d wrong", with, named, exact, w.Config.Cluster, wrong)
				if named {
					told[i] = exact
				}
				if wrong > 0 || exact < 10_000 || float64(exact) < 0.99*float64(told[i]) {
					t.Errorf("evidence %v, NICs named %v: %d ends in %s are exact, %d wrong; %d where they are named", with, named, exact, w.Config.Cluster, wrong, told[i])
				}
			}
			if !named {
				rightNICs(t, e, worlds)
			}
		}
	}
}

// Where no row's interface is known, an end is exact only where the other cluster can
// not have had the address either.
func TestClustersOfUnknownNICs(t *testing.T) {
	worlds := []*sim.World{sim.Generate(twin("east", 3, 0)), sim.Generate(twin("west", 4, 500))}
	e := loadTwins(t, worlds, false, false)
	for _, w := range worlds {
		exact, wrong := rightCluster(t, e, w, func(a *query.Attributed, i int) (src, dst *attribution.Resolution) {
			q := attribution.Question{Address: a.Addresses[a.Batch.Src[i]], Begin: a.Begins[i], Sent: true, Destination: a.Addresses[a.Batch.Dst[i]], DestinationPort: a.DstPort[i]}
			src = e.View().Resolve(q)
			return src, e.View().Resolve(attribution.Question{Address: q.Destination, Begin: q.Begin, Answered: a.Answered[i]})
		})
		t.Logf("%d ends in %s are exact, %d wrong", exact, w.Config.Cluster, wrong)
		if wrong > 0 || exact < 5_000 {
			t.Errorf("%d ends in %s are exact, %d wrong", exact, w.Config.Cluster, wrong)
		}
	}
}

// joined is how the ends of a row were joined with the ledger.
func joined(a *query.Attributed, i int) (src, dst *attribution.Resolution) {
	return a.Joined.Src[i], a.Joined.Dst[i]
}

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

// twin is a cluster that shares all but its nodes' addresses with its twin.
func twin(name string, seed uint64, from int) sim.Config {
	cfg := sim.DefaultConfig()
	cfg.Cluster, cfg.Seed, cfg.NodesFrom = name, seed, from
	cfg.Duration, cfg.Warmup, cfg.MeanLifetime, cfg.AddressesPerNode = 15*time.Minute, 0, 4*time.Minute, 20
	return cfg
}

func loadTwins(t *testing.T, worlds []*sim.World, with, named bool) *query.Engine {
	t.Helper()
	dir := t.TempDir()
	cfg := attribution.DefaultConfig()
	ledger := attribution.NewLedger()
	translated, err := nat.Open(filepath.Join(dir, "nat"), nat.Options{})
	must(t, err)
	t.Cleanup(func() { must(t, translated.Close()) })
	for _, w := range worlds {
		must(t, w.WriteBlobs(filepath.Join(dir, "blobs")))
		var journal, config bytes.Buffer
		must(t, w.WriteWatch(&journal))
		must(t, w.WriteConfig(&config))
		keep(t, ledger, w, &journal)
		one, err := attribution.ParseConfig(config.Bytes())
		must(t, err)
		if !named {
			one.Clusters[0].NICs = nil
		}
		cfg.Clusters = append(cfg.Clusters, one.Clusters...)
		for i := range w.Config.Nodes {
			if with {
				importNode(t, translated, w, i, w.NICs[i].Name)
			}
		}
	}
	return query.New(indexed(t, dir), ledger.View(cfg).WithNAT(translated))
}

// rightCluster counts the ends of a world's rows that are exact, and those of them that
// are another pod's, or another cluster's.
func rightCluster(t *testing.T, e *query.Engine, w *sim.World, ends func(a *query.Attributed, i int) (src, dst *attribution.Resolution)) (exact, wrong int) {
	t.Helper()
	truth := truthByPlace(w)
	seen := 0
	judge := func(r *attribution.Resolution, is *sim.Pod, row *flow.Row) {
		if r.Verdict != attribution.Exact {
			return
		}
		exact++
		if c := &r.Candidates[0]; is == nil || c.UID != is.UID || c.Cluster != w.Config.Cluster {
			wrong++
			t.Logf("%s is %+v, said %+v", row.Tuple(), is, c)
		}
	}
	err := e.All(context.Background(), 0, 0, func(a query.Attributed, _ func(int) bool) error {
		for i := range a.Len() {
			tr, ok := truth[place{a.Blob(i), a.Offset[i]}]
			if !ok {
				continue // the other world's
			}
			seen++
			src, dst := ends(&a, i)
			judge(src, tr.SrcPod, &tr.Row)
			judge(dst, tr.DstPod, &tr.Row)
		}
		return nil
	})
	must(t, err)
	if seen != len(truth) {
		t.Fatal(fmt.Errorf("%d of %d rows of %s are in the index", seen, len(truth), w.Config.Cluster))
	}
	return exact, wrong
}
