package attribution

import (
	"cmp"
	"slices"
	"sort"
)

// Notes that a resolution can carry.
const (
	noteUnwatched = "nobody watched the cluster then"
	noteNobody    = "the cluster was watched then, and no pod is recorded with this address"
	noteLent      = "no pod is recorded with this address then, which was a node's at some time, as NAT evidence shows"
	noteLingers   = "the pod's object was removed without the kubelet's word that it stopped; it may have gone on sending"
	noteEdge      = "within the time in which the pod got or lost the address; no other pod is recorded with it"
	noteLate      = "the watch ended soon after; what happened last may not have been seen any more"
	noteDamaged   = "the ledger is damaged: facts are missing, and another pod may have had the address"
	noteNIC       = "the interfaces that logged the flow speak against what the ledger says of this pod"
	noteVacant    = "the address may have been nobody's then"
	noteDispute   = "what is recorded of this pod contradicts itself"
	noteSampled   = "only an inventory knows of the pod, and it does not say whether the address is the pod's or its node's; the cluster's podCIDRs would"
	noteStranger  = "only changes are on record then, and nothing of who had the address before them: somebody who was never seen may have it"
	noteSilent    = "only changes are on record then: pods that were on the node before them, and did not change, are not known"
	noteBegin     = "the begin of the flow was not logged; the address changed hands in the time that the row may cover"
)

// addressAt is what can be said of a pod's address at a moment. stays are all stays
// at the address, sorted.
func (c *clusterView) addressAt(t int64, possible []*stay, stays []stay) *Resolution {
	watched, tolerance := c.changes, c.tolerance
	seen := watched.has(t-tolerance, t+tolerance)
	certain := false           // then nobody who was never seen can have had it
	early := len(possible) > 0 // whoever it is had perhaps not got it yet, or lost it while nobody watched
	for _, s := range possible {
		from, to := s.certain(tolerance, c.late, watched)
		certain = certain || (from <= t && t < to && (seen || c.exclusive()))
		early = early && (t < from || (s.lingers() && t >= s.gone.At && !watched.has(s.gone.At, t)))
	}
	switch {
	case !certain && !seen, early && !c.allSeen(t):
		return gapAt(t, stays, tolerance, noteUnwatched)
	case len(possible) == 0:
		return gapAt(t, stays, tolerance, noteNobody)
	case slices.ContainsFunc(possible, func(s *stay) bool { return s.sampled }):
		return gapAt(t, stays, tolerance, noteSampled)
	case !certain && !c.anchored(t, possible):
		return gapAt(t, stays, tolerance, noteStranger)
	case len(possible) > 1:
		return several(possible, tolerance)
	}
	r := c.sole(t, possible[0], stays)
	switch {
	case r.Verdict == Exact && c.damaged:
		return &Resolution{Verdict: Boundary, Candidates: r.Candidates, Notes: []string{noteDamaged}}
	case r.Verdict == Exact && !certain && !watched.has(t-tolerance, t+tolerance+c.late):
		return &Resolution{Verdict: Boundary, Candidates: r.Candidates, Notes: []string{noteLate}}
	case r.Verdict == Exact && possible[0].disputed(t, tolerance):
		r.Verdict, r.Notes = Boundary, append([]string{noteDispute}, r.Notes...)
		r.answered = nil
		if r.received != nil {
			r.answered = r.received
		}
	}
	return r
}

// anchored says whether nobody but the stays that are possible at t can have the
// address, at a time when changes were seen: either all pods were on record, or one
// of them was seen with it since the changes were. Who got it before that, and stays
// silent, is not on record (an audit log shows nobody whose pod does not change).
func (c *clusterView) anchored(t int64, possible []*stay) bool {
	if c.watched.has(t-c.tolerance, t+c.tolerance) {
		return true
	}
	start := c.changes.start(t)
	return slices.ContainsFunc(possible, func(s *stay) bool {
		return max(s.bounds.SeenLast, s.bounds.AliveAt, s.pod.listed) >= start
	})
}

// allSeen says whether no pod that was never seen can have sent: one that was made and
// deleted by force while nobody watched may go on for a while after.
func (c *clusterView) allSeen(t int64) bool {
	return !c.known().forced || c.settled.has(t-c.tolerance, t+c.tolerance)
}

// sole is the verdict where one pod can have held the address.
func (c *clusterView) sole(t int64, s *stay, stays []stay) *Resolution {
	watched, tolerance := c.changes, c.tolerance
	r := &Resolution{Verdict: Exact, Candidates: []*Candidate{s.named()}}
	from, to := s.certain(tolerance, c.late, watched)
	switch {
	case s.lingers() && t >= s.gone.At:
		r.Notes = []string{noteLingers}
		if s.vanished() || !watched.has(s.gone.At, t+tolerance) || s.handedOn(t, stays, tolerance) {
			r.Verdict = Boundary // somebody else may have had it since
		}
	case t < from || (t >= to && !s.live()):
		if t < from || !s.lingers() { // what lingers can still have sent; it is just not sure to have been there
			r.Notes = []string{noteEdge}
		}
	case c.exclusive() || !refuses(t, s, stays, tolerance):
		return r
	}
	around, notes := c.afterglow(t, s, stays), []string{noteVacant}
	if s.lingers() {
		notes = []string{noteLingers, noteVacant}
	}
	r.received = &Resolution{Verdict: Boundary, Candidates: around, Notes: notes}
	if len(around) > 1 || r.Verdict != Exact {
		r.answered = r.received
	}
	return r
}

// refuses says whether a pod that had the address beside s has ended so lately that its
// sandbox may still answer.
func refuses(t int64, s *stay, stays []stay, tolerance int64) bool {
	return slices.ContainsFunc(stays, func(old stay) bool {
		to := old.possibleTo(tolerance)
		return old.pod != s.pod && to <= t && t < to+afterglow && overlap(&old, s, tolerance)
	})
}

