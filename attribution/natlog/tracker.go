package natlog

import (
	"fmt"

	"github.com/whichpod/whichpod/attribution/nat"
)

// Kind is what happened to a connection.
type Kind uint8

const (
	New     Kind = iota + 1 // it began
	Update                  // it changed
	Destroy                 // its entry was removed
	Listed                  // it is in the table, as a dump showed
)

// Event is one word of a kernel about one of its connections.
type Event struct {
	At       int64 // when it is certain to have happened, Unix microseconds
	Since    int64 // when it can have happened at the earliest, 0: At
	Kind     Kind
	Protocol uint8
	Zone     uint16
	Original nat.Tuple
	Reply    nat.Tuple
	Fresh    bool   // its state shows that it began within the protocol's handshake
	Lasted   int64  // of Destroy: how long it lasted, rounded up to a second; 0 is unknown
	Began    int64  // when it began as the kernel knows, Unix microseconds; 0 is unknown
	Place    uint64 // see nat.Flow
}

// Key is the connection as the network sees it: answers come from whom it went to, to
// where it left from.
func (e *Event) Key() nat.Key {
	return nat.Key{Src: e.Reply.Dst, SrcPort: e.Reply.DstPort, Dst: e.Reply.Src, DstPort: e.Reply.SrcPort, Protocol: e.Protocol}
}

// Translated says whether the source was translated.
func (e *Event) Translated() bool {
	return e.Reply.Dst != e.Original.Src || e.Reply.DstPort != e.Original.SrcPort
}

// loopback connections never leave the node.
func (e *Event) loopback() bool { return e.Original.Src.IsLoopback() || e.Reply.Dst.IsLoopback() }

// Tracker makes connections of the events of one node, which come about in order.
type Tracker struct {
	node    string
	session string // empty: the import's
	sink    Sink

	first, last int64 // times of events, Unix milliseconds
	seenFrom    int64 // everything is seen since
	covered     []nat.Range
	open        map[entry]*tracked // translated, by key
	live        bool               // it will be cut
	fresh       []entry            // of open, those that the sink has not heard of
	ended       remembered         // translated and untranslated ones that ended lately
	flows       int
	losses      int
}

type entry struct {
	key  nat.Key
	zone uint16
}

// tracked is a translated connection that is open.
type tracked struct {
	flow nat.Flow
	told bool // the sink has heard of it
}

// Bounds of a tracker's memory: with both, about 200 MB. Past the first, a connection is
// handed on when it begins and when it ends, and the two are not taken for one; past
// the second, what ended is forgotten too soon, which is a loss.
const (
	maxOpen  = 1 << 18
	maxEnded = 1 << 18
)

// NewTracker returns a tracker for a node's events.
func NewTracker(node string, sink Sink) *Tracker {
	return &Tracker{node: node, sink: sink, open: make(map[entry]*tracked)}
}

// milliFloor and milliCeil turn microseconds to milliseconds.
func milliFloor(us int64) int64 { return us / 1000 }
func milliCeil(us int64) int64  { return (us + 999) / 1000 }

// Take takes an event.
func (t *Tracker) Take(e *Event) error {
	at := milliCeil(e.At)
	if t.first == 0 {
		t.first, t.last = at, at
		t.seenFrom = at
	}
	t.last = max(t.last, at)
	if e.loopback() {
		return nil
	}
	if !e.Translated() {
		return t.untranslated(e, at)
	}
	return t.translated(e, at)
}

// untranslated remembers the end of a connection of the node's own, and hands on one
// that had the key of a translated one lately.
func (t *Tracker) untranslated(e *Event, at int64) error {
	key := e.Key()
	switch e.Kind {
	case Destroy:
		if have := t.open[entry{key, e.Zone}]; have != nil { // of one whose key was given away before
			return t.own(key, have.flow.FromLatest, e.Place)
		}
		return t.remember(key, at, false)
	case New:
		if have := t.open[entry{key, e.Zone}]; have != nil {
			if err := t.replaced(entry{key, e.Zone}, have, at); err != nil {
				return err
			}
			if err := t.remember(key, at, true); err != nil {
				return err
			}
		}
		if ended, translated, ok := t.ended.get(key); ok && translated && at-ended <= nat.Beside {
			since := milliFloor(e.since())
			return t.emit(nat.Flow{Key: key, FromEarliest: min(since, at), FromLatest: at, ToEarliest: at, ToLatest: nat.NoEnd, Place: e.Place})
		}
	}
	return nil
}

