package attribution

import (
	"slices"
	"sync"
	"sync/atomic"

	"github.com/whichpod/whichpod/flow"
)

// saidAt is what is said in the runs of an address's track, worked out when it is first
// asked for. Many goroutines may use one.
type saidAt struct {
	saidRuns
	view  *View
	track track
	id    uint32
	stays []atomic.Pointer[Candidate] // who had the address: runs share them
	*weight

	stretches atomic.Pointer[stretches] // those that were asked for last
	mu        sync.Mutex                // for who adds one
}

// saidBy is that of a track, from the cache.
func (v *View) saidBy(t track, id uint32) *saidAt {
	if s, ok := v.said.get(id); ok {
		return s
	}
	s := &saidAt{saidRuns: saidRunsOf(t), view: v, track: t, id: id, stays: make([]atomic.Pointer[Candidate], t.stays())}
	s.weight = v.said.weigh(int64(saidAtBytes + saidGroupBytes*len(s.groups) + pointerBytes*len(s.stays)))
	return v.said.put(id, s, s.weight)
}

const (
	saidAtBytes  = 380 // with its place in the cache, about
	pointerBytes = 8
)

// in is the resolution in a run for an end, or nil where only its verdict is kept.
func (s *saidAt) in(run int, as end) *Resolution {
	if r := s.slot(run, as).Load(); r != nil {
		return r
	}
	out := s.view.tracks.outcome(s.track.outcome(run))
	if out.shape == nil {
		return nil
	}
	first := s.track.first(run)
	r := out.shape.resolution(func(n int) *Candidate { return s.candidate(first + n) })
	if s.slot(run, sender).CompareAndSwap(nil, r) {
		s.add(r.bytes())
	} else {
		r = s.slot(run, sender).Load()
	}
	for as := range numEnds {
		s.slot(run, end(as)).Store(r.at(end(as)))
	}
	return r.at(as)
}

// head is the first word of those that a search begins with.
func (s *saidAt) head() int64 {
	if s == nil {
		return 0
	}
	return s.heads[0]
}

// candidate is who had a stay.
func (s *saidAt) candidate(stay int) *Candidate {
	if c := s.stays[stay].Load(); c != nil {
		return c
	}
	c := s.view.candidate(s.track, s.id, stay)
	if !s.stays[stay].CompareAndSwap(nil, &c) {
		return s.stays[stay].Load()
	}
	s.add(candidateBytes)
	return &c
}

// over is the resolution for one end of a flow that began at some time in a span, or nil
// where the track does not say enough.
func (s *saidAt) over(span flow.Span, as end) *Resolution {
	if !inTrack(span) {
		return nil
	}
	run, last := s.find(span.From), s.find(span.To)
	if last <= run {
		return s.in(run, as)
	}
	if as != sender && s.same(run, last) {
		as = sender
	}
	return s.overAll(run, last, as)
}

// quick is what over says, and whether that is known without working anything out, 1 or
// 0: of a flow that began in one run, of which something was asked before. It takes no
// jump that hangs on when that was.
func (s *saidAt) quick(span flow.Span, as end) (r *Resolution, known uint8) {
	if !inTrack(span) {
		return nil, 0
	}
	g := &s.groups[s.group(span.From)]
	run := g.find(span.From)
	r = g.said[as][run].Load()
	return r, bit(r != nil) & bit(span.To < g.begins[run+1])
}

// same says whether the same is said for all ends in each of some runs.
func (s *saidAt) same(first, last int) bool {
	for run := first; run <= last; run++ {
		if shape := s.view.tracks.outcome(s.track.outcome(run)).shape; shape == nil || shape.received != nil || shape.answered != nil {
			return false
		}
	}
	return true
}

// overAll is the resolution for runs one after the other, or nil where the track does
// not say enough.
func (s *saidAt) overAll(first, last int, as end) *Resolution {
	key := stretchKey(first, last, as)
	if r := s.stretches.Load().get(key); r != nil {
		return r
	}
	var all []*Resolution
	for run := first; run <= last; run++ {
		r := s.in(run, as)
		if r == nil {
			return nil
		}
		all = append(all, r)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	before := s.stretches.Load()
	if r := before.get(key); r != nil { // another goroutine was faster
		return r
	}
	size := before.size() // before it changes
	r := combine(all)
	after, r := before.with(key, r, !slices.Contains(all, r))
	s.stretches.Store(after)
	s.add(after.size() - size)
	return r
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
