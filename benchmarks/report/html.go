package report

import (
	_ "embed"
	"html/template"
	"io"
)

//go:embed page.html
var page string

var pageTemplate = template.Must(template.New("page").Funcs(template.FuncMap{"chart": (*Chart).svg, "at": func(list []Chart, i int) *Chart { return &list[i] }}).Parse(page))

// WriteHTML writes the document as one page that loads nothing.
func (d *Document) WriteHTML(to io.Writer) error { return pageTemplate.Execute(to, d) }
