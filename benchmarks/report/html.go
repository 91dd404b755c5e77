package report

import (
	_ "embed"
	"html/template"
	"io"
	"strings"
)

//go:embed page.html
var page string

var pageTemplate = template.Must(template.New("page").Funcs(template.FuncMap{
	"chart": (*Chart).svg, "at": func(list []Chart, i int) *Chart { return &list[i] }, "cell": split, "class": Cell.class,
}).Parse(page))

// WriteHTML writes the document as one page that loads nothing.
func (d *Document) WriteHTML(to io.Writer) error { return pageTemplate.Execute(to, d) }

// split takes the text of a cell apart: the figure with its unit, and its interval, which stands
// below it so that tables are not wider than a page.
func split(c Cell) [2]string {
	if c.Summary == nil {
		return [2]string{c.Text}
	}
	median, rest, ok := strings.Cut(c.Text, " (")
	low, unit, closed := strings.Cut(rest, ")")
	if !ok || !closed {
		return [2]string{c.Text}
	}
	return [2]string{median + unit, low}
}

// class is how the page shows a cell: what is longer than a figure may be broken.
func (c Cell) class() string {
	classes := string(c.Tone)
	if c.Bad {
		classes += " bad"
	}
	if len(c.Text) > 24 && c.Summary == nil {
		classes += " long"
	}
	return strings.TrimSpace(classes)
}
