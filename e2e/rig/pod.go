//go:build e2e

package rig

import (
	"fmt"
	"net/netip"
	"syscall"
	"testing"
	"time"

	"github.com/whichpod/whichpod/attribution"
	"github.com/whichpod/whichpod/e2e/process"
)

// Cluster is a cluster in the VNet: nodes with the masquerade rules of one mode, and
// the pods that were on them.
type Cluster struct {
	Name  string
	Mode  attribution.Network
	Nodes []*Node
	Pods  []*Pod
}

// Pod is a pod and its life: a namespace behind its node.
type Pod struct {
	*Namespace
	Name, UID string
	Node      *Node
	Addresses []netip.Addr
	Server    *Server // what it serves, or nil
	Created   time.Time
	Ready     time.Time // when it had its addresses
	Ended     time.Time // when its containers had ended; zero while they run
	calls     []*process.Process
}

// made counts all pods: the names of namespaces are short, and no two are the same.
var made int

// NewPod makes a pod on a node of the cluster.
func (c *Cluster) NewPod(t testing.TB, node *Node, name string, addresses []netip.Addr) *Pod {
	t.Helper()
	made++
	p := &Pod{Name: name, UID: fmt.Sprintf("%08d-0000-4000-8000-%012d", made, made), Node: node, Addresses: addresses, Created: time.Now()}
	p.Namespace = NewNamespace(t, fmt.Sprintf("pod%d", made))
	wire(t, node.Namespace, p.Namespace, addresses)
	p.Ready = time.Now()
	c.Pods = append(c.Pods, p)
	return p
}

// Serve makes the pod serve a port at all its addresses.
func (p *Pod) Serve(t testing.TB, port uint16) {
	t.Helper()
	var targets []string
	for _, a := range p.Addresses {
		targets = append(targets, "tcp/"+netip.AddrPortFrom(a, port).String())
	}
	p.Server = p.Namespace.Serve(t, p.UID, targets...)
	p.Server.zone = p.Node.Zone
}

// Call makes the pod call targets, with its UID. Flags are those of "traffic call".
func (p *Pod) Call(t testing.TB, flags []string, targets ...string) {
	t.Helper()
	p.calls = append(p.calls, p.Namespace.Call(t, p.UID, flags, targets...))
}

// Call makes somebody call targets: a pod by its UID, or anybody else without one.
func (n *Namespace) Call(t testing.TB, uid string, flags []string, targets ...string) *process.Process {
	t.Helper()
	args := append([]string{"call", "-uid", uid}, flags...)
	return n.Start(t, nil, Program("traffic"), append(args, targets...)...)
}

// End ends the pod's containers, and then its sandbox with the addresses. What it
// served stays to be read.
func (p *Pod) End(t testing.TB) {
	t.Helper()
	p.Silence()
	if p.Server != nil {
		p.Server.End(syscall.SIGKILL)
	}
	p.Ended = time.Now()
	p.Node.Do(t, "ip link del "+p.Namespace.name) // its namespace goes with the test
}

// Silence ends the pod's calls.
func (p *Pod) Silence() {
	for _, c := range p.calls {
		c.End(syscall.SIGKILL)
	}
}
