package attribution

import (
	"fmt"
	"net/netip"
	"slices"

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

// Join attributes the rows of one batch: see [Joiner.Join].
func (v *View) Join(b *flow.Batch, begins []flow.Span, answered []bool) (Joined, error) {
	return v.Joiner().Join(b, begins, answered, Joined{})
}

// Joiner attributes batches that follow each other. It is for one goroutine.
type Joiner struct {
	view *View

	// Of the batch under way.
	batch    *flow.Batch
	begins   []flow.Span
	answered []bool
	ends     []endOfBatch // by the address's code
	nics     []string
	nicCodes []uint32
	terms    [][]nicTerm // by the NIC's code
	joined   Joined
	question Question // of the row under way: it is handed around, and kept by nobody
}

// Joiner returns one that answers from the view.
func (v *View) Joiner() *Joiner { return &Joiner{view: v} }

// Join attributes the rows of a batch; begins says for each when its flow began
// ([flow.Begins]), answered whether its destination sent anything back
// ([flow.Answered]). Each distinct address of the batch is looked up once; rows are
// looked at one by one only where it changed hands within the batch, or where the
// answer hangs on the destination. Join keeps nothing of the batch. It uses the memory
// of spare, of a batch that is done with.
func (j *Joiner) Join(b *flow.Batch, begins []flow.Span, answered []bool, spare Joined) (Joined, error) {
	if len(begins) != b.Len() || len(answered) != b.Len() {
		return Joined{}, fmt.Errorf("join batch: %d begins and %d answers for %d rows", len(begins), len(answered), b.Len())
	}
	j.batch, j.begins, j.answered = b, begins, answered
	j.joined = Joined{Src: slices.Grow(spare.Src[:0], b.Len())[:b.Len()], Dst: slices.Grow(spare.Dst[:0], b.Len())[:b.Len()]}
	j.lookUp()
	for i := range begins {
		j.row(i)
	}
	out := j.joined
	*j = Joiner{view: j.view, ends: j.ends, terms: j.terms}
	return out, nil
}

// lookUp looks up the addresses and interfaces of the batch.
func (j *Joiner) lookUp() {
	whole := j.begins[0]
	for _, s := range j.begins {
		whole.From, whole.To = min(whole.From, s.From), max(whole.To, s.To)
	}
	j.ends = j.ends[:0]
	for _, a := range j.batch.Addresses {
		j.ends = append(j.ends, j.view.endOf(a, whole))
	}
	j.nics, j.nicCodes = j.batch.NICs()
	j.terms = j.terms[:0]
	for _, nic := range j.nics {
		j.terms = append(j.terms, j.view.termsFor(nic))
	}
}

func (j *Joiner) row(i int) {
	again := i > 0 && j.begins[i-1] == j.begins[i] && j.repeats(i)
	if again {
		j.repeatSrc(i)
	} else {
		j.resolveSrc(i)
	}
	if again && j.answered[i-1] == j.answered[i] {
		j.joined.Dst[i] = j.joined.Dst[i-1]
		return
	}
	e, as, near := &j.ends[j.batch.Dst[i]], called, j.batch.Direction[i] != flow.Outbound
	if j.answered[i] {
		as = answerer
	}
	if r := e.quick(j.begins[i], as); r != nil {
		j.joined.Dst[i] = j.checked(r, i, near)
		return
	}
	q := j.ask(i)
	q.Address, q.Near, q.Sent, q.Answered = q.Destination, near, false, as == answerer
	j.joined.Dst[i], _ = e.resolve(j.view, q)
}

func (j *Joiner) resolveSrc(i int) {
	e, near := &j.ends[j.batch.Src[i]], j.batch.Direction[i] == flow.Outbound
	if e.view == nil || j.view.nat == nil { // else see lift
		if r := e.quick(j.begins[i], sender); r != nil {
			j.joined.Src[i] = j.checked(r, i, near)
			return
		}
	}
	var translated *nat.Flow
	if j.joined.Src[i], translated = e.resolve(j.view, j.ask(i)); translated != nil {
		if j.joined.NAT == nil {
			j.joined.NAT = make([]*nat.Flow, j.batch.Len())
		}
		j.joined.NAT[i] = translated
	}
}

// ask is the question of row i about its source.
func (j *Joiner) ask(i int) *Question {
	j.question = Question{Address: j.batch.Addresses[j.batch.Src[i]], Begin: j.begins[i], NIC: j.nics[j.nicCodes[i]], Near: j.batch.Direction[i] == flow.Outbound,
		Sent: true, Destination: j.batch.Addresses[j.batch.Dst[i]], DestinationPort: j.batch.DstPort[i], SourcePort: j.batch.SrcPort[i], Protocol: j.batch.Protocol[i]}
	return &j.question
}

// checked is [View.checked], with the interface looked up already.
func (j *Joiner) checked(r *Resolution, i int, near bool) *Resolution {
	if !near {
		return r
	}
	terms := j.terms[j.nicCodes[i]]
	if len(terms) == 0 || r.Verdict != Exact {
		return r
	}
	if t, ok := termAt(terms, j.begins[i]); ok && t.elsewhere(r.Candidates[0]) {
		return r.contradict()
	}
	return r
}

// repeats says whether row i asks what the row before it asks, but for times and whether
// it was answered: rows of one flow follow each other.
func (j *Joiner) repeats(i int) bool {
	return j.batch.Src[i-1] == j.batch.Src[i] && j.batch.Dst[i-1] == j.batch.Dst[i] && j.batch.SrcPort[i-1] == j.batch.SrcPort[i] && j.batch.DstPort[i-1] == j.batch.DstPort[i] &&
		j.batch.Protocol[i-1] == j.batch.Protocol[i] && j.batch.Direction[i-1] == j.batch.Direction[i] && j.nicCodes[i-1] == j.nicCodes[i]
}

// repeatSrc gives row i the source of the row before it.
func (j *Joiner) repeatSrc(i int) {
	j.joined.Src[i] = j.joined.Src[i-1]
	if j.joined.NAT != nil {
		j.joined.NAT[i] = j.joined.NAT[i-1]
	}
}

// endOfBatch is an address within the time that a batch covers.
type endOfBatch struct {
	fixed *Resolution // the answer for every row; nil where rows differ
	view  *addressView

	said *saidAt // or nil, and then view is set where anything hangs on it
}

func (v *View) endOf(a netip.Addr, whole flow.Span) (e endOfBatch) {
	id, held := v.pods.addressID(a)
	if !held && v.nat == nil && v.outside(a) {
		e.fixed = external // and no evidence can say what is behind it
		return e
	}
	if held {
		if t := v.trackOf(id, a); t != nil {
			e.said = v.saidBy(t, id)
			return e
		}
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
	return e
}

// quick is what is said of an end where neither the destination nor the interface has
// a say; nil where that is not known.
func (e *endOfBatch) quick(begin flow.Span, as end) *Resolution {
	switch {
	case e.fixed != nil:
		return e.fixed.at(as)
	case e.said != nil:
		return e.said.over(begin, as)
	default:
		return nil
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
	av := v.address(q.Address)
	return v.lift(av, av.resolve(v, q), q)
}
