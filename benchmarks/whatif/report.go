package whatif

import (
	"fmt"
	"maps"
	"slices"

	"github.com/whichpod/whichpod/attribution"
	"github.com/whichpod/whichpod/benchmarks/report"
	"github.com/whichpod/whichpod/benchmarks/stats"
)

// words are all that can be said of a sender, in the order of reports.
var words = func() []Word {
	var out []Word
	for _, v := range attribution.Verdicts() {
		out = append(out, Word(v.String()))
		if v == attribution.Exact {
			out = append(out, ByNAT)
		}
	}
	return append(out, Unknown)
}()

// tones are the parts of a bar, with the words that each counts.
var tones = []struct {
	report.Key
	words []Word
}{
	{report.Key{Tone: report.Good, Name: "exact"}, []Word{Word(attribution.Exact.String()), ByNAT}},
	{report.Key{Tone: report.Doubt, Name: "boundary, ambiguous"}, []Word{Word(attribution.Boundary.String()), Word(attribution.Ambiguous.String())}},
	{report.Key{Tone: report.Hidden, Name: "masked, host"}, []Word{Word(attribution.Masked.String()), Word(attribution.Host.String())}},
	{report.Key{Tone: report.Absent, Name: "gap, or not known"}, []Word{Word(attribution.Gap.String()), Unknown}},
}

// Changed counts the rows of which something else would be said, what is not known
// left out.
func (r *Replay) Changed() (changed int64) {
	for from, to := range r.Matrix {
		for word, n := range to {
			if word != Unknown && word != from && (from != ByNAT || word != Word(attribution.Exact.String())) {
				changed += n
			}
		}
	}
	return changed
}

func (r *Replay) unknown() (n int64) {
	for _, rows := range r.Why {
		n += rows
	}
	return n
}

// today counts what is said of the rows now.
func (r *Replay) today() map[Word]int64 {
	out := make(map[Word]int64)
	for from, to := range r.Matrix {
		for _, n := range to {
			out[from] += n
		}
	}
	return out
}

// then counts what would be said.
func (r *Replay) then() map[Word]int64 {
	out := make(map[Word]int64)
	for _, to := range r.Matrix {
		for word, n := range to {
			out[word] += n
		}
	}
	return out
}

func sum(in map[Word]int64) (n int64) {
	for _, rows := range in {
		n += rows
	}
	return n
}

// Sections report what was replayed: an overview, then each mode.
func Sections(all []*Replay) []report.Section {
	out := []report.Section{overview(all)}
	for _, r := range all {
		out = append(out, r.section())
	}
	return out
}

func overview(all []*Replay) report.Section {
	s := report.Section{
		Title: "All modes",
		Text: []string{
			"Each row of the index is taken as it is answered today. Its sender is then imagined under another network mode: the same pods on the same nodes send the same, and the mode decides whether the row shows the pod's address or the node's.",
			"Rows whose sender is outside of the clusters are left out of the chart: no mode changes what is said of them.",
		},
		Notes: []string{
			"Assumed is what each mode masquerades by default (docs/verdicts.md): kubenet and overlay all that leaves the pods' range, node-subnet all that leaves the VNet, pod-subnet nothing; each of them what goes to Azure's DNS and metadata. A list of one's own would change that.",
			"No mode logs traffic within a node. So no row of it is there to be replayed, and none would be added.",
			"A flow within the VNet is logged at both interfaces: both rows are counted, as the log has them, and both show the same source.",
			"Where pods' own addresses stay in the rows, today's words do too. The other mode would hand addresses out in another order, so that exact and boundary may change places there, in few rows.",
			"What comes from outside would reach pods on other ways under kubenet and overlay; of its sender the same is said.",
			"Behind a node's address are the pods that the ledger has on it at the time, and the node itself. NAT evidence of every translation would name the sender again, as far as it is known today.",
		},
	}
	chart := newChart("What is said of the senders: today, and under each mode")
	today := all[0].today()
	chart.Panels = append(chart.Panels, report.Panel{Title: "today", Bars: []report.Bar{bar("as it is", today)}})
	modes := report.Panel{Title: "under another mode"}
	table := report.Table{Title: "Rows, by what would be said", Head: []string{"mode", "changed", "exact", "masked", "cannot be replayed", "bits, where masked anew", "named by NAT evidence"}}
	for _, r := range all {
		then := r.then()
		modes.Bars = append(modes.Bars, bar(string(r.Mode), then))
		bits := report.Text("")
		if r.Hidden > 0 {
			bits = report.Figure(one(r.Bits/float64(r.Hidden)), 2, "")
		}
		table.Rows = append(table.Rows, []report.Cell{report.Text("%s", r.Mode), rows(r.Changed(), r.Rows), rows(then["exact"], r.Rows), rows(then["masked"], r.Rows), rows(r.unknown(), r.Rows), bits, rows(r.Lifted, r.Rows)})
	}
	chart.Panels = append(chart.Panels, modes)
	s.Charts, s.Tables = []report.Chart{chart}, []report.Table{table}
	return s
}