// handedOn says whether somebody else got the address after the pod's object was
// removed, and before t.
func (s *stay) handedOn(t int64, stays []stay, tolerance int64) bool {
	for i := range stays {
		if o := &stays[i]; o.pod != s.pod && o.fromLatest > s.gone.At && o.fromLatest != Open && o.fromLatest+tolerance <= t {
			return true
		}
	}
	return false
}

// afterglow is how long after a pod's last container ended its sandbox may still be
// there and refuse what it is sent, in milliseconds: the kubelet takes it down at its
// next look at the pod.
const afterglow = 30 * 1000

// afterglow are a stay and those of pods that can not send any more at t, but may
// still have had the address.
func (c *clusterView) afterglow(t int64, s *stay, stays []stay) []*Candidate {
	var out []*Candidate
	for i := range stays {
		old := &stays[i]
		if to := old.possibleTo(c.tolerance); old == s || (to <= t && t < to+afterglow) {
			out = append(out, old.named())
		}
	}
	return out
}

// several is the verdict where more than one pod can have held the address.
func several(possible []*stay, tolerance int64) *Resolution {
	r := &Resolution{Verdict: Boundary}
	for i, s := range possible {
		r.Candidates = append(r.Candidates, s.named())
		for _, o := range possible[:i] {
			if overlap(s, o, tolerance) {
				r.Verdict = Ambiguous
			}
		}
	}
	return r
}

// gapAt names who held the address last before t and first after it.
func gapAt(t int64, stays []stay, tolerance int64, note string) *Resolution {
	r := &Resolution{Verdict: Gap, Notes: []string{note}}
	after := sort.Search(len(stays), func(i int) bool { return stays[i].possibleFrom(tolerance) > t })
	if after > 0 {
		r.Before = stays[after-1].named()
	}
	if after < len(stays) {
		r.After = stays[after].named()
	}
	return r
}

// Vacant says whether a resolution is that nobody held the address while it was watched:
// nobody can have begun a flow then.
func (r *Resolution) Vacant() bool {
	return r.Verdict == Gap && len(r.Notes) > 0 && r.Notes[0] == noteNobody
}

// Unwatched says whether a resolution is a gap since nobody watched.
func (r *Resolution) Unwatched() bool {
	return r.Verdict == Gap && len(r.Notes) > 0 && r.Notes[0] == noteUnwatched
}

// Silent says whether a resolution is a gap only since somebody who did not change may not be on
// record: changes were.
func (r *Resolution) Silent() bool {
	return r.Verdict == Gap && len(r.Notes) > 0 && (r.Notes[0] == noteSilent || r.Notes[0] == noteStranger)
}

// begunUnseen is shared, and MUST NOT be changed.
var begunUnseen = []string{noteBegin}

// combine is the resolution for a flow that began in one of several intervals, or at
// an address that one of several clusters may own.
func combine(all []*Resolution) *Resolution {
	var held []*Resolution
	for _, r := range all {
		if !r.Vacant() && !slices.ContainsFunc(held, r.says) {
			held = append(held, r)
		}
	}
	switch len(held) {
	case 0:
		return all[0]
	case 1:
		return held[0]
	}
	for _, r := range held {
		if r.Verdict == Gap {
			return r // somebody who was never seen may have begun it
		}
	}
	out := &Resolution{Notes: begunUnseen}
	known, named := make(map[*Candidate]bool), make(map[identity]bool)
	for _, r := range held {
		for _, c := range r.Candidates {
			if known[c] { // neighbours in time share most of theirs
				continue
			}
			known[c] = true
			if k := c.identity(); !named[k] {
				named[k] = true
				out.Candidates = append(out.Candidates, c)
			}
		}
	}
	slices.SortFunc(out.Candidates, orderCandidates)
	out.Verdict = combined(held, len(out.Candidates))
	if out.Verdict == held[0].Verdict && out.Verdict != Boundary {
		out.Notes = held[0].Notes
	}
	return out
}

// says is whether two resolutions say the same of the same candidates: time may be cut into
// more intervals than there is something to tell apart.
func (r *Resolution) says(o *Resolution) bool {
	same := func(a, b *Candidate) bool { return a == b || a.identity() == b.identity() }
	return r == o || (r.Verdict == o.Verdict && slices.EqualFunc(r.Candidates, o.Candidates, same) && slices.Equal(r.Notes, o.Notes))
}

// identity is who a candidate is, in whatever interval.
type identity struct{ cluster, uid, node, machine string }

func (c *Candidate) identity() identity { return identity{c.Cluster, c.UID, c.Node, c.NodeUID} }

func orderCandidates(a, b *Candidate) int {
	return cmp.Or(cmp.Compare(a.FromEarliest, b.FromEarliest), cmp.Compare(a.Cluster, b.Cluster), cmp.Compare(a.UID, b.UID))
}

// combined is the word for resolutions of which none is a gap.
func combined(held []*Resolution, candidates int) Verdict {
	first := held[0].Verdict
	for _, r := range held[1:] {
		if r.Verdict != first {
			return worse(held)
		}
	}
	if first == Exact && candidates > 1 {
		return Boundary
	}
	return first
}

// worse is the word for a mixture: masked where a pod may hide behind a node,
// ambiguous where two are recorded at once, else boundary.
func worse(held []*Resolution) Verdict {
	has := func(v Verdict) bool {
		return slices.ContainsFunc(held, func(r *Resolution) bool { return r.Verdict == v })
	}
	switch {
	case has(Masked):
		return Masked
	case has(Ambiguous):
		return Ambiguous
	default:
		return Boundary
	}
}
