package plugins

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/whichpod/whichpod/attribution"
	"github.com/whichpod/whichpod/benchmarks/report"
	"github.com/whichpod/whichpod/benchmarks/sim"
)

// Uncovered is traffic of which it is publicly known what its rows show, and that no cell
// of the [Matrix] counts.
type Uncovered struct{ Traffic, Known, Here string }

// notCounted is the rest of the public table. On services: "Packets sent to ClusterIP from
// within the cluster are never source NAT'd"
// (https://kubernetes.io/docs/tutorials/services/source-ip).
var notCounted = []Uncovered{
	{"pod to a Service, backend on another node", "as to that pod; the Service's address is in no row", "the kernel scenarios call one: its rows count under pod on another node. The simulator has no Services"},
	{"pod to a Service, backend on the same node", "no row", "not covered"},
	{"host-network pod or the node itself, to anywhere", "the node's address", "both have such senders, and hold their rows against the truth; not in these cells, which are of pods with an address of their own"},
	{"from outside to a port of the nodes, backend on another node", "the node's address towards the backend", "the kernel scenarios have it; not in these cells, since the sender is no pod"},
	{"any, with a network plugin of one's own", "depends on it; with a tunnel the nodes' addresses alone", "not covered"},
}

// BlindSpots reports whose address rows show: publicly known, simulated, and in a real kernel.
func BlindSpots(p Plan, results []Result, k *Kernel) report.Section {
	agree, covered, differ := k.Agreement()
	s := report.Section{
		Title: "Blind spots",
		Text: []string{
			"Whose address stands as the source in the first row of a pod's flow, at the sender's interface: the pod's, or its node's, behind which any pod of the node may be. Without a row there is nothing to attribute.",
			simulatorAgrees(p.Modes, results) + " " + fmt.Sprintf("A real kernel shows what is publicly known in %d of the %d cells that it covers, of %d in all.", agree, covered, len(Matrix)*len(sim.Modes)),
		},
		Tables: []report.Table{matrix(p.Modes, results, k), k.table(p.Modes, results), uncovered(), sources()},
		Notes: []string{
			"[unproven]: no public row of a flow log shows it; it is concluded from other documents.",
			`Real kernels: "make e2e E2E=./e2e/nat" sends from pods in network namespaces to every one of these destinations, under all four modes, through the kernel's own masquerading. Not covered there: what Azure itself does between interface and log.`,
			"The real kernel's pods have few ports, each used again within seconds, and its runs are short: shares differ from the simulator's for that.",
		},
	}
	if p.Base.Faults.ListChanged {
		s.Notes = append(s.Notes, "In these runs a list of one's own says for a while that some destinations are not masqueraded, so that cells may differ from each mode's default.")
	}
	for _, d := range differ {
		s.Notes = append(s.Notes, "Differs: "+d+".")
	}
	return s
}

func simulatorAgrees(modes []sim.Mode, results []Result) string {
	if differ := Differences(modes, results); len(differ) > 0 {
		return fmt.Sprintf("The simulator shows something else than is publicly known: %s.", strings.Join(differ, "; "))
	}
	return fmt.Sprintf("The simulator shows what is publicly known in all %d cells of these modes, in every run.", len(Matrix)*len(modes))
}

// tones are the colours of what a row shows.
var tones = map[attribution.Appears]report.Tone{pod: report.Good, node: report.Hidden, none: report.Absent}

// appears is a cell that says what a row shows; what differs from it is told too.
func appears(known, is attribution.Appears, mark string) report.Cell {
	words := map[attribution.Appears]string{pod: "pod", node: "node", none: "no row", attribution.ShowsUnknown: "both"}
	if is != known {
		return report.Cell{Text: fmt.Sprintf("%s, known: %s", words[is], words[known]), Bad: true}
	}
	return report.Cell{Text: words[known] + mark, Tone: tones[known]}
}

// matrix has what is publicly known, and what the kernel shows beside it.
func matrix(modes []sim.Mode, results []Result, k *Kernel) report.Table {
	out := report.Table{Title: "Whose address the sender's row shows: publicly known and simulated, then in a real kernel", Head: []string{"destination"}}
	for _, m := range modes {
		out.Head = append(out.Head, string(m))
	}
	for _, m := range modes {
		out.Head = append(out.Head, "kernel: "+string(m))
	}
	for i := range Matrix {
		known := &Matrix[i]
		row := []report.Cell{report.Text("%s", known.Class)}
		for _, mode := range modes {
			m := slices.Index(sim.Modes, mode)
			mark := ""
			if known.Unproven[m] {
				mark = " [unproven]"
			}
			row = append(row, appears(known.Shows[m], simulated(results, mode, known), mark))
		}
		for _, mode := range modes {
			cell := report.Text("not covered")
			if c := k.cell(mode, known.Class); c != nil {
				cell = appears(known.Shows[slices.Index(sim.Modes, mode)], c.Shows(), "")
			}
			row = append(row, cell)
		}
		out.Rows = append(out.Rows, row)
	}
	return out
}

