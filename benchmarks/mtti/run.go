package mtti

import (
	"context"
	"time"

	"github.com/whichpod/whichpod/benchmarks/sim"
	"github.com/whichpod/whichpod/benchmarks/trial"
)

// Plan is which clusters are run: each mode with each seed.
type Plan struct {
	Base    sim.Config // mode and seed are set for each run
	Modes   []sim.Mode
	Seed    uint64 // of the first run; each further one has the next
	Runs    int
	Assumed Assumed
}

// DefaultPlan is twenty minutes of four nodes with 48 pods that live for four minutes on
// average, and twelve incidents. Publishing takes two minutes ("updated with the latest
// data every few minutes", https://learn.microsoft.com/azure/network-watcher/flow-logs-read);
// the polling is that of "ingest --follow". What a person takes is a guess.
func DefaultPlan() Plan {
	base := sim.DefaultConfig()
	base.Warmup, base.Duration, base.MeanLifetime, base.AddressesPerNode, base.Incidents = 0, 20*time.Minute, 4*time.Minute, 20, 12
	base.Traffic.FlowsPerSecond, base.Traffic.NodeFlows = 0.1, 0.06
	return Plan{Base: base, Modes: sim.Modes, Seed: 1, Runs: 10, Assumed: Assumed{Publishing: 2 * time.Minute, Polling: time.Minute,
		Download: 5 * time.Minute, Search: 5 * time.Minute, Lookup: 5 * time.Minute}}
}

// Run measures all clusters of a plan.
func Run(ctx context.Context, p Plan) ([]Result, error) {
	var configs []sim.Config
	for _, mode := range p.Modes {
		for i := range p.Runs {
			cfg := p.Base
			cfg.Mode, cfg.Seed = mode, p.Seed+uint64(i)
			configs = append(configs, cfg)
		}
	}
	return trial.Each(ctx, configs, func(ctx context.Context, cfg sim.Config) (Result, error) {
		return Measure(ctx, cfg, p.Assumed)
	})
}
