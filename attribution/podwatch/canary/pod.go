package canary

import (
	"cmp"
	"fmt"
	"net/netip"
	"time"
)

// The parts of a pod that are set and read (kubernetes/api, core/v1/types.go).
type (
	pod struct {
		APIVersion string   `json:"apiVersion"`
		Kind       string   `json:"kind"`
		Metadata   metadata `json:"metadata"`
		Spec       podSpec  `json:"spec"`
		Status     status   `json:"status,omitzero"`
	}
	metadata struct {
		Name      string            `json:"name"`
		Namespace string            `json:"namespace,omitempty"`
		UID       string            `json:"uid,omitempty"`
		Labels    map[string]string `json:"labels,omitempty"`
	}
	podSpec struct {
		NodeName              string            `json:"nodeName,omitempty"`
		NodeSelector          map[string]string `json:"nodeSelector,omitempty"`
		RestartPolicy         string            `json:"restartPolicy"`
		ActiveDeadlineSeconds int64             `json:"activeDeadlineSeconds,omitempty"`
		GraceSeconds          int64             `json:"terminationGracePeriodSeconds"`
		MountToken            bool              `json:"automountServiceAccountToken"`
		ServiceLinks          bool              `json:"enableServiceLinks"`
		Security              *podSecurity      `json:"securityContext,omitempty"`
		Containers            []container       `json:"containers"`
	}
	podSecurity struct {
		RunAsNonRoot bool     `json:"runAsNonRoot"`
		RunAsUser    int64    `json:"runAsUser"`
		RunAsGroup   int64    `json:"runAsGroup"`
		Seccomp      seccomp  `json:"seccompProfile"`
		Sysctls      []sysctl `json:"sysctls"`
	}
	seccomp struct {
		Type string `json:"type"`
	}
	sysctl struct {
		Name  string `json:"name"`
		Value string `json:"value"`
	}
	container struct {
		Name      string             `json:"name"`
		Image     string             `json:"image"`
		Command   []string           `json:"command"`
		Env       []env              `json:"env"`
		Resources resources          `json:"resources"`
		Security  *containerSecurity `json:"securityContext,omitempty"`
	}
	env struct {
		Name  string     `json:"name"`
		Value string     `json:"value,omitempty"`
		From  *envSource `json:"valueFrom,omitempty"`
	}
	envSource struct {
		Field fieldRef `json:"fieldRef"`
	}
	fieldRef struct {
		Path string `json:"fieldPath"`
	}
	resources struct {
		Requests map[string]string `json:"requests,omitempty"`
		Limits   map[string]string `json:"limits,omitempty"`
	}
	containerSecurity struct {
		Escalation   bool         `json:"allowPrivilegeEscalation"`
		ReadOnlyRoot bool         `json:"readOnlyRootFilesystem"`
		Capabilities capabilities `json:"capabilities"`
	}
	capabilities struct {
		Drop []string `json:"drop"`
	}
	status struct {
		Phase      string            `json:"phase"`
		Reason     string            `json:"reason"`
		Message    string            `json:"message"`
		HostIP     string            `json:"hostIP"`
		HostIPs    []address         `json:"hostIPs"`
		PodIP      string            `json:"podIP"`
		PodIPs     []address         `json:"podIPs"`
		Conditions []condition       `json:"conditions"`
		Containers []containerStatus `json:"containerStatuses"`
	}
	address struct {
		IP string `json:"ip"`
	}
	condition struct {
		Type    string `json:"type"`
		Status  string `json:"status"`
		Message string `json:"message"`
	}
	containerStatus struct {
		State containerState `json:"state"`
	}
	containerState struct {
		Waiting    *waiting    `json:"waiting"`
		Terminated *terminated `json:"terminated"`
	}
	waiting struct {
		Reason  string `json:"reason"`
		Message string `json:"message"`
	}
	terminated struct {
		ExitCode   int       `json:"exitCode"`
		StartedAt  time.Time `json:"startedAt"`
		FinishedAt time.Time `json:"finishedAt"`
	}
)

// nobody is the user and group that owns nothing.
const nobody = 65534

// pod is what the API server is asked for. It passes the strictest of the Pod Security
// Standards, "restricted", and gets no token.
func (c *Canary) pod() *pod {
	to := c.cfg.To
	return &pod{APIVersion: "v1", Kind: "Pod",
		Metadata: metadata{Name: c.name, Labels: map[string]string{"app.kubernetes.io/name": "whichpod-drill", "app.kubernetes.io/instance": c.name, "app.kubernetes.io/managed-by": "whichpod"}},
		Spec: podSpec{
			NodeName: c.cfg.Node, NodeSelector: map[string]string{"kubernetes.io/os": "linux"},
			RestartPolicy: "Never", ActiveDeadlineSeconds: int64(c.cfg.Deadline / time.Second),
			Security: &podSecurity{RunAsNonRoot: true, RunAsUser: nobody, RunAsGroup: nobody, Seccomp: seccomp{"RuntimeDefault"},
				Sysctls: []sysctl{{"net.ipv4.ip_local_port_range", fmt.Sprintf("%d %[1]d", c.port)}}},
			Containers: []container{{Name: "canary", Image: c.cfg.Image, Command: c.cfg.Command,
				Env:       []env{{Name: "TO", Value: to.String()}, {Name: "ADDRESS", Value: to.Addr().String()}, {Name: "PORT", Value: fmt.Sprint(to.Port())}, {Name: "UID", From: &envSource{fieldRef{"metadata.uid"}}}},
				Resources: resources{map[string]string{"cpu": "10m", "memory": "16Mi"}, map[string]string{"memory": "32Mi"}},
				Security:  &containerSecurity{ReadOnlyRoot: true, Capabilities: capabilities{[]string{"ALL"}}}}},
		}}
}

// sent is the pod once its container has ended and its address is known, else nil.
func (p *pod) sent() *Sent {
	addresses := parse(p.Status.PodIP, p.Status.PodIPs)
	if len(addresses) == 0 || len(p.Status.Containers) == 0 || p.Status.Containers[0].State.Terminated == nil {
		return nil
	}
	end := p.Status.Containers[0].State.Terminated
	return &Sent{Namespace: p.Metadata.Namespace, Name: p.Metadata.Name, UID: p.Metadata.UID, Node: p.Spec.NodeName,
		Addresses: addresses, NodeAddresses: parse(p.Status.HostIP, p.Status.HostIPs),
		Started: end.StartedAt.UTC(), Ended: end.FinishedAt.UTC(), ExitCode: end.ExitCode}
}

// parse reads addresses; an API server from before the list has only the first.
func parse(first string, list []address) []netip.Addr {
	if len(list) == 0 {
		list = []address{{first}}
	}
	var out []netip.Addr
	for _, s := range list {
		if a, err := netip.ParseAddr(s.IP); err == nil {
			out = append(out, a.Unmap())
		}
	}
	return out
}

// state says in words what the pod waits for.
func (p *pod) state() string {
	for _, s := range p.Status.Containers {
		if w := s.State.Waiting; w != nil {
			return fmt.Sprintf("its container waits: %s %s", w.Reason, w.Message)
		}
	}
	for _, c := range p.Status.Conditions {
		if c.Status == "False" && c.Message != "" {
			return fmt.Sprintf("%s is false: %s", c.Type, c.Message)
		}
	}
	return fmt.Sprintf("its phase is %s %s%s", cmp.Or(p.Status.Phase, "unknown"), p.Status.Reason, p.Status.Message)
}
