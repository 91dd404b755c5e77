package benchmarks

import (
	"testing"

	"github.com/whichpod/whichpod/benchmarks/sim"
	"github.com/whichpod/whichpod/benchmarks/trial"
)

// load takes worlds through the ordinary path: blobs to an index, watch journals to a
// ledger.
func load(t testing.TB, opt trial.Options, worlds ...*sim.World) *trial.Trial {
	t.Helper()
	tr, err := trial.LoadWorlds(t.Context(), opt, worlds...)
	must(t, err)
	t.Cleanup(func() { must(t, tr.Close()) })
	return tr
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
