package attribution

import (
	"cmp"
	"slices"

	"github.com/whichpod/whichpod/flow"
)

// Rows are a batch in flow order with what can be said of its rows, as Join returned it.
type Rows struct {
	*flow.Batch
	Begins []flow.Span
	Joined *Joined
}

// maxRivals is with how many rows of one five-tuple, those that began next, each is
// compared: a flow has a few, but five-tuples can be in use for days.
const maxRivals = 64

// Compare holds the copies of each flow against each other: what several interfaces
// logged of it. An interface that logged a flow as outbound shows on which node its
// sender is, one that logged it as inbound where its receiver is, whichever of the rows
// is asked about; and all copies are of the same two pods. An answer that is exact and
// that a copy speaks against is weakened, in place.
//
// Rows are copies of one flow where they have one five-tuple and their flows can have
// begun at once, give or take what clocks may differ. next is the batch after rows in
// flow order, or nil; its rows are compared with those of rows, and its own among each
// other when it is the first of the two.
func (v *View) Compare(rows, next *Rows) {
	_, nics := rows.NICs()
	var c comparison
	last, done := rows.Len()-1, -1
	for i := 1; i <= last; i++ {
		if nics[i] != nics[i-1] && rows.sameTuple(i-1, rows, i) {
			done = c.around(v, rows, i, next)
			i = done
		}
	}
	if next != nil && done < last && rows.sameTuple(last, next, 0) {
		c.around(v, rows, last, next)
	}
}

// sameTuple says whether two rows have one five-tuple.
func (r *Rows) sameTuple(i int, o *Rows, j int) bool {
	if r.SrcPort[i] != o.SrcPort[j] || r.DstPort[i] != o.DstPort[j] || r.Protocol[i] != o.Protocol[j] {
		return false
	}
	if r == o {
		return r.Src[i] == r.Src[j] && r.Dst[i] == r.Dst[j]
	}
	return r.Addresses[r.Src[i]] == o.Addresses[o.Src[j]] && r.Addresses[r.Dst[i]] == o.Addresses[o.Dst[j]]
}

// comparison is of the rows of one five-tuple.
type comparison struct{ seen []seenFlow }

// seenFlow are rows, one after the other, of which the same is said.
type seenFlow struct {
	rows      *Rows
	from, to  int
	nic       string
	direction byte
	begin     flow.Span
	ends      [2]seenEnd // source, destination
}

type seenEnd struct {
	r      *Resolution
	odd    bool         // the interface of another copy speaks against it
	rivals []*Candidate // of whom other copies are
}

// around compares all rows that have the five-tuple of row i, and returns the last of
// them in its batch.
func (c *comparison) around(v *View, rows *Rows, i int, next *Rows) int {
	from, to := i, i+1
	for from > 0 && rows.sameTuple(from-1, rows, i) {
		from--
	}
	for to < rows.Len() && rows.sameTuple(i, rows, to) {
		to++
	}
	c.seen = c.seen[:0]
	c.take(rows, from, to)
	if to == rows.Len() && next != nil {
		n := 0
		for n < next.Len() && rows.sameTuple(i, next, n) {
			n++
		}
		c.take(next, 0, n)
	}
	c.compare(v)
	return to - 1
}

func (c *comparison) take(rows *Rows, from, to int) {
	for i := from; i < to; i++ {
		f := seenFlow{rows: rows, from: i, to: i + 1, nic: rows.NIC(i), direction: rows.Direction[i], begin: rows.Begins[i]}
		f.ends[0].r, f.ends[1].r = rows.Joined.Src[i], rows.Joined.Dst[i]
		if n := len(c.seen) - 1; n >= 0 && c.seen[n].goesOn(&f) {
			c.seen[n].to = f.to
		} else if f.nic != "" { // a firewall's row is no copy
			c.seen = append(c.seen, f)
		}
	}
}

func (f *seenFlow) goesOn(o *seenFlow) bool {
	return f.rows == o.rows && f.to == o.from && f.nic == o.nic && f.direction == o.direction && f.begin == o.begin && f.ends[0].r == o.ends[0].r && f.ends[1].r == o.ends[1].r
}

func (c *comparison) compare(v *View) {
	slices.SortStableFunc(c.seen, func(a, b seenFlow) int { return cmp.Compare(a.begin.From, b.begin.From) })
	for i := range c.seen {
		f := &c.seen[i]
		for j := i + 1; j < min(i+1+maxRivals, len(c.seen)) && c.seen[j].begin.From <= f.begin.To+v.tolerance; j++ {
			if o := &c.seen[j]; o.nic != f.nic && v.oneFlow(f, o) {
				f.hold(v, o)
				o.hold(v, f)
			}
		}
	}
	for i := range c.seen {
		c.seen[i].apply()
	}
}

// oneFlow says whether what two interfaces logged can be one flow: not where they are
// of two clusters that both can have an address of it, for those reach each other
// only within one.
func (v *View) oneFlow(f, o *seenFlow) bool {
	if len(v.clusters) < 2 {
		return true
	}
	a, known := v.ownerOf(&Question{NIC: f.nic, Begin: f.begin})
	b, both := v.ownerOf(&Question{NIC: o.nic, Begin: o.begin})
	if !known || !both || a.owner.cluster == b.owner.cluster {
		return true
	}
	for _, code := range []uint32{f.rows.Src[f.from], f.rows.Dst[f.from]} {
		if address := f.rows.Addresses[code]; a.owner.cluster.owns(address) && b.owner.cluster.owns(address) {
			return false
		}
	}
	return true
}

// hold holds what is said of the ends of f against a copy.
func (f *seenFlow) hold(v *View, o *seenFlow) {
	for side := range f.ends {
		mine, theirs := f.ends[side].r.named(), o.ends[side].r.named()
		if mine == nil {
			continue
		}
		behind := (side == 0) == (o.direction == flow.Outbound)
		if behind && v.elsewhere(mine, &Question{NIC: o.nic, Begin: o.begin}) {
			f.ends[side].odd = true
		}
		if theirs != nil && (theirs.UID != mine.UID || theirs.Cluster != mine.Cluster) {
			f.ends[side].rivals = append(f.ends[side].rivals, theirs)
		}
	}
}

// named is the pod that an answer named before an interface spoke against it, else nil.
func (r *Resolution) named() *Candidate {
	if r.was != nil {
		r = r.was
	}
	return r.Pod()
}

func (f *seenFlow) apply() {
	for side := range f.ends {
		e := &f.ends[side]
		if !e.odd && len(e.rivals) == 0 {
			continue
		}
		weaker, said := e.r.against(e.rivals), f.rows.Joined.Src
		if side == 1 {
			said = f.rows.Joined.Dst
		}
		for i := f.from; i < f.to; i++ {
			said[i] = weaker
			if side == 0 && f.rows.Joined.NAT != nil {
				f.rows.Joined.NAT[i] = nil
			}
		}
	}
}

// against weakens an answer that an interface speaks against, or copies that are of
// rivals.
func (r *Resolution) against(rivals []*Candidate) *Resolution {
	weaker := r
	if r.was == nil {
		weaker = r.contradict()
	}
	all := slices.Clone(weaker.Candidates)
	for i := range rivals {
		if !slices.ContainsFunc(all, func(c *Candidate) bool { return c.UID == rivals[i].UID && c.Cluster == rivals[i].Cluster }) {
			all = append(all, rivals[i])
		}
	}
	if len(all) == len(weaker.Candidates) {
		return weaker
	}
	slices.SortFunc(all, orderCandidates)
	return &Resolution{Verdict: Boundary, Candidates: all, Notes: weaker.Notes, was: weaker.was}
}
