package plugins

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/whichpod/whichpod/attribution"
	"github.com/whichpod/whichpod/benchmarks/report"
	"github.com/whichpod/whichpod/benchmarks/sim"
	"github.com/whichpod/whichpod/benchmarks/stats"
	"github.com/whichpod/whichpod/benchmarks/trial"
)

// Plan is which clusters are run: each mode with each seed.
type Plan struct {
	Base  sim.Config // mode and seed are set for each run
	Modes []sim.Mode
	Seed  uint64 // of the first run; each further one has the next
	Runs  int
}

// DefaultPlan is half an hour of four nodes with 48 pods that live for four minutes on
// average; the hosts' clocks are off by up to 0.4 s.
func DefaultPlan() Plan {
	base := sim.DefaultConfig()
	base.Warmup, base.MeanLifetime, base.AddressesPerNode = 0, 4*time.Minute, 20
	base.Traffic.FlowsPerSecond, base.Traffic.NodeFlows = 0.2, 0.12
	base.Faults.ClockSkew = 400 * time.Millisecond
	return Plan{Base: base, Modes: sim.Modes, Seed: 1, Runs: 10}
}

// Hostile makes a plan as hard as the simulator can: dual stack, every fault, a node that
// is replaced, pods that live for ninety seconds, and ports given again two seconds after
// their connection.
func (p *Plan) Hostile() {
	base := sim.AllFaults()
	base.Replaced = 1
	base.Warmup, base.Duration, base.Traffic.FlowsPerSecond = 5*time.Minute, 25*time.Minute, 0.7
	base.Traffic.PortReuse, base.Traffic.TimeWait, base.Traffic.NodeAbroad = 0.4, 2*time.Second, 0.25
	p.Base = base
}

// Run measures all clusters of a plan, each at a time in bounded memory; done is told of
// each, by one goroutine at a time, and may be nil.
func Run(ctx context.Context, p Plan, done func(Result)) ([]Result, error) {
	var configs []sim.Config
	for i := range p.Runs {
		for _, mode := range p.Modes {
			cfg := p.Base
			cfg.Mode, cfg.Seed = mode, p.Seed+uint64(i)
			configs = append(configs, cfg)
		}
	}
	turn := make(chan struct{}, 1)
	return trial.Each(ctx, configs, func(ctx context.Context, cfg sim.Config) (Result, error) {
		r, err := Measure(ctx, cfg)
		if err == nil && done != nil {
			turn <- struct{}{}
			done(r)
			<-turn
		}
		return r, err
	})
}

// Wrong counts the ends that were exact and wrong: it must be 0.
func Wrong(results []Result) (wrong int) {
	for i := range results {
		wrong += results[i].Wrong
	}
	return wrong
}

// Flows counts all flows that began in the logs.
func Flows(results []Result) (flows int) {
	for i := range results {
		flows += results[i].Flows
	}
	return flows
}

// of sums a figure of one cell up over the runs.
func of(results []Result, mode sim.Mode, class attribution.Class, figure func(*Tally) float64) stats.Summary {
	return stats.Of(figures(results, mode, class, figure))
}

func figures(results []Result, mode sim.Mode, class attribution.Class, figure func(*Tally) float64) []float64 {
	var out []float64
	for i := range results {
		if t := results[i].Tallies[class]; t != nil && results[i].Mode == mode {
			out = append(out, figure(t))
		}
	}
	return out
}

func share(n func(*Tally) int) func(*Tally) float64 {
	return func(t *Tally) float64 { return float64(n(t)) / float64(max(1, t.Flows)) }
}

// bits is the mean of what is masked.
func bits(t *Tally) float64 { return t.Plain.Bits / float64(max(1, t.Plain.Masked)) }

func logged(t *Tally) float64 { return float64(t.Logged) / float64(max(1, t.Logged+t.Unlogged)) }

// Section reports what a plan's runs gave.
func Section(p Plan, results []Result) report.Section {
	s := report.Section{
		Title: "Network modes",
		Text: []string{
			"The same pods, churn and traffic under each network mode of AKS: only the mode differs. For each kind of destination: is the flow in the log at all, and can its sender be named? Asked is about the first row at the sender's interface, for pods with an address of their own.",
			"Masked means that the log shows the node's address: any pod of the node may have sent. The bits say among how many: 4 bits are 16 candidates. NAT evidence is what the nodes' kernels told of their translations (whichpod agent).",
		},
		Notes: []string{
			fmt.Sprintf("%d runs of %s: %d nodes, %d pods at a time that live %s on average, %d flows in %d rows in all.", len(results), report.Minutes(p.Base.Duration), p.Base.Nodes, p.Base.Nodes*p.Base.PodsPerNode, report.Minutes(p.Base.MeanLifetime), Flows(results), rows(results)),
			"Flows within a node never reach the log; no evidence brings them back.",
		},
	}
	s.Charts = []report.Chart{chart(p, results, "Can the sender be named? Without NAT evidence", func(t *Tally) *Said { return &t.Plain }),
		chart(p, results, "The same with NAT evidence from every node", func(t *Tally) *Said { return &t.NAT })}
	for _, mode := range p.Modes {
		s.Tables = append(s.Tables, figuresOf(mode, results))
	}
	s.Notes = append(s.Notes, equals(p.Modes, results)...)
	return s
}

