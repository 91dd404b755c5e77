package attribution

import "encoding/binary"

// outcome is what can be said of an address over a stretch of time, without saying of
// whom: stays are named by their place in the order of stays at the address, counted
// from the first one that is named. So many addresses share one.
type outcome struct {
	verdicts [3]Verdict // by end
	who      [3]int     // of those that are Exact
	shape    *shape     // nil: the verdicts are known, and the rest is worked out when asked for
}

// shape is a resolution with numbers of stays for candidates.
type shape struct {
	verdict            Verdict
	notes              []string
	candidates         []int
	before, after      int // 1 + a number; 0 is none
	received, answered *shape
}

// outcomes keeps each distinct outcome once. Only one goroutine may use it at a time;
// what it has handed out is never changed.
type outcomes struct {
	list  []outcome
	byKey map[string]int
	key   []byte
}

// maxOutcomes is how many fit the byte that a run has for them.
const maxOutcomes = 256

// of is the number of a resolution's outcome, and the first stay that it names.
// number finds a candidate's stay. It returns false where there are too many outcomes.
func (o *outcomes) of(r *Resolution, number func(*Candidate) int) (n, first int, ok bool) {
	first = -1
	r.eachNamed(func(c *Candidate) {
		if i := number(c); first < 0 || i < first {
			first = i
		}
	})
	first = max(first, 0)
	relative := func(c *Candidate) int { return number(c) - first }
	o.key = r.appendKey(o.key[:0], relative)
	if n, ok := o.byKey[string(o.key)]; ok {
		return n, first, true
	}
	out := outcome{verdicts: r.verdicts(), shape: shapeOf(r, relative)}
	for as := range out.who {
		if p := r.at(end(as)).Pod(); p != nil {
			out.who[as] = relative(p)
		}
	}
	n, ok = o.add(string(o.key), out)
	return n, first, ok
}

// bare is the number of an outcome that has nothing but verdicts.
func (o *outcomes) bare(verdicts [3]Verdict) (int, bool) {
	key := string([]byte{0, byte(verdicts[0]), byte(verdicts[1]), byte(verdicts[2])})
	if n, ok := o.byKey[key]; ok {
		return n, true
	}
	return o.add(key, outcome{verdicts: verdicts})
}

func (o *outcomes) add(key string, out outcome) (int, bool) {
	if len(o.list) == maxOutcomes {
		return 0, false
	}
	if o.byKey == nil {
		o.byKey = make(map[string]int)
	}
	n := len(o.list)
	o.byKey[key], o.list = n, append(o.list, out)
	return n, true
}

func (r *Resolution) verdicts() [3]Verdict {
	return [3]Verdict{sender: r.at(sender).Verdict, answerer: r.at(answerer).Verdict, called: r.at(called).Verdict}
}

// eachNamed calls yield with everybody whom a resolution names.
func (r *Resolution) eachNamed(yield func(*Candidate)) {
	for i := range r.Candidates {
		yield(r.Candidates[i])
	}
	if r.Before != nil {
		yield(r.Before)
	}
	if r.After != nil {
		yield(r.After)
	}
	for _, o := range []*Resolution{r.received, r.answered} {
		if o != nil {
			o.eachNamed(yield)
		}
	}
}

// appendKey appends bytes that are the same for resolutions of one shape. The first
// one is not 0.
func (r *Resolution) appendKey(b []byte, number func(*Candidate) int) []byte {
	b = append(b, byte(r.Verdict), byte(len(r.Notes)))
	for _, n := range r.Notes {
		b = append(append(b, n...), 0)
	}
	b = binary.AppendUvarint(b, uint64(len(r.Candidates)))
	for i := range r.Candidates {
		b = binary.AppendUvarint(b, uint64(number(r.Candidates[i])))
	}
	for _, c := range []*Candidate{r.Before, r.After} {
		n := 0
		if c != nil {
			n = 1 + number(c)
		}
		b = binary.AppendUvarint(b, uint64(n))
	}
	for _, o := range []*Resolution{r.received, r.answered} {
		if o == nil {
			b = append(b, 0)
		} else {
			b = o.appendKey(b, number)
		}
	}
	return b
}

func shapeOf(r *Resolution, number func(*Candidate) int) *shape {
	if r == nil {
		return nil
	}
	s := &shape{verdict: r.Verdict, notes: r.Notes, received: shapeOf(r.received, number)}
	for i := range r.Candidates {
		s.candidates = append(s.candidates, number(r.Candidates[i]))
	}
	if r.Before != nil {
		s.before = 1 + number(r.Before)
	}
	if r.After != nil {
		s.after = 1 + number(r.After)
	}
	if s.answered = s.received; r.answered != r.received {
		s.answered = shapeOf(r.answered, number)
	}
	return s
}

// resolution is the shape with candidates in it.
func (s *shape) resolution(candidate func(number int) *Candidate) *Resolution {
	if s == nil {
		return nil
	}
	r := &Resolution{Verdict: s.verdict, Notes: s.notes, received: s.received.resolution(candidate)}
	if len(s.candidates) > 0 {
		r.Candidates = make([]*Candidate, len(s.candidates))
		for i, n := range s.candidates {
			r.Candidates[i] = candidate(n)
		}
	}
	one := func(n int) *Candidate {
		if n == 0 {
			return nil
		}
		return candidate(n - 1)
	}
	r.Before, r.After = one(s.before), one(s.after)
	if r.answered = r.received; s.answered != s.received {
		r.answered = s.answered.resolution(candidate)
	}
	return r
}
