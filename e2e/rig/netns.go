//go:build e2e

package rig

import (
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/whichpod/whichpod/e2e/process"
)

// Namespace is a network namespace. The one of the test itself is VNet.
type Namespace struct{ name string }

// VNet is the namespace of the test.
var VNet = &Namespace{}

// NewNamespace makes a network namespace that lasts as long as the test.
func NewNamespace(t testing.TB, name string) *Namespace {
	t.Helper()
	n := &Namespace{name}
	VNet.Do(t, "ip netns add "+name)
	t.Cleanup(func() { VNet.Do(t, "ip netns del "+name) })
	n.Set(t, "net.ipv6.conf.default.accept_dad", 0) // nobody else can have an address
	n.Do(t, "ip link set lo up")
	return n
}

// NewHost makes a namespace with a wire to the VNet: a VM that is no node.
func NewHost(t testing.TB, name string, addresses ...netip.Addr) *Namespace {
	t.Helper()
	n := NewNamespace(t, name)
	wire(t, VNet, n, addresses)
	return n
}

// Command is a program inside the namespace, not started. It sees the mounts of the
// test: unlike "ip netns exec", nsenter leaves /sys alone, with its cgroups.
func (n *Namespace) Command(program string, args ...string) *exec.Cmd {
	if n.name == "" {
		return exec.Command(program, args...)
	}
	return exec.Command("nsenter", append([]string{"--net=" + filepath.Join("/run/netns", n.name), "--", program}, args...)...)
}

// Start starts a program in a namespace; what it says on stderr, and on stdout where
// that is nil, goes to a log.
func (n *Namespace) Start(t testing.TB, stdout *os.File, program string, args ...string) *process.Process {
	t.Helper()
	cmd := n.Command(program, args...)
	if stdout != nil {
		cmd.Stdout = stdout
	}
	return process.Start(t, process.NewLog(t, n.String()+": "+filepath.Base(program)), cmd)
}

// Do runs a command inside the namespace, which must succeed. Words are apart by
// blanks; none can hold one.
func (n *Namespace) Do(t testing.TB, words string) {
	t.Helper()
	f := strings.Fields(words)
	if out, err := n.Command(f[0], f[1:]...).CombinedOutput(); err != nil {
		t.Fatalf("%s: %s: %v: %s", n, words, err, out)
	}
}

func (n *Namespace) String() string {
	if n.name == "" {
		return "the VNet"
	}
	return n.name
}

// Set sets a kernel parameter of the namespace: Set(t, "net.ipv4.ip_forward", 1).
func (n *Namespace) Set(t testing.TB, parameter string, value any) {
	t.Helper()
	path := "/proc/sys/" + strings.ReplaceAll(parameter, ".", "/")
	if out, err := n.Command("sh", "-c", fmt.Sprintf("echo '%v' > %s", value, path)).CombinedOutput(); err != nil {
		t.Fatalf("%s: set %s to %v: %v: %s", n, parameter, value, err, out)
	}
}

// wire connects an inner namespace, in which it is eth0, to an outer one, in which it
// is called as the inner one. The inner one has the addresses given, and everything
// else is out there.
func wire(t testing.TB, outer, inner *Namespace, addresses []netip.Addr) {
	t.Helper()
	outer.Do(t, fmt.Sprintf("ip link add %s type veth peer name eth0 netns %[1]s", inner.name))
	outer.Do(t, fmt.Sprintf("ip link set %s up", inner.name))
	inner.Do(t, "ip link set eth0 up")
	for _, a := range addresses {
		gateway := gateway(outer, a)
		inner.Do(t, fmt.Sprintf("ip addr add %s dev eth0%s", netip.PrefixFrom(a, a.BitLen()), nodad(a)))
		outer.Do(t, fmt.Sprintf("ip addr replace %s dev %s%s", netip.PrefixFrom(netip.MustParseAddr(gateway), a.BitLen()), inner.name, nodad(a)))
		if a.Is4() {
			inner.Do(t, fmt.Sprintf("ip route add %s dev eth0", gateway))
		}
		inner.Do(t, fmt.Sprintf("ip route add default via %s dev eth0", gateway))
		outer.Do(t, fmt.Sprintf("ip route add %s dev %s", a, inner.name))
	}
}

// gateway is how the inner end of a wire calls the outer one. A node has both ends.
func gateway(outer *Namespace, a netip.Addr) string {
	ends := map[bool][2]string{true: {"169.254.1.1", "fe80::1"}, false: {"169.254.1.2", "fe80::2"}}[outer == VNet]
	if a.Is4() {
		return ends[0]
	}
	return ends[1]
}

// nodad: nobody else has the address, so it need not be looked for.
func nodad(a netip.Addr) string {
	if a.Is4() {
		return ""
	}
	return " nodad"
}
