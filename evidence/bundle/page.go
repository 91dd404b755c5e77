package bundle

import (
	_ "embed"
	"fmt"
	html "html/template"
	"io"
	"maps"
	"slices"
	text "text/template"

	"github.com/whichpod/whichpod/attribution"
	"github.com/whichpod/whichpod/evidence/claim"
	"github.com/whichpod/whichpod/query"
)

// What a person reads in a bundle.
var (
	//go:embed page/README.md
	readme []byte
	//go:embed page/summary.txt
	summaryText string
	//go:embed page/summary.html
	summaryPage string
)

// page is what the summaries tell.
type page struct {
	Predicate    *predicate
	Question     *Question
	Completeness *Completeness
	Claims       []claim.Result
}

func writePages(f files, p *page) error {
	plain, err := text.New(textFile).Funcs(pageFuncs).Parse(summaryText)
	if err != nil {
		return err
	}
	rich, err := html.New(pageFile).Funcs(pageFuncs).Parse(summaryPage)
	if err != nil {
		return err
	}
	if err := f.write(textFile, func(w io.Writer) error { return plain.Execute(w, p) }); err != nil {
		return err
	}
	if err := f.write(pageFile, func(w io.Writer) error { return rich.Execute(w, p) }); err != nil {
		return err
	}
	return f.writeBytes(readmeFile, readme)
}

var pageFuncs = map[string]any{
	"from": func(t query.Time) string { return orWord(t, "the first row") },
	"to":   func(t query.Time) string { return orWord(t, "the last row") },
	"time": func(t moments) string { return orWord(query.Time(t), "-") },
}

func orWord(t query.Time, word string) string {
	if !t.Known() {
		return word
	}
	return t.String()
}

// Bar is a line of a chart.
type Bar struct {
	Label   string
	Meaning string
	Count   int64
	Percent float64
}

func bars(counts map[string]int64, total int64, order []string) []Bar {
	var out []Bar
	for _, word := range order {
		if n := counts[word]; n > 0 {
			out = append(out, Bar{word, meanings[word], n, 100 * float64(n) / float64(total)})
		}
	}
	return out
}

// meanings say in a line what a verdict is, to who sees one for the first time.
var meanings = map[string]string{
	attribution.Exact.String():     "one pod: nobody else can have been there, under what is known",
	attribution.Boundary.String():  "the address changed hands around then: one of several pods",
	attribution.Ambiguous.String(): "several pods are on record as holding the address at once",
	attribution.Masked.String():    "a node's address, behind which pods hide: one of several, or the node",
	attribution.Host.String():      "a node's own address: one of the pods that share it, or the node",
	attribution.External.String():  "no address of a known cluster",
	attribution.Gap.String():       "an address of a cluster when nobody watched, or nobody is on record with it",
}

func verdictWords() []string {
	var out []string
	for _, v := range attribution.Verdicts() {
		out = append(out, v.String())
	}
	return out
}

// Src is how many rows have each verdict at their source.
func (p *page) Src() []Bar {
	v := &p.Completeness.Verdicts
	return bars(v.Src, v.Rows, verdictWords())
}

// Dst is the same for destinations.
func (p *page) Dst() []Bar {
	v := &p.Completeness.Verdicts
	return bars(v.Dst, v.Rows, verdictWords())
}

// Hour is what all interfaces logged in an hour.
type Hour struct {
	Hour                     query.Time
	NICs, Silent             int
	Expected, Seen, Rejected int64
	Rows                     int64
	Percent                  float64 // of the records that were expected, at most 100
}

// Hours sums the interfaces up, by hour.
func (p *page) Hours() []Hour {
	by := make(map[moments]*Hour)
	for _, n := range p.Completeness.NICs {
		h := by[n.Hour]
		if h == nil {
			h = &Hour{Hour: query.Time(n.Hour)}
			by[n.Hour] = h
		}
		h.NICs++
		if n.Seen == 0 {
			h.Silent++
		}
		h.Expected, h.Seen, h.Rejected, h.Rows = h.Expected+int64(n.Expected), h.Seen+int64(n.Seen), h.Rejected+n.Rejected, h.Rows+n.Rows
	}
	var out []Hour
	for _, at := range slices.Sorted(maps.Keys(by)) {
		h := by[at]
		h.Percent = min(100, 100*float64(h.Seen)/float64(max(h.Expected, 1)))
		out = append(out, *h)
	}
	return out
}

// Blobs says how many flow logs were read, and of how many the bytes were summed up.
func (p *page) Blobs() string {
	summed := 0
	for i := range p.Completeness.Blobs {
		if p.Completeness.Blobs[i].SHA256 != "" {
			summed++
		}
	}
	return fmt.Sprintf("%d flow logs, %d of them with the SHA-256 of what was read", len(p.Completeness.Blobs), summed)
}
