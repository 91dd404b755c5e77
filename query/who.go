package query

import (
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
	ask := e.whoHeld
	if q.Of.HasPort || q.To.Valid() {
		ask = e.whoSent
	}
	out, err := ask(ctx, a, q)
	if err != nil {
		return nil, fmt.Errorf("ask who %s: %w", q.Of, err)
	}
	out.Question = &q
	out.complete()
	out.ElapsedMS = float64(time.Since(start).Microseconds()) / 1000
	return out, nil
}

// whoSent answers from the rows of flows.
func (e *Engine) whoSent(ctx context.Context, a netip.Addr, q Question) (*Answer, error) {
	pick := newPicker(q, e.view)
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
	g := pick.groups()
	excluded.into(g)
	out := g.answers(q.At == 0)
	out.Warnings = append(out.Warnings, excluded.warnings()...)
	if out.Verdict == 0 {
		out.Warnings = append(append(out.Warnings, "no row shows such a flow"), e.noRows(&q)...)
	}
	g.clusters = e.view.Owning(a)
	out.Gaps = e.gaps(g, e.periodOf(&q, a, out.Flows))
	return out, nil
}

// whoHeld answers from the ledger, and says whether any row shows the address.
func (e *Engine) whoHeld(ctx context.Context, a netip.Addr, q Question) (*Answer, error) {
	g, p := newGroups(e.view), e.periodOf(&q, a, Flows{})
	g.clusters = e.view.Owning(a)
	since, until := q.Since, q.Until
	if q.At != 0 {
		g.of(e.view.Resolve(attribution.Question{Address: a, Begin: flow.Span{From: q.At, To: q.At}, Sent: true}))
		since, until = q.At-near, q.At+near+1
	} else {
		e.heldOver(g, a, p, q.Since != 0 || q.Until != 0)
	}
	rows, err := e.rowsOf(ctx, a, since, until)
	if err != nil {
		return nil, err
	}
	seen := rows.flows()
	for _, gr := range g.order {
		if gr.verdict == attribution.External && seen.Rows > 0 && !e.view.Foreign(a, int64(seen.First), int64(seen.Last)) {
			gr.unsure = a
		}
	}
	out := g.answers(q.At == 0)
	out.Flows = seen
	if out.Flows.Rows == 0 {
		out.Warnings = append(append(out.Warnings, "no flow row shows this address then; the answer rests on the ledger alone"), e.noRows(&q)...)
		if out.Verdict == Word(attribution.External) || len(g.order) == 0 {
			out.Verdict, out.Answers = 0, nil // nothing is known of it at all
		}
	}
	if len(g.clusters) == 0 {
		p = e.periodOf(&q, a, out.Flows) // nothing is known but that there are rows
	}
	out.Gaps = e.gaps(g, p)
	return out, nil
}

// heldOver gathers who held the address over a range. Where an address changed
// hands, those on each side have answers of their own: the moment between them has
// none, and neither have times when it was nobody's, unless nothing else is known. Time
// that nobody watched is one answer where it was asked for: without a range the question is
// about all that is known, and without an end not about what came after that.
func (e *Engine) heldOver(g *groups, a netip.Addr, p period, asked bool) {
	var nobody, brief []*attribution.Resolution // and what is left open by the clocks, or not asked for
	for _, s := range e.view.History(a, p.from, p.to) {
		asked := asked && !(p.now && s.To >= p.to)
		switch r := s.Resolution; {
		case r.Vacant():
			nobody = append(nobody, r)
		case r.Unwatched() && !s.Unwatched, r.Verdict == attribution.Gap && !asked:
			brief = append(brief, r)
		default:
			g.heldBy(r, s.From)
		}
	}
	if len(g.order) == 0 {
		for _, r := range slices.Concat(brief, nobody) {
			g.heldBy(r, p.from)
		}
		return
	}
	if len(nobody) > 0 && !slices.ContainsFunc(g.order, func(gr *group) bool { return gr.verdict != attribution.Gap }) {
		g.order[0].note(nobody[0])
	}
	sure := func(uid string) bool {
		return slices.ContainsFunc(g.order, func(gr *group) bool {
			return gr.verdict == attribution.Exact && gr.candidates[0].UID == uid
		})
	}
	g.order = slices.DeleteFunc(g.order, func(gr *group) bool {
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
	return a.since
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
