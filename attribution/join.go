package attribution

import (
	"fmt"
	"net/netip"

	"github.com/whichpod/whichpod/attribution/nat"
	"github.com/whichpod/whichpod/flow"
)

// Joined is what can be said of both ends of each row of a batch.
type Joined struct {
	Src, Dst []*Resolution // one per row; rows of one holder share theirs
	// NAT is, for a row whose source is exact by NAT evidence, what the node
	// translated; nil for others. It is empty where there is no such row.
	NAT []*nat.Flow
}

// Translated is what the node translated of row i, or nil.
func (j *Joined) Translated(i int) *nat.Flow {
	if j.NAT == nil {
		return nil
	}
	return j.NAT[i]
}

// Join attributes the rows of a batch; begins says for each when its flow began
// ([flow.Begins]), answered whether its destination sent anything back
// ([flow.Answered]). Each distinct address of the batch is looked up once; rows are
// looked at one by one only where it changed hands within the batch, or where the
// answer hangs on the destination. Join keeps nothing of the batch.
func (v *View) Join(b *flow.Batch, begins []flow.Span, answered []bool) (Joined, error) {
	if len(begins) != b.Len() || len(answered) != b.Len() {
		return Joined{}, fmt.Errorf("join batch: %d begins and %d answers for %d rows", len(begins), len(answered), b.Len())
	}
	j := Joined{Src: make([]*Resolution, b.Len()), Dst: make([]*Resolution, b.Len())}
	whole := begins[0]
	for _, s := range begins {
		whole.From, whole.To = min(whole.From, s.From), max(whole.To, s.To)
	}
	ends := make([]endOfBatch, len(b.Addresses))
	for code, a := range b.Addresses {
		ends[code].lookUp(v, a, whole)
	}
	nics, nicCodes := b.NICs()
	for i, begin := range begins {
		q := Question{Address: b.Addresses[b.Src[i]], Begin: begin, NIC: nics[nicCodes[i]], Near: b.Direction[i] == flow.Outbound,
			Sent: true, Destination: b.Addresses[b.Dst[i]], DestinationPort: b.DstPort[i], SourcePort: b.SrcPort[i], Protocol: b.Protocol[i]}
		var translated *nat.Flow
		if j.Src[i], translated = ends[b.Src[i]].resolve(v, &q); translated != nil {
			if j.NAT == nil {
				j.NAT = make([]*nat.Flow, b.Len())
			}
			j.NAT[i] = translated
		}
		q.Address, q.Near, q.Sent, q.Answered = q.Destination, !q.Near, false, answered[i]
		j.Dst[i], _ = ends[b.Dst[i]].resolve(v, &q)
	}
	return j, nil
}

// endOfBatch is an address within the time that a batch covers.
type endOfBatch struct {
	fixed *Resolution // the answer for every row; nil where rows differ
	view  *addressView

	said *saidAt // or nil, and then view is set

	last       Question // the one that was asked before: rows of one flow ask the same
	answered   *Resolution
	translated *nat.Flow
}

func (e *endOfBatch) lookUp(v *View, a netip.Addr, whole flow.Span) {
	if t, id := v.track(a); t != nil {
		e.said = v.saidBy(t, id)
		return
	}
	av := v.address(a)
	e.view = av
	switch {
	case len(av.owners) == 0:
		e.fixed = external
	case len(av.owners) == 1 && len(av.owners[0].nodes) == 0:
		if tl := av.owners[0].pods; tl.interval(whole.From) == tl.interval(whole.To) {
			e.fixed = tl.resolve(tl.interval(whole.From))
		}
	}
}

// resolve is what is said of an end, and what the node translated where that hangs on
// it.
func (e *endOfBatch) resolve(v *View, q *Question) (*Resolution, *nat.Flow) {
	if e.answered == nil || *q != e.last {
		e.last = *q
		e.answered, e.translated = e.resolveAnew(v, q)
	}
	return e.answered, e.translated
}

// resolveAnew is resolve without a memory. An address with a track is never a node's.
func (e *endOfBatch) resolveAnew(v *View, q *Question) (*Resolution, *nat.Flow) {
	switch {
	case e.fixed != nil:
		return v.lift(e.view, v.checked(e.fixed.at(q.end()), q), q)
	case e.said == nil:
		return v.lift(e.view, e.view.resolve(v, q), q)
	}
	if r := e.said.over(q.Begin, q.end()); r != nil {
		return v.checked(r, q), nil
	}
	av := v.address(q.Address)
	return v.lift(av, av.resolve(v, q), q)
}
