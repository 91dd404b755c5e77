package podlog

import (
	"encoding/json"
	"fmt"

	"github.com/whichpod/whichpod/attribution"
)

// batchFacts is how many facts go to the ledger at once.
const batchFacts = 1024

// Recorder makes facts of what is seen of pods, one observation after the other, and
// of what a list does not show any more. It is used by one goroutine. It holds the
// UIDs of the pods that exist.
type Recorder struct {
	cluster string
	emit    func([]attribution.Fact) error
	facts   []attribution.Fact
	live    map[string]lastSeen // pods that exist as far as is known, by UID
	last    *snapshot
	pods    int
	late    int64 // how long after they happened things were seen, at most
}

// mostLate bounds what is taken for lateness, in milliseconds: more is no delay of a
// watch but a kubelet that could not report for a while.
const mostLate = 60 * 1000

// lateness notes how late an event came: by the object's own time, where it bears a
// new one.
func (r *Recorder) lateness(o *observation) {
	last, known := r.live[o.object.Metadata.UID]
	newest := o.object.newest()
	if known && last.newest != 0 && newest > last.newest && o.at != 0 && o.listed == 0 && o.source == attribution.Watch {
		r.late = max(r.late, min(o.at-newest, mostLate))
	}
}

// lastSeen is the resource version that showed a pod last, and when it came.
type lastSeen struct {
	version uint64
	at      int64
	newest  int64  // of the object's own times
	alive   uint64 // the latest version that showed its sandbox there
	gone    int64  // the latest word that its sandbox went
	since   uint64 // the latest version with that word
}

// again says of a pod's addresses that they outlasted a word that the sandbox went,
// where a later version shows it there again. By the times alone, which have whole
// seconds, a sandbox that is made again within the second in which it went is gone.
func (r *Recorder) again(f *attribution.Fact, o *observation, last *lastSeen) {
	ev, version := o.evidence(), o.object.version()
	switch {
	case len(f.Pod.Holdings) == 0 || version == 0 || o.deleted:
		return
	case ev.sandboxGone != 0:
		last.gone, last.since = max(last.gone, ev.sandboxGone), max(last.since, version)
	case ev.aliveAt != 0 && !o.object.Status.terminal():
		last.alive = max(last.alive, version)
	}
	if last.gone == 0 || last.alive <= last.since {
		return
	}
	for i := range f.Pod.Holdings {
		if b := &f.Pod.Holdings[i].Bounds; b.AliveAt <= last.gone && b.AliveAt >= last.gone-second {
			b.AliveAt = last.gone + 1
		}
	}
}

// snapshot is what the last list showed.
type snapshot struct {
	at, after int64
	version   uint64
	uids      map[string]bool
}

// NewRecorder returns a recorder of a cluster's pods that hands facts to emit in
// batches. known lists the pods that exist as far as the ledger knows; nil is none.
func NewRecorder(cluster string, known func(yield func(uid string, version uint64, seen int64)), emit func([]attribution.Fact) error) *Recorder {
	r := &Recorder{cluster: cluster, emit: emit, live: make(map[string]lastSeen)}
	if known != nil {
		known(func(uid string, version uint64, seen int64) { r.live[uid] = lastSeen{version: version, at: seen} })
	}
	return r
}

// Pods is how many observations of pods were recorded.
func (r *Recorder) Pods() int { return r.pods }

// Event records a pod as a watch showed it, in JSON, and when it came (Unix
// milliseconds, rounded up). seen is until when all changes had been seen before: a
// removal took place after that. 0 is unknown.
func (r *Recorder) Event(pod []byte, at, seen int64, deleted bool) error {
	var o object
	if err := json.Unmarshal(pod, &o); err != nil {
		return fmt.Errorf("read pod: %w", err)
	}
	if o.Metadata.UID == "" {
		return fmt.Errorf("read pod: object has no metadata.uid")
	}
	return r.pod(&observation{object: &o, at: at, seen: seen, deleted: deleted, source: attribution.Watch}, at)
}

