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
	"bufio"
	"bytes"
	"compress/gzip"
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
	return []string{string(Auto), string(Watch), string(List), string(KubeAudit), string(PodInventory)}
}

// Options say what is read.
type Options struct {
	Cluster string
	Format  Format
	// ResourceID is the Azure resource whose lines and rows are taken, where a file
	// has those of several clusters; empty: see [SeveralError]. Case does not matter.
	ResourceID string
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
	Foreign    map[string]int // rows and lines of other clusters, by what they call it
	Jumps      []Jump         // of the clock that stamped the lines
	// Watched is when the lines show that the pods were watched, sorted, apart.
	// Partial: all changes were seen, but not what was there before and did not change.
	Watched []attribution.Range
	Partial bool
}

// Rejection is a document that was left out.
type Rejection struct {
	File   string // as the caller named it
	Offset int64
	Line   int // of a CSV file, from 1; 0: not counted
	Reason string
}

const keepRejections = 100

// Read reads r to its end and hands facts to emit in batches.
func Read(r io.Reader, opt Options, emit func([]attribution.Fact) error) (Summary, error) {
	rd := NewReader(opt, emit)
	err := rd.Read("", r)
	if err == nil {
		err = rd.Close()
	}
	return rd.Summary(), err
}

// Reader reads several files one after the other, as if they were one: those of an
// audit log go on where the one before them stopped, if they come in order of time.
type Reader struct{ r reader }

// NewReader returns a reader that hands facts to emit in batches.
func NewReader(opt Options, emit func([]attribution.Fact) error) *Reader {
	r := &Reader{reader{opt: opt, summary: Summary{Format: opt.Format}, Recorder: NewRecorder(opt.Cluster, opt.Known, emit)}}
	r.r.others = newOthers(&r.r)
	return r
}

// Summary counts what was read so far.
func (r *Reader) Summary() Summary {
	s := r.r.summary
	s.Pods, s.Jumps = r.r.Pods(), r.r.clock.steps()
	return s
}

// Read takes a file in, which may be compressed with gzip. name is for rejections.
// Nothing is sure to be in the ledger before Settle or Close.
func (r *Reader) Read(name string, file io.Reader) error {
	in := bufio.NewReaderSize(file, 1<<20)
	if magic, _ := in.Peek(2); bytes.Equal(magic, []byte{0x1f, 0x8b}) {
		unzip, err := gzip.NewReader(in)
		if err != nil {
			return fmt.Errorf("read pods: %w", err)
		}
		cut := &cutReader{in: unzip}
		r.r.file = name
		if err := r.r.read(bufio.NewReaderSize(cut, 1<<20)); err != nil || cut.err == nil {
			return err
		}
		r.r.reject(cut.read, "the compressed file can not be read on: "+cut.err.Error())
		return nil
	}
	r.r.file = name
	return r.r.read(in)
}

// cutReader ends where what it reads from fails.
type cutReader struct {
	in   io.Reader
	read int64
	err  error
}

func (c *cutReader) Read(p []byte) (int, error) {
	n, err := c.in.Read(p)
	c.read += int64(n)
	if err != nil && !errors.Is(err, io.EOF) {
		c.err, err = err, io.EOF
	}
	return n, err
}

// read takes in a part of a file that begins at an offset.
func (r *Reader) read(name string, offset int64, part io.Reader) error {
	r.r.base = offset
	err := r.Read(name, part)
	r.r.base = 0
	return err
}

// lost says that something between the last file and the next could not be read.
func (r *Reader) lost() { r.r.clock.broken() }

// newest is the latest time of a line of an audit log so far.
func (r *Reader) newest() int64 { return r.r.clock.latest }

// Settle hands on all facts of an audit log that no later line can come before, and
// returns the time up to which that is; 0 is none.
func (r *Reader) Settle() (int64, error) {
	if r.r.audit == nil || r.newest() == 0 {
		return 0, nil
	}
	until := r.newest() - auditDelay
	if err := r.r.audit.drain(until); err != nil {
		return 0, err
	}
	if err := r.r.covered(until); err != nil {
		return 0, err
	}
	r.r.clock.forget(until)
	return until, r.r.Flush()
}

// Close hands on all other facts.
func (r *Reader) Close() error { return r.r.finish() }

func (r *reader) read(in *bufio.Reader) error {
	if r.opt.Format == PodInventory || (r.opt.Format == Auto && r.audit == nil && isInventory(in)) {
		return r.readInventory(in)
	}
	docs := newDocuments(in)
	docs.other = r.unneeded
	for {
		doc, offset, err := docs.next()
		var bad *broken
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case errors.As(err, &bad):
			r.reject(bad.Offset, bad.Err.Error())
			continue
		case err != nil:
			return fmt.Errorf("read pods: %w", err)
		}
		r.summary.Documents++
		if err := r.document(doc, offset); err != nil {
			return err
		}
	}
}

// reader is the state of one Read.
type reader struct {
	*Recorder
	opt     Options
	file    string
	base    int64 // where in the file the stream begins
	summary Summary
	clock   clock
	audit   *audit // once a line of an audit log was seen
	others  *others

	// goesOn and followed are set where an audit log is known to go on from what was
	// read before, and what was read before to go on from it: until when changes were
	// seen before a time, and from when after it.
	goesOn, followed func(int64) int64
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
	r.clock.stamped(cut, o.version())
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
	if err := r.covered(0); err != nil {
		return err
	}
	if err := r.others.finish(); err != nil {
		return err
	}
	return r.Flush()
}

// covered records when the pods were watched, until a time; 0 is to the end.
func (r *reader) covered(until int64) error {
	r.summary.Partial = r.audit != nil
	from, first := r.opt.WatchedUntil, r.summary.From
	if r.audit != nil {
		from, first = r.goesOn, r.clock.first
	}
	var before int64
	if from != nil && first != 0 {
		before = from(first)
	}
	ranges := r.clock.watched(before)
	r.late = max(r.late, r.clock.stepped())
	if n := len(ranges); n > 0 && until == 0 && r.followed != nil && !r.clock.brokeOff() {
		if next := r.followed(ranges[n-1].To); next != 0 && next-ranges[n-1].To <= maxSilence {
			ranges[n-1].To = next // what was read before goes on from here
		}
	}
	for _, w := range ranges {
		if until != 0 {
			w.To = min(w.To, until)
		}
		if w.To <= w.From {
			continue
		}
		r.summary.watched(w)
		if err := r.add(attribution.Fact{Cluster: r.opt.Cluster, Watched: &w, Partial: r.audit != nil, Late: r.late}); err != nil {
			return err
		}
	}
	return nil
}

// watched joins a range in. Ranges come in order, and the last one again.
func (s *Summary) watched(w attribution.Range) {
	if n := len(s.Watched); n > 0 && w.From <= s.Watched[n-1].To {
		last := &s.Watched[n-1]
		last.From, last.To = min(last.From, w.From), max(last.To, w.To)
		return
	}
	s.Watched = append(s.Watched, w)
}

// reject leaves a document out. What it said is not known: it may have been that a
// pod went, or came.
func (r *reader) reject(offset int64, reason string) {
	r.clock.broken()
	r.others.broken()
	r.rejectLine(offset, 0, reason)
}

func (r *reader) rejectLine(offset int64, line int, reason string) {
	r.summary.Rejections++
	if len(r.summary.Rejected) < keepRejections {
		r.summary.Rejected = append(r.summary.Rejected, Rejection{File: r.file, Offset: r.base + offset, Line: line, Reason: reason})
	}
}
