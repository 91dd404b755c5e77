package attribution

import (
	"net/netip"
	"slices"
	"strings"
)

// Fact is one thing learnt about a pod or another object, or about when a cluster was
// watched. Facts about the same pod are merged: see [Bounds].
type Fact struct {
	Cluster string
	KnownAt int64 // when the ledger learnt it, Unix milliseconds; set by Append

	// Kind is what it is about. Of another kind than Pods, all objects were Watched, or
	// Object is one of them.
	Kind   Kind
	Object ObjectFact

	// Either Watched is set, and the cluster's pods were watched without a break in
	// the closed range, or Pod.UID names a pod. Partial: all changes were seen, but
	// not what was there before and did not change.
	Watched *Range
	Partial bool
	Late    int64 // with Watched: how long after they happened things were seen, at most, in milliseconds
	Pod     PodFact
}

// Range is a closed range of times, Unix milliseconds.
type Range struct{ From, To int64 }

// PodFact is what one observation says of a pod.
type PodFact struct {
	UID      string
	Identity *Identity // nil where the observation does not show it
	Presence Bounds    // of the pod on its node, whatever its addresses
	Deleted  Removal   // its object was removed
	Missing  Removal   // a list did not show it any more
	Listed   int64     // a list of all pods showed it then; 0: no list did
	Holdings []Holding // its own addresses; none for a pod on the host's network
	Source   Source
}

// Identity is what a pod is called and where it runs.
type Identity struct {
	Namespace, Name, Node string
	Owner                 string   // kind/name of the controller
	Labels                []string // sorted "key=value"
	HostNetwork           bool
	HostAddresses         []netip.Addr // of the node
	Version               uint64       // the object's resource version; the highest one counts
}

// Holding is an address and when the pod had it.
type Holding struct {
	Address netip.Addr
	Bounds  Bounds
}

// Bounds is evidence about one stay: of a pod on its node, or of an address with a
// pod. All times are Unix milliseconds; 0 is "no evidence". Merging keeps the maximum
// of some fields and the minimum of others, so that it does not matter in which
// order, how often or how late observations come.
type Bounds struct {
	NotBefore int64 // max: it cannot have begun earlier
	SeenBy    int64 // min: somebody saw it by then (receipt by the watcher)
	SeenLast  int64 // max: and still saw it then
	RunningBy int64 // min: by the kubelet's own times it had begun by then
	AliveAt   int64 // max: by the kubelet's own times it still lasted then
	// The kubelet's word that it ended, at the latest at this time: the earliest and
	// the latest such word. They differ where one observation says it more exactly
	// than another, and where it began again in between.
	StoppedFirst, StoppedLast int64
	FirstVersion              uint64 // min: resource versions of the objects that showed it
	LastVersion               uint64 // max
}

// MaxSilence is how long a watch may say nothing and still be taken for alive, in
// milliseconds. The API server sends a bookmark about once a minute.
const MaxSilence = 2 * 60 * 1000

// Removal says when an object went from the API.
type Removal struct {
	At      int64  // somebody knew by then; 0: not removed
	After   int64  // it was still there then; 0: unknown
	Version uint64 // resource version of the removal; 0: unknown
}

// merge says whether anything changed, but for LastVersion, and SeenLast within a
// stretch of MaxSilence: nothing hangs on that.
func (b *Bounds) merge(o Bounds) bool {
	before := *b
	before.LastVersion = max(before.LastVersion, o.LastVersion)
	if o.SeenLast/MaxSilence == b.SeenLast/MaxSilence {
		before.SeenLast = max(before.SeenLast, o.SeenLast)
	}
	b.SeenLast = max(b.SeenLast, o.SeenLast)
	b.NotBefore = max(b.NotBefore, o.NotBefore)
	b.SeenBy = minKnown(b.SeenBy, o.SeenBy)
	b.RunningBy = minKnown(b.RunningBy, o.RunningBy)
	b.AliveAt = max(b.AliveAt, o.AliveAt)
	b.StoppedFirst = minKnown(b.StoppedFirst, o.StoppedFirst)
	b.StoppedLast = max(b.StoppedLast, o.StoppedLast)
	b.FirstVersion = minKnown(b.FirstVersion, o.FirstVersion)
	b.LastVersion = max(b.LastVersion, o.LastVersion)
	return *b != before
}

// stopped is the time by which the kubelet said that it ended, or 0. A word that
// came before the last sign of life was about an earlier stay.
func (b *Bounds) stopped() int64 {
	switch {
	case b.AliveAt < b.StoppedFirst: // at once: the word, of whole seconds, was said again a second later
		return b.StoppedFirst
	case b.AliveAt <= b.StoppedLast:
		return b.StoppedLast
	default:
		return 0
	}
}

