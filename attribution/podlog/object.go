package podlog

import (
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/whichpod/whichpod/attribution"
)

// object holds the fields of a Kubernetes Pod or PodList that are used; what else an
// object has is dropped on arrival. Source: kubernetes/api core/v1/types.go.
type object struct {
	Kind     string   `json:"kind"`
	Metadata metadata `json:"metadata"`
	Spec     spec     `json:"spec"`
	Status   status   `json:"status"`
	Items    []object `json:"items"` // of a list
}

// isPod: the items of a PodList bear no kind; those of kubectl's List, which can be of
// any kind, do.
func (o *object) isPod() bool { return o.Kind == "" || o.Kind == "Pod" }

type metadata struct {
	Name                       string            `json:"name"`
	Namespace                  string            `json:"namespace"`
	UID                        string            `json:"uid"`
	ResourceVersion            string            `json:"resourceVersion"`
	CreationTimestamp          time.Time         `json:"creationTimestamp"`
	DeletionTimestamp          *time.Time        `json:"deletionTimestamp"`
	DeletionGracePeriodSeconds *int64            `json:"deletionGracePeriodSeconds"`
	Finalizers                 []string          `json:"finalizers"`
	Labels                     map[string]string `json:"labels"`
	Annotations                map[string]string `json:"annotations"`
	OwnerReferences            []struct {
		Kind       string `json:"kind"`
		Name       string `json:"name"`
		Controller bool   `json:"controller"`
	} `json:"ownerReferences"`
}

type spec struct {
	NodeName    string `json:"nodeName"`
	HostNetwork bool   `json:"hostNetwork"`
}

type status struct {
	Phase                      string            `json:"phase"`
	Reason                     string            `json:"reason"`
	PodIP                      string            `json:"podIP"`
	PodIPs                     []addressOf       `json:"podIPs"`
	HostIP                     string            `json:"hostIP"`
	HostIPs                    []addressOf       `json:"hostIPs"`
	StartTime                  time.Time         `json:"startTime"`
	Conditions                 []condition       `json:"conditions"`
	InitContainerStatuses      []containerStatus `json:"initContainerStatuses"`
	ContainerStatuses          []containerStatus `json:"containerStatuses"`
	EphemeralContainerStatuses []containerStatus `json:"ephemeralContainerStatuses"`
}

type condition struct {
	Type               string    `json:"type"`
	Status             string    `json:"status"`
	Reason             string    `json:"reason"`
	LastTransitionTime time.Time `json:"lastTransitionTime"`
}

type addressOf struct {
	IP string `json:"ip"`
}

type containerStatus struct {
	RestartCount int `json:"restartCount"`
	State        struct {
		Running    *stateTimes `json:"running"`
		Terminated *stateTimes `json:"terminated"`
	} `json:"state"`
}

type stateTimes struct {
	StartedAt  time.Time `json:"startedAt"`
	FinishedAt time.Time `json:"finishedAt"`
}

// A static pod's API object is a mirror, made after the pod was started.
const mirrorAnnotation = "kubernetes.io/config.mirror"

// sandboxReady is the condition that turns true once the pod's sandbox and network
// are there, and false when the sandbox is gone (KEP-3085).
const sandboxReady = "PodReadyToStartContainers"

// second is the resolution of the times in objects: an event at such a time took
// place up to a second later.
const second = 1000

// observation is an object, seen at a time (Unix milliseconds, rounded up; 0:
// unknown) in an event or a list.
type observation struct {
	object  *object
	at      int64
	listed  int64 // a list of all pods showed it, and was read no earlier; 0: no list
	seen    int64 // all that changed until then had been seen before; 0: unknown
	deleted bool
	source  attribution.Source
}

