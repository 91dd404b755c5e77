package podlog

import (
	"encoding/json"
	"slices"

	"github.com/whichpod/whichpod/attribution"
)

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
