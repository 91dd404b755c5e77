package query

import (
	"errors"
	"io"
	"net/netip"

	"github.com/whichpod/whichpod/attribution"
	"github.com/whichpod/whichpod/attribution/nat"
	"github.com/whichpod/whichpod/flow"
	"github.com/whichpod/whichpod/index"
)

// picker chooses, among all rows of the flows asked about, those that the question
// means: the flow open at a moment, else the rows near it; or the rows in a range.
// It is given the rows in flow order.
type picker struct {
	q       Question
	chosen  *groups // rows in the range, or of the flows open at q.At
	nearby  *groups // rows within a minute of q.At
	current openFlow
}

// openFlow is the flow whose rows are being read. Its rows are counted only once it
// is known to have been open at the moment asked about.
type openFlow struct {
	key   tupleKey
	nic   string
	begin flow.Span
	last  int64
	ended bool
	any   bool
	rows  []ownedRow
}

type ownedRow struct {
	r          *attribution.Resolution
	row        flow.Row
	begin      flow.Span
	translated *nat.Flow // nil: not by NAT evidence
}

func newPicker(q Question, view *attribution.View) *picker {
	return &picker{q: q, chosen: newGroups(view), nearby: newGroups(view)}
}

// filter selects whole flows. Rows after what was asked about do not change its
// answer, but for a flow that is open at a moment: how long it lasted.
func (p *picker) filter() index.Filter {
	f := index.Filter{To: p.q.Until, Src: []netip.Prefix{p.q.Of.Prefix}}
	if p.q.Of.HasPort {
		f.SrcPort = int(p.q.Of.Port)
	}
	if p.q.To.Valid() {
		f.Dst = []netip.Prefix{p.q.To.Prefix}
		if p.q.To.HasPort {
			f.DstPort = int(p.q.To.Port)
		}
	}
	return f
}

func (p *picker) batch(a Attributed) {
	for i := range a.Len() {
		if p.q.At == 0 {
			if p.q.in(int64(a.Time[i])) {
				p.chosen.add(a, i)
			}
			continue
		}
		p.at(a, i)
	}
}

// at takes a row of a question about a moment.
func (p *picker) at(a Attributed, i int) {
	t := int64(a.Time[i])
	if d := t - p.q.At; -near <= d && d <= near {
		p.nearby.add(a, i)
	}
	key := tupleKey{a.Addresses[a.Batch.Src[i]], a.Addresses[a.Batch.Dst[i]], a.SrcPort[i], a.DstPort[i], a.Protocol[i]}
	c := &p.current
	same := c.any && c.key == key && c.nic == a.NIC(i) && a.Begins[i].From <= c.last
	if !same || (a.State[i] == flow.Begin && a.Begins[i].Exactly() && a.Begins[i] != c.begin) {
		p.finish()
		*c = openFlow{key: key, nic: a.NIC(i), begin: a.Begins[i], any: true}
	}
	c.last = t
	c.ended = a.State[i] == flow.End || a.State[i] == flow.Denied
	c.rows = append(c.rows, ownedRow{a.Joined.Src[i], a.Row(i), a.Begins[i], a.Translated(i)})
}

// finish decides over the flow that was being read.
func (p *picker) finish() {
	c := &p.current
	until := c.last
	if !c.ended {
		until += flow.MaxIdle // no end was logged: it can have lasted so long
	}
	if c.any && c.begin.From <= p.q.At && p.q.At <= until {
		for _, r := range c.rows {
			gr := p.chosen.ofRow(r.r, r.row.Src, r.begin, r.row.Time)
			gr.addRow(&r.row)
			gr.prove(p.chosen.view.NAT(), r.translated)
		}
	}
	*c = openFlow{}
}

func (p *picker) groups() *groups {
	if p.q.At != 0 && len(p.chosen.order) == 0 {
		return p.nearby
	}
	return p.chosen
}

// drain calls fn with each batch of a scan and closes it.
func drain(scan *index.Scanner, fn func(*flow.Batch)) (err error) {
	defer func() { err = errors.Join(err, scan.Close()) }()
	for {
		b, err := scan.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		fn(b)
		b.Release()
	}
}
