package main

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/whichpod/whichpod/query"
)

// fewOwners is how many owners text output draws where --limit names no other number.
const fewOwners = 40

// terminal is how many columns a line of the timeline has at most.
const terminal = 80

// printOwners draws the address's history, one line for each stay, gap and vacancy in
// the order of time, and then what is known of each owner. Two clusters are apart.
func (a *app) printOwners(o *query.Owners, limit int) error {
	if a.output == "json" {
		o.Warnings = append(o.Warnings, a.doubts...)
		return a.json(o)
	}
	if len(o.Owners) == 0 {
		fmt.Fprintf(a.stdout, "%s: nobody is known to have held it\n", asked(o.Question))
	}
	for i, tl := range timelines(o) {
		if i > 0 {
			fmt.Fprintln(a.stdout)
		}
		tl.print(a.stdout, asked(o.Question), limit)
	}
	for i := range o.Contradictions {
		fmt.Fprintf(a.stdout, "contradiction: %s\n", o.Contradictions[i].Text())
	}
	for _, w := range o.Warnings {
		fmt.Fprintf(a.stdout, "note: %s\n", w)
	}
	return nil
}

// timeline is the history of an address in one cluster.
type timeline struct {
	cluster  string
	from, to query.Time
	lines    []timelineLine
}

// timelineLine is a stay (pod set), a gap or a vacancy.
type timelineLine struct {
	pod      *query.Pod
	from, to query.Time // 0 is open
	mark     byte       // of a gap or a vacancy
	what     string
}

const (
	markHeld    = '='
	markEdge    = '~'
	markGap     = 'x'
	markVacant  = '.'
	timelineKey = "= held  ~ got or lost it about then  x nobody watched  . nobody held it"
)

func timelines(o *query.Owners) []*timeline {
	byName := make(map[string]*timeline)
	var out []*timeline
	add := func(cluster string, l timelineLine) {
		tl := byName[cluster]
		if tl == nil {
			tl = &timeline{cluster: cluster, from: o.From, to: o.To}
			byName[cluster], out = tl, append(out, tl)
		}
		tl.lines = append(tl.lines, l)
	}
	for i := range o.Owners {
		p := &o.Owners[i]
		add(p.Cluster, timelineLine{pod: p, from: p.FromEarliest, to: p.ToLatest, what: p.Label()})
	}
	for _, g := range o.Gaps {
		add(g.Cluster, timelineLine{from: g.From, to: g.To, mark: markGap, what: "not watched"})
	}
	for _, g := range o.Vacant {
		add(g.Cluster, timelineLine{from: g.From, to: g.To, mark: markVacant, what: "nobody"})
	}
	for _, tl := range out {
		slices.SortStableFunc(tl.lines, func(a, b timelineLine) int { return cmp.Compare(a.from, b.from) })
	}
	slices.SortFunc(out, func(a, b *timeline) int { return strings.Compare(a.cluster, b.cluster) })
	return out
}

// cut leaves the last owners, and what lies between them, and says how many others
// there are.
func (tl *timeline) cut(limit int) int {
	owners := 0
	for i := len(tl.lines) - 1; i >= 0; i-- {
		if tl.lines[i].pod == nil {
			continue
		}
		if owners++; owners < limit || i == 0 {
			continue
		}
		left := 0
		for _, l := range tl.lines[:i] {
			if l.pod != nil {
				left++
			}
		}
		if left > 0 {
			tl.from = max(tl.from, tl.lines[i].from)
			tl.lines = tl.lines[i:]
		}
		return left
	}
	return 0
}

func (tl *timeline) print(w io.Writer, address string, limit int) {
	left := tl.cut(limit)
	layout := "15:04:05"
	if day(tl.from) != day(tl.to) {
		layout = "01-02 15:04:05"
	}
	name := 0
	for _, l := range tl.lines {
		name = max(name, len(l.what)+5)
	}
	name = min(name, 34)
	bar := terminal - len(layout) - name - len(" || ")
	fmt.Fprintf(w, "%s in cluster %s, %s to %s\n%s\n", address, tl.cluster, wholeSecond(tl.from), wholeSecond(tl.to), timelineKey)
	if left > 0 {
		fmt.Fprintf(w, "%s earlier left out: --since, --until and --limit show them\n", count(int64(left), "owner"))
	}
	fmt.Fprintln(w)
	nth := 0
	for _, l := range tl.lines {
		what := l.what
		if l.pod != nil {
			nth++
			what = fmt.Sprintf("%s [%d]", shortened(what, name-5), nth)
		}
		fmt.Fprintf(w, "%s |%s| %s\n", clock(max(l.from, tl.from), layout), tl.bar(&l, bar), what)
	}
	fmt.Fprintln(w)
	nth = 0
	for _, l := range tl.lines {
		if l.pod == nil {
			continue
		}
		nth++
		p := l.pod
		who := p.Label()
		if p.UID != "" {
			who += " uid " + p.UID
		}
		fmt.Fprintf(w, "[%d] %s\n    on %s, by %s\n    from %s\n    to   %s\n", nth, who, p.Node, cmp.Or(p.Source, "its pods' status"), bracket(p.FromEarliest, p.FromLatest), bracket(p.ToEarliest, p.ToLatest))
	}
}

// bar draws a line, scaled to the timeline's range: each column stands for a stretch of
// it, and shows the surest thing that is true within.
func (tl *timeline) bar(l *timelineLine, columns int) string {
	span := int64(tl.to - tl.from)
	if span <= 0 {
		span = 1
	}
	out := []byte(strings.Repeat(" ", columns))
	draw := func(from, to query.Time, mark byte) {
		lo, hi := max(from, tl.from), to
		if !to.Known() || to > tl.to {
			hi = tl.to
		}
		if hi < lo || lo > tl.to {
			return
		}
		first := int(int64(lo-tl.from) * int64(columns) / span)
		last := int((int64(hi-tl.from)*int64(columns) - 1) / span)
		for i := min(first, columns-1); i <= min(max(first, last), columns-1); i++ {
			out[i] = mark
		}
	}
	if l.pod == nil {
		draw(l.from, l.to, l.mark)
		return string(out)
	}
	p := l.pod
	draw(p.FromEarliest, p.ToLatest, markEdge)
	until := p.ToEarliest
	if !until.Known() {
		until = p.KnownUntil
	}
	if p.FromLatest.Known() && until > p.FromLatest {
		draw(p.FromLatest, until, markHeld)
	}
	return string(out)
}

func day(t query.Time) int64 { return int64(t) / (24 * time.Hour).Milliseconds() }

func clock(t query.Time, layout string) string {
	if !t.Known() {
		return strings.Repeat("-", len(layout))
	}
	return time.UnixMilli(int64(t)).UTC().Format(layout)
}

func wholeSecond(t query.Time) string { return clock(t, time.RFC3339) }

// shortened cuts the middle out of a name that is too long.
func shortened(s string, most int) string {
	if len(s) <= most {
		return s
	}
	head := (most - 2) / 2
	return s[:head] + ".." + s[len(s)-(most-2-head):]
}
