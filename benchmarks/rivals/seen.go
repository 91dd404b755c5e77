package rivals

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"net/netip"
	"slices"
	"time"
)

// Seen is what a watcher saw of the pods of one cluster, by address.
type Seen struct {
	Start, End int64 // first and last line of the journal, Unix ms
	stays      map[netip.Addr][]Stay
}

// Stay is a pod with one address, as its objects showed it. Times are those at which the
// watcher heard of it, in Unix ms.
type Stay struct {
	UID      string
	Created  int64 // as the object says, in whole seconds
	Shown    int64 // first object with the address
	Finished int64 // first that is Succeeded or Failed; never if there was none
	Gone     int64 // deletion, or the first object with another address; never if there was none
	Writes   []int64
}

const never = math.MaxInt64

// at is all stays at an address, in the order in which they were shown.
func (s *Seen) at(a netip.Addr) []Stay { return s.stays[a] }

// snapshot is the unfinished pod that showed the address last, as of a moment.
func (s *Seen) snapshot(a netip.Addr, at int64) (uid string) {
	for _, stay := range s.at(a) {
		if stay.Shown <= at && at < min(stay.Finished, stay.Gone) {
			uid = stay.UID
		}
	}
	return uid
}

// kept says whether a store that keeps pods for a while after they go has it at a moment.
func (s *Stay) kept(at, longer int64) bool {
	return s.Shown <= at && (s.Gone == never || at < s.Gone+longer)
}

// written is when the pod's object was last written before a moment.
func (s *Stay) written(at int64) int64 {
	i, found := slices.BinarySearch(s.Writes, at)
	if !found {
		i--
	}
	if i < 0 {
		return -1
	}
	return s.Writes[i]
}

// object is what the rules read of a pod's object, or of a list of them.
type object struct {
	Metadata struct {
		UID               string    `json:"uid"`
		CreationTimestamp time.Time `json:"creationTimestamp"`
	} `json:"metadata"`
	Status struct {
		Phase  string `json:"phase"`
		PodIPs []struct {
			IP netip.Addr `json:"ip"`
		} `json:"podIPs"`
	} `json:"status"`
	Items []object `json:"items"`
}

type line struct {
	Type       string    `json:"type"`
	ReceivedAt time.Time `json:"receivedAt"`
	Object     object    `json:"object"`
}

// Watch reads a watch journal (docs/imports.md). Lines come in the order in which the
// watcher heard them.
func Watch(journal io.Reader) (*Seen, error) {
	w := watcher{open: map[string]map[netip.Addr]*Stay{}}
	in := json.NewDecoder(bufio.NewReaderSize(journal, 1<<18))
	s := &Seen{stays: map[netip.Addr][]Stay{}}
	for {
		var l line
		if err := in.Decode(&l); err == io.EOF {
			break
		} else if err != nil {
			return nil, fmt.Errorf("read watch journal at byte %d: %w", in.InputOffset(), err)
		}
		at := l.ReceivedAt.UnixMilli()
		if s.Start == 0 {
			s.Start = at
		}
		s.End = at
		switch l.Type {
		case "ADDED", "MODIFIED":
			w.see(&l.Object, at)
		case "DELETED":
			w.drop(l.Object.Metadata.UID, at)
		case "SNAPSHOT":
			w.list(l.Object.Items, at)
		}
	}
	for _, stay := range w.all {
		s.stays[stay.address] = append(s.stays[stay.address], *stay.Stay)
	}
	return s, nil
}

// watcher is the store that the journal's lines change.
type watcher struct {
	open map[string]map[netip.Addr]*Stay // by UID
	all  []addressed                     // as they were shown
}

type addressed struct {
	address netip.Addr
	*Stay
}

func (w *watcher) see(o *object, at int64) {
	uid := o.Metadata.UID
	shows := make(map[netip.Addr]bool)
	for _, ip := range o.Status.PodIPs {
		shows[ip.IP] = true
		stay := w.open[uid][ip.IP]
		if stay == nil {
			stay = &Stay{UID: uid, Created: o.Metadata.CreationTimestamp.UnixMilli(), Shown: at, Finished: never, Gone: never}
			if w.open[uid] == nil {
				w.open[uid] = make(map[netip.Addr]*Stay)
			}
			w.open[uid][ip.IP] = stay
			w.all = append(w.all, addressed{ip.IP, stay})
		}
		stay.Writes = append(stay.Writes, at)
		if o.Status.Phase == "Succeeded" || o.Status.Phase == "Failed" {
			stay.Finished = min(stay.Finished, at)
		}
	}
	for address, stay := range w.open[uid] {
		if !shows[address] {
			stay.Gone = at
			delete(w.open[uid], address)
		}
	}
}

func (w *watcher) drop(uid string, at int64) {
	for _, stay := range w.open[uid] {
		stay.Gone = at
	}
	delete(w.open, uid)
}

// list takes a complete list: what is not in it is gone.
func (w *watcher) list(items []object, at int64) {
	listed := make(map[string]bool)
	for i := range items {
		listed[items[i].Metadata.UID] = true
		w.see(&items[i], at)
	}
	for uid := range w.open {
		if !listed[uid] {
			w.drop(uid, at)
		}
	}
}
