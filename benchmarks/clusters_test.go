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
	"github.com/whichpod/whichpod/attribution/podlog"
	"github.com/whichpod/whichpod/benchmarks/sim"
	"github.com/whichpod/whichpod/flow"
	"github.com/whichpod/whichpod/index"
	"github.com/whichpod/whichpod/ingest"
	"github.com/whichpod/whichpod/query"
)

// Two clusters of one virtual network with the same pod range, and so with the same
// pod addresses at the same times, in one folder of blobs: no row is given to a pod of
// the wrong cluster, with and without what their nodes translated.
func TestClustersWithOnePodRange(t *testing.T) {
	worlds := []*sim.World{sim.Generate(twin("east", 3, 0)), sim.Generate(twin("west", 4, 500))}
	for _, with := range []bool{false, true} {
		e := loadTwins(t, worlds, with)
		for _, w := range worlds {
			exact, wrong := rightCluster(t, e, w)
			t.Logf("evidence %v: %d ends in %s are exact, %d wrong", with, exact, w.Config.Cluster, wrong)
			if wrong > 0 || exact < 10_000 {
				t.Errorf("evidence %v: %d ends in %s are exact, %d wrong", with, exact, w.Config.Cluster, wrong)
			}
		}
	}
}

// twin is a cluster that shares all but its nodes' addresses with its twin.
func twin(name string, seed uint64, from int) sim.Config {
	cfg := sim.DefaultConfig()
	cfg.Cluster, cfg.Seed, cfg.NodesFrom = name, seed, from
	cfg.Duration, cfg.Warmup, cfg.MeanLifetime, cfg.AddressesPerNode = 15*time.Minute, 0, 4*time.Minute, 20
	return cfg
}

func loadTwins(t *testing.T, worlds []*sim.World, with bool) *query.Engine {
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
		_, err := podlog.Read(&journal, podlog.Options{Cluster: w.Config.Cluster, Format: podlog.Auto, ReadBy: w.Config.Start.Add(2 * w.Config.Duration).UnixMilli()},
			func(facts []attribution.Fact) error {
				_, err := ledger.Append(facts...)
				return err
			})
		must(t, err)
		one, err := attribution.ParseConfig(config.Bytes())
		must(t, err)
		cfg.Clusters = append(cfg.Clusters, one.Clusters...)
		for i := range w.Config.Nodes {
			if with {
				importNode(t, translated, w, i, w.NICs[i].Name)
			}
		}
	}
	src, err := ingest.OpenFolder(filepath.Join(dir, "blobs"))
	must(t, err)
	store, err := index.Open(filepath.Join(dir, "index"), index.Options{})
	must(t, err)
	t.Cleanup(func() { must(t, store.Close()) })
	writer, err := store.Writer()
	must(t, err)
	_, err = ingest.Run(context.Background(), src, writer, ingest.Options{})
	must(t, err)
	must(t, writer.Close())
	return query.New(store, ledger.View(cfg).WithNAT(translated))
}

// rightCluster counts the ends of a world's rows that are exact, and those of them that
// are another pod's, or another cluster's.
func rightCluster(t *testing.T, e *query.Engine, w *sim.World) (exact, wrong int) {
	t.Helper()
	type place struct {
		blob   string
		offset int64
	}
	truth := make(map[place]sim.Truth, w.Len())
	for tr := range w.Truth() {
		truth[place{tr.Blob, tr.Offset}] = tr
	}
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
			judge(a.Joined.Src[i], tr.SrcPod, &tr.Row)
			judge(a.Joined.Dst[i], tr.DstPod, &tr.Row)
		}
		return nil
	})
	must(t, err)
	if seen != len(truth) {
		t.Fatal(fmt.Errorf("%d of %d rows of %s are in the index", seen, len(truth), w.Config.Cluster))
	}
	return exact, wrong
}