func newChart(title string) report.Chart {
	c := report.Chart{Title: title, Max: 1, Unit: "%"}
	for _, t := range tones {
		c.Legend = append(c.Legend, t.Key)
	}
	return c
}

// bar is the shares of words, those of senders outside left out.
func bar(label string, of map[Word]int64) report.Bar {
	all := sum(of) - of[Word(attribution.External.String())]
	out := report.Bar{Label: label, Says: "no rows", Parts: []report.Part{}}
	if all == 0 {
		return out
	}
	for i, t := range tones {
		n := int64(0)
		for _, w := range t.words {
			n += of[w]
		}
		share := float64(n) / float64(all)
		out.Parts = append(out.Parts, report.Part{Tone: t.Tone, Value: share})
		if i == 0 {
			out.Says = report.Percent(share) + " exact"
		}
	}
	return out
}

// section is what would be said under one mode.
func (r *Replay) section() report.Section {
	s := report.Section{Title: "Under " + string(r.Mode), Text: []string{fmt.Sprintf("Of %d rows, something else would be said of %d (%s).", r.Rows, r.Changed(), share(r.Changed(), r.Rows))}}
	if r.Hidden > 0 {
		s.Text = append(s.Text, fmt.Sprintf("%d rows would be masked that are not today, among %.1f candidates or %.2f bits on average. Evidence of the nodes' translations would name the sender of %d of them.", r.Hidden, float64(r.Candidates)/float64(r.Hidden), r.Bits/float64(r.Hidden), r.Lifted))
	}
	chart := newChart("By where the rows go")
	panel := report.Panel{Title: string(r.Mode)}
	for _, class := range Classes {
		if of := r.Classes[class]; sum(of) > 0 {
			panel.Bars = append(panel.Bars, bar(string(class), of))
		}
	}
	if len(panel.Bars) > 0 {
		chart.Panels = []report.Panel{panel}
		s.Charts = []report.Chart{chart}
	}
	s.Tables = []report.Table{r.matrix()}
	for _, why := range slices.Sorted(maps.Keys(r.Why)) {
		s.Notes = append(s.Notes, fmt.Sprintf("%d rows cannot be replayed: %s.", r.Why[why], why))
	}
	return s
}

// matrix is from today's words to the others.
func (r *Replay) matrix() report.Table {
	today, then := r.today(), r.then()
	out := report.Table{Title: fmt.Sprintf("From what is said today to what would be said under %s: shares of all rows", r.Mode), Head: []string{"today", "rows"}}
	for _, to := range words {
		if then[to] > 0 {
			out.Head = append(out.Head, string(to))
		}
	}
	for _, from := range words {
		if today[from] == 0 {
			continue
		}
		row := []report.Cell{report.Text("%s", from), report.Text("%d", today[from])}
		for _, to := range words {
			if then[to] > 0 {
				row = append(row, report.Share(one(float64(r.Matrix[from][to])/float64(r.Rows))))
			}
		}
		out.Rows = append(out.Rows, row)
	}
	return out
}

// rows is a number of rows with its share of all.
func rows(n, of int64) report.Cell {
	if n == 0 {
		return report.Cell{Text: "0", Summary: summary(0)}
	}
	return report.Cell{Text: fmt.Sprintf("%d (%s)", n, share(n, of)), Summary: summary(float64(n) / float64(max(1, of)))}
}

func share(n, of int64) string { return report.Percent(float64(n) / float64(max(1, of))) }

func one(figure float64) stats.Summary { return stats.Of([]float64{figure}) }

func summary(figure float64) *stats.Summary {
	s := one(figure)
	return &s
}

// Findings are the figures to read first.
func Findings(all []*Replay) []report.Finding {
	var out []report.Finding
	for _, r := range all {
		f := report.Finding{Figure: share(r.Changed(), r.Rows), Says: fmt.Sprintf("of rows would get another answer under %s", r.Mode)}
		if n := r.Why[whoUnknown]; n > 0 {
			f.Says += fmt.Sprintf("; %s more hide their sender today, and the mode would show it", share(n, r.Rows))
		}
		if n := r.unknown() - r.Why[whoUnknown]; n > 0 {
			f.Says += fmt.Sprintf("; of %s it is not known", share(n, r.Rows))
		}
		out = append(out, f)
	}
	return out
}
