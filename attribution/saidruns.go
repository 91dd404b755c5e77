package attribution

import (
	"math"
	"sort"
	"sync/atomic"
)

// saidRuns are the runs of a track, with what is said in them.
//
// Memory is far away, and most of what a question costs is to wait for it, or for a jump
// that the processor could not foresee. So the begins of a group of runs are a line of the
// cache, and those of groups another one; which of them a moment has reached is counted,
// and how many there are does not matter: what never comes fills them up.
type saidRuns struct {
	heads  [8]int64 // when each stride-th group begins
	groups []saidGroup
	stride int // 1 for up to eight groups, which nearly all tracks have
}

// saidGroup is groupRuns runs, one after the other.
type saidGroup struct {
	begins [groupRuns + 1]int64                               // the last one is that of the next group
	said   [numEnds][groupRuns + 1]atomic.Pointer[Resolution] // by end: a question need not look into it; the last one is free
}

const (
	groupRuns      = 7
	saidGroupBytes = 8 * (groupRuns + 1) * (1 + numEnds)
	never          = math.MaxInt64
)

func saidRunsOf(t track) saidRuns {
	n := (t.runs() + groupRuns - 1) / groupRuns
	s := saidRuns{groups: make([]saidGroup, n), stride: (n + 7) / 8}
	begin := func(run int) int64 {
		if run < t.runs() {
			return t.begin(run)
		}
		return never
	}
	for i := range s.groups {
		for j := range s.groups[i].begins {
			s.groups[i].begins[j] = begin(i*groupRuns + j)
		}
	}
	for i := range s.heads {
		s.heads[i] = begin(i * s.stride * groupRuns)
	}
	return s
}

// slot is where the resolution in a run for an end is kept.
func (s *saidRuns) slot(run int, as end) *atomic.Pointer[Resolution] {
	return &s.groups[run/groupRuns].said[as][run%groupRuns]
}

// find is the run that holds a moment, which MUST NOT be before the first run.
func (s *saidRuns) find(at int64) int {
	g := s.group(at)
	return g*groupRuns + s.groups[g].find(at)
}

// group is the group that holds a moment.
func (s *saidRuns) group(at int64) int {
	h, after := &s.heads, at+1
	g := before(h[1], after) + before(h[2], after) + before(h[3], after) + before(h[4], after) + before(h[5], after) + before(h[6], after) + before(h[7], after)
	if s.stride > 1 {
		g *= s.stride
		g += sort.Search(min(s.stride, len(s.groups)-g), func(i int) bool { return s.groups[g+i].begins[groupRuns] > at })
	}
	return g
}

// find is the run of the group that holds a moment.
func (g *saidGroup) find(at int64) int {
	b, after := &g.begins, at+1
	return before(b[1], after) + before(b[2], after) + before(b[3], after) + before(b[4], after) + before(b[5], after) + before(b[6], after)
}

// before is 1 for a moment before another, else 0: without a jump.
func before(a, b int64) int { return int(uint64(a-b) >> 63) }