// own hands on a connection of the node's own that ended by a time; when it began is
// not known.
func (t *Tracker) own(key nat.Key, ended int64, place uint64) error {
	return t.emit(nat.Flow{Key: key, FromLatest: ended, ToEarliest: ended, ToLatest: ended, Place: place})
}

func (e *Event) since() int64 {
	if e.Since != 0 {
		return e.Since
	}
	return e.At
}

func (t *Tracker) translated(e *Event, at int64) error {
	id := entry{e.Key(), e.Zone}
	have := t.open[id]
	other := have != nil && have.flow.Original != e.Original
	switch {
	case other && e.Kind == Destroy: // of one whose key was given away before
		return t.Lost(have.flow.FromLatest, at)
	case other, have != nil && e.Kind == New:
		if err := t.replaced(id, have, at); err != nil {
			return err
		}
		have = nil
	}
	if have == nil {
		var err error
		if have, err = t.begin(id, e, at); err != nil {
			return err
		}
	}
	f := &have.flow
	if e.Kind != Destroy {
		f.ToEarliest = max(f.ToEarliest, at)
		return nil
	}
	since := max(milliFloor(e.since()), f.ToEarliest)
	f.ToEarliest, f.ToLatest = since, max(at, since)
	if err := t.finish(id, have); err != nil {
		return err
	}
	return t.remember(id.key, at, true)
}

// replaced ends a connection whose key has another one now: the word that it ended
// was lost.
func (t *Tracker) replaced(id entry, have *tracked, at int64) error {
	have.flow.ToLatest = max(at, have.flow.ToEarliest)
	return t.Lost(have.flow.ToEarliest, at)
}

// begin opens a connection at its first event.
func (t *Tracker) begin(id entry, e *Event, at int64) (*tracked, error) {
	f := nat.Flow{Key: id.key, Node: t.node, Original: e.Original, FromLatest: at, ToEarliest: at, ToLatest: nat.NoEnd, Place: e.Place}
	switch {
	case e.Began != 0:
		f.FromEarliest, f.FromLatest = milliFloor(e.Began), min(milliCeil(e.Began), at)
	case e.Kind == New:
		f.FromEarliest = min(milliFloor(e.since()), at)
	case e.Lasted != 0:
		// Whole seconds, cut, and told a moment after it ended.
		f.FromEarliest = max(1, milliFloor(e.At)-e.Lasted*1000-1000)
		f.FromLatest = min(at, max(f.FromEarliest, at-(e.Lasted-1)*1000))
	}
	if e.Kind != New && e.Kind != Listed {
		var err error
		switch start := f.FromEarliest; {
		case start > t.seenFrom: // it began while events were watched, and its begin is missing
			err = t.Lost(start, at)
		case e.Fresh && e.Kind == Update && at-handshake > t.seenFrom:
			err = t.Lost(at-handshake, at)
		}
		if err != nil {
			return nil, err
		}
	}
	if ended, translated, ok := t.ended.get(id.key); ok && !translated && f.FromLatest-ended <= nat.Beside {
		if err := t.own(id.key, ended, e.Place); err != nil {
			return nil, err
		}
	}
	have := &tracked{flow: f}
	t.open[id] = have
	if t.live {
		t.fresh = append(t.fresh, id)
	}
	return have, nil
}

// handshake is how long a connection can be in its handshake, in milliseconds: the
// kernel drops one that is not answered for 120 seconds
// (nf_conntrack_tcp_timeout_syn_sent), and one that is not completed after 60.
const handshake = 120_000

