package query

import (
	"fmt"
	"slices"

	"github.com/whichpod/whichpod/attribution"
)

// Owners is the document that "owners -o json" prints.
type Owners struct {
	Question *Question `json:"question"`
	Owners   []Pod     `json:"owners"` // in order; their times overlap where several held the address at once
	Gaps     []Gap     `json:"gaps"`
	Vacant   []Gap     `json:"vacant"` // when somebody watched, and nobody held it
	// From and To are what the answer is about: what was asked, else all that is known.
	From           Time            `json:"from"`
	To             Time            `json:"to"`
	Contradictions []Contradiction `json:"contradictions"`
	Warnings       []string        `json:"warnings"`
}

// Owners answers who held an address, in order.
func (e *Engine) Owners(q Question) (*Owners, error) {
	a, ok := q.Of.Single()
	if !ok {
		return nil, fmt.Errorf("ask owners of %s: want one address, got a range", q.Of)
	}
	out := &Owners{Question: &q, Owners: []Pod{}, Gaps: []Gap{}, Vacant: []Gap{}, Warnings: []string{}}
	var shown []attribution.Candidate
	for _, c := range e.view.Owners(a) {
		if c.ToLatest < q.Since || (q.Until != 0 && c.FromEarliest >= q.Until) {
			continue
		}
		shown = append(shown, c)
		out.Owners = append(out.Owners, podOf(&c))
		if c.Lingers {
			out.Warnings = append(out.Warnings, fmt.Sprintf("%s/%s (%s): its object was removed without the kubelet's word that it stopped", c.Namespace, c.Name, c.UID))
		}
	}
	out.Contradictions = contradictions(shown)
	_, last, known := e.view.Extent(a)
	if !known {
		return out, nil
	}
	if q.Until == 0 && q.Since < last {
		q.Until = last
	}
	p := e.periodOf(&q, a, Flows{})
	out.From, out.To = Time(p.from), Time(p.to)
	for _, s := range e.view.Spans(a, p.from, p.to) {
		gap := p.gap(s.Cluster, s.Range)
		if s.Watched {
			out.Vacant = append(out.Vacant, gap)
		} else {
			out.Gaps = append(out.Gaps, gap)
		}
	}
	slices.SortFunc(out.Gaps, compareGaps)
	slices.SortFunc(out.Vacant, compareGaps)
	return out, nil
}
