package benchmarks

import (
	"bytes"
	"context"
	"path/filepath"
	"testing"

	"github.com/whichpod/whichpod/attribution"
	"github.com/whichpod/whichpod/attribution/nat"
	"github.com/whichpod/whichpod/attribution/podlog"
	"github.com/whichpod/whichpod/benchmarks/sim"
	"github.com/whichpod/whichpod/index"
	"github.com/whichpod/whichpod/ingest"
	"github.com/whichpod/whichpod/query"
)

// place is where a row stands.
type place struct {
	blob   string
	offset int64
}

// truthByPlace is the truth of each row of a world.
func truthByPlace(w *sim.World) map[place]sim.Truth {
	truth := make(map[place]sim.Truth, w.Len())
	for tr := range w.Truth() {
		truth[place{tr.Blob, tr.Offset}] = tr
	}
	return truth
}

// knowledge is where the network mode is known from.
type knowledge bool

const (
	named    knowledge = false // the configuration names it
	detected knowledge = true  // the nodes and ConfigMaps show it
)

// loadWith takes a world through the ordinary path: blobs to an index, the watch
// journal to a ledger. It does so with evidence of what the nodes translated, and with
// something that happened to the journal; nil is neither.
func loadWith(t testing.TB, w *sim.World, knows knowledge, evidence *nat.Store, mangle func(journal []byte) []byte) *query.Engine {
	t.Helper()
	dir := t.TempDir()
	must(t, w.WriteBlobs(filepath.Join(dir, "blobs")))
	var journal, config bytes.Buffer
	must(t, w.WriteWatch(&journal))
	if knows == detected {
		must(t, w.WriteObjects(&journal))
		must(t, w.WriteAutoConfig(&config))
	} else {
		must(t, w.WriteConfig(&config))
	}
	if mangle != nil {
		journal = *bytes.NewBuffer(mangle(journal.Bytes()))
	}
	ledger := attribution.NewLedger()
	keep(t, ledger, w, &journal)
	cfg, err := attribution.ParseConfig(config.Bytes())
	must(t, err)
	return query.New(indexed(t, dir), ledger.View(cfg).WithNAT(evidence))
}

// indexed is an index of the blobs in a folder, beside them.
func indexed(t testing.TB, dir string) *index.Store {
	t.Helper()
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
	return store
}

// keep takes a world's watch journal into a ledger.
func keep(t testing.TB, ledger *attribution.Ledger, w *sim.World, journal *bytes.Buffer) {
	t.Helper()
	opt := podlog.Options{Cluster: w.Config.Cluster, Format: podlog.Auto, ReadBy: w.Config.Start.Add(2 * w.Config.Duration).UnixMilli()}
	_, err := podlog.Read(journal, opt, func(facts []attribution.Fact) error {
		_, err := ledger.Append(facts...)
		return err
	})
	must(t, err)
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
