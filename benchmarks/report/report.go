// Package report writes what the benchmarks measured as one document: an HTML page with
// charts that needs nothing from outside, the same as Markdown, and the same as JSON.
//
// In: a [Document], which the measures fill. Out: text. The same Document gives the same
// bytes; what differs between two runs of one seed is the machine and the time, in
// [Document.Environment], and what is marked as timed: it was measured on that machine.
package report

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/whichpod/whichpod/benchmarks/stats"
)

// Document is a report.
type Document struct {
	Title    string    `json:"title"`
	Lead     string    `json:"lead"`
	Findings []Finding `json:"findings"`
	// Conclusions say in plain words what the figures come to.
	Conclusions []Conclusion `json:"conclusions,omitempty"`
	// Setting is what decides the figures: seeds, sizes, assumptions.
	Setting []Entry `json:"setting"`
	// Environment is where and when they were measured.
	Environment []Entry   `json:"environment,omitempty"`
	Sections    []Section `json:"sections"`
}

// Finding is a figure worth reading first.
type Finding struct {
	Figure string `json:"figure"`
	Says   string `json:"says"`
	Bad    bool   `json:"bad"`
	Timed  bool   `json:"timed,omitempty"`
}

// Conclusion is a sentence or two.
type Conclusion struct {
	Says  string `json:"says"`
	Timed bool   `json:"timed,omitempty"`
}

// Entry is a name with its value.
type Entry struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// Section is what one measure found.
type Section struct {
	Title  string   `json:"title"`
	Text   []string `json:"text"` // paragraphs
	Charts []Chart  `json:"charts"`
	Tables []Table  `json:"tables"`
	Notes  []string `json:"notes"`
}

// Table is a table with a head.
type Table struct {
	Title string   `json:"title"`
	Head  []string `json:"head"`
	Rows  [][]Cell `json:"rows"`
}

// Cell is text, or the summary of a figure over all runs with its text.
type Cell struct {
	Text    string         `json:"text"`
	Summary *stats.Summary `json:"summary,omitempty"`
	Tone    Tone           `json:"tone,omitempty"` // coloured so
	Bad     bool           `json:"bad,omitempty"`
	Timed   bool           `json:"timed,omitempty"`
}

// Tone says what a part of a bar stands for.
type Tone string

// The tones.
const (
	Good   Tone = "good"   // known for certain
	Doubt  Tone = "doubt"  // several are named, honestly
	Hidden Tone = "hidden" // behind a node's address
	Absent Tone = "absent" // not logged, or nothing said
	Bad    Tone = "bad"    // wrong
)

// The tones of stages in time.
const (
	Logging    Tone = "logging"
	Publishing Tone = "publishing"
	Polling    Tone = "polling"
	Person     Tone = "person"
	Measured   Tone = "measured"
	Fetching   Tone = "fetching"
	Indexing   Tone = "indexing"
	Asking     Tone = "asking"
)

// Chart is a set of panels with stacked bars on one scale.
type Chart struct {
	Title  string  `json:"title"`
	Legend []Key   `json:"legend"`
	Max    float64 `json:"max"`  // of the scale
	Unit   string  `json:"unit"` // "%" where values are shares
	Panels []Panel `json:"panels"`
	Timed  bool    `json:"timed,omitempty"`
}

// Key says what a tone means in a chart.
type Key struct {
	Tone Tone   `json:"tone"`
	Name string `json:"name"`
}

// Panel is a group of bars.
type Panel struct {
	Title string `json:"title"`
	Bars  []Bar  `json:"bars"`
}

// Bar is one stacked bar.
type Bar struct {
	Label string `json:"label"`
	Parts []Part `json:"parts"`
	Says  string `json:"says"` // beside the bar
	Timed bool   `json:"timed,omitempty"`
}

// Part is a stretch of a bar.
type Part struct {
	Tone  Tone    `json:"tone"`
	Value float64 `json:"value"`
}

// Text is a cell of text.
func Text(format string, args ...any) Cell { return Cell{Text: fmt.Sprintf(format, args...)} }

// Share is a cell that shows a share in percent, with its interval where that is not
// narrower than what is shown.
func Share(s stats.Summary) Cell {
	return Cell{Text: interval(percent(s.Median), percent(s.Low), percent(s.High)) + " %", Summary: &s}
}

// Figure is a cell that shows a figure with so many decimals, with its interval.
func Figure(s stats.Summary, decimals int, unit string) Cell {
	show := func(v float64) string { return fmt.Sprintf("%.*f", decimals, v) }
	return Cell{Text: strings.TrimSpace(interval(show(s.Median), show(s.Low), show(s.High)) + " " + unit), Summary: &s}
}

func interval(median, low, high string) string {
	if low == high {
		return median
	}
	return median + " (" + low + " to " + high + ")"
}

