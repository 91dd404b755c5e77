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
		return v.lookUp(q, t, t.find(q.Begin.From))
	}
	return v.lookUpSlowly(q)
}

// LookupAll is Lookup for many questions: it appends an answer for each to into. It
// takes half the time, and less, where the ledger is large.
func (v *View) LookupAll(questions []Question, into []Short) []Short {
	var all probes
	for len(questions) > 0 {
		some := questions[:min(len(questions), len(all))]
		for i := range some {
			all[i] = probe{at: some[i].Begin.From, id: v.pods.glance(some[i].Address)}
		}
		for i := range some {
			all[i].id, all[i].known = v.pods.addressID(some[i].Address)
		}
		for i := range some {
			if p, q := &all[i], &some[i]; p.known && q.Begin.Exactly() && inTrack(q.Begin) {
				p.track = v.trackOf(p.id, q.Address)
			}
		}
		all.find(len(some))
		for i := range some {
			var s Short
			if p, q := &all[i], &some[i]; p.track != nil {
				s.Verdict, s.Pod = v.lookUp(q, p.track, p.run)
			} else {
				s.Verdict, s.Pod = v.lookUpSlowly(q)
			}
			into = append(into, s)
		}
		questions = questions[len(some):]
	}
	return into
}

// Short is what Lookup says.
type Short struct {
	Verdict Verdict
	Pod     PodNumber // NoPod unless the verdict is Exact
}

// probes are searches in tracks that go on together, one step of all before the next
// of any: the processor then waits for the memory of many at once, not of one after
// the other.
type probes [32]probe

type probe struct {
	track track // nil: there is nothing to search
	at    int64 // MUST lie within trackSpan
	group int
	run   int // is found

	id    uint32 // the address, where it is known
	known bool
}

// find finds the runs of the first n probes.
func (all *probes) find(n int) {
	for i := range all[:n] {
		if p := &all[i]; p.track != nil {
			p.group = p.track.group(p.at)
		}
	}
	for i := range all[:n] {
		if p := &all[i]; p.track != nil {
			p.run = p.track.findIn(p.group, p.at)
		}
	}
}

// lookUp is the answer in a run, which holds all of the question's begin.
func (v *View) lookUp(q *Question, t track, run int) (Verdict, PodNumber) {
	out, as := v.tracks.outcome(t.outcome(run)), q.end()
	switch {
	case out.verdicts[as] != Exact:
		return out.verdicts[as], NoPod
	case !q.Near || q.NIC == "": // nothing that could contradict it
		return Exact, PodNumber(t.pod(t.first(run) + out.who[as]))
	default:
		return v.lookUpSlowly(q)
	}
}

func (v *View) lookUpSlowly(q *Question) (Verdict, PodNumber) {
	r := v.Resolve(*q)
	if r.Verdict != Exact {
		return r.Verdict, NoPod
	}
	c, number := r.Candidates[0], NoPod
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
	return v.trackOf(id, a), id
}

func (v *View) trackOf(id uint32, a netip.Addr) track {
	t, known := v.tracks.get(id)
	if !known {
		v.tracks.make(id, v.work(a))
		t, _ = v.tracks.get(id)
	}
	return t
}
