// Package canary runs one pod on a live cluster that sends one flow, and says who it
// was.
//
// In: how to reach the API server, and what the pod is to be. Out: the pod's UID, which
// the API server gave it, its addresses and those of its node, the port that its flow
// left from, and when its container ran. The pod is deleted before Run returns,
// whatever happened.
//
// The port is chosen here, so that the flow is known again in a log among all others to
// the same place: the pod's kernel is given no other port for outgoing connections
// (net.ipv4.ip_local_port_range, one of the sysctls that Kubernetes calls safe,
// kubernetes.io/docs/tasks/administer-cluster/sysctl-cluster). A node that masquerades
// keeps it unless another connection from there to the same place has it.
//
// A Canary is run once, by one goroutine.
package canary

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/netip"
	"time"

	"k8s.io/client-go/rest"
)

// DefaultImage has a shell and nc, and comes from Microsoft's own registry, from which
// the nodes of AKS have their system images: a cluster with restricted egress reaches it
// too (learn.microsoft.com, "Outbound network and FQDN rules for AKS clusters").
const DefaultImage = "mcr.microsoft.com/azurelinux/busybox:1.36"

// DefaultCommand opens one connection and ends it. Kubernetes puts in the variables.
// That the image's busybox has nc is unproven [I]; Sent.ExitCode says if it had not.
var DefaultCommand = []string{"sh", "-c", `nc -w 5 "$0" "$1" </dev/null`, "$(ADDRESS)", "$(PORT)"}

// Config says which pod is to send what.
type Config struct {
	API       *rest.Config
	Namespace string
	Node      string // that it is to run on; empty leaves it to the scheduler
	Image     string
	// Command is what it runs. $(TO), $(ADDRESS), $(PORT) and $(UID) in it become
	// the destination, its parts, and the pod's UID.
	Command []string
	To      netip.AddrPort
	// Deadline is how long the pod may run before its kubelet ends it, should nobody
	// else: whole seconds.
	Deadline time.Duration
	// PollEvery is how often the API server is asked how the pod is.
	PollEvery time.Duration
}

// DefaultConfig has everything but the API server, the namespace and the destination.
func DefaultConfig() Config {
	return Config{Image: DefaultImage, Command: DefaultCommand, Deadline: 2 * time.Minute, PollEvery: time.Second}
}

// Ports that canaries send from: below those that kernels choose by themselves (32768 to
// 60999) and above most that services have.
const (
	firstPort = 20000
	numPorts  = 10000
)

// deletePatience is how long a deletion is tried: a CronJob's pod has half a minute
// after SIGTERM.
const deletePatience = 15 * time.Second

// Canary is a pod that sends one flow.
type Canary struct {
	cfg    Config
	client *http.Client
	pods   string // URL of the namespace's pods
	name   string
	port   uint16
}

// Sent is the pod that sent, as the API server knows it. Times named after the kubelet
// are of its clock, in whole seconds.
type Sent struct {
	Namespace, Name, UID, Node string
	Addresses, NodeAddresses   []netip.Addr
	Port                       uint16    // that the flow left the pod from
	Created                    time.Time // when it was asked for, by our clock
	Started, Ended             time.Time // its container, by the kubelet's
	ExitCode                   int
}

// New returns a canary. It sends nothing.
func New(cfg Config) (*Canary, error) {
	client, err := rest.HTTPClientFor(cfg.API)
	if err != nil {
		return nil, fmt.Errorf("run canary: %w", err)
	}
	base, _, err := rest.DefaultServerUrlFor(cfg.API)
	if err != nil {
		return nil, fmt.Errorf("run canary: %w", err)
	}
	return &Canary{cfg: cfg, client: client, pods: base.JoinPath("api/v1/namespaces", cfg.Namespace, "pods").String(),
		name: fmt.Sprintf("whichpod-drill-%08x", rand.Uint32()), port: uint16(firstPort + rand.IntN(numPorts))}, nil
}

