package podlog

import (
	"slices"
	"testing"

	"github.com/whichpod/whichpod/attribution"
)

// What was lost, read late or read in another order must not make an answer exact.
func TestExactNeedsWhatWasLost(t *testing.T) {
	a := podJSON("a", theIP, 7, 10, ran(11, 0))
	list := `{"kind":"PodList","metadata":{"resourceVersion":"20"},"items":[` + a + `]}`
	first := journal(slices.Concat([]string{snapshotLine(0, 5), line("ADDED", 12, a)}, alive(60, 300))...)
	second := journal(slices.Concat([]string{snapshotLine(900, 50)}, alive(960, 1200))...)
	for _, c := range []struct {
		name  string
		at    float64
		files []string
	}{
		{"a list read later than taken", 40_000, []string{list}},
		{"broken lines, in which a may have gone and b come", 100, []string{journal(slices.Concat([]string{snapshotLine(0, 5), line("ADDED", 12, a), "broken", "broken"}, alive(60, 300))...)}},
		{"the watch broke off, and no list followed", 100, []string{journal(slices.Concat([]string{snapshotLine(0, 5), line("ADDED", 12, a), `{"type":"ERROR","object":{"kind":"Status","code":410}}`}, alive(60, 300))...)}},
		{"a list's line after later lines", 500, []string{journal(slices.Concat([]string{snapshotLine(0, 5), line("ADDED", 12, a), bookmark(60)}, alive(1020, 1200), []string{snapshotLine(960, 50)})...)}},
		{"gone between two journals", 1000, []string{first, second}},
		{"the same, the later one read first", 1000, []string{second, first}},
		{"gone between two journals a minute apart", 90, []string{
			journal(slices.Concat([]string{snapshotLine(0, 5), line("ADDED", 12, a)}, alive(30, 60))...),
			journal(slices.Concat([]string{snapshotLine(120, 50)}, alive(150, 300))...)}},
		{"gone between a list and a watch", 1000, []string{list, second}},
	} {
		l := attribution.NewLedger()
		for _, f := range c.files {
			readInto(t, l, f, Options{}) // ReadBy is a day later, as a file's time can be
		}
		if got := who(l.View(config()), theIP, c.at); got == "exact a" {
			t.Errorf("%s: at %v got %q", c.name, c.at, got)
		}
	}
}
