package podlog

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/whichpod/whichpod/attribution"
)

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
	docs.take, docs.other = r.plain, r.unneeded
	return docs.each(func(doc []byte, offset int64) error {
		r.summary.Documents++
		return r.document(doc, offset)
	}, func(bad *broken) { r.reject(bad.Offset, bad.Err.Error()) })
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
	ready   *readEvent // what the document is that comes next, or nil

	// goesOn and followed are set where an audit log is known to go on from what was
	// read before, and what was read before to go on from it: until when changes were
	// seen before a time, and from when after it.
	goesOn, followed func(int64) int64
}

func (r *reader) document(doc []byte, offset int64) error {
	if e := r.ready; e != nil {
		r.ready = nil
		r.summary.Format = Watch
		return r.event(&e.event, &e.object, offset)
	}
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
		var o object
		if err := json.Unmarshal(ev.Object, &o); err != nil {
			r.reject(offset, err.Error())
			return nil
		}
		return r.event(&ev, &o, offset)
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
