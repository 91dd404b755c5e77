package report

import (
	"fmt"
	"html"
	"html/template"
	"strings"
)

// Measures of a chart, in units of its 1020 wide view.
const (
	chartWidth = 1020
	labelWidth = 240 // before the bars
	saysWidth  = 130 // behind them
	barHeight  = 17
	barStep    = 24
	panelHead  = 30
	legendRow  = 34
	axisRow    = 24
)

// colours can be told apart without red and green too, by lightness.
var colours = map[Tone]string{
	Good: "#12795b", Doubt: "#e3a72f", Hidden: "#8693a6", Absent: "#e6eaef", Bad: "#c2302a",
	Logging: "#b7c3d2", Publishing: "#8fa1b8", Polling: "#d7dfe8", Person: "#e9c46a", Measured: "#12795b",
	Fetching: "#9fcdbd", Indexing: "#12795b", Asking: "#e3a72f",
}

// svg draws the chart.
func (c *Chart) svg() template.HTML {
	height := legendRow + axisRow
	for _, p := range c.Panels {
		height += panelHead + barStep*len(p.Bars)
	}
	var b strings.Builder
	fmt.Fprintf(&b, `<svg viewBox="0 0 %d %d" role="img" aria-label="%s">`, chartWidth, height, html.EscapeString(c.Title))
	c.legend(&b)
	c.grid(&b, height)
	y := legendRow
	for i := range c.Panels {
		p := &c.Panels[i]
		text(&b, 0, y+20, `font-weight="600" fill="#1c2430"`, p.Title)
		y += panelHead
		for j := range p.Bars {
			c.bar(&b, &p.Bars[j], y)
			y += barStep
		}
	}
	b.WriteString("</svg>")
	return template.HTML(b.String()) // all text in it is escaped by text
}

func (c *Chart) legend(b *strings.Builder) {
	x, room := labelWidth, chartWidth-labelWidth
	for _, k := range c.Legend {
		room -= keyWidth(k)
	}
	if room < 0 {
		x = 0 // a long one begins where labels do
	}
	for _, k := range c.Legend {
		fmt.Fprintf(b, `<rect x="%d" y="4" width="13" height="13" rx="2" fill="%s"/>`, x, colours[k.Tone])
		text(b, x+19, 15, `fill="#5b6675"`, k.Name)
		x += keyWidth(k)
	}
}

// keyWidth is about how wide an entry of the legend is, with the space after it.
func keyWidth(k Key) int { return 42 + 7*len(k.Name) }

// grid draws the scale, in quarters, and its figures below.
func (c *Chart) grid(b *strings.Builder, height int) {
	for quarter := range 5 {
		x := labelWidth + c.width(c.Max*float64(quarter)/4)
		fmt.Fprintf(b, `<line x1="%.1f" x2="%.1f" y1="%d" y2="%d" stroke="#dfe4ea"/>`, x, x, legendRow, height-axisRow)
		text(b, int(x), height-8, `text-anchor="middle" fill="#5b6675"`, c.figure(c.Max*float64(quarter)/4))
	}
}

func (c *Chart) figure(v float64) string {
	if c.Unit == "%" {
		return fmt.Sprintf("%.0f %%", 100*v)
	}
	return fmt.Sprintf("%.3g %s", v, c.Unit)
}

// name is what a tone means.
func (c *Chart) name(tone Tone) string {
	for _, k := range c.Legend {
		if k.Tone == tone {
			return k.Name
		}
	}
	return ""
}

// width is how long a value is drawn.
func (c *Chart) width(v float64) float64 {
	return min(max(v, 0), c.Max) / c.Max * (chartWidth - labelWidth - saysWidth)
}

func (c *Chart) bar(b *strings.Builder, bar *Bar, y int) {
	text(b, labelWidth-12, y+13, `text-anchor="end" fill="#1c2430"`, bar.Label)
	x := float64(labelWidth)
	for _, p := range bar.Parts {
		w := min(c.width(p.Value), labelWidth+c.width(c.Max)-x)
		if p.Value > 0 {
			w = max(w, 1) // what is there is seen
			fmt.Fprintf(b, `<rect x="%.1f" y="%d" width="%.1f" height="%d" fill="%s"><title>%s</title></rect>`, x, y, w, barHeight, colours[p.Tone], html.EscapeString(c.name(p.Tone)+": "+c.value(*bar, p.Tone)))
		}
		x += w
	}
	text(b, chartWidth-saysWidth+14, y+13, `fill="#5b6675"`, bar.Says)
}

func text(b *strings.Builder, x, y int, attributes, s string) {
	fmt.Fprintf(b, `<text x="%d" y="%d" %s>%s</text>`, x, y, attributes, html.EscapeString(s))
}
