package rivals

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/whichpod/whichpod/benchmarks/report"
	"github.com/whichpod/whichpod/benchmarks/sim"
	"github.com/whichpod/whichpod/benchmarks/stats"
	"github.com/whichpod/whichpod/benchmarks/trial"
)

// Plan is which clusters are run: each mode with each lifetime and seed.
type Plan struct {
	Base      sim.Config // mode, lifetime and seed are set for each run
	Modes     []sim.Mode
	Lifetimes []time.Duration // mean, of pods
	Seed      uint64          // of the first run; each further one has the next
	Runs      int
	Published time.Duration // from a record's time to when it can be read
}

// DefaultPlan is half an hour of four nodes with 48 pods, under all modes and for pods
// that live for one, four and thirty minutes.
func DefaultPlan() Plan {
	base := sim.DefaultConfig()
	base.Warmup, base.AddressesPerNode = 0, 20
	base.Traffic.FlowsPerSecond, base.Traffic.NodeFlows = 0.1, 0.06
	return Plan{Base: base, Modes: sim.Modes, Lifetimes: []time.Duration{time.Minute, 4 * time.Minute, 30 * time.Minute},
		Seed: 1, Runs: 10, Published: 2 * time.Minute}
}

// Run measures all clusters of a plan.
func Run(ctx context.Context, p Plan) ([]Result, error) {
	var configs []sim.Config
	for _, mode := range p.Modes {
		for _, lifetime := range p.Lifetimes {
			for i := range p.Runs {
				cfg := p.Base
				cfg.Mode, cfg.MeanLifetime, cfg.Seed = mode, lifetime, p.Seed+uint64(i)
				configs = append(configs, cfg)
			}
		}
	}
	return trial.Each(ctx, configs, func(ctx context.Context, cfg sim.Config) (Result, error) {
		return Measure(ctx, cfg, p.Published)
	})
}

// cell is a rule in a mode with a lifetime.
type cell struct {
	rule     string
	mode     sim.Mode
	lifetime time.Duration
}

// table has the figures of all runs, by cell, in the order of seeds.
type table map[cell][]Score

func tabulate(results []Result) table {
	t := make(table)
	for i := range results {
		r := &results[i]
		for _, s := range r.Scores {
			c := cell{s.Rule, r.Mode, r.Lifetime}
			t[c] = append(t[c], s)
		}
	}
	return t
}

// of sums a figure up over the runs of a cell.
func (t table) of(c cell, figure func(*Score) float64) stats.Summary {
	return stats.Of(t.figures(c, figure))
}

func (t table) figures(c cell, figure func(*Score) float64) []float64 {
	out := make([]float64, len(t[c]))
	for i := range t[c] {
		out[i] = figure(&t[c][i])
	}
	return out
}

func wrongAtPods(s *Score) float64 { return s.AtPods.Mistaken() }
func wrongInAll(s *Score) float64  { return s.All().Mistaken() }
func namedInAll(s *Score) float64  { return s.All().Named() }
func rightInAll(s *Score) float64  { return s.All().Named() - s.All().Mistaken() }

// names are those of the rules, and of whichpod's own lines.
func names() []string {
	var out []string
	for _, r := range Rules {
		out = append(out, r.Name)
	}
	return append(out, Whichpod, WithNAT)
}

// Section reports what a plan's runs gave.
func Section(p Plan, results []Result) report.Section {
	t := tabulate(results)
	s := report.Section{
		Title: "Lookup rules",
		Text: []string{
			"Each row of the same flow logs is looked up under rules that other tools are publicly described to use, restated in a few lines each, and by whichpod. All see the same watch journal. A wrong pod is worse than none: it is what somebody acts on.",
			"Counted are rows whose source is a pod or a node of the cluster. Where the log shows a node's address, any pod of the node may have sent; a rule that knows pods by their address then names a host-network pod, which has the node's.",
		},
	}
	for _, r := range Rules {
		s.Notes = append(s.Notes, fmt.Sprintf("%s: %s. Like: %s.", r.Name, r.Says, r.Like))
	}
	s.Notes = append(s.Notes, fmt.Sprintf("Rules that keep a store as of now are asked when the row can be read: its record's time and %v more, an assumption (--publishing).", p.Published))
	middle := p.Lifetimes[len(p.Lifetimes)/2]
	s.Charts = append(s.Charts, t.chart(fmt.Sprintf("What each rule says of all rows, pods living %s on average (medians of %d runs)", report.Minutes(middle), p.Runs), p.Modes, middle))
	for _, mode := range p.Modes {
		s.Tables = append(s.Tables, t.byLifetime(mode, p.Lifetimes))
	}
	s.Tables = append(s.Tables, t.byMode(p.Modes, middle))
	s.Notes = append(s.Notes, t.equals(p.Modes, p.Lifetimes)...)
	return s
}

