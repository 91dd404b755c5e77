package sim

import (
	"encoding/hex"
	"encoding/json"
	"time"
)

// The Kubernetes objects below have the fields and spelling of k8s.io/api/core/v1,
// as `kubectl get -w -o json` prints them: without managedFields.

type objectMeta struct {
	Name              string            `json:"name,omitempty"`
	GenerateName      string            `json:"generateName,omitempty"`
	Namespace         string            `json:"namespace,omitempty"`
	UID               string            `json:"uid,omitempty"`
	ResourceVersion   string            `json:"resourceVersion"`
	Generation        int               `json:"generation,omitempty"`
	CreationTimestamp string            `json:"creationTimestamp,omitempty"`
	DeletionTimestamp string            `json:"deletionTimestamp,omitempty"`
	DeletionGrace     *int64            `json:"deletionGracePeriodSeconds,omitempty"`
	Labels            map[string]string `json:"labels,omitempty"`
	Owners            []ownerReference  `json:"ownerReferences,omitempty"`
}

type ownerReference struct {
	APIVersion         string `json:"apiVersion"`
	Kind               string `json:"kind"`
	Name               string `json:"name"`
	UID                string `json:"uid"`
	Controller         bool   `json:"controller"`
	BlockOwnerDeletion bool   `json:"blockOwnerDeletion"`
}

type podObject struct {
	Kind       string     `json:"kind"`
	APIVersion string     `json:"apiVersion"`
	Metadata   objectMeta `json:"metadata"`
	Spec       podSpec    `json:"spec"`
	Status     podStatus  `json:"status"`
}

type podSpec struct {
	Containers    []container `json:"containers"`
	RestartPolicy string      `json:"restartPolicy,omitempty"`
	GraceSeconds  int64       `json:"terminationGracePeriodSeconds,omitempty"`
	DNSPolicy     string      `json:"dnsPolicy,omitempty"`
	NodeName      string      `json:"nodeName,omitempty"`
	HostNetwork   bool        `json:"hostNetwork,omitempty"`
	SchedulerName string      `json:"schedulerName,omitempty"`
}

type container struct {
	Name  string          `json:"name"`
	Image string          `json:"image"`
	Ports []containerPort `json:"ports,omitempty"`
}

type containerPort struct {
	ContainerPort uint16 `json:"containerPort"`
	HostPort      uint16 `json:"hostPort,omitempty"`
	Protocol      string `json:"protocol"`
}

type podStatus struct {
	ObservedGeneration int               `json:"observedGeneration,omitempty"`
	Phase              string            `json:"phase,omitempty"`
	Conditions         []condition       `json:"conditions,omitempty"`
	HostIP             string            `json:"hostIP,omitempty"`
	HostIPs            []ipField         `json:"hostIPs,omitempty"`
	PodIP              string            `json:"podIP,omitempty"`
	PodIPs             []ipField         `json:"podIPs,omitempty"`
	StartTime          string            `json:"startTime,omitempty"`
	Containers         []containerStatus `json:"containerStatuses,omitempty"`
	QOSClass           string            `json:"qosClass,omitempty"`
}

type ipField struct {
	IP string `json:"ip"`
}

type condition struct {
	Type               string  `json:"type"`
	ObservedGeneration int     `json:"observedGeneration,omitempty"`
	Status             string  `json:"status"`
	LastProbeTime      *string `json:"lastProbeTime"`
	LastTransitionTime string  `json:"lastTransitionTime"`
	Reason             string  `json:"reason,omitempty"`
	Message            string  `json:"message,omitempty"`
}

type containerStatus struct {
	Name         string         `json:"name"`
	State        containerState `json:"state"`
	LastState    containerState `json:"lastState"`
	Ready        bool           `json:"ready"`
	RestartCount int            `json:"restartCount"`
	Image        string         `json:"image"`
	ImageID      string         `json:"imageID"`
	ContainerID  string         `json:"containerID,omitempty"`
	Started      bool           `json:"started"`
}

type containerState struct {
	Waiting    *waiting    `json:"waiting,omitempty"`
	Running    *running    `json:"running,omitempty"`
	Terminated *terminated `json:"terminated,omitempty"`
}

type waiting struct {
	Reason string `json:"reason"`
}

type running struct {
	StartedAt string `json:"startedAt"`
}

type terminated struct {
	ExitCode    int    `json:"exitCode"`
	Reason      string `json:"reason"`
	StartedAt   string `json:"startedAt"`
	FinishedAt  string `json:"finishedAt"`
	ContainerID string `json:"containerID"`
}

// second writes a time as metav1.Time does: whole seconds, rounded down.
func second(at int64) string { return time.UnixMilli(at).UTC().Format(time.RFC3339) }

// object renders a version as a Pod.
func (v *version) object(nics []NIC) *podObject {
	p := v.pod
	o := &podObject{Kind: "Pod", APIVersion: "v1"}
	o.Metadata = objectMeta{
		Name: p.Name, Namespace: p.Namespace, UID: p.UID, ResourceVersion: decimal(v.rv),
		Generation: v.generation, CreationTimestamp: second(p.created),
		Labels: map[string]string{"app": p.Owner},
		Owners: []ownerReference{v.owner()},
	}
	if v.deletion > 0 {
		o.Metadata.DeletionTimestamp = second(v.deletion)
		o.Metadata.DeletionGrace = &v.grace
	}
	o.Spec = v.spec()
	o.Status = v.status(&nics[p.Node])
	return o
}

