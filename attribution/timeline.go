package attribution

import (
	"slices"
	"sort"
	"sync/atomic"

	"github.com/whichpod/whichpod/flow"
)

// timeline says what can be said about an address at each time. Between two
// neighbouring bounds the answer is the same; it is worked out when it is first asked.
type timeline struct {
	stays  []stay  // sorted by fromEarliest
	latest []int64 // latest[i]: the greatest possible end among stays[:i+1]
	bounds []int64 // sorted, distinct; interval i is [bounds[i-1], bounds[i]), open at both ends of the list
	known  []atomic.Pointer[Resolution]
	at     func(t int64, possible []*stay) *Resolution
	tol    int64

	*weight // the address's, or nil
}

// What a stay takes with its pod and itself as a candidate, a candidate alone, and a
// resolution without its candidates, about, in bytes.
const (
	stayBytes       = 1250
	candidateBytes  = 440
	resolutionBytes = 120
)

// bytes is about what a resolution takes with those for other ends, but for candidates.
func (r *Resolution) bytes() int64 {
	if r == nil {
		return 0
	}
	n := int64(resolutionBytes+pointerBytes*len(r.Candidates)) + r.received.bytes()
	if r.answered != r.received {
		n += r.answered.bytes()
	}
	return n
}

// newTimeline takes the stays over. at is called with a moment and the stays that
// are possible then, and MUST depend on nothing but the interval that it lies in: the
// bounds are those of the stays, of the coverage, and what comes with it.
func newTimeline(stays []stay, watched coverage, with []int64, tolerance, late int64, at func(t int64, possible []*stay) *Resolution) *timeline {
	sortStays(stays)
	named := make([]Candidate, len(stays))
	for i := range stays {
		named[i] = stays[i].candidate()
		stays[i].shared = &named[i]
	}
	tl := &timeline{stays: stays, tol: tolerance, at: at}
	var latest int64
	for i := range stays {
		s := &stays[i]
		latest = max(latest, s.possibleTo(tolerance))
		tl.latest = append(tl.latest, latest)
		from, to := s.certain(tolerance, late, watched)
		tl.bounds = append(tl.bounds, s.possibleFrom(tolerance), s.possibleTo(tolerance), from, to, s.gone.At)
	}
	for _, r := range watched {
		tl.bounds = append(tl.bounds, r.From+tolerance, r.To-tolerance+1)
	}
	tl.bounds = append(tl.bounds, with...)
	slices.Sort(tl.bounds)
	tl.bounds = slices.Compact(tl.bounds)
	tl.known = make([]atomic.Pointer[Resolution], len(tl.bounds)+1)
	return tl
}

// interval is the number of the interval that t lies in.
func (tl *timeline) interval(t int64) int {
	return sort.Search(len(tl.bounds), func(i int) bool { return tl.bounds[i] > t })
}

// resolve is the resolution in interval i.
func (tl *timeline) resolve(i int) *Resolution {
	if r := tl.known[i].Load(); r != nil {
		return r
	}
	r := tl.work(i)
	if !tl.known[i].CompareAndSwap(nil, r) {
		return tl.known[i].Load()
	}
	tl.add(r.bytes())
	return r
}

// work works it out.
func (tl *timeline) work(i int) *Resolution {
	var t int64
	switch {
	case i > 0:
		t = tl.bounds[i-1]
	case len(tl.bounds) > 0:
		t = tl.bounds[0] - 1
	}
	return tl.at(t, tl.possible(t))
}

// bytes is about what it takes, but for resolutions.
func (tl *timeline) bytes() int64 { return int64(stayBytes*len(tl.stays) + 16*len(tl.bounds)) }

// possible are the stays whose outer brackets, widened, hold t.
func (tl *timeline) possible(t int64) []*stay {
	n := sort.Search(len(tl.stays), func(i int) bool { return tl.stays[i].possibleFrom(tl.tol) > t })
	var out []*stay
	for i := n - 1; i >= 0 && tl.latest[i] > t; i-- {
		if tl.stays[i].possibleTo(tl.tol) > t {
			out = append(out, &tl.stays[i])
		}
	}
	slices.Reverse(out)
	return out
}

// over is the resolution for one end of a flow that began at some time in the span.
func (tl *timeline) over(span flow.Span, as end) *Resolution {
	i := tl.interval(span.From)
	if span.Exactly() {
		return tl.resolve(i).at(as)
	}
	j := tl.interval(span.To)
	if i == j {
		return tl.resolve(i).at(as)
	}
	all := make([]*Resolution, 0, j-i+1)
	for ; i <= j; i++ {
		r := tl.resolve(i).at(as)
		if r.Verdict == Gap && !r.Vacant() {
			return r // as combine does, whatever follows
		}
		all = append(all, r)
	}
	return combine(all)
}

// possibleFrom is the first moment at which the stay can have lasted.
func (s *stay) possibleFrom(tolerance int64) int64 {
	if s.fromEarliest == 0 {
		return 0
	}
	return s.fromEarliest - tolerance
}

// possibleTo is the first moment at which it can not last any more.
func (s *stay) possibleTo(tolerance int64) int64 {
	to := s.toLatest
	if s.lingers() {
		to = min(to, s.gone.At+Linger)
	}
	if to == Open {
		return Open
	}
	return to + tolerance
}

// lasted is until when a stay that is live is known to have lasted: it was still there
// when it was seen last, and as long as nothing was missed since.
func (s *stay) lasted(late int64, watched coverage) int64 {
	return max(s.bounds.AliveAt, watched.from(max(s.bounds.SeenLast, s.pod.listed))-max(reportLag, late))
}

// certain is the half-open time in which the stay lasted whatever the clocks;
// empty where to is not after from.
func (s *stay) certain(tolerance, late int64, watched coverage) (from, to int64) {
	if s.fromLatest == Open {
		return Open, Open
	}
	switch {
	case s.live():
		to = s.lasted(late, watched)
	case s.lingers():
		to = max(s.toEarliest, s.gone.After-reportLag)
	default:
		to = s.toEarliest
	}
	return s.fromLatest + tolerance, to - tolerance
}
