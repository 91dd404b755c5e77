package podlog

import (
	"bytes"
	"container/heap"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/whichpod/whichpod/attribution"
)

// KubeAudit is the API server's audit log, in the envelope in which AKS writes the
// categories kube-audit and kube-audit-admin to storage, or as it is
// (https://kubernetes.io/docs/reference/config-api/apiserver-audit.v1). AKS's policy
// logs the kubelet's patches of pods/status with their request, all other writes to
// pods with request and response
// (https://learn.microsoft.com/azure/aks/monitor-aks).
const KubeAudit Format = "kube-audit"

// auditDelay is how long lines are held back to be put in order, in milliseconds: an
// API server writes them in batches, and AKS runs several.
const auditDelay = 60 * 1000

// auditEnvelope is a line of AKS's log, or a record of an event hub's.
type auditEnvelope struct {
	Category   string `json:"category"`
	Properties struct {
		Log string `json:"log"` // an audit event as text
	} `json:"properties"`
	Records []json.RawMessage `json:"records"`
}

// auditEvent holds the fields of an audit.k8s.io/v1 Event that are used.
type auditEvent struct {
	Stage string `json:"stage"`
	Verb  string `json:"verb"`
	User  struct {
		Username string `json:"username"`
	} `json:"user"`
	ObjectRef struct {
		Resource    string `json:"resource"`
		Namespace   string `json:"namespace"`
		Name        string `json:"name"`
		Subresource string `json:"subresource"`
		APIGroup    string `json:"apiGroup"`
	} `json:"objectRef"`
	ResponseStatus struct {
		Code int `json:"code"`
	} `json:"responseStatus"`
	RequestObject  json.RawMessage `json:"requestObject"`
	ResponseObject json.RawMessage `json:"responseObject"`
	StageTimestamp time.Time       `json:"stageTimestamp"`
	Requested      time.Time       `json:"requestReceivedTimestamp"`
}

// audit folds audit events into what the API held of each pod. A patch of the
// kubelet shows only what changed: status.podIP is in one of them.
type audit struct {
	r       *reader
	pending auditQueue
	newest  int64
	pods    map[string]*object // by UID, until the pod is removed
	seq     int
	seen    bool   // a line was an audit event
	id      []byte // the resource whose lines these are
}

func newAudit(r *reader) *audit {
	r.clock.changes, r.clock.fresh = true, true // pods that are made are logged from the first line on
	return &audit{r: r, pods: make(map[string]*object)}
}

// isAudit says whether a document is of this format.
func isAudit(doc []byte) bool {
	return bytes.Contains(doc, []byte(`audit.k8s.io`)) && (bytes.Contains(doc, []byte(`"log"`)) || bytes.Contains(doc, []byte(`"auditID"`)))
}

// line takes a line of the log in. Most lines are about other things, and are looked
// at for their time only.
func (a *audit) line(doc []byte, offset int64) error {
	a.r.summary.Format = KubeAudit
	if a.seen = a.seen || isAudit(doc); !a.seen {
		a.r.reject(offset, "line is no audit event, want one of audit.k8s.io")
		return nil
	}
	if ours, err := a.ours(doc); !ours || err != nil {
		return err
	}
	if at := envelopeTime(doc); at != 0 {
		a.r.clock.tick(at)
	}
	if a.r.unneeded(doc) {
		return nil
	}
	var env auditEnvelope
	if err := json.Unmarshal(doc, &env); err != nil {
		a.r.reject(offset, err.Error())
		return nil
	}
	for _, rec := range env.Records {
		if err := a.line(rec, offset); err != nil {
			return err
		}
	}
	text := []byte(env.Properties.Log)
	if len(text) == 0 {
		text = doc
	}
	var ev auditEvent
	if err := json.Unmarshal(text, &ev); err != nil {
		a.r.reject(offset, "audit event: "+err.Error())
		return nil
	}
	return a.event(&ev)
}

// SeveralError says that lines are of several clusters, and none was asked for.
type SeveralError struct{ IDs []string }

func (e *SeveralError) Error() string {
	return fmt.Sprintf("audit log has lines of several clusters: %s", strings.Join(e.IDs, ", "))
}

// Hint says what to do.
func (e *SeveralError) Hint() string { return "--resource-id names the one to read" }

