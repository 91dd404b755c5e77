package query

import (
	"cmp"
	"context"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/whichpod/whichpod/attribution"
	"github.com/whichpod/whichpod/flow"
	"github.com/whichpod/whichpod/index"
)

// near is how far from the moment asked about a row still counts, in milliseconds:
// logs are written once a minute.
const near = 60 * 1000

// Who answers which pod sent this. With an address alone it asks the ledger who held
// it; with a port or a destination it asks about flows.
func (e *Engine) Who(ctx context.Context, q Question) (*Answer, error) {
	start := time.Now()
	a, ok := q.Of.Single()
	if !ok {
		return nil, fmt.Errorf("ask who %s: want one address, got a range", q.Of)
	}
	var out *Answer
	var err error
	if q.Of.HasPort || q.To.Valid() {
		out, err = e.whoSent(ctx, q)
	} else {
		out, err = e.whoHeld(ctx, a, q)
	}
	if err != nil {
		return nil, fmt.Errorf("ask who %s: %w", q.Of, err)
	}
	out.Question = &q
	out.Gaps = e.gaps(a, q, out)
	out.complete()
	out.ElapsedMS = float64(time.Since(start).Microseconds()) / 1000
	return out, nil
}

// whoSent answers from the rows of flows.
func (e *Engine) whoSent(ctx context.Context, q Question) (*Answer, error) {
	pick := newPicker(q, e.view.NAT())
	excluded := newExclusions(e.view)
	err := e.Each(ctx, pick.filter(), func(a Attributed) error {
		pick.batch(a)
		excluded.batch(a)
		return nil
	})
	if err != nil {
		return nil, err
	}
	pick.finish()
	excluded.into(pick.groups())
	out := pick.groups().answers(q.At == 0)
	out.Warnings = append(out.Warnings, excluded.warnings()...)
	if len(out.Answers) == 0 && out.Verdict == 0 {
		out.Warnings = append(out.Warnings, "no row shows such a flow")
	}
	return out, nil
}

// whoHeld answers from the ledger, and says whether any row shows the address.
func (e *Engine) whoHeld(ctx context.Context, a netip.Addr, q Question) (*Answer, error) {
	g := newGroups(e.view.NAT())
	since, until := q.Since, q.Until
	if q.At != 0 {
		g.of(e.view.Resolve(attribution.Question{Address: a, Begin: flow.Span{From: q.At, To: q.At}, Sent: true}))
		since, until = q.At-near, q.At+near+1
	} else {
		e.heldOver(g, a, q)
	}
	rows, err := e.rowsOf(ctx, a, since, until)
	if err != nil {
		return nil, err
	}
	out := g.answers(q.At == 0)
	out.Flows = rows.flows()
	if out.Flows.Rows == 0 {
		out.Warnings = append(out.Warnings, "no flow row shows this address then; the answer rests on the ledger alone")
		if out.Verdict == Word(attribution.External) || len(g.order) == 0 {
			out.Verdict, out.Answers = 0, nil // nothing is known of it at all
		}
	}
	return out, nil
}

// heldOver gathers who held the address over a range. Where an address changed
// hands, those on each side have answers of their own: the moment between them has
// none, unless nothing else is known.
func (e *Engine) heldOver(g *groups, a netip.Addr, q Question) {
	from, to := q.Since, q.Until
	if from == 0 || to == 0 {
		f, t, ok := e.view.Extent(a)
		if !ok {
			g.of(e.view.Resolve(attribution.Question{Address: a, Sent: true}))
			return
		}
		if from == 0 {
			from = f
		}
		if to == 0 {
			to = max(t, from+1)
		}
	}
	for _, s := range e.view.History(a, from, to) {
		g.of(s.Resolution)
	}
	sure := func(uid string) bool {
		return slices.ContainsFunc(g.order, func(gr *group) bool {
			return gr.verdict == attribution.Exact && gr.candidates[0].UID == uid
		})
	}
	held := slices.ContainsFunc(g.order, func(gr *group) bool { return gr.verdict != attribution.Gap })
	g.order = slices.DeleteFunc(g.order, func(gr *group) bool {
		if gr.verdict == attribution.Gap {
			return held
		}
		return gr.verdict == attribution.Boundary && !slices.ContainsFunc(gr.candidates, func(c attribution.Candidate) bool { return !sure(c.UID) })
	})
}

