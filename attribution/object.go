package attribution

import (
	"cmp"
	"maps"
	"slices"
	"strings"
)

// Kind is a kind of cluster objects that the ledger keeps. The zero value is pods,
// which have facts of their own; of the other kinds each object has a history of
// trimmed states ([ObjectFact]).
type Kind uint8

const (
	Pods         Kind = iota
	Nodes             // v1
	Namespaces        // v1
	ConfigMaps        // v1, in kube-system, those that decide what is masqueraded
	NodeNetworks      // NodeNetworkConfig, acn.azure.com/v1alpha
	numKinds
)

var kindWords = [numKinds]string{"pods", "nodes", "namespaces", "configmaps", "nodenetworkconfigs"}

// String is the kind's name in the API: a resource in the plural.
func (k Kind) String() string { return kindWords[k] }

// Kinds lists all kinds but pods.
func Kinds() []Kind { return []Kind{Nodes, Namespaces, ConfigMaps, NodeNetworks} }

// ObjectFact is what one observation shows of an object other than a pod, or that it
// shows none. Times are Unix milliseconds, 0 is unknown.
type ObjectFact struct {
	Namespace, Name string
	// Version is the resource version of the state, of a removal, or of a list that did
	// not show the object. It orders the states of an object and is never 0.
	Version  uint64
	State    *State // nil: the object was not there
	Written  int64  // by the object's own times, this state was written no earlier, and less than a second later
	SeenBy   int64  // somebody received it by then
	SeenLast int64  // and still received the same then
	Source   Source
}

// State is what is kept of an object. It is shared and MUST NOT be changed.
type State struct {
	UID     string
	Created int64   // Unix milliseconds, rounded down to a second
	Fields  []Field // sorted by key, then value; a key may come several times
}

// Field is one thing kept of an object. Which ones there are hangs on the kind:
// docs/format/ledger.md lists them.
type Field struct{ Key, Value string }

// NewState returns a state with its fields in order.
func NewState(uid string, created int64, fields []Field) *State {
	slices.SortFunc(fields, compareFields)
	return &State{UID: uid, Created: created, Fields: slices.Compact(fields)}
}

func compareFields(a, b Field) int {
	return cmp.Or(strings.Compare(a.Key, b.Key), strings.Compare(a.Value, b.Value))
}

// Get is the first value of a key, or "".
func (s *State) Get(key string) string {
	if all := s.All(key); len(all) > 0 {
		return all[0].Value
	}
	return ""
}

// All are the fields with a key.
func (s *State) All(key string) []Field {
	if s == nil {
		return nil
	}
	from, _ := slices.BinarySearchFunc(s.Fields, key, func(f Field, key string) int { return strings.Compare(f.Key, key) })
	to := from
	for to < len(s.Fields) && s.Fields[to].Key == key {
		to++
	}
	return s.Fields[from:to]
}

// compareStates orders states; nil, which is no object, comes first.
func compareStates(a, b *State) int {
	switch {
	case a == b:
		return 0
	case a == nil:
		return -1
	case b == nil:
		return 1
	}
	return cmp.Or(strings.Compare(a.UID, b.UID), cmp.Compare(a.Created, b.Created), slices.CompareFunc(a.Fields, b.Fields, compareFields))
}

// Equal says whether two states are the same; either may be nil.
func (s *State) Equal(o *State) bool { return compareStates(s, o) == 0 }

// objectKey names an object.
type objectKey struct {
	cluster         string
	kind            Kind
	namespace, name string
}

// coverageKey names a kind of objects of a cluster.
type coverageKey struct {
	cluster string
	kind    Kind
}

// object is the history of one name: all states on record, by resource version. Two
// objects of one name, one after the other, differ in the UID of their states.
type object struct {
	objectKey
	marks []mark // sorted by version, then state; replaced when something changes, never written to
}

// mark is a state at a resource version, merged from all that showed it.
type mark struct {
	version  uint64
	state    *State
	written  int64 // min of those known
	seenBy   int64 // min
	seenLast int64 // max
	source   Source
}

// objects is the ledger's part about all kinds but pods.
type objects struct {
	byKey   map[objectKey]*object
	watched map[coverageKey]coverage
	late    map[coverageKey]int64
}

func newObjects() objects {
	return objects{byKey: make(map[objectKey]*object), watched: make(map[coverageKey]coverage), late: make(map[coverageKey]int64)}
}

// clone is a picture that does not change any more.
func (o *objects) clone() objects {
	out := objects{byKey: maps.Clone(o.byKey), watched: make(map[coverageKey]coverage, len(o.watched)), late: maps.Clone(o.late)}
	for key, c := range o.watched {
		out.watched[key] = slices.Clone(c)
	}
	return out
}

