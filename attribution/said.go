package attribution

import (
	"sync"
	"sync/atomic"

	"github.com/whichpod/whichpod/flow"
)

// saidAt is what is said in the runs of an address's track, worked out when it is first
// asked for. Many goroutines may use one.
type saidAt struct {
	view *View
	track
	id    uint32
	runs  []atomic.Pointer[Resolution]
	stays []atomic.Pointer[Candidate] // who had the address: runs share them
	*weight

	mu        sync.Mutex
	stretches map[stretch]*Resolution // of several runs; those that were asked for last
	stretched int64                   // what they take
}

// stretch is runs one after the other, as one end of a flow sees them.
type stretch struct {
	first, last int
	as          end
}

// saidBy is that of a track, from the cache.
func (v *View) saidBy(t track, id uint32) *saidAt {
	if s, ok := v.said.get(id); ok {
		return s
	}
	s := &saidAt{view: v, track: t, id: id, runs: make([]atomic.Pointer[Resolution], t.runs()), stays: make([]atomic.Pointer[Candidate], t.stays())}
	s.weight = v.said.weigh(int64(pointerBytes * (len(s.runs) + len(s.stays))))
	return v.said.put(id, s, s.weight)
}

const (
	pointerBytes = 8
	stretchBytes = 60      // in a map, about
	mostStretch  = 1 << 12 // of one address
)

// in is the resolution in a run, or nil where only its verdict is kept.
func (s *saidAt) in(run int) *Resolution {
	if r := s.runs[run].Load(); r != nil {
		return r
	}
	out := s.view.tracks.outcome(s.outcome(run))
	if out.shape == nil {
		return nil
	}
	first := s.first(run)
	r := out.shape.resolution(func(n int) *Candidate { return s.candidate(first + n) })
	if !s.runs[run].CompareAndSwap(nil, r) {
		return s.runs[run].Load()
	}
	s.add(resolutionBytes)
	return r
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
	run := s.find(span.From)
	r := s.in(run)
	if r == nil {
		return nil
	}
	if span.Exactly() || run+1 == s.track.runs() || span.To < s.begin(run+1) {
		return r.at(as)
	}
	last := run + 1
	for last+1 < s.track.runs() && s.begin(last+1) <= span.To {
		last++
	}
	return s.overAll(stretch{run, last, as})
}

// overAll is the resolution for a stretch, or nil where the track does not say enough.
func (s *saidAt) overAll(asked stretch) *Resolution {
	s.mu.Lock()
	defer s.mu.Unlock()
	if r, ok := s.stretches[asked]; ok {
		return r
	}
	var all []*Resolution
	for run := asked.first; run <= asked.last; run++ {
		r := s.in(run)
		if r == nil {
			return nil
		}
		all = append(all, r.at(asked.as))
	}
	if s.stretches == nil || len(s.stretches) == mostStretch {
		s.add(-s.stretched)
		s.stretches, s.stretched = make(map[stretch]*Resolution), 0
	}
	r := combine(all)
	s.stretches[asked] = r
	bytes := int64(stretchBytes + resolutionBytes + pointerBytes*len(r.Candidates))
	s.stretched += bytes
	s.add(bytes)
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