func (v *version) owner() ownerReference {
	group := map[string]string{"Job": "batch/v1"}[v.pod.OwnerKind]
	if group == "" {
		group = "apps/v1"
	}
	id := fingerprint(v.pod.OwnerKind+v.pod.Owner, 16)
	uid := id[:8] + "-" + id[8:12] + "-4" + id[13:16] + "-8" + id[17:20] + "-" + id[20:32]
	return ownerReference{group, v.pod.OwnerKind, v.pod.Owner, uid, true, true}
}

func (v *version) spec() podSpec {
	p := v.pod
	s := podSpec{
		Containers:    []container{{Name: "c", Image: image(p), Ports: []containerPort{{ContainerPort: p.port, Protocol: "TCP"}}}},
		RestartPolicy: "Always", GraceSeconds: max(p.grace, 1),
		DNSPolicy: "ClusterFirst", HostNetwork: p.HostNetwork, SchedulerName: "default-scheduler",
	}
	if p.OwnerKind == "Job" {
		s.RestartPolicy, s.GraceSeconds = "OnFailure", 30
	}
	if p.forced {
		s.GraceSeconds = 30
	}
	if p.HostNetwork {
		s.Containers[0].Ports[0].HostPort = p.port
	}
	if v.bound {
		s.NodeName = p.NodeName
	}
	return s
}

func image(p *Pod) string { return "registry.example/" + p.Namespace + "/app:1" }

// status renders what the kubelet reported.
func (v *version) status(nic *NIC) podStatus {
	s := podStatus{Phase: v.phase, QOSClass: "BestEffort", ObservedGeneration: v.observed}
	if v.bound && v.acked == 0 {
		s.Conditions = []condition{v.condition("PodScheduled", true, v.boundAt, "", "")}
	}
	if v.acked == 0 {
		return s
	}
	s.Conditions = v.conditions()
	s.StartTime = second(v.acked)
	s.HostIP, s.HostIPs = nic.IP.String(), []ipField{{nic.IP.String()}}
	if nic.IP6.IsValid() {
		s.HostIPs = append(s.HostIPs, ipField{nic.IP6.String()})
	}
	if v.box >= 0 {
		box := &v.pod.Sandboxes[v.box]
		s.PodIP, s.PodIPs = box.Addr.String(), []ipField{{box.Addr.String()}}
		if box.Addr6.IsValid() {
			s.PodIPs = append(s.PodIPs, ipField{box.Addr6.String()})
		}
	}
	s.Containers = []containerStatus{v.container()}
	return s
}

func (v *version) conditions() []condition {
	reason, message := "", ""
	switch {
	case v.serving:
	case v.phase == "Failed":
		reason = "PodFailed"
	case v.phase == "Succeeded" || v.finished > 0 && v.pod.OwnerKind == "Job":
		reason = "PodCompleted"
	default:
		reason, message = "ContainersNotReady", "containers with unready status: [c]"
	}
	return []condition{
		v.condition("PodReadyToStartContainers", v.isReady, v.ready, "", ""),
		v.condition("Initialized", true, v.acked, "", ""),
		v.condition("Ready", v.serving, v.servingAt, reason, message),
		v.condition("ContainersReady", v.serving, v.servingAt, reason, message),
		v.condition("PodScheduled", true, v.boundAt, "", ""),
	}
}

func (v *version) condition(name string, is bool, at int64, reason, message string) condition {
	status := "False"
	if is {
		status = "True"
	}
	return condition{Type: name, ObservedGeneration: v.observed, Status: status,
		LastTransitionTime: second(at), Reason: reason, Message: message}
}

func (v *version) container() containerStatus {
	c := containerStatus{
		Name: "c", Image: image(v.pod), RestartCount: v.restarts,
		State: v.state(), Ready: v.serving, Started: v.serving,
	}
	if v.started > 0 {
		c.ImageID = "sha256:" + fingerprint(image(v.pod), 32)
		c.ContainerID = v.containerID()
	}
	if v.lastEnd != nil {
		c.LastState = v.lastEnd.state()
	}
	return c
}

func (v *version) state() containerState {
	switch {
	case v.started == 0:
		return containerState{Waiting: &waiting{"ContainerCreating"}}
	case v.finished == 0:
		return containerState{Running: &running{second(v.started)}}
	}
	t := &terminated{Reason: "Completed", StartedAt: second(v.started), FinishedAt: second(v.finished),
		ContainerID: v.containerID()}
	if v.phase == "Failed" || v.phase == "Running" && v.pod.failed {
		t.ExitCode, t.Reason = 143, "Error" // SIGTERM
	}
	return containerState{Terminated: t}
}

func (v *version) containerID() string {
	return "containerd://" + fingerprint(v.pod.UID+decimal(uint64(v.restarts)), 32)
}

// fingerprint stretches a text to n bytes of hex that look random.
func fingerprint(text string, n int) string {
	r := stream(0, text, 0)
	raw := make([]byte, n)
	for i := range raw {
		raw[i] = byte(r.Uint32())
	}
	return hex.EncodeToString(raw)
}

// podList is the object of a SNAPSHOT line.
type podList struct {
	Kind       string       `json:"kind"`
	APIVersion string       `json:"apiVersion"`
	Metadata   objectMeta   `json:"metadata"`
	Items      []*podObject `json:"items"`
}

// bookmark is the object of a BOOKMARK line: a Pod with nothing but a resource version.
var _ json.Marshaler = bookmark(0)

type bookmark uint64

// MarshalJSON writes what the API server sends.
func (b bookmark) MarshalJSON() ([]byte, error) {
	return []byte(`{"kind":"Pod","apiVersion":"v1","metadata":{"resourceVersion":"` + decimal(uint64(b)) +
		`"},"spec":{"containers":null},"status":{}}`), nil
}
