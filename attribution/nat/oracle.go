package nat

import "slices"

// Naive answers like Senders, but straight from the definitions: it reads all records
// of the cluster and looks at every moment at which the answer can change. It shares
// the brackets that records give each other with the fast way, and none of its
// indexes, bounds and searches. It is what the fast way is tested against.
func (s *Store) Naive(q *Asked) (Senders, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	c := s.clusters[q.Cluster]
	if c == nil {
		return Senders{}, nil
	}
	var flows []Flow
	for _, seg := range c.segments {
		for i := range seg.blocks {
			block, err := seg.block(i)
			if err != nil {
				return Senders{Damaged: true}, err
			}
			for _, f := range block {
				if f.Key == q.Key && !s.hidden[f.Import] {
					flows = append(flows, f)
				}
			}
		}
	}
	slices.SortFunc(flows, func(a, b Flow) int { return a.compare(&b) })
	odd := contradicted(flows, q.Tolerance)
	s.bound(flows, s.covered[q.Cluster])
	out := Senders{Damaged: c.damaged.Load()}
	var samples []Flow
	for i, f := range flows {
		switch {
		case f.FromEarliest > q.To || f.ToLatest < q.From:
		case s.sample(&f):
			samples = append(samples, f)
			out.Contradicted = out.Contradicted || odd[i]
		default:
			out.Flows = append(out.Flows, f)
			out.Contradicted = out.Contradicted || odd[i]
		}
	}
	out.Certain = !out.Damaged && !out.Contradicted && len(out.Flows) > 0 && !slices.ContainsFunc(s.moments(q, out.Flows), func(at int64) bool {
		return !s.accounted(q, out.Flows, len(samples) == 0, at)
	})
	out.Flows = append(out.Flows, samples...)
	return out, nil
}

// moments are those of the time asked about at which something begins or ends, and
// those beside them.
func (s *Store) moments(q *Asked, flows []Flow) []int64 {
	out := []int64{q.From, q.To}
	for i := range flows {
		for _, at := range []int64{flows[i].FromLatest, flows[i].ToEarliest} {
			for _, near := range []int64{at - 1, at, at + 1} {
				if q.From <= near && near <= q.To {
					out = append(out, near)
				}
			}
		}
	}
	return out
}

// accounted says whether it is known who had the key at a moment: it lies within a
// certain holder's time; or all was seen, by every node that can have had the address,
// all the time between that moment and a holder's not far from it.
func (s *Store) accounted(q *Asked, flows []Flow, sees bool, at int64) bool {
	nodes := slices.Clone(q.Nodes)
	for i := range flows {
		nodes = append(nodes, flows[i].Node)
	}
	for i := range flows {
		if f := &flows[i]; f.FromLatest <= at && at <= f.ToEarliest {
			return true
		}
	}
	from, to := q.From, q.To // the stretch around the moment that nobody certainly had
	before, after := false, false
	for i := range flows {
		if end := flows[i].ToEarliest; end < at && (!before || end > from) {
			from, before = end, true
		}
		if begin := flows[i].FromLatest; begin > at && (!after || begin < to) {
			to, after = begin, true
		}
	}
	if from < q.From && after {
		from = q.From
	}
	return sees && to-from <= Beside && !slices.ContainsFunc(nodes, func(n string) bool { return !s.covered[q.Cluster][n].has(from, to) })
}
