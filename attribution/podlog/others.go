package podlog

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/whichpod/whichpod/attribution"
)

// others are the objects in a watch journal, or in a list, that are no pods: each kind
// has a watch, and so a recorder and a clock, of its own.
type others struct {
	r      *reader
	byKind map[attribution.Kind]*otherKind
}

type otherKind struct {
	record *ObjectRecorder
	clock  clock
}

func newOthers(r *reader) *others {
	return &others{r: r, byKind: make(map[attribution.Kind]*otherKind)}
}

func (o *others) of(kind attribution.Kind) *otherKind {
	k := o.byKind[kind]
	if k == nil {
		var known func(func(attribution.ObjectFact))
		if o.r.opt.Objects != nil {
			known = func(yield func(attribution.ObjectFact)) { o.r.opt.Objects(kind, yield) }
		}
		k = &otherKind{record: NewObjectRecorder(o.r.opt.Cluster, kind, known, o.r.emit)}
		o.byKind[kind] = k
	}
	return k
}

// event takes in a line of a watch journal about an object of a kind.
func (o *others) event(kind attribution.Kind, ev *event, offset int64) error {
	var obj clusterObject
	if err := json.Unmarshal(ev.Object, &obj); err != nil {
		o.r.reject(offset, err.Error())
		return nil
	}
	k := o.of(kind)
	at, cut := o.r.received(ev)
	switch typ := strings.ToUpper(ev.Type); typ {
	case "ADDED", "MODIFIED", "DELETED":
		if k.clock.latest == 0 {
			k.clock.fresh = typ == "ADDED"
		}
		k.clock.tick(cut)
		return o.object(k, &obj, at, typ == "DELETED", offset)
	case "BOOKMARK":
		k.clock.tick(cut)
		return nil
	case "SNAPSHOT":
		k.clock.snapshot(cut)
		k.record.BeginList(o.by(at), 0, obj.Metadata.ResourceVersion)
		if err := o.list(k, obj.Items, attribution.Watch, offset); err != nil || obj.version() == 0 {
			return err // without a version, nothing that it does not show is known to be gone
		}
		return k.record.EndList()
	default:
		o.r.reject(offset, fmt.Sprintf("event type is %q, want ADDED, MODIFIED, DELETED, BOOKMARK or SNAPSHOT", ev.Type))
		return nil
	}
}

// by is a time by which something was seen that came at a time, 0: unknown.
func (o *others) by(at int64) int64 {
	if at == 0 {
		return o.r.opt.ReadBy
	}
	return at
}

func (o *others) object(k *otherKind, obj *clusterObject, at int64, deleted bool, offset int64) error {
	f, err := k.record.fact(obj, o.by(at), attribution.Watch)
	if err != nil {
		o.r.reject(offset, err.Error())
		return nil
	}
	if f == nil {
		return nil
	}
	o.r.summary.Objects++
	return k.record.object(obj, o.by(at), deleted, attribution.Watch)
}

// list takes in the objects that a list shows.
func (o *others) list(k *otherKind, items []clusterObject, source attribution.Source, offset int64) error {
	good := make([]clusterObject, 0, len(items))
	for i := range items {
		f, err := k.record.fact(&items[i], 1, source)
		if err != nil {
			o.r.reject(offset, err.Error())
			continue
		}
		if f != nil {
			good = append(good, items[i])
		}
	}
	o.r.summary.Objects += len(good)
	return k.record.listed(good, source)
}

// document takes in a list from a file: it shows what was there by the time at which
// the file was written, and says of nothing that it went.
func (o *others) document(doc []byte, offset int64) error {
	var list clusterObject
	if err := json.Unmarshal(doc, &list); err != nil {
		o.r.reject(offset, err.Error())
		return nil
	}
	whole, _ := kindOf(list.Kind)
	items := make(map[attribution.Kind][]clusterObject)
	for _, item := range list.Items {
		kind, ok := kindOf(item.Kind)
		if item.Kind == "" {
			kind, ok = whole, whole != attribution.Pods
		}
		if ok {
			items[kind] = append(items[kind], item)
		}
	}
	for _, kind := range slices.Sorted(maps.Keys(items)) {
		k := o.of(kind)
		k.record.BeginList(o.r.opt.ReadBy, 0, list.Metadata.ResourceVersion)
		if err := o.list(k, items[kind], attribution.List, offset); err != nil {
			return err
		}
	}
	return nil
}

// broken: something was lost, of whatever kind.
func (o *others) broken() {
	for _, k := range o.byKind {
		k.clock.broken()
	}
}

func (o *others) finish() error {
	for _, kind := range slices.Sorted(maps.Keys(o.byKind)) {
		k := o.byKind[kind]
		for _, w := range k.clock.watched(0) {
			if err := k.record.Watched(w.From, w.To); err != nil {
				return err
			}
		}
		if err := k.record.Flush(); err != nil {
			return err
		}
	}
	return nil
}
