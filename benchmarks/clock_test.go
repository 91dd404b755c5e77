package benchmarks

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"regexp"
	"testing"
	"time"

	"github.com/whichpod/whichpod/attribution"
	"github.com/whichpod/whichpod/benchmarks/sim"
	"github.com/whichpod/whichpod/benchmarks/trial"
)

var receivedAt = regexp.MustCompile(`"receivedAt":"([^"]+)"`)

// mangle sets the watcher's clock at random lines: forward or back by up to ten
// minutes, and right again some lines later, as NTP does after a machine was asleep.
func mangle(t *testing.T, journal []byte, r *rand.Rand) []byte {
	t.Helper()
	lines := bytes.SplitAfter(journal, []byte("\n"))
	off, left := time.Duration(0), 0
	steps := 0
	for i, l := range lines {
		switch {
		case left > 0:
			if left--; left == 0 {
				off = 0
			}
		case i > 0 && r.IntN(len(lines)/3) == 0:
			off = []time.Duration{2 * time.Second, 20 * time.Second, 10 * time.Minute}[r.IntN(3)] * time.Duration(1-2*r.IntN(2))
			left = 1 + r.IntN(len(lines)/4)
			steps++
		}
		if off == 0 {
			continue
		}
		lines[i] = receivedAt.ReplaceAllFunc(l, func(m []byte) []byte {
			at, err := time.Parse(time.RFC3339Nano, string(receivedAt.FindSubmatch(m)[1]))
			must(t, err)
			return fmt.Appendf(nil, `"receivedAt":%q`, at.Add(off).Format("2006-01-02T15:04:05.000000Z"))
		})
	}
	if steps == 0 {
		t.Fatal("the clock was never set")
	}
	return bytes.Join(lines, nil)
}

// A watcher's clock that jumps never makes an exact answer wrong.
func TestClockJumps(t *testing.T) {
	exact := 0
	seeds := uint64(3)
	if testing.Short() {
		seeds = 1
	}
	for seed := range seeds {
		cfg := sim.DefaultConfig()
		cfg.Seed, cfg.Mode = seed+1, sim.PodSubnet
		cfg.Duration, cfg.Warmup = 20*time.Minute, 5*time.Minute
		s := measure(t, cfg, trial.Options{Mangle: func(journal []byte) []byte {
			return mangle(t, journal, rand.New(rand.NewPCG(seed, 5)))
		}}, 997)
		t.Logf("seed %d: %d of %d sources are exact", cfg.Seed, s.source[attribution.Exact], s.source[0])
		exact += s.source[attribution.Exact]
	}
	if exact == 0 {
		t.Error("nothing is exact: the test shows nothing")
	}
}
