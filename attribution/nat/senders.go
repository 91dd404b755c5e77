package nat

import (
	"cmp"
	"slices"
)

// Beside is how far from a translated connection one that was not translated is kept
// as evidence when it had the same key, in milliseconds: a doubt about clocks that is
// no larger than this can not confuse the two. It is past twice any sensible tolerance.
const Beside = 5000

// Senders is who can have had a key in a time.
type Senders struct {
	// Flows are what can have been it, sorted by when they began, with the brackets
	// that all evidence together gives; samples last. Where two stand for one
	// connection that two imports told of, both are there.
	Flows []Flow
	// Certain: nobody who is not among Flows had the key in that time.
	Certain bool
	// Contradicted: two of the records cannot both be true.
	Contradicted bool
	// Damaged: evidence was lost since it was taken.
	Damaged bool
}

// Asked is a question for the senders behind a key.
type Asked struct {
	Cluster   string
	Key       Key
	From, To  int64    // when, widened by what clocks may differ; Unix milliseconds
	Nodes     []string // who else than the nodes in the evidence may have had the address then
	Tolerance int64    // how much two records of one node may seem to overlap without contradiction
}

// Senders finds who can have had a key. The kernel gives a key to one connection of
// the node at a time, its own ones included, since all are in one table. So between
// a certain begin and a certain end it was nobody else. Outside of such a time, that
// there was nobody else is certain only where all translations were seen, and close
// enough to a known one for one that was not translated to be on record too.
func (s *Store) Senders(q *Asked) (Senders, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	c := s.clusters[q.Cluster]
	if c == nil {
		return Senders{}, nil
	}
	flows, err := s.lookup(c, &q.Key, q.From, q.To, nil)
	if err != nil {
		c.damaged.Store(true)
		return Senders{Damaged: true}, err
	}
	return s.judge(q, c, flows), nil
}

func (s *Store) judge(q *Asked, c *cluster, flows []Flow) Senders {
	out := Senders{Damaged: c.damaged.Load()}
	covered := s.covered[q.Cluster]
	odd := contradicted(flows, q.Tolerance)
	s.bound(flows, covered)
	nodes := slices.Clone(q.Nodes)
	var samples []Flow
	for i := range flows {
		f := &flows[i]
		if f.FromEarliest > q.To || f.ToLatest < q.From {
			continue
		}
		out.Contradicted = out.Contradicted || odd[i]
		if s.sample(f) {
			samples = append(samples, *f)
			continue
		}
		out.Flows = append(out.Flows, *f)
		if !slices.Contains(nodes, f.Node) {
			nodes = append(nodes, f.Node)
		}
	}
	if len(samples) > 0 {
		covered = nil // who saw everything did not see these
	}
	out.Certain = !out.Damaged && !out.Contradicted && len(out.Flows) > 0 && occupied(q, out.Flows, nodes, covered)
	out.Flows = append(out.Flows, samples...)
	return out
}

// sample says whether a record tells of single packets. It shows who may have had a key
// at other times too, and never that nobody else had it: neither before nor after the
// packet, nor between two of them. s.mu is held.
func (s *Store) sample(f *Flow) bool {
	return int(f.Import) < len(s.imports) && s.imports[f.Import].Kind == Samples
}

// contradicted marks records of which two are certain to have had the key at once,
// from different senders.
func contradicted(flows []Flow, tolerance int64) []bool {
	odd := make([]bool, len(flows))
	for i := range flows {
		for j := range flows[:i] {
			a, b := &flows[i], &flows[j]
			if !a.sameSender(b) && min(a.ToEarliest, b.ToEarliest)-max(a.FromLatest, b.FromLatest) > tolerance {
				odd[i], odd[j] = true, true
			}
		}
	}
	return odd
}

func (f *Flow) sameSender(o *Flow) bool { return f.Original == o.Original && f.Node == o.Node }

// bound narrows the brackets of each record by the others, which MUST be sorted by
// FromLatest: by what else tells of the same connection, by the next one's begin and
// the last one's end, and, where no end is known, by how long one would have been seen.
// A sample bounds nothing, and who sees everything may see nothing of its connection:
// what translated it need not be the kernel's connection tracking.
func (s *Store) bound(flows []Flow, covered map[string]coverage) {
	plain := slices.Clone(flows)
	for i := range flows {
		f, p, followed, open := &flows[i], &plain[i], false, NoEnd
		for j := range plain {
			o := &plain[j]
			same := p.sameSender(o)
			if same && o.ToLatest != NoEnd && o.ToLatest >= p.ToEarliest { // another recording saw it end, or one after it
				open = min(open, o.ToEarliest)
			}
			switch {
			case i == j || s.sample(o):
			case same && o.FromEarliest == p.FromEarliest && o.FromLatest == p.FromLatest: // the same connection
				f.ToEarliest = max(f.ToEarliest, o.ToEarliest)
				f.ToLatest = min(f.ToLatest, o.ToLatest)
			case o.FromLatest > p.ToEarliest && (!same || o.FromEarliest >= p.FromLatest): // the key was given away by then
				f.ToLatest = min(f.ToLatest, max(o.FromLatest, f.ToEarliest))
				followed = true
			case o.ToEarliest <= p.FromLatest && !same:
				f.FromEarliest = max(f.FromEarliest, o.ToEarliest)
			}
		}
		if f.ToLatest == NoEnd && !followed && !s.sample(f) {
			f.ToEarliest = max(f.ToEarliest, min(open, covered[f.Node].until(f.ToEarliest)))
		}
	}
}

// occupied says whether all of the time asked about is accounted for: each moment lies
// within a certain holder's time, or near one while everything was seen.
func occupied(q *Asked, flows []Flow, nodes []string, covered map[string]coverage) bool {
	certain := make([]Range, len(flows))
	for i := range flows {
		certain[i] = Range{flows[i].FromLatest, flows[i].ToEarliest}
	}
	slices.SortFunc(certain, func(a, b Range) int { return cmp.Or(cmp.Compare(a.From, b.From), cmp.Compare(a.To, b.To)) })
	seen := func(from, to int64) bool {
		return to-from <= Beside && !slices.ContainsFunc(nodes, func(n string) bool { return !covered[n].has(from, to) })
	}
	at := q.From // all before it is accounted for
	for _, r := range certain {
		if r.From > at && !seen(at, r.From) {
			return false
		}
		if r.To >= q.To {
			return true
		}
		at = max(at, r.To)
	}
	last := certain[0].To // may lie before the time asked about
	for _, r := range certain {
		last = max(last, r.To)
	}
	return seen(min(at, last), q.To)
}