// Run starts the pod, waits until its container has ended, and deletes it: also where
// the context ends, or an error comes first. That a deletion failed is part of the error.
func (c *Canary) Run(ctx context.Context) (sent *Sent, err error) {
	created := time.Now()
	var p pod
	if err := c.send(ctx, http.MethodPost, c.pods, c.pod(), &p); err != nil && !unanswered(err) {
		return nil, fmt.Errorf("create canary %q: %w", c.label(), err)
	} else if err != nil {
		return nil, errors.Join(fmt.Errorf("create canary %q: %w", c.label(), err), c.delete(ctx))
	}
	defer func() { err = errors.Join(err, c.delete(ctx)) }()
	uid := p.Metadata.UID
	for {
		if p.Metadata.UID != uid {
			return nil, fmt.Errorf("wait for canary %q: it became another pod: UID %s, and was %s", c.label(), p.Metadata.UID, uid)
		}
		if s := p.sent(); s != nil {
			s.Port, s.Created = c.port, created
			return s, nil
		}
		if p.Status.Phase == "Failed" {
			return nil, fmt.Errorf("wait for canary %q: it failed: %s", c.label(), p.state())
		}
		if err := pause(ctx, c.cfg.PollEvery); err != nil {
			return nil, fmt.Errorf("wait for canary %q: %w: %s", c.label(), err, p.state())
		}
		var now pod
		switch err := c.send(ctx, http.MethodGet, c.pods+"/"+c.name, nil, &now); {
		case err == nil:
			p = now
		case !unanswered(err):
			return nil, fmt.Errorf("wait for canary %q: %w", c.label(), err)
		}
	}
}

func (c *Canary) label() string { return c.cfg.Namespace + "/" + c.name }

// delete deletes the pod, though the context may have ended.
func (c *Canary) delete(parent context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(parent), deletePatience)
	defer cancel()
	for {
		err := c.send(ctx, http.MethodDelete, c.pods+"/"+c.name, nil, nil)
		var refused *StatusError
		if err == nil || errors.As(err, &refused) && refused.Code == http.StatusNotFound {
			return nil
		}
		if !unanswered(err) || pause(ctx, c.cfg.PollEvery) != nil {
			return fmt.Errorf("delete canary %q, which is still there: %w", c.label(), err)
		}
	}
}

// pause waits, or says that the context has ended.
func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// StatusError is the API server's answer where it is no success. It is returned as a
// pointer.
type StatusError struct {
	Code    int
	Message string
}

func (e *StatusError) Error() string {
	return fmt.Sprintf("the API server says %d: %s", e.Code, e.Message)
}

// Hint says what to do about a missing right.
func (e *StatusError) Hint() string {
	if e.Code == http.StatusForbidden {
		return "a Role with the verbs create, get and delete on pods is needed: deploy/drill.yaml has it; where the namespace's policy forbids the pod, -n names another"
	}
	return "see what the API server says; -n names another namespace"
}

// unanswered says whether trying again may help: the API server did not decide.
func unanswered(err error) bool {
	var decided *StatusError
	return !errors.As(err, &decided) || decided.Code >= 500 || decided.Code == http.StatusTooManyRequests
}

// send sends a request and reads the answer into out, which may be nil.
func (c *Canary) send(ctx context.Context, method, url string, in, out *pod) error {
	var body io.Reader
	if in != nil {
		data, err := json.Marshal(in)
		if err != nil {
			return err
		}
		body = bytes.NewReader(data)
	}
	req, err := http.NewRequestWithContext(ctx, method, url, body)
	if err != nil {
		return err
	}
	req.Header.Set("Accept", "application/json")
	req.Header.Set("Content-Type", "application/json")
	resp, err := c.client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		return err
	}
	if resp.StatusCode >= 300 {
		st := struct {
			Message string `json:"message"`
		}{string(data)}
		_ = json.Unmarshal(data, &st) // a proxy's answer is no Status: then it is shown as it is
		return &StatusError{resp.StatusCode, st.Message}
	}
	if out == nil {
		return nil
	}
	return json.Unmarshal(data, out)
}
