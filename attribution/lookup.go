package attribution

import (
	"net/netip"

	"github.com/whichpod/whichpod/flow"
)

// PodNumber is a pod in a view. It says nothing in another view.
type PodNumber uint32

// NoPod is the number of no pod.
const NoPod = ^PodNumber(0)

// UID is the pod's UID; the number MUST be one that this view gave.
func (v *View) UID(n PodNumber) string { return v.pods.uid(uint32(n)) }

// Lookup says in short what Resolve says: the verdict, and the pod where it is Exact,
// else NoPod. It names nobody and makes no garbage, so it serves where many questions
// are asked and few of the answers are looked at.
func (v *View) Lookup(q *Question) (Verdict, PodNumber) {
	if t, _ := v.track(q.Address); t != nil && q.Begin.Exactly() && inTrack(q.Begin) {
		run := t.find(q.Begin.From)
		out, as := v.tracks.outcome(t.outcome(run)), q.end()
		switch {
		case out.verdicts[as] != Exact:
			return out.verdicts[as], NoPod
		case !q.Near || q.NIC == "": // nothing that could contradict it
			return Exact, PodNumber(t.pod(t.first(run) + out.who[as]))
		}
	}
	r := v.Resolve(*q)
	if r.Verdict != Exact {
		return r.Verdict, NoPod
	}
	c, number := &r.Candidates[0], NoPod
	v.pods.eachAt(c.Address, func(n uint32) bool {
		if v.pods.uidIs(n, c.UID) && v.pods.clusterOf(n) == c.Cluster {
			number = PodNumber(n)
		}
		return number == NoPod
	})
	return Exact, number
}

func inTrack(s flow.Span) bool { return s.From >= trackEpoch && s.To < trackEpoch+trackSpan }

// track is that of an address, with the address's number, or nil where there is none:
// the address is a node's, several clusters may own it, or no pod ever had it.
func (v *View) track(a netip.Addr) (track, uint32) {
	id, ok := v.pods.addressID(a)
	if !ok {
		return nil, 0
	}
	t, known := v.tracks.get(id)
	if !known {
		v.tracks.make(id, v.work(a))
		t, _ = v.tracks.get(id)
	}
	return t, id
}

// along resolves a span along a track, or returns nil where the track does not say
// enough.
func (v *View) along(t track, id uint32, span flow.Span, as end) *Resolution {
	if !inTrack(span) {
		return nil
	}
	run := t.find(span.From)
	r := v.inRun(t, id, run)
	if r == nil {
		return nil
	}
	if span.Exactly() || run+1 == t.runs() || span.To < t.begin(run+1) {
		return r.at(as)
	}
	all := []*Resolution{r.at(as)}
	for run++; run < t.runs() && t.begin(run) <= span.To; run++ {
		if r = v.inRun(t, id, run); r == nil {
			return nil
		}
		all = append(all, r.at(as))
	}
	return combine(all)
}

// runKey names a run of an address.
type runKey struct{ id, run uint32 }

// inRun is the resolution in a run, or nil where only its verdict is kept.
func (v *View) inRun(t track, id uint32, run int) *Resolution {
	out := v.tracks.outcome(t.outcome(run))
	if out.shape == nil {
		return nil
	}
	key := runKey{id, uint32(run)}
	if r, ok := v.resolved.get(key); ok {
		return r
	}
	first := t.first(run)
	r := out.shape.resolution(func(n int) Candidate { return v.candidate(t, id, first+n) })
	bytes := int64(0)
	r.eachNamed(func(*Candidate) { bytes += resolutionBytes })
	return v.resolved.put(key, r, bytes+resolutionBytes)
}

// candidate is who had a stay of an address.
func (v *View) candidate(t track, id uint32, stay int) Candidate {
	p := v.pods.pod(t.pod(stay))
	c, a := v.cluster(p.cluster), v.pods.addressOf(id)
	s := c.rawStay(p, a)
	s.disputes = c.disputesAt(p, a)
	if b, ok := t.brackets(stay); ok {
		s.fromEarliest, s.fromLatest, s.toEarliest, s.toLatest = b[0], b[1], b[2], b[3]
	}
	return s.candidate()
}