// simulated is what the runs of a mode show: another source than is known, where any does.
func simulated(results []Result, mode sim.Mode, known *Known) attribution.Appears {
	shows := known.Shows[slices.Index(sim.Modes, mode)]
	for i := range results {
		if t := results[i].Tallies[known.Class]; results[i].Mode == mode && t != nil && t.Shows() != shows {
			return t.Shows()
		}
	}
	return shows
}

func uncovered() report.Table {
	out := report.Table{Title: "What else is publicly known, and counted in no cell", Head: []string{"traffic", "its rows show", "here"}}
	for _, u := range notCounted {
		out.Rows = append(out.Rows, []report.Cell{report.Text("%s", u.Traffic), report.Text("%s", u.Known), report.Text("%s", u.Here)})
	}
	return out
}

func sources() report.Table {
	out := report.Table{Title: "Where that is from", Head: []string{"destination", "source"}}
	for _, k := range Matrix {
		out.Rows = append(out.Rows, []report.Cell{report.Text("%s", k.Class), report.Text("%s", k.Source)})
	}
	return out
}

// Conclusions say in plain words what the runs showed of each mode.
func Conclusions(p Plan, results []Result) []report.Conclusion {
	var out []report.Conclusion
	say := func(format string, args ...any) {
		out = append(out, report.Conclusion{Says: fmt.Sprintf(format, args...)})
	}
	var stories []string
	modes := map[string][]string{} // with the same story
	for _, mode := range p.Modes {
		story := story(mode, results)
		if modes[story] == nil {
			stories = append(stories, story)
		}
		modes[story] = append(modes[story], string(mode))
	}
	for _, story := range stories {
		say("Under %s %s", and(modes[story]), story)
	}
	say("Under no mode does the log have a row of traffic between pods on one node; no evidence brings it back.")
	least := 1.0
	for _, mode := range p.Modes {
		for _, k := range Matrix {
			if of(results, mode, k.Class, logged).Median > 0 {
				least = min(least, of(results, mode, k.Class, share(func(t *Tally) int { return t.NAT.Exact })).Median)
			}
		}
	}
	say("With NAT evidence from every node, at least %s of the flows to each kind of destination that is logged have an exact sender, under every mode.", report.Percent(least))
	return out
}

// story is what the log alone tells under a mode.
func story(mode sim.Mode, results []Result) string {
	var shown, hidden []string
	candidates := 0.0
	for _, k := range Matrix {
		switch simulated(results, mode, &k) {
		case pod: // where rows differ, neither can be said
			shown = append(shown, string(k.Class))
		case node:
			hidden = append(hidden, string(k.Class))
			candidates = max(candidates, math.Exp2(of(results, mode, k.Class, bits).Median))
		}
	}
	return fmt.Sprintf("the log alone names the pod behind flows to: %s. Flows to these show the node's address, one of up to %.0f candidates in these runs: %s.", and(shown), candidates, and(hidden))
}

// and joins a list as one says it.
func and(list []string) string {
	if len(list) < 2 {
		return strings.Join(list, "")
	}
	return strings.Join(list[:len(list)-1], ", ") + " and " + list[len(list)-1]
}

// table is how the real kernel agrees with what is known and with the simulator.
func (k *Kernel) table(modes []sim.Mode, results []Result) report.Table {
	out := report.Table{Title: fmt.Sprintf("A real kernel beside the simulator: Linux %s, recorded %s", k.Release, k.At.UTC().Format(time.DateOnly)), Head: []string{"destination"}}
	for _, m := range modes {
		out.Head = append(out.Head, string(m))
	}
	for i := range Matrix {
		row := []report.Cell{report.Text("%s", Matrix[i].Class)}
		for _, mode := range modes {
			row = append(row, k.compare(&Matrix[i], mode, results))
		}
		out.Rows = append(out.Rows, row)
	}
	return out
}

// Finding is in how many cells the kernel shows what is known.
func (k *Kernel) Finding() report.Finding {
	agree, covered, _ := k.Agreement()
	return report.Finding{Figure: fmt.Sprintf("%d of %d", agree, covered), Bad: agree < covered,
		Says: "cells of mode and destination in which a real kernel shows the source that is publicly known"}
}

// compare is one cell: the kernel's source against the known and the simulated one.
func (k *Kernel) compare(known *Known, mode sim.Mode, results []Result) report.Cell {
	c := k.cell(mode, known.Class)
	if c == nil {
		return report.Text("not covered by the kernel scenarios")
	}
	is, want, simulated := c.Shows(), known.Shows[slices.Index(sim.Modes, mode)], simulated(results, mode, known)
	if is != want || is != simulated {
		return report.Cell{Text: fmt.Sprintf("disagrees: kernel %s, known %s, simulator %s", is, want, simulated), Bad: true}
	}
	rows := c.ShowPod + c.ShowNode
	if rows == 0 {
		return report.Text("agrees: no row of %d calls", c.Unseen)
	}
	part := func(n int) string { return report.Percent(float64(n) / float64(rows)) }
	return report.Text("agrees: %s of %d rows; exact %s, with NAT evidence %s", is, rows, part(c.Exact), part(c.ExactNAT))
}
