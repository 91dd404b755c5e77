package mtti

import (
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/whichpod/whichpod/attribution"
	"github.com/whichpod/whichpod/benchmarks/report"
	"github.com/whichpod/whichpod/benchmarks/sim"
	"github.com/whichpod/whichpod/benchmarks/stats"
)

// figures has the tallies of all runs.
type figures []Result

// of sums a figure up over the runs of a mode; runs for which there is none do not count.
func (f figures) of(mode sim.Mode, way Way, figure func(*Tally) (float64, bool)) stats.Summary {
	var all []float64
	for i := range f {
		if f[i].Mode != mode {
			continue
		}
		if v, ok := figure(f[i].Tallies[way]); ok {
			all = append(all, v)
		}
	}
	return stats.Of(all)
}

// share is a share of incidents.
func share(n func(*Tally) int) func(*Tally) (float64, bool) {
	return func(t *Tally) (float64, bool) { return float64(n(t)) / float64(t.Incidents), t.Incidents > 0 }
}

// middle is the median of a stage over the incidents of a run that were named rightly.
func middle(stage func(*Stages) time.Duration) func(*Tally) (float64, bool) {
	return func(t *Tally) (float64, bool) {
		all := make([]float64, len(t.Named))
		for i := range t.Named {
			all[i] = stage(&t.Named[i]).Minutes()
		}
		return stats.Of(all).Median, len(all) > 0
	}
}

func named(t *Tally) int  { return len(t.Named) }
func wrong(t *Tally) int  { return t.Wrong }
func masked(t *Tally) int { return t.Unnamed[attribution.Masked.String()] }
func other(t *Tally) int {
	return t.Incidents - named(t) - wrong(t) - masked(t)
}

// stage is a stretch of the way from the first packet to a name.
type stage struct {
	name, basis string
	tone        report.Tone
	of          func(*Stages) time.Duration
}

func (a *Assumed) stages() []stage {
	return []stage{
		{"first packet to record", "simulated: Azure closes a record a minute; in public samples it is 3.6 to 62.4 s younger than its rows", report.Logging, func(s *Stages) time.Duration { return s.Logging }},
		{"record to readable blob", fmt.Sprintf("assumed: %s (--publishing); Microsoft says \"every few minutes\"", report.Minutes(a.Publishing)), report.Publishing, func(s *Stages) time.Duration { return s.Publishing }},
		{"waiting for the next look", fmt.Sprintf("follows from an assumption: a look every %s (--polling); \"ingest --follow\" does so each minute", report.Minutes(a.Polling)), report.Polling, func(s *Stages) time.Duration { return s.Polling }},
		{"a person's steps", fmt.Sprintf("assumed, without a source: download %s, search %s, look up %s (--manual-download, --manual-search, --manual-lookup)", report.Minutes(a.Download), report.Minutes(a.Search), report.Minutes(a.Lookup)), report.Person, func(s *Stages) time.Duration { return s.Person }},
		{"fetching", "measured, from a folder of this machine: a network adds to it", report.Fetching, func(s *Stages) time.Duration { return s.Fetching }},
		{"indexing", "measured", report.Indexing, func(s *Stages) time.Duration { return s.Indexing }},
		{"asking", "measured: from the question to the name, the ledger's view included", report.Asking, func(s *Stages) time.Duration { return s.Asking }},
	}
}

// measuredFrom is the first of the stages that are measured.
const measuredFrom = 4

// Section reports what a plan's runs gave.
func Section(p Plan, results []Result) report.Section {
	f := figures(results)
	s := report.Section{
		Title: "Time to identify",
		Text: []string{
			"Pods call places that nobody else calls: a drop site on the internet, or a port of a machine in the VNet. Somebody who knows the place asks whose call it was. How long after the first packet is the pod named, and in how many cases is it?",
			"An incident whose sender cannot be named has no time to identify. It is counted beside the times, and is in none of them. A wrong pod counts as wrong, however fast.",
		},
		Charts: []report.Chart{p.shares(f), p.whole(f), p.measured(f)},
	}
	for _, mode := range p.Modes {
		s.Tables = append(s.Tables, f.outcomes(mode))
	}
	s.Tables = append(s.Tables, p.stageTable(f))
	s.Notes = []string{
		fmt.Sprintf("%d runs of %s, with %d incidents each, half to the internet and half to machines in the VNet. Each figure is the median of a run's incidents, and then of the runs.", len(results), report.Minutes(p.Base.Duration), p.Base.Incidents),
		"Fetching, indexing and asking are the ordinary code over blobs that grow in a folder: one pass reads what all nodes logged since the pass before. As many runs as there are processors share the machine, which lengthens them. Nothing else in this section was timed.",
		"By hand: a person downloads the hour's blobs, searches the row, and looks its source up in a table of lists of the pods that is written every three minutes. Whom that names, and how often wrongly, is from the runs; how long it takes is assumed. Where the row shows a node's address, the table has a host-network pod for it: who notices names nobody.",
		fmt.Sprintf("NAT evidence is what the nodes' agents had shipped by %d seconds before the question; reading it is not in the times.", shipping/time.Second),
		"The time starts with the packet, not when somebody suspects something: how long detection takes is not in it.",
	}
	return s
}

