//go:build e2e

package rig

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/whichpod/whichpod/e2e/process"
)

// watchEvent is a line of a watch journal, with the parts of a pod that the ledger
// uses (kubernetes/api, core/v1/types.go). Times in objects have whole seconds.
type (
	watchEvent struct {
		Type       string    `json:"type"`
		ReceivedAt time.Time `json:"receivedAt"`
		Object     any       `json:"object"`
	}
	podList struct {
		APIVersion string      `json:"apiVersion"`
		Kind       string      `json:"kind"`
		Metadata   listVersion `json:"metadata"`
		Items      []podObject `json:"items"`
	}
	listVersion struct {
		ResourceVersion string `json:"resourceVersion"`
	}
	podObject struct {
		APIVersion string      `json:"apiVersion"`
		Kind       string      `json:"kind"`
		Metadata   podMetadata `json:"metadata"`
		Spec       podSpec     `json:"spec"`
		Status     podStatus   `json:"status"`
	}
	podMetadata struct {
		Namespace         string `json:"namespace,omitempty"`
		Name              string `json:"name,omitempty"`
		UID               string `json:"uid,omitempty"`
		ResourceVersion   string `json:"resourceVersion"`
		CreationTimestamp string `json:"creationTimestamp,omitempty"`
	}
	podSpec struct {
		NodeName   string         `json:"nodeName,omitempty"`
		Containers []podContainer `json:"containers,omitempty"`
	}
	podContainer struct {
		Name string `json:"name"`
	}
	podStatus struct {
		Phase             string            `json:"phase,omitempty"`
		HostIP            string            `json:"hostIP,omitempty"`
		HostIPs           []podAddress      `json:"hostIPs,omitempty"`
		PodIP             string            `json:"podIP,omitempty"`
		PodIPs            []podAddress      `json:"podIPs,omitempty"`
		StartTime         string            `json:"startTime,omitempty"`
		Conditions        []podCondition    `json:"conditions,omitempty"`
		ContainerStatuses []containerStatus `json:"containerStatuses,omitempty"`
	}
	podAddress struct {
		IP netip.Addr `json:"ip"`
	}
	podCondition struct {
		Type               string `json:"type"`
		Status             string `json:"status"`
		LastTransitionTime string `json:"lastTransitionTime"`
	}
	containerStatus struct {
		Name  string         `json:"name"`
		State containerState `json:"state"`
	}
	containerState struct {
		Running    *containerTimes `json:"running,omitempty"`
		Terminated *containerTimes `json:"terminated,omitempty"`
	}
	containerTimes struct {
		StartedAt  string `json:"startedAt"`
		FinishedAt string `json:"finishedAt,omitempty"`
	}
)

// reported is how long an API server and a watch take to show what happened: more than
// in recordings of a real kubelet.
const reported = 200 * time.Millisecond

// WriteJournal writes what a watch of the cluster's pods would have seen, from a list
// of none at a time before the first of them until now.
func (c *Cluster) WriteJournal(t testing.TB, file string, since time.Time) {
	t.Helper()
	events := []watchEvent{{"SNAPSHOT", since, podList{"v1", "PodList", listVersion{"1"}, []podObject{}}}}
	for at := since.Add(time.Minute); at.Before(time.Now()); at = at.Add(time.Minute) {
		events = append(events, watchEvent{"BOOKMARK", at, podObject{APIVersion: "v1", Kind: "Pod"}})
	}
	for _, p := range c.Pods {
		events = append(events, p.events()...)
	}
	events = append(events, watchEvent{"BOOKMARK", time.Now(), podObject{APIVersion: "v1", Kind: "Pod"}})
	slices.SortStableFunc(events, func(a, b watchEvent) int { return a.ReceivedAt.Compare(b.ReceivedAt) })
	var text bytes.Buffer
	for i, e := range events {
		if o, ok := e.Object.(podObject); ok {
			o.Metadata.ResourceVersion = fmt.Sprint(i + 2)
			e.Object = o
		}
		process.Must(t, json.NewEncoder(&text).Encode(e))
	}
	process.Must(t, os.WriteFile(file, text.Bytes(), 0o644))
}

// events are a pod's: created, taken on by its kubelet and running, ended and gone.
func (p *Pod) events() []watchEvent {
	o := podObject{APIVersion: "v1", Kind: "Pod", Spec: podSpec{p.Node.name, []podContainer{{"c"}}},
		Metadata: podMetadata{Namespace: "default", Name: p.Name, UID: p.UID, CreationTimestamp: whole(p.Created)}, Status: podStatus{Phase: "Pending"}}
	events := []watchEvent{{"ADDED", p.Created, o}}
	o.Status = podStatus{Phase: "Running", StartTime: whole(p.Created), HostIP: p.Node.Addresses[0].String(), HostIPs: podAddresses(p.Node.Addresses),
		PodIP: p.Addresses[0].String(), PodIPs: podAddresses(p.Addresses),
		Conditions:        []podCondition{{"PodReadyToStartContainers", "True", whole(p.Ready)}},
		ContainerStatuses: []containerStatus{{"c", containerState{Running: &containerTimes{StartedAt: whole(p.Ready)}}}}}
	events = append(events, watchEvent{"MODIFIED", p.Ready.Add(reported), o})
	if p.Ended.IsZero() {
		return events
	}
	o.Status.Phase = "Failed"
	o.Status.ContainerStatuses = []containerStatus{{"c", containerState{Terminated: &containerTimes{whole(p.Ready), whole(p.Ended)}}}}
	return append(events, watchEvent{"MODIFIED", p.Ended.Add(reported), o}, watchEvent{"DELETED", p.Ended.Add(2 * reported), o})
}

func podAddresses(list []netip.Addr) []podAddress {
	var out []podAddress
	for _, a := range list {
		out = append(out, podAddress{a})
	}
	return out
}

// whole is a time as objects have it.
func whole(t time.Time) string { return t.UTC().Truncate(time.Second).Format(time.RFC3339) }