// Findings are the figures to read first: the internet, from the mode that hides most.
func Findings(p Plan, results []Result) []report.Finding {
	first := p.Modes[0]
	exact := func(mode sim.Mode, said func(*Tally) *Said) float64 {
		return of(results, mode, attribution.Internet, share(func(t *Tally) int { return said(t).Exact })).Median
	}
	plain, evidence := func(t *Tally) *Said { return &t.Plain }, func(t *Tally) *Said { return &t.NAT }
	out := []report.Finding{{Figure: fmt.Sprintf("%s → %s", report.Percent(exact(first, plain)), report.Percent(exact(first, evidence))),
		Says: fmt.Sprintf("of flows to the internet have an exact sender under %s, without and with NAT evidence", first)}}
	if last := p.Modes[len(p.Modes)-1]; last != first {
		out = append(out, report.Finding{Figure: report.Percent(exact(last, plain)), Says: fmt.Sprintf("the same under %s, from the log alone", last)})
	}
	return out
}

func rows(results []Result) (n int) {
	for i := range results {
		n += results[i].Rows
	}
	return n
}

func chart(p Plan, results []Result, title string, said func(*Tally) *Said) report.Chart {
	c := report.Chart{Title: fmt.Sprintf("%s (medians of %d runs)", title, p.Runs), Max: 1, Unit: "%", Legend: []report.Key{
		{Tone: report.Good, Name: "exact"}, {Tone: report.Doubt, Name: "boundary, ambiguous or gap"}, {Tone: report.Hidden, Name: "masked"}, {Tone: report.Absent, Name: "not logged"}}}
	for _, mode := range p.Modes {
		panel := report.Panel{Title: string(mode)}
		for _, k := range Matrix {
			there := of(results, mode, k.Class, logged).Median
			at := func(n func(*Said) int) float64 {
				return there * of(results, mode, k.Class, share(func(t *Tally) int { return n(said(t)) })).Median
			}
			exact, masked := at(func(s *Said) int { return s.Exact }), at(func(s *Said) int { return s.Masked })
			says := report.Percent(exact) + " exact"
			if there == 0 {
				says = "not logged"
			}
			panel.Bars = append(panel.Bars, report.Bar{Label: string(k.Class), Says: says, Parts: []report.Part{
				{Tone: report.Good, Value: exact}, {Tone: report.Doubt, Value: max(0, there-exact-masked)},
				{Tone: report.Hidden, Value: masked}, {Tone: report.Absent, Value: 1 - there}}})
		}
		c.Panels = append(c.Panels, panel)
	}
	return c
}

// figuresOf is the table of one mode.
func figuresOf(mode sim.Mode, results []Result) report.Table {
	out := report.Table{Title: fmt.Sprintf("%s: shares of flows", mode),
		Head: []string{"destination", "logged", "exact", "boundary", "masked", "in bits", "exact with NAT evidence", "boundary", "masked"}}
	for _, k := range Matrix {
		cell := func(n func(*Tally) int) report.Cell { return report.Share(of(results, mode, k.Class, share(n))) }
		row := []report.Cell{report.Text("%s", k.Class), report.Share(of(results, mode, k.Class, logged))}
		if of(results, mode, k.Class, logged).Median == 0 {
			out.Rows = append(out.Rows, row)
			continue
		}
		hidden := report.Text("")
		if b := of(results, mode, k.Class, bits); b.High > 0 {
			hidden = report.Figure(b, 2, "")
		}
		out.Rows = append(out.Rows, append(row,
			cell(func(t *Tally) int { return t.Plain.Exact }), cell(func(t *Tally) int { return t.Plain.Boundary }), cell(func(t *Tally) int { return t.Plain.Masked }), hidden,
			cell(func(t *Tally) int { return t.NAT.Exact }), cell(func(t *Tally) int { return t.NAT.Boundary }), cell(func(t *Tally) int { return t.NAT.Masked })))
	}
	for i := range out.Rows { // rows of what is not logged are as long
		for len(out.Rows[i]) < len(out.Head) {
			out.Rows[i] = append(out.Rows[i], report.Text(""))
		}
	}
	return out
}

// Differences lists where the runs show another source than the [Matrix] knows.
func Differences(modes []sim.Mode, results []Result) []string {
	var out []string
	for _, k := range Matrix {
		for _, mode := range modes {
			known := k.Shows[slices.Index(sim.Modes, mode)]
			for i := range results {
				if t := results[i].Tallies[k.Class]; results[i].Mode == mode && t != nil && t.Shows() != known {
					out = append(out, fmt.Sprintf("%s, %s, seed %d: the log shows %s, known is %s", mode, k.Class, results[i].Seed, t.Shows(), known))
				}
			}
		}
	}
	return out
}

// equals names, for each destination, the modes between which no difference was found in
// what is exact without evidence.
func equals(modes []sim.Mode, results []Result) []string {
	var out []string
	exact := share(func(t *Tally) int { return t.Plain.Exact })
	for _, k := range Matrix {
		var same []string
		pairs := 0
		for i, a := range modes {
			for _, b := range modes[i+1:] {
				pairs++
				x, y := figures(results, a, k.Class, exact), figures(results, b, k.Class, exact)
				if of(results, a, k.Class, logged).Median > 0 && !stats.Differ(x, y) {
					same = append(same, fmt.Sprintf("%s and %s", a, b))
				}
			}
		}
		if len(same) > 0 {
			between := strings.Join(same, ", ")
			if len(same) == pairs && pairs > 1 {
				between = "any two modes"
			}
			out = append(out, fmt.Sprintf("%s: no difference found in what is exact without NAT evidence between %s.", k.Class, between))
		}
	}
	return out
}
