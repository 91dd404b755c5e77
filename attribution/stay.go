package attribution

import (
	"cmp"
	"net/netip"
	"slices"
)

// Linger is how long a pod whose object went without the kubelet's word that it
// stopped stays a candidate where nobody follows it, in milliseconds. Kubernetes
// gives no bound ("may continue to run on the cluster indefinitely"); an hour is far
// past every grace period and past the five minutes after which pods are evicted
// from a node that does not answer.
const Linger = 60 * 60 * 1000

// reportLag is how old what the API shows of a pod may be, in milliseconds: the
// kubelet tells of a change with its next status patch.
const reportLag = 10 * 1000

// stay is one interval with its brackets: an address with a pod, or (address
// invalid) a pod on its node. Times are not widened.
type stay struct {
	pod     *pod
	address netip.Addr
	bounds  *Bounds
	started int64 // the kubelet's own times say that it had begun by then; 0: unknown

	fromEarliest int64 // 0: unknown
	fromLatest   int64 // Open: nothing shows that it began
	toEarliest   int64 // Open: it lasts as far as anybody knows
	toLatest     int64

	// recorded is, for a stay that is live, until when it is known to have lasted.
	recorded int64

	disputes []Dispute // that concern it

	// sampled: only an inventory knows of it, which does not say whether a pod is on its
	// node's network, and the address is in no range of pods': it may be the node's.
	sampled bool

	shared *Candidate // the stay as one, or nil: then it is made each time

	// gone: the object was removed without the kubelet's word that the pod stopped.
	gone Removal
}

func (s *stay) lingers() bool { return s.gone.At != 0 }

// vanished: nobody saw the object go.
func (s *stay) vanished() bool { return s.lingers() && s.pod.deleted.At == 0 }

// live: neither the kubelet nor the API has said that it ended.
func (s *stay) live() bool { return s.toLatest == Open && !s.lingers() }

// removal is the removal of the pod's object that counts, or none. watched are the
// stretches in which all pods were watched: each begins with a list. A pod that was
// seen before such a stretch, and not by its list, was gone by then, in whatever order
// the ledger learnt of the two.
func (p *pod) removal(watched coverage) Removal {
	if p.deleted.At != 0 {
		return p.deleted
	}
	last := max(p.listed, p.presence.SeenLast)
	if p.missing.At != 0 {
		again := last > p.missing.At // seen again: the list was not complete
		if p.missing.Version != 0 && p.presence.LastVersion != 0 {
			again = p.presence.LastVersion > p.missing.Version
		}
		if !again {
			return p.missing
		}
	}
	if start := watched.startAfter(last); last != 0 && start != 0 {
		return Removal{At: start, After: watched.from(last)}
	}
	return Removal{}
}

// presenceStay is the pod's stay on its node. Addresses come and go within it.
func (p *pod) presenceStay(watched coverage) stay {
	return p.stayOf(netip.Addr{}, &p.presence, p.presence.stopped(), watched)
}

// addressStays are the stays of the pod's own addresses, in the memory of room if there is
// enough.
func (p *pod) addressStays(room []stay, watched coverage) []stay {
	stays := slices.Grow(room[:0], len(p.holdings))
	for i := range p.holdings {
		b := &p.holdings[i].Bounds
		stopped := minKnown(b.stopped(), p.presence.stopped())
		s := p.stayOf(p.holdings[i].Address, b, stopped, watched)
		if p.stale(i) {
			s.started, s.fromLatest = 0, Open
			if b.SeenBy != 0 {
				s.fromLatest = b.SeenBy
			}
		}
		stays = append(stays, s)
	}
	p.orderAddresses(stays)
	return stays
}

// stale says whether the kubelet's times that came with an address may be those of an
// earlier sandbox, which an object can show beside the new address: they then came
// with another address as well.
func (p *pod) stale(i int) bool {
	h := &p.holdings[i]
	for k := range p.holdings {
		o := &p.holdings[k]
		other := k != i && o.Address.Is4() == h.Address.Is4()
		if other && !h.Bounds.before(&o.Bounds) && h.Bounds.RunningBy <= o.Bounds.AliveAt+second {
			return true
		}
	}
	return false
}

