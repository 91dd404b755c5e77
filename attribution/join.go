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

	track    track // or nil, and then view is set
	id       uint32
	run      int         // the last one that was asked for
	resolved *Resolution // and what is said there
}

func (e *endOfBatch) lookUp(v *View, a netip.Addr, whole flow.Span) {
	if e.track, e.id = v.track(a); e.track != nil {
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
// it. An address with a track is never a node's.
func (e *endOfBatch) resolve(v *View, q *Question) (*Resolution, *nat.Flow) {
	switch {
	case e.fixed != nil:
		return v.lift(e.view, v.checked(e.fixed.at(q.end()), q), q)
	case e.track == nil:
		return v.lift(e.view, e.view.resolve(v, q), q)
	}
	if r := e.inOneRun(v, q.Begin); r != nil {
		return v.checked(r.at(q.end()), q), nil
	}
	return v.Resolve(*q), nil
}

// inOneRun is what is said all over a span, or nil where it has several runs.
func (e *endOfBatch) inOneRun(v *View, span flow.Span) *Resolution {
	if !inTrack(span) {
		return nil
	}
	run := e.track.find(span.From)
	if !span.Exactly() && run+1 < e.track.runs() && e.track.begin(run+1) <= span.To {
		return nil
	}
	if e.resolved == nil || e.run != run {
		e.run, e.resolved = run, v.inRun(e.track, e.id, run)
	}
	return e.resolved
}
