package podlog

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/whichpod/whichpod/attribution"
)

// event is a line of a watch journal, or a list, which has no type.
type event struct {
	Type       string          `json:"type"`
	ReceivedAt *receipt        `json:"receivedAt"`
	Object     json.RawMessage `json:"object"`
	Kind       string          `json:"kind"`
}

func (r *reader) event(ev *event, o *object, offset int64) error {
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
		return r.pod(&observation{object: o, at: at, deleted: typ == "DELETED", source: attribution.Watch}, r.opt.ReadBy)
	case "BOOKMARK":
		r.clock.tick(cut)
		return nil
	case "SNAPSHOT":
		return r.snapshot(o, at, cut)
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
	if err := t.UnmarshalJSON(data); err != nil {
		return err
	}
	r.cut = t.Add(time.Millisecond - 1).UnixMilli()
	r.by = r.cut
	if !bytes.ContainsRune(data, '.') {
		r.by += second - 1
	}
	return nil
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