// second is the resolution of the times in objects, in milliseconds.
const second = 1000

func (p *pod) stayOf(a netip.Addr, b *Bounds, stopped int64, watched coverage) stay {
	s := stay{pod: p, address: a, bounds: b, started: b.RunningBy, fromEarliest: max(p.presence.NotBefore, b.NotBefore), fromLatest: Open, toEarliest: Open, toLatest: Open}
	if began := b.began(); began != 0 {
		s.fromLatest = began
	}
	removed := p.removal(watched)
	switch {
	case stopped != 0:
		s.toLatest = stopped
		if removed.At != 0 {
			s.toLatest = min(stopped, removed.At)
		}
		s.toEarliest = min(b.AliveAt, s.toLatest)
	case removed.At != 0:
		s.gone = removed
		s.toEarliest = b.AliveAt
	}
	return s
}

// orderAddresses brackets the addresses that one pod had in turn: a sandbox that is
// made again gets a new one, and the old one is lost by then. The kubelet says that the
// old sandbox went before it makes the new one (SyncPod, kubelet/kuberuntime: the status
// is written first).
func (p *pod) orderAddresses(stays []stay) {
	for i := range stays {
		for j := range stays {
			old, new := &stays[i], &stays[j]
			if i == j || old.address.Is4() != new.address.Is4() || !old.bounds.before(new.bounds) {
				continue
			}
			if new.fromLatest < old.toLatest {
				old.toLatest = new.fromLatest
				old.toEarliest = min(old.bounds.AliveAt, old.toLatest)
				old.gone = Removal{}
			}
			new.fromEarliest = max(new.fromEarliest, old.bounds.AliveAt, old.bounds.StoppedFirst-second)
		}
	}
}

// before says whether an address was surely shown before another, by resource
// versions; without them by receipts that lie further apart than events are late.
func (b *Bounds) before(o *Bounds) bool {
	if b.LastVersion != 0 && o.FirstVersion != 0 {
		return b.LastVersion < o.FirstVersion
	}
	return b.LastVersion == 0 && o.FirstVersion == 0 && b.SeenLast != 0 && b.SeenLast+MaxSilence < o.SeenBy
}

// closeLingering ends the stays at one address whose pods went without the kubelet's
// word, or of which nothing more was recorded, where a later pod was given the
// address: it is handed out again only after it was given back. The order must be certain in the API's own terms, so that two
// pods with one address at once are never taken for one after the other. Where two
// pods had one address in this cluster (exclusive is false), the order of what went
// on while nobody watched is not certain.
func closeLingering(stays []stay, exclusive bool, changes coverage, tolerance int64) {
	for i := range stays {
		old := &stays[i]
		if old.live() && exclusive {
			old.closeForgotten(stays, changes, tolerance)
		}
		if !old.lingers() {
			continue
		}
		for j := range stays {
			if new := &stays[j]; new.pod != old.pod && new.fromLatest != Open && follows(old, new, tolerance) {
				closed := max(new.fromLatest, old.toEarliest)
				switch {
				case !exclusive && old.vanished():
					closed = max(closed, old.gone.At)
				case !exclusive:
					closed = max(closed, old.gone.At+unseenTail)
				}
				old.toLatest = min(old.toLatest, closed)
			}
		}
	}
}

// closeForgotten ends a stay of which nothing was recorded after a time, where
// another pod is known to have had the address later: one that was made when this had
// it already, else it may be one that had it before, whose object keeps it. A change
// must have been missed meanwhile: while all changes are seen and none ends this stay,
// both have the address, whatever the last moments of a recording leave open.
func (s *stay) closeForgotten(stays []stay, changes coverage, tolerance int64) {
	if s.fromLatest == Open {
		return
	}
	last := max(s.recorded, s.fromLatest)
	seen := changes.from(last)
	for i := range stays {
		if o := &stays[i]; o.pod != s.pod && !o.sampled && o.fromLatest != Open && o.fromEarliest-tolerance >= s.fromLatest+tolerance && o.fromLatest > max(last+2*tolerance, seen) && o.fromLatest < s.toLatest {
			s.toEarliest, s.toLatest = s.recorded, o.fromLatest
		}
	}
}