// shares is the chart of what became of the incidents.
func (p *Plan) shares(f figures) report.Chart {
	c := report.Chart{Title: "Is the sender of an incident named? (medians)", Unit: "%", Max: 1, Legend: []report.Key{{Tone: report.Good, Name: "the right pod"},
		{Tone: report.Bad, Name: "a wrong pod"}, {Tone: report.Hidden, Name: "masked: several candidates"}, {Tone: report.Absent, Name: "otherwise not named"}}}
	for _, mode := range p.Modes {
		panel := report.Panel{Title: string(mode)}
		for _, way := range Ways {
			of := func(n func(*Tally) int) float64 { return f.of(mode, way, share(n)).Median }
			panel.Bars = append(panel.Bars, report.Bar{Label: string(way), Says: report.Percent(of(wrong)) + " wrong", Parts: []report.Part{{Tone: report.Good, Value: of(named)},
				{Tone: report.Bad, Value: of(wrong)}, {Tone: report.Hidden, Value: of(masked)}, {Tone: report.Absent, Value: of(other)}}})
		}
		c.Panels = append(c.Panels, panel)
	}
	return c
}

// whole is the chart of all stages.
func (p *Plan) whole(f figures) report.Chart {
	c := report.Chart{Title: "From the first packet to the right pod (medians, and the share of incidents for which there is one)", Unit: "min", Timed: true, Max: 5,
		Legend: []report.Key{{Tone: report.Logging, Name: "the log's minute"}, {Tone: report.Publishing, Name: "publishing (assumed)"}, {Tone: report.Polling, Name: "waiting for the next look"},
			{Tone: report.Person, Name: "a person's steps (assumed)"}, {Tone: report.Measured, Name: "fetching, indexing, asking"}}}
	for _, mode := range p.Modes {
		panel := report.Panel{Title: string(mode)}
		for _, way := range Ways {
			total := f.of(mode, way, middle((*Stages).Total))
			bar := report.Bar{Label: string(way), Says: "no right pod", Timed: true, Parts: []report.Part{}}
			if total.Runs > 0 {
				share := f.of(mode, way, share(named)).Median
				bar.Says = fmt.Sprintf("%.1f min, %.0f %%", total.Median, 100*share)
				for _, st := range p.Assumed.stages()[:measuredFrom] {
					bar.Parts = append(bar.Parts, report.Part{Tone: st.tone, Value: f.of(mode, way, middle(st.of)).Median})
				}
				bar.Parts = append(bar.Parts, report.Part{Tone: report.Measured, Value: f.of(mode, way, middle((*Stages).Measured)).Median})
			}
			c.Max = max(c.Max, 5*math.Ceil(total.Median/5))
			panel.Bars = append(panel.Bars, bar)
		}
		c.Panels = append(c.Panels, panel)
	}
	return c
}

// measured is the chart of what was measured, in milliseconds.
func (p *Plan) measured(f figures) report.Chart {
	c := report.Chart{Title: "What whichpod itself takes of it (measured on this machine; medians, in milliseconds)", Unit: "ms", Timed: true, Max: 20}
	stages := p.Assumed.stages()[measuredFrom:]
	for _, st := range stages {
		c.Legend = append(c.Legend, report.Key{Tone: st.tone, Name: st.name})
	}
	for _, mode := range p.Modes {
		panel := report.Panel{Title: string(mode)}
		for _, way := range []Way{Plain, NAT} {
			bar, sum := report.Bar{Label: string(way), Says: "no right pod", Timed: true, Parts: []report.Part{}}, 0.0
			for _, st := range stages {
				if m := f.of(mode, way, middle(st.of)); m.Runs > 0 {
					bar.Parts = append(bar.Parts, report.Part{Tone: st.tone, Value: milliseconds(m).Median})
					sum += milliseconds(m).Median
					bar.Says = fmt.Sprintf("%.1f ms", sum)
				}
			}
			c.Max = max(c.Max, 20*math.Ceil(sum/20))
			panel.Bars = append(panel.Bars, bar)
		}
		c.Panels = append(c.Panels, panel)
	}
	return c
}