// fact is what an observation says of a pod.
func (o *observation) fact(cluster string) attribution.Fact {
	ev := o.evidence()
	p := attribution.PodFact{
		UID:      o.object.Metadata.UID,
		Identity: o.object.identity(),
		Source:   o.source,
		Presence: attribution.Bounds{
			NotBefore: o.object.notBefore(), SeenBy: o.at, SeenLast: o.at, RunningBy: ev.runningBy, AliveAt: ev.aliveAt,
			StoppedFirst: ev.ended, StoppedLast: ev.ended, FirstVersion: o.object.version(), LastVersion: o.object.version(),
		},
	}
	if o.source == attribution.List {
		p.Presence.SeenLast = 0 // a list's time is one by which it was read; what it shows may be older
	}
	if o.deleted {
		p.Deleted = attribution.Removal{At: o.at, After: o.seen, Version: o.object.version()}
	}
	if !p.Identity.HostNetwork {
		for _, a := range o.object.Status.addresses() {
			b := p.Presence
			b.NotBefore, b.StoppedFirst, b.StoppedLast = 0, ev.sandboxGone, ev.sandboxGone
			p.Holdings = append(p.Holdings, attribution.Holding{Address: a, Bounds: b})
		}
	}
	return attribution.Fact{Cluster: cluster, Pod: p}
}

// evidence is what the kubelet's own times in one object prove. 0 is nothing.
type evidence struct {
	runningBy   int64 // the present sandbox was there by then
	aliveAt     int64 // and still was then
	ended       int64 // the pod can not send any more after it
	sandboxGone int64 // the address shown was given back by then, or can not be used any more
}

func (o *observation) evidence() evidence {
	s := &o.object.Status
	var e evidence
	finished, all, restarted := int64(0), true, false
	for _, list := range [][]containerStatus{s.InitContainerStatuses, s.ContainerStatuses, s.EphemeralContainerStatuses} {
		for i := range list {
			c := &list[i]
			restarted = restarted || c.RestartCount > 0
			switch {
			case c.State.Running != nil:
				e.began(milli(c.State.Running.StartedAt))
				all = false
			case c.State.Terminated != nil && known(c.State.Terminated.FinishedAt):
				finished = max(finished, milli(c.State.Terminated.FinishedAt))
				if c.RestartCount == 0 { // else it may have started in an earlier sandbox
					e.began(milli(c.State.Terminated.StartedAt))
				}
			default:
				all = false
			}
		}
	}
	e.aliveAt = max(e.aliveAt, finished)
	final := s.terminal() || o.object.Metadata.DeletionTimestamp != nil // else containers are started again
	if final && all && finished > 0 && len(s.ContainerStatuses) > 0 {
		e.ended = finished + second
	}
	e.fromConditions(s, final, restarted)
	if s.terminal() && e.ended == 0 && e.sandboxGone == 0 && s.byKubelet() {
		e.ended = o.at
	}
	e.sandboxGone = earlier(e.sandboxGone, e.ended)
	return e
}

func (e *evidence) began(at int64) {
	if at == 0 {
		return
	}
	e.runningBy = earlier(e.runningBy, at+second)
	e.aliveAt = max(e.aliveAt, at)
}

// fromConditions reads what the conditions say of the sandbox.
func (e *evidence) fromConditions(s *status, final, restarted bool) {
	for i := range s.Conditions {
		c := &s.Conditions[i]
		at := milli(c.LastTransitionTime)
		if c.Type != sandboxReady || at == 0 || len(s.addresses()) == 0 {
			continue
		}
		switch {
		case c.Status == "True" && !restarted: // else a sandbox was perhaps made again without a transition
			e.began(at)
		case c.Status == "False":
			e.sandboxGone = at + second
			if final {
				e.ended = earlier(e.ended, at+second)
			}
		}
	}
}

// terminal: the pod's containers ended and are not started again.
func (s *status) terminal() bool { return s.Phase == "Succeeded" || s.Phase == "Failed" }