// BeginList begins a list that came at a time and shows a state of the API, its
// resource version. after is until when the pods were watched before it; 0 is unknown.
func (r *Recorder) BeginList(at, after int64, version string) {
	r.begin(at, after, (&object{Metadata: metadata{ResourceVersion: version}}).version())
}

// ListPage records the pods of a page of the list.
func (r *Recorder) ListPage(list []byte) error {
	var o object
	if err := json.Unmarshal(list, &o); err != nil {
		return fmt.Errorf("read list of pods: %w", err)
	}
	return r.items(o.Items, attribution.Watch, r.last.at)
}

// EndList records which pods the list did not show any more.
func (r *Recorder) EndList() error { return r.end(r.last.at) }

// Watched records that the pods were watched without a break in a closed range, and
// that all that changed in it was seen.
func (r *Recorder) Watched(from, to int64) error {
	return r.add(attribution.Fact{Cluster: r.cluster, Watched: &attribution.Range{From: from, To: to}})
}

// ClockSetBack notes that the clock that stamps events went back, by some
// milliseconds: things were seen as much later than they were stamped.
func (r *Recorder) ClockSetBack(by int64) { r.late = max(r.late, by) }

// Flush hands all facts on.
func (r *Recorder) Flush() error {
	if len(r.facts) == 0 {
		return nil
	}
	facts := r.facts
	r.facts = nil
	return r.emit(facts)
}

// pod records an observation. by is a time by which a removal that bears none of its
// own had taken place.
func (r *Recorder) pod(o *observation, by int64) error {
	if o.at != 0 && o.source == attribution.Watch && o.listed == 0 {
		o.at = max(o.at, o.object.newest()) // the watcher's clock may be behind
	}
	f := o.fact(r.cluster)
	f.Pod.Listed = o.listed
	if o.at == 0 && o.deleted {
		f.Pod.Deleted.At = by
	}
	uid, version := o.object.Metadata.UID, o.object.version()
	r.lateness(o)
	if o.deleted {
		delete(r.live, uid)
	} else {
		last := r.live[uid]
		last.version, last.at, last.newest = max(last.version, version), max(last.at, o.at), max(last.newest, o.object.newest())
		r.again(&f, o, &last)
		r.live[uid] = last
	}
	if s := r.last; s != nil && version != 0 && version <= s.version && !s.uids[uid] {
		f.Pod.Missing = attribution.Removal{At: s.at, After: s.after, Version: s.version} // an event that came late
	}
	r.pods++
	return r.add(f)
}

func (r *Recorder) begin(at, after int64, version uint64) {
	r.last = &snapshot{at: at, after: after, version: version, uids: make(map[string]bool)}
}

// items records the pods of a list that shows the state at a time, or later.
func (r *Recorder) items(items []object, source attribution.Source, listed int64) error {
	s := r.last
	for i := range items {
		item := &items[i]
		if item.Metadata.UID == "" || !item.isPod() {
			continue
		}
		s.uids[item.Metadata.UID] = true
		if err := r.pod(&observation{object: item, at: s.at, listed: listed, source: source}, s.at); err != nil {
			return err
		}
	}
	return nil
}

// end marks the pods as missing that the list did not show, though it is newer than
// what was last seen of them.
func (r *Recorder) end(by int64) error {
	s := r.last
	missing := attribution.Removal{At: s.at, After: s.after, Version: s.version}
	if missing.At == 0 {
		missing.At = by
	}
	for uid, last := range r.live {
		newer := last.at > missing.At
		if s.version != 0 && last.version != 0 {
			newer = last.version > s.version
		}
		if s.uids[uid] || newer {
			continue
		}
		delete(r.live, uid)
		if err := r.add(attribution.Fact{Cluster: r.cluster, Pod: attribution.PodFact{UID: uid, Missing: missing, Source: attribution.Watch}}); err != nil {
			return err
		}
	}
	return nil
}

func (r *Recorder) add(f attribution.Fact) error {
	r.facts = append(r.facts, f)
	if len(r.facts) < batchFacts {
		return nil
	}
	return r.Flush()
}
