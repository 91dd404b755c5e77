package query

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"

	"github.com/whichpod/whichpod/attribution"
)

// period is the half-open time that a question is about, Unix milliseconds.
type period struct {
	from, to int64
	now      bool // nothing was asked of its end: it is now
}

// periodOf is that of a question about an address. Where no range was asked for, it is that of
// the rows behind the answer, or, without rows, all that is known of the address.
func (e *Engine) periodOf(q *Question, a netip.Addr, rows Flows) period {
	known := rows.times()
	if rows.Rows == 0 {
		if from, to, ok := e.view.Extent(a); ok {
			known = attribution.Range{From: from, To: to}
		}
	}
	return e.period(q, known, e.view.Owning(a))
}

// period is that of a question about some clusters. known is what it is about where no
// range was asked for; zero is nothing. Since a time without an end is until now, or until
// somebody last watched where more can not be known of a watch that goes on.
func (e *Engine) period(q *Question, known attribution.Range, clusters []string) period {
	p := period{from: known.From, to: known.To}
	switch {
	case q.At != 0:
		return period{from: q.At, to: q.At + 1}
	case q.Until != 0:
		p.to = q.Until
	case q.Since != 0 || known.To == 0:
		if p.to, p.now = e.now().UnixMilli(), true; q.AsKnownAt != 0 {
			p.to = min(p.to, q.AsKnownAt)
		}
		if w, ok := e.view.Covered(clusters); ok && p.to-w.To <= attribution.MaxSilence {
			p.to, p.now = w.To, false
		}
	}
	if q.Since != 0 {
		p.from = q.Since
		p.to = max(p.to, p.from+1)
	}
	if p.from >= p.to {
		p.from = 0
	}
	return p
}

// times is from the first row to the last, or zero where there is none.
func (f *Flows) times() attribution.Range {
	if f.Rows == 0 {
		return attribution.Range{}
	}
	return attribution.Range{From: int64(f.First), To: int64(f.Last) + 1}
}

// gaps lists the stretches in which clusters were not watched that touch the time that a
// question is about, or that of a flow of which it is not known who sent it.
func (e *Engine) gaps(g *groups, p period) []Gap {
	from, to := p.from, p.to
	if g.unseen.To != 0 {
		from, to = min(from, g.unseen.From), max(to, g.unseen.To)
	}
	touches := func(r attribution.Range, from, to int64) bool { return r.From < to && from < r.To }
	var list []Gap
	for _, cluster := range g.about() {
		for _, r := range e.view.Holes(cluster, from, to) {
			if touches(r, p.from, p.to) || touches(r, g.unseen.From, g.unseen.To) {
				list = append(list, p.gap(cluster, r))
			}
		}
	}
	slices.SortFunc(list, compareGaps)
	return list
}

// gap is a stretch of a cluster. Up to now is open.
func (p period) gap(cluster string, r attribution.Range) Gap {
	if p.now && r.To >= p.to {
		r.To = attribution.Open
	}
	return Gap{cluster, Time(r.From), Time(r.To)}
}

// compareGaps orders them by time, then cluster.
func compareGaps(a, b Gap) int {
	return cmp.Or(cmp.Compare(a.From, b.From), cmp.Compare(a.Cluster, b.Cluster))
}

// noRows says of a question that no row answers what times the index has no row of.
func (e *Engine) noRows(q *Question) []string {
	st := e.rows.Stats()
	switch {
	case st.Blobs == 0:
		return []string{"the index has no rows at all: \"whichpod ingest\" reads flow logs"}
	case st.Rows == 0:
		return []string{"the index has no rows at all"}
	}
	from, to := q.Since, q.Until
	if q.At != 0 {
		from, to = q.At, q.At+1
	}
	var out []string
	if (from != 0 && from < st.First) || (to != 0 && to <= st.First) {
		out = append(out, fmt.Sprintf("the index has no rows at all before %s", Time(st.First)))
	}
	if from > st.Last || to > st.Last+1 || (from != 0 && to == 0) {
		out = append(out, fmt.Sprintf("the index has no rows at all after %s", Time(st.Last)))
	}
	return out
}
