package podlog

import (
	"slices"
	"testing"

	"github.com/whichpod/whichpod/attribution"
)

// ready is the condition that a sandbox is there, or not, since a time.
func ready(status string, since float64) string {
	return `,"conditions":[{"type":"PodReadyToStartContainers","status":"` + status + `","lastTransitionTime":"` + clockText(since) + `"}]`
}

// A sandbox that is made again with its address within the second in which it went:
// the kubelet's times are equal, and only the order of versions tells that it is there.
// Somebody who waits for the address meanwhile MUST not be taken for its holder.
func TestSandboxMadeAgainWithinASecond(t *testing.T) {
	lines := []string{
		snapshotLine(0, 5), line("ADDED", 12, podJSON("a", theIP, 7, 10, ran(11, 0))),
		line("MODIFIED", 101, podJSON("a", theIP, 8, 10, ran(11, 100)+ready("False", 100))),
		line("MODIFIED", 102, podJSON("a", theIP, 9, 10, ran(100, 0)+ready("True", 100))),
		line("ADDED", 150, podJSON("b", "", 10, 150, "")),
	}
	for name, order := range map[string][]string{"as it came": lines, "the return first": {lines[0], lines[1], lines[3], lines[2], lines[4]}} {
		l := attribution.NewLedger()
		readInto(t, l, journal(slices.Concat(order, alive(60, 600))...), Options{})
		v := l.View(config())
		for at, want := range map[float64]string{50: "exact a", 200: "exact a", 400: "exact a"} {
			if got := who(v, theIP, at); got != want {
				t.Errorf("%s: at %v got %q, want %q", name, at, got, want)
			}
		}
	}
}