// merged is the object with a fact, and whether that tells anything new. That
// something is seen again soon is nothing new.
func (o *objects) merged(f *Fact) (*object, bool) {
	key := objectKey{f.Cluster, f.Kind, f.Object.Namespace, f.Object.Name}
	have := o.byKey[key]
	if have == nil {
		have = &object{objectKey: key}
	}
	m := mark{version: f.Object.Version, state: f.Object.State, written: f.Object.Written, seenBy: f.Object.SeenBy, seenLast: f.Object.SeenLast, source: f.Object.Source}
	at, found := slices.BinarySearchFunc(have.marks, m, func(a, b mark) int {
		return cmp.Or(cmp.Compare(a.version, b.version), compareStates(a.state, b.state))
	})
	out := &object{objectKey: key, marks: slices.Clone(have.marks)}
	if !found {
		if at > 0 && have.marks[at-1].state.Equal(m.state) {
			m.state = have.marks[at-1].state // one copy for both
		}
		out.marks = slices.Insert(out.marks, at, m)
		return out, true
	}
	is, was := &out.marks[at], have.marks[at]
	is.written, is.seenBy = minKnown(was.written, m.written), minKnown(was.seenBy, m.seenBy)
	is.seenLast, is.source = max(was.seenLast, m.seenLast), min(was.source, m.source)
	later := is.seenLast != was.seenLast && is.seenLast/MaxSilence != was.seenLast/MaxSilence
	return out, later || is.written != was.written || is.seenBy != was.seenBy || is.source != was.source
}

// covered says whether a fact about coverage tells nothing new.
func (o *objects) covered(f *Fact) bool {
	key := coverageKey{f.Cluster, f.Kind}
	return f.Late <= o.late[key] && o.watched[key].has(f.Watched.From, f.Watched.To)
}

// apply merges a fact.
func (o *objects) apply(f *Fact) {
	if f.Watched != nil {
		key := coverageKey{f.Cluster, f.Kind}
		o.late[key] = max(o.late[key], f.Late)
		o.watched[key] = o.watched[key].add(*f.Watched)
		return
	}
	out, _ := o.merged(f)
	o.byKey[out.objectKey] = out
}

// learn merges a fact about an object, keeps what was there before the first time, and
// says whether it tells anything new.
func (o *objects) learn(f *Fact, before map[objectKey]*object) bool {
	out, news := o.merged(f)
	if _, ok := before[out.objectKey]; !ok {
		before[out.objectKey] = o.byKey[out.objectKey]
	}
	o.byKey[out.objectKey] = out
	return news
}

// each calls yield with facts that make the same objects.
func (o *objects) each(yield func(Fact)) {
	for key, c := range o.watched {
		for _, r := range c {
			yield(Fact{Cluster: key.cluster, Kind: key.kind, Watched: &r, Late: o.late[key]})
		}
	}
	for key, obj := range o.byKey {
		for i := range obj.marks {
			yield(Fact{Cluster: key.cluster, Kind: key.kind, Object: obj.fact(i)})
		}
	}
}

// restore puts objects back as they were.
func (o *objects) restore(before map[objectKey]*object) {
	for key, was := range before {
		if o.byKey[key] = was; was == nil {
			delete(o.byKey, key)
		}
	}
}

// Objects calls yield with the last state on record of each object of a kind.
func (l *Ledger) Objects(cluster string, kind Kind, yield func(ObjectFact)) {
	l.mu.RLock()
	defer l.mu.RUnlock()
	for key, o := range l.objects.byKey {
		if key.cluster == cluster && key.kind == kind {
			yield(o.last())
		}
	}
}

func (o *object) last() ObjectFact { return o.fact(len(o.marks) - 1) }

// fact is one of its marks.
func (o *object) fact(i int) ObjectFact {
	m := &o.marks[i]
	return ObjectFact{Namespace: o.namespace, Name: o.name, Version: m.version, State: m.state, Written: m.written, SeenBy: m.seenBy, SeenLast: m.seenLast, Source: m.source}
}

// KindWatchedUntil is the latest time, not after before, at which all objects of a
// kind were watched, or 0.
func (l *Ledger) KindWatchedUntil(cluster string, kind Kind, before int64) int64 {
	if kind == Pods {
		return l.WatchedUntil(cluster, before)
	}
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.objects.watched[coverageKey{cluster, kind}].until(before)
}

// until is the latest time in it that is not after before, or 0.
func (c coverage) until(before int64) int64 {
	for i := len(c) - 1; i >= 0; i-- {
		if c[i].From <= before {
			return min(c[i].To, before)
		}
	}
	return 0
}