// ours says whether a line is of the cluster that is read. A line of another one that
// was not asked for is counted; where none was asked for, it is an error.
func (a *audit) ours(doc []byte) (bool, error) {
	id := field(doc, `"resourceId":"`, `"resourceId": "`)
	if len(id) == 0 || bytes.Equal(id, a.id) {
		return true, nil
	}
	want := a.r.opt.ResourceID
	switch {
	case want == "" && a.id == nil, strings.EqualFold(trimID(want), trimID(string(id))), bytes.EqualFold(a.id, id):
		a.id = bytes.Clone(id)
		return true, nil
	case want == "":
		return false, &SeveralError{[]string{string(a.id), string(id)}}
	default:
		a.r.foreign(string(id))
		return false, nil
	}
}

// field is the text after the first of some keys that a line has, up to the next
// quote; nil where there is none.
func field(doc []byte, keys ...string) []byte {
	for _, key := range keys {
		if _, after, ok := bytes.Cut(doc, []byte(key)); ok {
			if text, _, closed := bytes.Cut(after, []byte(`"`)); closed {
				return text
			}
		}
	}
	return nil
}

// unneeded says whether a line of an audit log need not be looked at closely: it is
// about no pod, or about no write. It says no in doubt.
func (r *reader) unneeded(doc []byte) bool {
	if r.audit == nil {
		return false
	}
	if !bytes.Contains(doc, []byte("pods")) {
		return true
	}
	_, verb, ok := bytes.Cut(doc, []byte(`\"verb\":\"`))
	if !ok || bytes.Contains(doc[:min(len(doc), 64)], []byte(`"records"`)) {
		return false
	}
	for _, v := range []string{"create", "patch", "update", "delete"} {
		if bytes.HasPrefix(verb, []byte(v)) {
			return false
		}
	}
	return true
}

// envelopeTime reads the line's own time; the event inside it has its quotes escaped.
func envelopeTime(doc []byte) int64 {
	text := field(doc, `"time":"`, `"time": "`, `"stageTimestamp":"`, `"stageTimestamp": "`)
	if t, err := time.Parse(time.RFC3339Nano, string(text)); err == nil {
		return t.UnixMilli()
	}
	return 0
}

// event queues a write to pods that took place.
func (a *audit) event(ev *auditEvent) error {
	ref := &ev.ObjectRef
	written := ev.Verb == "create" || ev.Verb == "patch" || ev.Verb == "update" || ev.Verb == "delete"
	if ref.Resource != "pods" || ref.APIGroup != "" || !written || ev.Stage != "ResponseComplete" || ev.ResponseStatus.Code >= 300 {
		return nil
	}
	a.seq++
	at := ev.StageTimestamp.Add(time.Millisecond - 1).UnixMilli()
	if asked := ev.Requested.UnixMilli(); known(ev.Requested) && at < asked-slewed { // the clock was set back between the two
		a.r.clock.jumps = append(a.r.clock.jumps, Jump{asked, at})
		at = asked
	}
	heap.Push(&a.pending, queued{at, a.seq, ev})
	a.newest = max(a.newest, at)
	a.r.summary.extend(at)
	return a.drain(a.newest - auditDelay)
}

// drain folds what is older than a time.
func (a *audit) drain(until int64) error {
	for len(a.pending) > 0 && a.pending[0].at <= until {
		q := heap.Pop(&a.pending).(queued)
		if err := a.fold(q.ev, q.at); err != nil {
			return err
		}
	}
	return nil
}

func (a *audit) fold(ev *auditEvent, at int64) error {
	if ev.ObjectRef.Subresource == "" && len(ev.ResponseObject) > 0 {
		return a.whole(ev, at)
	}
	var patch struct {
		Metadata metadata `json:"metadata"`
		Status   *status  `json:"status"`
		Target   struct {
			Name string `json:"name"`
		} `json:"target"` // of a binding
	}
	if len(ev.RequestObject) == 0 || json.Unmarshal(ev.RequestObject, &patch) != nil || patch.Metadata.UID == "" {
		return nil // a patch of something else, or a level that hides it
	}
	o := a.pod(patch.Metadata.UID, ev)
	if ev.ObjectRef.Subresource == "binding" {
		o.Spec.NodeName = patch.Target.Name
	}
	if patch.Status != nil {
		o.Status.apply(patch.Status)
	}
	if node, ok := strings.CutPrefix(ev.User.Username, "system:node:"); ok {
		o.Spec.NodeName = node // only a pod's own kubelet may write its status (the node authorizer)
	}
	return a.observe(o, at, false)
}