// follows says whether new got the address after the object of old was removed.
func follows(old, new *stay, tolerance int64) bool {
	if old.vanished() {
		// It was there when the hole began.
		if old.bounds.LastVersion != 0 && new.bounds.FirstVersion != 0 && new.bounds.FirstVersion <= old.bounds.LastVersion {
			return false
		}
		// Who first shows up after the hole may be one who had the address before, and ended
		// since (its object keeps it). So new must have come to be when old had it already.
		return old.gone.After != 0 && new.fromLatest+tolerance >= old.gone.After && new.fromEarliest-tolerance >= old.fromLatest+tolerance
	}
	if old.gone.Version != 0 && new.bounds.FirstVersion != 0 {
		return new.bounds.FirstVersion > old.gone.Version
	}
	return new.bounds.SeenBy != 0 && new.bounds.SeenBy >= old.gone.At && new.fromLatest+tolerance >= old.gone.At
}

// startLag is how long before the kubelet's own times say that a pod ran it can have
// got its address, in milliseconds: the sandbox is made, and the kubelet notes it at
// its next look at the pod (KEP-3085's example shows a second).
const startLag = 10 * 1000

// delayBegins moves the earliest begin of each stay past the certain end of the one
// before it: a pod that waits for its volumes is taken on by the kubelet long before
// it has an address. That the address changed hands in this order MUST be certain,
// and the pod must have shown no sign of running earlier.
func delayBegins(stays []stay, tolerance int64) {
	for i := range stays {
		new := &stays[i]
		if new.started == 0 {
			continue
		}
		for j := range stays {
			old := &stays[j]
			if old.pod == new.pod || old.sampled || old.lingers() || old.toEarliest == Open || old.fromLatest == Open {
				continue
			}
			after := old.toEarliest <= new.fromLatest+2*tolerance
			before := new.toEarliest <= old.fromLatest+2*tolerance
			if after && !before {
				new.fromEarliest = max(new.fromEarliest, min(old.toEarliest, new.started-startLag))
			}
		}
	}
}

// overlap says whether two stays at one address are certain to have lasted at once.
func overlap(a, b *stay, tolerance int64) bool {
	if a.sampled || b.sampled {
		return false
	}
	from := max(a.fromLatest, b.fromLatest)
	to := min(a.recordedTo(), b.recordedTo())
	return from != Open && to-from > 2*tolerance
}

// recordedTo is until when the stay is on record: while its object was surely in the
// API.
func (s *stay) recordedTo() int64 {
	switch {
	case s.live():
		return s.recorded
	case s.vanished():
		return max(s.toEarliest, s.gone.After)
	case s.lingers():
		until := s.gone.At // when somebody heard of it: long after, where that was under way
		if s.gone.After != 0 {
			until = s.gone.After
		}
		return max(s.toEarliest, min(until, s.toLatest))
	default:
		return s.toEarliest
	}
}

func sortStays(stays []stay) {
	slices.SortFunc(stays, func(a, b stay) int {
		return cmp.Or(cmp.Compare(a.fromEarliest, b.fromEarliest), cmp.Compare(a.pod.cluster, b.pod.cluster), cmp.Compare(a.pod.uid, b.pod.uid))
	})
}

// named is the stay as a candidate, of which there is one.
func (s *stay) named() *Candidate {
	if s.shared == nil {
		c := s.candidate()
		return &c
	}
	return s.shared
}

func (s *stay) candidate() Candidate {
	id := &s.pod.id
	return Candidate{
		Cluster: s.pod.cluster, Namespace: id.Namespace, Name: id.Name, UID: s.pod.uid, Owner: id.Owner, Labels: id.Labels,
		Node: id.Node, Address: s.address, HostNetwork: id.HostNetwork,
		FromEarliest: s.fromEarliest, FromLatest: s.fromLatest, ToEarliest: s.toEarliest, ToLatest: s.toLatest,
		Lingers: s.lingers(), Sources: s.pod.sources, Recorded: s.recorded, Disputes: s.disputes,
	}
}