// percent shows a share: no figure that is not 0 or 1 looks as if it were.
func percent(share float64) string {
	switch p := 100 * share; {
	case p > 0 && p < 0.01:
		return "<0.01"
	case p < 100 && p > 99.99:
		return ">99.99"
	case p == 0 || p == 100:
		return fmt.Sprintf("%.0f", p)
	case p < 1 || p > 99:
		return fmt.Sprintf("%.2f", p)
	default:
		return fmt.Sprintf("%.1f", p)
	}
}

// Since is a cell that shows a figure that was timed.
func Since(s stats.Summary, decimals int, unit string) Cell {
	c := Figure(s, decimals, unit)
	c.Timed = true
	return c
}

// Percent shows a share in percent.
func Percent(share float64) string { return percent(share) + " %" }

// Percents shows a range of shares in percent.
func Percents(low, high float64) string {
	if percent(low) == percent(high) {
		return Percent(low)
	}
	return percent(low) + " to " + Percent(high)
}

// Minutes shows a duration, whole minutes as such.
func Minutes(d time.Duration) string {
	if d%time.Minute == 0 {
		return fmt.Sprintf("%d min", d/time.Minute)
	}
	return d.String()
}

// WriteJSON writes the document as JSON.
func (d *Document) WriteJSON(to io.Writer) error {
	enc := json.NewEncoder(to)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	return enc.Encode(d)
}

// WriteMarkdown writes the document as Markdown.
func (d *Document) WriteMarkdown(to io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "# %s\n\n%s\n", d.Title, d.Lead)
	if len(d.Findings) > 0 {
		b.WriteString("\n")
	}
	for _, f := range d.Findings {
		fmt.Fprintf(&b, "- **%s** %s\n", f.Figure, f.Says)
	}
	if len(d.Conclusions) > 0 {
		b.WriteString("\n## In short\n\n")
	}
	for _, c := range d.Conclusions {
		fmt.Fprintf(&b, "- %s\n", c.Says)
	}
	for _, s := range d.Sections {
		fmt.Fprintf(&b, "\n## %s\n", s.Title)
		for _, p := range s.Text {
			fmt.Fprintf(&b, "\n%s\n", p)
		}
		for i := range s.Charts {
			s.Charts[i].table().markdown(&b)
		}
		for i := range s.Tables {
			s.Tables[i].markdown(&b)
		}
		if len(s.Notes) > 0 {
			b.WriteString("\n")
		}
		for _, n := range s.Notes {
			fmt.Fprintf(&b, "- %s\n", n)
		}
	}
	entries(&b, "Setting", d.Setting)
	entries(&b, "Environment", d.Environment)
	_, err := io.WriteString(to, b.String())
	return err
}

func entries(b *strings.Builder, title string, list []Entry) {
	if len(list) == 0 {
		return
	}
	fmt.Fprintf(b, "\n## %s\n\n", title)
	for _, e := range list {
		fmt.Fprintf(b, "- %s: %s\n", e.Name, e.Value)
	}
}

// table is what the chart shows: a row for each bar.
func (c *Chart) table() *Table {
	out := &Table{Title: c.Title, Head: []string{"", ""}}
	for _, k := range c.Legend {
		out.Head = append(out.Head, k.Name)
	}
	out.Head = append(out.Head, "")
	for _, p := range c.Panels {
		for _, bar := range p.Bars {
			row := []Cell{Text("%s", p.Title), Text("%s", bar.Label)}
			for _, k := range c.Legend {
				row = append(row, Text("%s", c.value(bar, k.Tone)))
			}
			out.Rows = append(out.Rows, append(row, Text("%s", bar.Says)))
		}
	}
	return out
}

// value is what a bar shows in a tone, or "" where it has no such part.
func (c *Chart) value(b Bar, tone Tone) string {
	i := slices.IndexFunc(b.Parts, func(p Part) bool { return p.Tone == tone })
	switch {
	case i < 0:
		return ""
	case c.Unit == "%":
		return Percent(b.Parts[i].Value)
	}
	return fmt.Sprintf("%.3g %s", b.Parts[i].Value, c.Unit)
}

func (t *Table) markdown(b *strings.Builder) {
	fmt.Fprintf(b, "\n**%s**\n\n| %s |\n|%s\n", t.Title, strings.Join(t.Head, " | "), strings.Repeat("---|", len(t.Head)))
	for _, row := range t.Rows {
		b.WriteString("|")
		for _, c := range row {
			text := c.Text
			if c.Bad {
				text = "**" + text + "**"
			}
			fmt.Fprintf(b, " %s |", strings.ReplaceAll(text, "|", `\|`))
		}
		b.WriteString("\n")
	}
}