// byKubelet says whether the kubelet set a terminal phase. The pod garbage collector
// sets it too, for pods on nodes that do not answer, which may still run.
func (s *status) byKubelet() bool {
	if s.Reason == "NodeLost" {
		return false
	}
	for i := range s.Conditions {
		if s.Conditions[i].Type == "DisruptionTarget" && s.Conditions[i].Reason == "DeletionByPodGC" {
			return false
		}
	}
	return true
}

// notBefore is the latest of the times before which the pod can not have begun: it
// was made, bound to a node, and taken on by the kubelet, in this order.
func (o *object) notBefore() int64 {
	t := milli(o.Status.StartTime)
	if _, mirror := o.Metadata.Annotations[mirrorAnnotation]; mirror {
		return t
	}
	t = max(t, milli(o.Metadata.CreationTimestamp))
	for i := range o.Status.Conditions {
		if c := &o.Status.Conditions[i]; c.Type == "PodScheduled" && c.Status == "True" {
			t = max(t, milli(c.LastTransitionTime))
		}
	}
	return t
}

func (o *object) identity() *attribution.Identity {
	id := &attribution.Identity{
		Namespace: o.Metadata.Namespace, Name: o.Metadata.Name, Node: o.Spec.NodeName,
		HostNetwork: o.Spec.HostNetwork, HostAddresses: addressList(o.Status.HostIP, o.Status.HostIPs), Version: o.version(),
	}
	for _, ref := range o.Metadata.OwnerReferences {
		if ref.Controller {
			id.Owner = ref.Kind + "/" + ref.Name
		}
	}
	for k, v := range o.Metadata.Labels {
		id.Labels = append(id.Labels, k+"="+v)
	}
	slices.Sort(id.Labels)
	for _, a := range o.Status.addresses() {
		id.HostNetwork = id.HostNetwork || slices.Contains(id.HostAddresses, a)
	}
	if id.HostNetwork && len(id.HostAddresses) == 0 {
		id.HostAddresses = o.Status.addresses()
	}
	return id
}

// version is the object's resource version as a number. Kubernetes 1.35 promises
// that those of one resource can be compared (KEP-5504); etcd's always could. 0 is a
// version that is no number: nothing is concluded from order then.
func (o *object) version() uint64 {
	v, err := strconv.ParseUint(o.Metadata.ResourceVersion, 10, 64)
	if err != nil {
		return 0
	}
	return v
}

func (s *status) addresses() []netip.Addr { return addressList(s.PodIP, s.PodIPs) }

func addressList(first string, all []addressOf) []netip.Addr {
	var out []netip.Addr
	add := func(text string) {
		a, err := netip.ParseAddr(strings.TrimSpace(text))
		if err == nil && !slices.Contains(out, a.Unmap().WithZone("")) {
			out = append(out, a.Unmap().WithZone(""))
		}
	}
	add(first)
	for _, a := range all {
		add(a.IP)
	}
	return out
}

func known(t time.Time) bool { return t.Unix() > 0 }

// milli is a time of an object, or 0 where it is not set.
func milli(t time.Time) int64 {
	if !known(t) {
		return 0
	}
	return t.UnixMilli()
}

// earlier is the smaller of two times of which 0 means unknown.
func earlier(a, b int64) int64 {
	if a == 0 || (b != 0 && b < a) {
		return b
	}
	return a
}

// newest is the latest of the object's own times: it was read no earlier.
func (o *object) newest() int64 {
	s := &o.Status
	t := max(milli(o.Metadata.CreationTimestamp), milli(s.StartTime))
	for i := range s.Conditions {
		t = max(t, milli(s.Conditions[i].LastTransitionTime))
	}
	for _, list := range [][]containerStatus{s.InitContainerStatuses, s.ContainerStatuses, s.EphemeralContainerStatuses} {
		for i := range list {
			for _, st := range []*stateTimes{list[i].State.Running, list[i].State.Terminated} {
				if st != nil {
					t = max(t, milli(st.StartedAt), milli(st.FinishedAt))
				}
			}
		}
	}
	return t
}