// rowsOf counts the rows with an address at either end.
func (e *Engine) rowsOf(ctx context.Context, a netip.Addr, since, until int64) (*tally, error) {
	t := &tally{}
	scan, err := e.rows.Scan(ctx, index.Filter{From: since, To: until, Addresses: []netip.Prefix{netip.PrefixFrom(a, a.BitLen())}})
	if err != nil {
		return nil, err
	}
	return t, drain(scan, func(b *flow.Batch) {
		for i := range b.Len() {
			t.add(b, i)
		}
	})
}

// gaps lists the unwatched stretches that touch what was asked or answered.
func (e *Engine) gaps(a netip.Addr, q Question, out *Answer) []Gap {
	first, last, ok := e.view.Extent(a)
	if !ok {
		return nil
	}
	from, to := first, last
	if out.Flows.Rows > 0 {
		from, to = int64(out.Flows.First), int64(out.Flows.Last)+1
	}
	if q.Since != 0 {
		from = q.Since
	}
	if q.Until != 0 {
		to = q.Until
	}
	if q.At != 0 {
		from, to = q.At, q.At+1
	}
	var list []Gap
	for cluster, ranges := range e.view.Gaps(a, min(first, from), max(last, to)) {
		for _, r := range ranges {
			if r.From < to && from < r.To {
				list = append(list, Gap{cluster, Time(r.From), Time(r.To)})
			}
		}
	}
	slices.SortFunc(list, compareGaps)
	return list
}

// compareGaps orders them by time, then cluster.
func compareGaps(a, b Gap) int {
	return cmp.Or(cmp.Compare(a.From, b.From), cmp.Compare(a.Cluster, b.Cluster))
}

// answers turns groups into one answer: the only group itself, or all of them in
// the order of their first row. asRange says that the question was about a range,
// whose answer lists its owners even where there is one.
func (g *groups) answers(asRange bool) *Answer {
	var list []Answer
	for _, gr := range g.order {
		list = append(list, gr.answer())
	}
	if len(list) == 0 {
		return &Answer{}
	}
	slices.SortStableFunc(list, func(a, b Answer) int { return int(a.begin() - b.begin()) })
	out := list[0]
	if len(list) > 1 {
		out = Answer{Verdict: leastSure(list)}
		for i := range list {
			out.Flows.add(list[i].Flows)
			for _, c := range list[i].Contradictions {
				if !slices.ContainsFunc(out.Contradictions, c.same) {
					out.Contradictions = append(out.Contradictions, c)
				}
			}
			for _, w := range list[i].Warnings {
				if !slices.Contains(out.Warnings, w) {
					out.Warnings = append(out.Warnings, w)
				}
			}
		}
	}
	if asRange || len(list) > 1 {
		out.Answers = list
	}
	return &out
}

// begin is the time by which an answer stands in a list.
func (a *Answer) begin() Time {
	if a.Flows.Rows > 0 {
		return a.Flows.First
	}
	if len(a.Candidates) > 0 {
		return a.Candidates[0].FromEarliest
	}
	return 0
}

func (f *Flows) add(o Flows) {
	if o.Rows == 0 {
		return
	}
	if f.Rows == 0 || o.First < f.First {
		f.First = o.First
	}
	f.Last = max(f.Last, o.Last)
	f.Rows += o.Rows
	f.BytesSent += o.BytesSent
	f.BytesReceived += o.BytesReceived
}

// complete makes the lists of the document empty rather than null.
func (a *Answer) complete() {
	if a.Candidates == nil {
		a.Candidates = []Pod{}
	}
	if a.Evidence == nil {
		a.Evidence = []Evidence{}
	}
	if a.Warnings == nil {
		a.Warnings = []string{}
	}
	if a.Contradictions == nil {
		a.Contradictions = []Contradiction{}
	}
	if a.Excluded == nil {
		a.Excluded = []Excluded{}
	}
	if a.Gaps == nil {
		a.Gaps = []Gap{}
	}
	for i := range a.Answers {
		a.Answers[i].complete()
	}
}