// pod is what is known of a pod, or of one that was there before the log began.
func (a *audit) pod(uid string, ev *auditEvent) *object {
	o := a.pods[uid]
	if o == nil {
		o = &object{Kind: "Pod", Metadata: metadata{UID: uid, Name: ev.ObjectRef.Name, Namespace: ev.ObjectRef.Namespace}}
		a.pods[uid] = o
	}
	o.Metadata.ResourceVersion = "" // a patch does not tell which one it made
	return o
}

// whole takes an object in that a response shows in full.
func (a *audit) whole(ev *auditEvent, at int64) error {
	var o object
	if err := json.Unmarshal(ev.ResponseObject, &o); err != nil || o.Kind != "Pod" || o.Metadata.UID == "" {
		return nil
	}
	removed := ev.Verb == "delete" && o.Metadata.DeletionGracePeriodSeconds != nil && *o.Metadata.DeletionGracePeriodSeconds == 0 && len(o.Metadata.Finalizers) == 0
	if removed {
		delete(a.pods, o.Metadata.UID)
	} else {
		a.pods[o.Metadata.UID] = &o
	}
	return a.observe(&o, at, removed)
}

func (a *audit) observe(o *object, at int64, removed bool) error {
	a.r.clock.tick(at)
	seen := *o // facts are made at once; the object goes on changing
	return a.r.pod(&observation{object: &seen, at: at, deleted: removed, source: attribution.Audit}, at)
}

// apply folds a patch in: a strategic merge, in which conditions are merged by type
// and lists of containers are replaced. The kubelet never takes a field away.
func (s *status) apply(patch *status) {
	set := func(into *string, v string) {
		if v != "" {
			*into = v
		}
	}
	set(&s.Phase, patch.Phase)
	set(&s.Reason, patch.Reason)
	set(&s.HostIP, patch.HostIP)
	if patch.PodIP != "" {
		s.PodIP, s.PodIPs = patch.PodIP, nil
	}
	s.PodIPs = append(slices.Clone(s.PodIPs), patch.PodIPs...)
	if len(patch.HostIPs) > 0 {
		s.HostIPs = patch.HostIPs
	}
	if !patch.StartTime.IsZero() {
		s.StartTime = patch.StartTime
	}
	s.Conditions = slices.Clone(s.Conditions)
	for _, c := range patch.Conditions {
		i := slices.IndexFunc(s.Conditions, func(have condition) bool { return have.Type == c.Type })
		if i < 0 {
			s.Conditions = append(s.Conditions, c)
		} else {
			s.Conditions[i].apply(&c)
		}
	}
	for _, list := range []struct{ into, from *[]containerStatus }{
		{&s.InitContainerStatuses, &patch.InitContainerStatuses}, {&s.ContainerStatuses, &patch.ContainerStatuses}, {&s.EphemeralContainerStatuses, &patch.EphemeralContainerStatuses},
	} {
		if len(*list.from) > 0 {
			*list.into = *list.from
		}
	}
}

func (c *condition) apply(patch *condition) {
	if patch.Status != "" {
		c.Status, c.Reason = patch.Status, patch.Reason
	}
	if !patch.LastTransitionTime.IsZero() {
		c.LastTransitionTime = patch.LastTransitionTime
	}
}

func (a *audit) finish() error { return a.drain(a.newest) }

// queued is an event that waits to be put in order.
type queued struct {
	at  int64
	seq int
	ev  *auditEvent
}

// auditQueue is a heap by time, then by place in the log.
type auditQueue []queued

func (q auditQueue) Len() int      { return len(q) }
func (q auditQueue) Swap(i, j int) { q[i], q[j] = q[j], q[i] }
func (q *auditQueue) Push(x any)   { *q = append(*q, x.(queued)) }
func (q auditQueue) Less(i, j int) bool {
	return q[i].at < q[j].at || (q[i].at == q[j].at && q[i].seq < q[j].seq)
}

func (q *auditQueue) Pop() any {
	old := *q
	last := old[len(old)-1]
	*q = old[:len(old)-1]
	return last
}