// Lost says that events of a stretch are missing, Unix milliseconds. What is seen later
// of a connection need not be of the one that was open before: it is handed on as far
// as it was seen.
func (t *Tracker) Lost(from, to int64) error {
	t.losses++
	t.cover(from)
	t.seenFrom = max(t.seenFrom, to+1)
	for id, have := range t.open {
		if err := t.finish(id, have); err != nil {
			return err
		}
	}
	return nil
}

// cover books the time until which everything was seen.
func (t *Tracker) cover(to int64) {
	for len(t.covered) > 0 && t.covered[len(t.covered)-1].To > to {
		last := &t.covered[len(t.covered)-1]
		if last.From < to {
			last.To = to
			break
		}
		t.covered = t.covered[:len(t.covered)-1]
	}
	if t.seenFrom < to {
		t.covered = append(t.covered, nat.Range{From: t.seenFrom, To: to})
	}
}

func (t *Tracker) finish(id entry, have *tracked) error {
	delete(t.open, id)
	return t.emit(have.flow)
}

func (t *Tracker) emit(f nat.Flow) error {
	f.Node = t.node
	t.flows++
	if err := t.sink.Add(f); err != nil {
		return fmt.Errorf("take a connection: %w", err)
	}
	return nil
}

// Cut hands on what is open and new, and returns the stretches in which everything was
// seen since the last Cut. Everything was seen until a time in Unix milliseconds, or
// for 0 until the last event.
func (t *Tracker) Cut(until int64) ([]nat.Range, error) {
	for _, id := range t.fresh {
		if have := t.open[id]; have != nil && !have.told {
			have.told = true
			if err := t.emit(have.flow); err != nil {
				return nil, err
			}
			if len(t.open) > maxOpen {
				delete(t.open, id)
			}
		}
	}
	t.fresh = t.fresh[:0]
	if until == 0 {
		until = t.last
	}
	t.cover(until)
	out := t.covered
	t.covered, t.seenFrom = nil, max(t.seenFrom, until)
	return out, nil
}

// Start says that everything is seen from a time on, Unix milliseconds; without it,
// that is from the first event on.
// It MUST be called where Cut is to be.
func (t *Tracker) Start(at int64) { t.first, t.last, t.seenFrom, t.live = at, at, at, true }

// Fresh is how many connections the next Cut hands on, at most.
func (t *Tracker) Fresh() int { return len(t.fresh) }

// Open is how many translated connections are known to be open.
func (t *Tracker) Open() int { return len(t.open) }

// Close hands on what is still open, and what was covered.
func (t *Tracker) Close() error {
	for id, have := range t.open {
		if err := t.finish(id, have); err != nil {
			return err
		}
	}
	if t.first != 0 {
		t.cover(t.last)
	}
	for _, r := range t.covered {
		t.sink.Cover(t.node, t.session, r.From, r.To)
	}
	return nil
}

// remembered holds what ended within nat.Beside, and up to twice that.
type remembered struct {
	now, before map[nat.Key]ending
	turned      int64
}

type ending struct {
	at         int64
	translated bool
}

// remember keeps when a key was given back.
func (t *Tracker) remember(k nat.Key, at int64, translated bool) error {
	if len(t.ended.now) >= maxEnded && at-t.ended.turned <= nat.Beside {
		if err := t.Lost(t.ended.turned, at); err != nil { // too many to remember
			return err
		}
		t.ended = remembered{}
	}
	t.ended.add(k, at, translated)
	return nil
}

func (r *remembered) add(k nat.Key, at int64, translated bool) {
	if r.now == nil || at-r.turned > nat.Beside {
		r.now, r.before, r.turned = make(map[nat.Key]ending), r.now, at
	}
	r.now[k] = ending{at, translated}
}

func (r *remembered) get(k nat.Key) (at int64, translated, ok bool) {
	e, ok := r.now[k]
	if !ok {
		e, ok = r.before[k]
	}
	return e.at, e.translated, ok
}
