// Package podlog reads what was recorded of a cluster's pods, and of the nodes and
// ConfigMaps beside them, and makes facts of it for the ledger.
//
// In: a watch journal (JSON lines of Kubernetes watch events, each with the time at
// which it came), what "kubectl get pods -A -w --output-watch-events -o json" prints,
// a PodList, or the API server's audit log. Out: facts, in batches, to a callback. A document that can not be
// read is counted with its offset, and the rest is kept.
//
// Order, repetition and lateness of the lines do not matter. A Reader is used by one
// goroutine; it holds one document at a time, and the UIDs of the last snapshot.
package podlog

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/whichpod/whichpod/attribution"
)

// Format names what a file holds.
type Format string

const (
	Auto  Format = "auto" // found by content
	Watch Format = "watch"
	List  Format = "list"
)

// Formats lists them as the command line does.
func Formats() []string {
	return []string{string(Auto), string(Watch), string(List), string(KubeAudit)}
}

// Options say what is read.
type Options struct {
	Cluster string
	Format  Format
	// ReadBy is a time, Unix milliseconds, by which the file was written: an upper
	// bound for what bears no time of its own.
	ReadBy int64
	// Known lists pods that the ledger takes for existing: those that a snapshot does
	// not show any more are marked as missing. May be nil.
	Known func(yield func(uid string, version uint64, seen int64))
	// Objects lists the last states that the ledger knows of objects of another kind.
	// May be nil.
	Objects func(kind attribution.Kind, yield func(attribution.ObjectFact))
	// WatchedUntil is when the ledger knows the cluster was watched last before a
	// time, or 0. May be nil.
	WatchedUntil func(before int64) int64
}

// Summary counts what was read.
type Summary struct {
	Documents  int
	Pods       int // observations of pods
	Objects    int // observations of other objects
	Rejected   []Rejection
	Rejections int   // all of them; Rejected keeps the first hundred
	From, To   int64 // the span of the times at which lines came, Unix milliseconds; 0 where none bears one
	Undated    int   // lines without such a time
	Format     Format
}

// Rejection is a document that was left out.
type Rejection struct {
	Offset int64
	Reason string
}

const keepRejections = 100

// Read reads r to its end and hands facts to emit in batches.
func Read(r io.Reader, opt Options, emit func([]attribution.Fact) error) (Summary, error) {
	rd := &reader{opt: opt, summary: Summary{Format: opt.Format}, Recorder: NewRecorder(opt.Cluster, opt.Known, emit)}
	rd.others = newOthers(rd)
	docs := newDocuments(r)
	for {
		doc, offset, err := docs.next()
		var bad *broken
		switch {
		case errors.Is(err, io.EOF):
			err := rd.finish()
			rd.summary.Pods = rd.Pods()
			return rd.summary, err
		case errors.As(err, &bad):
			rd.reject(bad.Offset, bad.Err.Error())
			continue
		case err != nil:
			return rd.summary, fmt.Errorf("read pods: %w", err)
		}
		rd.summary.Documents++
		if err := rd.document(doc, offset); err != nil {
			return rd.summary, err
		}
	}
}

// reader is the state of one Read.
type reader struct {
	*Recorder
	opt     Options
	summary Summary
	clock   clock
	audit   *audit // once a line of an audit log was seen
	others  *others
}

// event is a line of a watch journal, or a list, which has no type.
type event struct {
	Type       string          `json:"type"`
	ReceivedAt *receipt        `json:"receivedAt"`
	Object     json.RawMessage `json:"object"`
	Kind       string          `json:"kind"`
}

func (r *reader) document(doc []byte, offset int64) error {
	if r.opt.Format == KubeAudit || (r.opt.Format == Auto && (r.audit != nil || isAudit(doc))) {
		if r.audit == nil {
			r.audit = newAudit(r)
		}
		return r.audit.line(doc, offset)
	}
	var ev event
	if err := json.Unmarshal(doc, &ev); err != nil {
		r.reject(offset, err.Error())
		return nil
	}
	isEvent := ev.Type != "" && len(ev.Object) > 0
	_, other := kindOf(ev.Kind)
	isList := ev.Kind == "PodList" || ev.Kind == "List" || (other && strings.HasSuffix(ev.Kind, "List"))
	switch {
	case isEvent && r.opt.Format != List:
		r.summary.Format = Watch
		return r.event(&ev, offset)
	case isList && r.opt.Format != Watch:
		r.summary.Format = List
		if err := r.others.document(doc, offset); err != nil || other {
			return err
		}
		return r.list(doc, offset)
	default:
		r.reject(offset, fmt.Sprintf("document has type %q and kind %q, want a watch event, a PodList or an audit event", ev.Type, ev.Kind))
		return nil
	}
}