// began is the time by which it had begun, or 0 where nothing shows it.
func (b *Bounds) began() int64 { return minKnown(b.SeenBy, b.RunningBy) }

func (r *Removal) merge(o Removal) bool {
	before := *r
	switch {
	case o.At == 0:
	case r.At == 0 || o.At < r.At:
		r.At, r.After = o.At, o.After
	case o.At == r.At:
		r.After = minKnown(r.After, o.After)
	}
	r.Version = max(r.Version, o.Version)
	return *r != before
}

// minKnown is the smaller of two values of which 0 means unknown.
func minKnown[T int64 | uint64](a, b T) T {
	switch {
	case a == 0:
		return b
	case b == 0:
		return a
	default:
		return min(a, b)
	}
}

// pod is what the ledger holds about one UID: all its facts, merged.
type pod struct {
	cluster  string
	uid      string
	id       Identity
	presence Bounds
	deleted  Removal
	missing  Removal
	listed   int64 // max
	holdings []Holding
	sources  Sources
	voices   []*pod // what each source says, where there are several; replaced, never written to
	knownAt  int64  // when the ledger first knew of it
	filed    uint32 // 1 + its number in the archive; 0: it is not there yet
	at       uint32 // the number of its place there
}

// merge adds a fact and says whether it changed anything that matters. A later
// version of an object that shows the same as before is not worth a line in the
// journal, except where the order of two addresses or a reappearance hangs on it.
func (p *pod) merge(f *PodFact) bool {
	versions := p.versions()
	changed := p.mergeIdentity(f.Identity)
	changed = p.presence.merge(f.Presence) || changed
	changed = p.deleted.merge(f.Deleted) || changed
	changed = p.missing.merge(f.Missing) || changed
	if f.Listed > p.listed {
		p.listed, changed = f.Listed, true
	}
	for _, h := range f.Holdings {
		changed = p.holding(h.Address).merge(h.Bounds) || changed
	}
	if s := p.sources | 1<<f.Source; s != p.sources {
		p.sources, changed = s, true
	}
	if p.ordered() {
		changed = changed || versions != p.versions()
	}
	return changed
}

// own are the pod's own addresses. One on its node's network has none, though a source
// that does not tell may take the node's for it.
func (p *pod) own() []Holding {
	if p.id.HostNetwork {
		return nil
	}
	return p.holdings
}

// ordered says whether anything hangs on the latest resource versions.
func (p *pod) ordered() bool { return len(p.holdings) > 1 || p.missing.At != 0 }

// fact is all that is known of the pod, as learnt from a source.
func (p *pod) fact(source Source) PodFact {
	id := p.id
	return PodFact{UID: p.uid, Identity: &id, Presence: p.presence, Deleted: p.deleted, Missing: p.missing, Listed: p.listed, Holdings: p.holdings, Source: source}
}

// versions changes whenever a LastVersion does, since those only grow.
func (p *pod) versions() uint64 {
	sum := p.presence.LastVersion
	for i := range p.holdings {
		sum += p.holdings[i].Bounds.LastVersion
	}
	return sum
}

// mergeIdentity takes over what a later version of the object shows. What never
// changes once it is set is filled in from any version.
func (p *pod) mergeIdentity(id *Identity) bool {
	if id == nil {
		return false
	}
	newer, older := *id, p.id
	if p.id.Name != "" && (id.Version < p.id.Version || (id.Version == p.id.Version && id.text() < p.id.text())) {
		newer, older = p.id, *id
	}
	if newer.Node == "" {
		newer.Node = older.Node // once bound, a pod stays on its node
	}
	if len(newer.HostAddresses) == 0 {
		newer.HostAddresses = older.HostAddresses
	}
	newer.HostNetwork = newer.HostNetwork || older.HostNetwork
	same := newer.Namespace == p.id.Namespace && newer.Name == p.id.Name && newer.Node == p.id.Node &&
		newer.Owner == p.id.Owner && newer.HostNetwork == p.id.HostNetwork &&
		slices.Equal(newer.Labels, p.id.Labels) && slices.Equal(newer.HostAddresses, p.id.HostAddresses)
	p.id = newer
	return !same
}

// text decides between two states of an object whose order is not known.
func (id *Identity) text() string {
	return strings.Join(append([]string{id.Namespace, id.Name, id.Node, id.Owner}, id.Labels...), "\x00")
}

func (p *pod) holding(a netip.Addr) *Bounds {
	for i := range p.holdings {
		if p.holdings[i].Address == a {
			return &p.holdings[i].Bounds
		}
	}
	p.holdings = append(p.holdings, Holding{Address: a})
	return &p.holdings[len(p.holdings)-1].Bounds
}
