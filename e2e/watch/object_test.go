//go:build e2e

package watch_test

import (
	"net/netip"
	"time"
)

// The parts of Kubernetes' objects that the churn writes (kubernetes/api,
// core/v1/types.go and meta/v1/types.go). Times have whole seconds, as everywhere in
// its API.

type object struct {
	APIVersion string    `json:"apiVersion,omitempty"`
	Kind       string    `json:"kind,omitempty"`
	Metadata   *metadata `json:"metadata,omitempty"`
	Spec       *spec     `json:"spec,omitempty"`
	Status     *status   `json:"status,omitempty"`
}

type metadata struct {
	Name      string            `json:"name,omitempty"`
	Namespace string            `json:"namespace,omitempty"`
	UID       string            `json:"uid,omitempty"`
	Labels    map[string]string `json:"labels,omitempty"`
}

type spec struct {
	NodeName    string      `json:"nodeName,omitempty"`
	HostNetwork bool        `json:"hostNetwork,omitempty"`
	PodCIDR     string      `json:"podCIDR,omitempty"` // of a node
	Containers  []container `json:"containers,omitempty"`
}

type container struct {
	Name  string `json:"name"`
	Image string `json:"image"`
}

type status struct {
	Phase      string            `json:"phase,omitempty"`
	Message    string            `json:"message,omitempty"`
	HostIP     *netip.Addr       `json:"hostIP,omitempty"`
	HostIPs    []addressOf       `json:"hostIPs,omitempty"`
	PodIP      *netip.Addr       `json:"podIP,omitempty"`
	PodIPs     []addressOf       `json:"podIPs,omitempty"`
	StartTime  *time.Time        `json:"startTime,omitempty"`
	Conditions []condition       `json:"conditions,omitempty"`
	Containers []containerStatus `json:"containerStatuses,omitempty"`
	Addresses  []nodeAddress     `json:"addresses,omitempty"` // of a node
}

type nodeAddress struct {
	Type    string     `json:"type"`
	Address netip.Addr `json:"address"`
}

type addressOf struct {
	IP netip.Addr `json:"ip"`
}

type condition struct {
	Type               string    `json:"type"`
	Status             string    `json:"status"`
	LastTransitionTime time.Time `json:"lastTransitionTime"`
}

type containerStatus struct {
	Name         string `json:"name"`
	Image        string `json:"image"`
	ImageID      string `json:"imageID"`
	Ready        bool   `json:"ready"`
	RestartCount int    `json:"restartCount"`
	State        state  `json:"state"`
}

// state has nulls: a merge patch takes away what is not so any more.
type state struct {
	Running    *stateTimes `json:"running"`
	Terminated *stateTimes `json:"terminated"`
}

type stateTimes struct {
	StartedAt  time.Time  `json:"startedAt"`
	FinishedAt *time.Time `json:"finishedAt,omitempty"`
}

type deletion struct {
	APIVersion    string         `json:"apiVersion"`
	Kind          string         `json:"kind"`
	Grace         int            `json:"gracePeriodSeconds"`
	Preconditions *preconditions `json:"preconditions,omitempty"`
}

type preconditions struct {
	UID string `json:"uid"`
}

func ips(a netip.Addr) []addressOf { return []addressOf{{a}} }

// set turns a condition.
func (s *status) set(name, value string, at time.Time) {
	for i := range s.Conditions {
		if c := &s.Conditions[i]; c.Type == name {
			c.Status, c.LastTransitionTime = value, at
			return
		}
	}
	s.Conditions = append(s.Conditions, condition{name, value, at})
}

// Those of rbac/v1/types.go.

type role struct {
	APIVersion string   `json:"apiVersion"`
	Kind       string   `json:"kind"`
	Metadata   metadata `json:"metadata"`
	Rules      []rule   `json:"rules"`
}

type rule struct {
	APIGroups []string `json:"apiGroups"`
	Resources []string `json:"resources"`
	Verbs     []string `json:"verbs"`
}

type binding struct {
	APIVersion string      `json:"apiVersion"`
	Kind       string      `json:"kind"`
	Metadata   metadata    `json:"metadata"`
	RoleRef    reference   `json:"roleRef"`
	Subjects   []reference `json:"subjects"`
}

type reference struct {
	APIGroup string `json:"apiGroup"`
	Kind     string `json:"kind"`
	Name     string `json:"name"`
}
