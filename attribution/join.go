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
	var q Question // of all rows: it is handed around, and kept by nobody
	for i, begin := range begins {
		again := i > 0 && begins[i-1] == begin && repeats(b, nicCodes, i)
		if again && answered[i-1] == answered[i] {
			j.repeatSrc(i)
			j.Dst[i] = j.Dst[i-1]
			continue
		}
		q = Question{Address: b.Addresses[b.Src[i]], Begin: begin, NIC: nics[nicCodes[i]], Near: b.Direction[i] == flow.Outbound,
			Sent: true, Destination: b.Addresses[b.Dst[i]], DestinationPort: b.DstPort[i], SourcePort: b.SrcPort[i], Protocol: b.Protocol[i]}
		if again {
			j.repeatSrc(i)
		} else {
			j.resolveSrc(v, &ends[b.Src[i]], i, &q)
		}
		q.Address, q.Near, q.Sent, q.Answered = q.Destination, !q.Near, false, answered[i]
		j.Dst[i], _ = ends[b.Dst[i]].resolve(v, &q)
	}
	return j, nil
}

// repeats says whether row i asks what the row before it asks, but for times and whether
// it was answered: rows of one flow follow each other.
func repeats(b *flow.Batch, nics []uint32, i int) bool {
	return b.Src[i-1] == b.Src[i] && b.Dst[i-1] == b.Dst[i] && b.SrcPort[i-1] == b.SrcPort[i] && b.DstPort[i-1] == b.DstPort[i] &&
		b.Protocol[i-1] == b.Protocol[i] && b.Direction[i-1] == b.Direction[i] && nics[i-1] == nics[i]
}

func (j *Joined) resolveSrc(v *View, e *endOfBatch, i int, q *Question) {
	var translated *nat.Flow
	if j.Src[i], translated = e.resolve(v, q); translated != nil {
		if j.NAT == nil {
			j.NAT = make([]*nat.Flow, len(j.Src))
		}
		j.NAT[i] = translated
	}
}

// repeatSrc gives row i the source of the row before it.
func (j *Joined) repeatSrc(i int) {
	j.Src[i] = j.Src[i-1]
	if j.NAT != nil {
		j.NAT[i] = j.NAT[i-1]
	}
}

// endOfBatch is an address within the time that a batch covers.
type endOfBatch struct {
	fixed *Resolution // the answer for every row; nil where rows differ
	view  *addressView

	said *saidAt // or nil, and then view is set
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
// it. An address with a track is never a node's.
func (e *endOfBatch) resolve(v *View, q *Question) (*Resolution, *nat.Flow) {
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