// outcomes is what became of the incidents of a mode.
func (f figures) outcomes(mode sim.Mode) report.Table {
	out := report.Table{Title: fmt.Sprintf("%s: shares of incidents, and the time to the right pod", mode),
		Head: []string{"way", "the right pod", "a wrong pod", "masked", "otherwise not named", "time to identify"}}
	for _, way := range Ways {
		cell := func(n func(*Tally) int) report.Cell { return report.Share(f.of(mode, way, share(n))) }
		mistaken := cell(wrong)
		mistaken.Bad = mistaken.Summary.High > 0
		total := report.Text("there is none")
		if t := f.of(mode, way, middle((*Stages).Total)); t.Runs > 0 {
			total = report.Since(t, 1, "min")
		}
		total.Timed = true
		out.Rows = append(out.Rows, []report.Cell{report.Text("%s", way), cell(named), mistaken, cell(masked), cell(other), total})
	}
	return out
}

// stageTable says of each stage what it rests on, and how long it took.
func (p *Plan) stageTable(f figures) report.Table {
	out := report.Table{Title: "Stages of the incidents that are named: whichpod, the last by hand", Head: []string{"stage"}}
	for _, mode := range p.Modes {
		out.Head = append(out.Head, string(mode))
	}
	out.Head = append(out.Head, "rests on")
	for i, st := range p.Assumed.stages() {
		row := []report.Cell{report.Text("%s", st.name)}
		for _, mode := range p.Modes {
			cell := report.Text("")
			switch s := f.of(mode, p.shown(f, mode, st), middle(st.of)); {
			case s.Runs == 0:
			case i >= measuredFrom:
				cell = report.Since(milliseconds(s), 1, "ms")
			default:
				cell = report.Figure(s, 1, "min")
			}
			row = append(row, cell)
		}
		out.Rows = append(out.Rows, append(row, report.Text("%s", st.basis)))
	}
	slices.SortStableFunc(out.Rows, func(a, b []report.Cell) int { return last(a) - last(b) })
	return out
}

// last puts the row of a person's steps behind those of whichpod.
func last(row []report.Cell) int {
	if row[0].Text == "a person's steps" {
		return 1
	}
	return 0
}

// shown is the way of which a stage is shown: whichpod's, with NAT evidence where
// nobody is named without.
func (p *Plan) shown(f figures, mode sim.Mode, st stage) Way {
	switch {
	case st.tone == report.Person:
		return Manual
	case f.of(mode, Plain, middle(st.of)).Runs == 0:
		return NAT
	}
	return Plain
}

// milliseconds takes a summary of minutes.
func milliseconds(s stats.Summary) stats.Summary {
	const per = 60_000
	return stats.Summary{Median: per * s.Median, Low: per * s.Low, High: per * s.High, Runs: s.Runs}
}

// slowest is the longest median of a stage by mode, where whichpod names the pod.
func (f figures) slowest(p Plan, stage func(*Stages) time.Duration) (slowest stats.Summary) {
	for _, mode := range p.Modes {
		for _, way := range []Way{Plain, NAT} {
			if t := f.of(mode, way, middle(stage)); t.Runs > 0 && t.Median >= slowest.Median {
				slowest = t
			}
		}
	}
	return slowest
}

// Conclusions say in plain words how long it took, and what that rests on.
func Conclusions(p Plan, results []Result) []report.Conclusion {
	f := figures(results)
	total := f.slowest(p, (*Stages).Total)
	if total.Runs == 0 {
		return nil
	}
	low, high := 1.0, 0.0
	for _, mode := range p.Modes {
		share := f.of(mode, Manual, share(wrong)).Median
		low, high = min(low, share), max(high, share)
	}
	own := milliseconds(f.slowest(p, (*Stages).Measured))
	return []report.Conclusion{{Timed: true, Says: fmt.Sprintf("Where the log or NAT evidence tells the sender of an incident, it is named at most %.1f min after the first packet. Of that, fetching, indexing and asking take %.0f ms, measured; %s for Azure's publishing are assumed. A person with periodic lists of pods, in the same incidents, takes %s longer, an assumption, and names a wrong pod for %s of them, by mode.",
		total.Median, own.Median, report.Minutes(p.Assumed.Publishing), report.Minutes(p.Assumed.Download+p.Assumed.Search+p.Assumed.Lookup), report.Percents(low, high))}}
}

// Findings are the figures to read first.
func Findings(p Plan, results []Result) []report.Finding {
	f := figures(results)
	var out []report.Finding
	slowest := f.slowest(p, (*Stages).Total)
	if slowest.Runs > 0 {
		out = append(out, report.Finding{Figure: fmt.Sprintf("%.1f min", slowest.Median), Timed: true,
			Says: "from the first packet to the right pod, at most by network mode, where it is named at all; nearly all of it is Azure's publishing, of which a part is assumed"})
	}
	return out
}

// Wrong counts the incidents for which whichpod named a wrong pod: it must be 0.
func Wrong(results []Result) (wrong int) {
	for i := range results {
		wrong += results[i].Tallies[Plain].Wrong + results[i].Tallies[NAT].Wrong
	}
	return wrong
}