func (t table) chart(title string, modes []sim.Mode, lifetime time.Duration) report.Chart {
	c := report.Chart{Title: title, Max: 1, Unit: "%", Legend: []report.Key{
		{Tone: report.Good, Name: "the right pod"}, {Tone: report.Bad, Name: "a wrong pod"}, {Tone: report.Absent, Name: "no pod, or several named honestly"}}}
	for _, mode := range modes {
		panel := report.Panel{Title: string(mode)}
		for _, name := range names() {
			at := cell{name, mode, lifetime}
			right, wrong := t.of(at, rightInAll), t.of(at, wrongInAll)
			panel.Bars = append(panel.Bars, report.Bar{Label: name, Says: report.Percent(wrong.Median) + " wrong", Parts: []report.Part{
				{Tone: report.Good, Value: right.Median}, {Tone: report.Bad, Value: wrong.Median}, {Tone: report.Absent, Value: max(0, 1-right.Median-wrong.Median)}}})
		}
		c.Panels = append(c.Panels, panel)
	}
	return c
}

// byLifetime is the share of wrong answers where the log shows pods' own addresses.
func (t table) byLifetime(mode sim.Mode, lifetimes []time.Duration) report.Table {
	out := report.Table{Title: fmt.Sprintf("%s: wrong pods, of the rows that show a pod's address, by the pods' mean lifetime", mode), Head: []string{"rule"}}
	for _, l := range lifetimes {
		out.Head = append(out.Head, report.Minutes(l))
	}
	for _, name := range names() {
		row := []report.Cell{report.Text("%s", name)}
		for _, l := range lifetimes {
			c := report.Share(t.of(cell{name, mode, l}, wrongAtPods))
			c.Bad = c.Summary.Low > 0
			row = append(row, c)
		}
		out.Rows = append(out.Rows, row)
	}
	return out
}

// byMode is coverage and wrong answers over all rows.
func (t table) byMode(modes []sim.Mode, lifetime time.Duration) report.Table {
	out := report.Table{Title: fmt.Sprintf("All rows, pods living %s: a pod is named, and it is the wrong one", report.Minutes(lifetime)), Head: []string{"rule"}}
	for _, m := range modes {
		out.Head = append(out.Head, string(m)+": named", "wrong")
	}
	for _, name := range names() {
		row := []report.Cell{report.Text("%s", name)}
		for _, m := range modes {
			wrong := report.Share(t.of(cell{name, m, lifetime}, wrongInAll))
			wrong.Bad = wrong.Summary.Low > 0
			row = append(row, report.Share(t.of(cell{name, m, lifetime}, namedInAll)), wrong)
		}
		out.Rows = append(out.Rows, row)
	}
	return out
}

// equals names neighbours, in the order of wrong answers, between which no difference
// was found.
func (t table) equals(modes []sim.Mode, lifetimes []time.Duration) []string {
	var out []string
	for _, mode := range modes {
		for _, l := range lifetimes {
			order := names()
			order = order[:len(order)-1] // NAT evidence says nothing of pods' addresses
			median := func(name string) float64 { return t.of(cell{name, mode, l}, wrongAtPods).Median }
			slices.SortStableFunc(order, func(a, b string) int { return cmp.Compare(median(a), median(b)) })
			var same []string
			for i, name := range order[1:] {
				if !stats.Differ(t.figures(cell{order[i], mode, l}, wrongAtPods), t.figures(cell{name, mode, l}, wrongAtPods)) {
					same = append(same, fmt.Sprintf("%q and %q", order[i], name))
				}
			}
			if len(same) > 0 {
				out = append(out, fmt.Sprintf("%s, pods living %s: no difference found in wrong pods at pods' addresses between %s.", mode, report.Minutes(l), strings.Join(same, "; ")))
			}
		}
	}
	return out
}

// Wrong counts the rows for which whichpod was sure of a wrong pod: it must be 0.
func Wrong(results []Result) (wrong int) {
	for i := range results {
		for j := range results[i].Scores {
			if s := &results[i].Scores[j]; s.Rule == Whichpod || s.Rule == WithNAT {
				wrong += s.All().Wrong
			}
		}
	}
	return wrong
}

// between is the least and the most median of wrong answers by network mode.
func (t table) between(p Plan, rule string, lifetime time.Duration) (low, high float64) {
	low = 1
	for _, m := range p.Modes {
		median := t.of(cell{rule, m, lifetime}, wrongInAll).Median
		low, high = min(low, median), max(high, median)
	}
	return low, high
}

// Conclusions say in plain words what the rules came to.
func Conclusions(p Plan, results []Result) []report.Conclusion {
	t, middle := tabulate(results), p.Lifetimes[len(p.Lifetimes)/2]
	low, high := 1.0, 0.0
	for _, r := range Rules {
		least, most := t.between(p, r.Name, middle)
		low, high = min(low, least), max(high, most)
	}
	return []report.Conclusion{{Says: fmt.Sprintf("Where pods live %s, each of the other %d rules names a wrong pod for %s of the rows, by rule and mode; whichpod for %d of all rows: where it does not know, it says so.",
		report.Minutes(middle), len(Rules), report.Percents(low, high), Wrong(results))}}
}

// Findings are the figures to read first: the best and the most common of the rules.
func Findings(p Plan, results []Result) []report.Finding {
	t, middle := tabulate(results), p.Lifetimes[len(p.Lifetimes)/2]
	var out []report.Finding
	for _, name := range []string{"plain as-of", "cluster as it is now"} {
		low, high := t.between(p, name, middle)
		out = append(out, report.Finding{Figure: report.Percents(low, high), Bad: true,
			Says: fmt.Sprintf("of rows get a wrong pod under the rule %q, by network mode, where pods live %s", name, report.Minutes(middle))})
	}
	return out
}