func (r *reader) event(ev *event, offset int64) error {
	var o object
	if err := json.Unmarshal(ev.Object, &o); err != nil {
		r.reject(offset, err.Error())
		return nil
	}
	typ := strings.ToUpper(ev.Type)
	if kind, ok := kindOf(o.Kind); ok {
		return r.others.event(kind, ev, offset)
	}
	if typ != "SNAPSHOT" && typ != "ERROR" && !o.isPod() {
		r.reject(offset, fmt.Sprintf("event is about a %q, want a Pod", o.Kind))
		return nil // nor does it show that pods were watched
	}
	at, cut := r.received(ev)
	switch typ {
	case "ADDED", "MODIFIED", "DELETED":
		if o.Metadata.UID == "" {
			r.reject(offset, "event has no pod: its object has no metadata.uid")
			return nil
		}
		if r.clock.latest == 0 {
			r.clock.fresh = typ == "ADDED"
		}
		r.clock.tick(cut)
		return r.pod(&observation{object: &o, at: at, deleted: typ == "DELETED", source: attribution.Watch}, r.opt.ReadBy)
	case "BOOKMARK":
		r.clock.tick(cut)
		return nil
	case "SNAPSHOT":
		return r.snapshot(&o, at, cut)
	case "ERROR":
		r.clock.broken() // the watch broke off
		r.others.broken()
		return nil
	default:
		r.reject(offset, fmt.Sprintf("event type is %q, want ADDED, MODIFIED, DELETED, BOOKMARK or SNAPSHOT", ev.Type))
		return nil
	}
}

// received is the time by which an event came, and the time as it was written, which
// may have been cut. Both are 0 where it bears none.
func (r *reader) received(ev *event) (by, cut int64) {
	if ev.ReceivedAt == nil {
		r.summary.Undated++
		return 0, 0
	}
	r.summary.extend(ev.ReceivedAt.cut)
	return ev.ReceivedAt.by, ev.ReceivedAt.cut
}

// receipt is when something came, Unix milliseconds. A text in whole seconds was cut:
// it stands for up to a second later.
type receipt struct{ by, cut int64 }

func (r *receipt) UnmarshalJSON(data []byte) error {
	var t time.Time
	if err := json.Unmarshal(data, &t); err != nil {
		return err
	}
	r.cut = t.Add(time.Millisecond - 1).UnixMilli()
	r.by = r.cut
	if !bytes.ContainsRune(data, '.') {
		r.by += second - 1
	}
	return nil
}

func (s *Summary) extend(at int64) {
	if s.From == 0 || at < s.From {
		s.From = at
	}
	s.To = max(s.To, at)
}

// snapshot takes in what a list returned in the middle of a watch. Between the line
// before it and the list, the watch may have missed anything.
func (r *reader) snapshot(o *object, at, cut int64) error {
	after := r.clock.before(cut)
	if after == 0 && r.opt.WatchedUntil != nil {
		after = r.opt.WatchedUntil(at)
	}
	r.clock.snapshot(cut)
	r.begin(at, after, o.version())
	if err := r.items(o.Items, attribution.Watch, at); err != nil {
		return err
	}
	return r.end(r.opt.ReadBy)
}

// list takes in a PodList that bears no time of its own. It was read after the
// newest time in it, and before the file was written.
func (r *reader) list(doc []byte, offset int64) error {
	var o object
	if err := json.Unmarshal(doc, &o); err != nil {
		r.reject(offset, err.Error())
		return nil
	}
	o.Items = slices.DeleteFunc(o.Items, func(item object) bool { return item.Metadata.UID == "" || !item.isPod() })
	var newest int64
	for i := range o.Items {
		newest = max(newest, o.Items[i].newest())
	}
	version := o.version()
	for i := range o.Items {
		version = max(version, o.Items[i].version())
	}
	// Pods that it does not show are not taken for gone: it may be of one namespace.
	r.begin(r.opt.ReadBy, 0, version)
	if err := r.items(o.Items, attribution.List, newest); err != nil {
		return err
	}
	r.last = nil
	return r.alive(o.Items, newest)
}

// alive says of the pods of a list that have not ended that they were still there
// when it was read, less what the kubelet may not have reported yet.
func (r *reader) alive(items []object, newest int64) error {
	const reportLag = 10 * second
	for i := range items {
		o := observation{object: &items[i], source: attribution.List}
		f := o.fact(r.opt.Cluster)
		if ev := o.evidence(); ev.ended != 0 || ev.sandboxGone != 0 || items[i].Status.terminal() || items[i].Metadata.DeletionTimestamp != nil {
			continue
		}
		for k := range f.Pod.Holdings {
			if b := &f.Pod.Holdings[k].Bounds; b.RunningBy != 0 {
				b.AliveAt = max(b.AliveAt, newest-reportLag)
			}
		}
		if err := r.add(f); err != nil {
			return err
		}
	}
	return nil
}

func (r *reader) finish() error {
	if r.audit != nil {
		if err := r.audit.finish(); err != nil {
			return err
		}
	}
	var before int64
	if r.opt.WatchedUntil != nil && r.summary.From != 0 {
		before = r.opt.WatchedUntil(r.summary.From)
	}
	for _, w := range r.clock.watched(before) {
		if err := r.add(attribution.Fact{Cluster: r.opt.Cluster, Watched: &w, Partial: r.audit != nil, Late: r.late}); err != nil {
			return err
		}
	}
	if err := r.others.finish(); err != nil {
		return err
	}
	return r.Flush()
}

// reject leaves a document out. What it said is not known: it may have been that a
// pod went, or came.
func (r *reader) reject(offset int64, reason string) {
	r.clock.broken()
	r.others.broken()
	r.summary.Rejections++
	if len(r.summary.Rejected) < keepRejections {
		r.summary.Rejected = append(r.summary.Rejected, Rejection{Offset: offset, Reason: reason})
	}
}
