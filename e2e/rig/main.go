//go:build e2e

// Package rig gives end-to-end tests a virtual network in this machine's kernel, in
// namespaces of their own: nodes with the masquerade rules of each network mode, and
// a flow log as Azure writes it, recorded on the far side of each node's interface.
//
// The test process itself is the VNet: it routes between the nodes and has the
// addresses of all that is no node (a VM, a peered network, the internet). Each node
// is a network namespace with one wire to it, each pod one behind its node. Nothing
// of the machine's own network is touched, and nothing is left behind, however the
// test ends: its processes are in a PID namespace that ends with it.
//
// It needs root, and Debian's iproute2, iptables and conntrack, which .ci/run
// installs. Where the machine does not allow namespaces, Main says so, loudly.
package rig

import (
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// within is set in the environment of the process inside the namespaces: the folder
// with the programs under test.
const within = "WHICHPOD_E2E_WITHIN"

// A Probe says why a machine can not run the tests of a package, or nil. It runs
// inside the namespaces.
type Probe func() error

// Main runs the tests of a package inside namespaces of their own, and returns the
// exit code. tools are the programs that they need besides those of every rig, each
// of which .ci/run installs: a missing one is a failure. A probe that fails is not: a
// machine may forbid what these tests do, and then they say so instead of running.
func Main(m *testing.M, tools []string, probes ...Probe) int {
	if os.Getenv(within) != "" {
		return inside(m, probes)
	}
	for _, tool := range append([]string{"ip", "iptables", "ip6tables", "conntrack", "nsenter"}, tools...) {
		if _, err := exec.LookPath(tool); err != nil {
			fmt.Fprintf(os.Stderr, "%v: \".ci/run\" installs it\n", err)
			return 1
		}
	}
	code, err := outside()
	if err != nil {
		fmt.Fprintln(os.Stderr, "e2e/rig:", err)
		return 1
	}
	return code
}

// outside builds what is tested, and runs this program again inside namespaces: what
// is to be built may have to be fetched, and inside there is no network.
func outside() (code int, err error) {
	dir, err := os.MkdirTemp("", "whichpod-e2e")
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	for _, program := range []string{"cmd/whichpod", "e2e/rig/traffic"} {
		build := exec.Command("go", "build", "-trimpath", "-ldflags=-s -w", "-o", filepath.Join(dir, filepath.Base(program)), "github.com/whichpod/whichpod/"+program)
		build.Env = append(os.Environ(), "CGO_ENABLED=0") // traffic is all that an image has
		if out, err := build.CombinedOutput(); err != nil {
			return 0, fmt.Errorf("build %s: %w\n%s", program, err, out)
		}
	}
	self := exec.Command("/proc/self/exe", os.Args[1:]...)
	self.Stdin, self.Stdout, self.Stderr = os.Stdin, os.Stdout, os.Stderr
	self.Env = append(os.Environ(), within+"="+dir)
	self.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWNET | syscall.CLONE_NEWNS | syscall.CLONE_NEWPID,
		Pdeathsig:  syscall.SIGKILL,
	}
	if err := self.Start(); err != nil {
		if errors.Is(err, fs.ErrPermission) {
			notHere(fmt.Errorf("make namespaces: %w", err))
			return 0, nil
		}
		return 0, err
	}
	if err := self.Wait(); err != nil && self.ProcessState.ExitCode() < 0 {
		return 0, err // killed
	}
	return self.ProcessState.ExitCode(), nil
}

// inside makes the namespaces usable and runs the tests.
func inside(m *testing.M, probes []Probe) int {
	if err := settle(); err != nil {
		notHere(err)
		return 0
	}
	for _, probe := range append([]Probe{probeKernel}, probes...) {
		if err := probe(); err != nil {
			notHere(err)
			return 0
		}
	}
	return m.Run()
}

// settle gives the process a /proc of its own PID namespace, and places for what its
// programs keep outside of the folders that they are given.
func settle() error {
	if err := syscall.Mount("", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make mounts private: %w", err)
	}
	if err := syscall.Mount("proc", "/proc", "proc", 0, ""); err != nil {
		return fmt.Errorf("mount /proc: %w", err)
	}
	for _, dir := range []string{"/run", "/var/lib", "/var/log"} {
		if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "mode=755"); err != nil {
			return fmt.Errorf("mount %s: %w", dir, err)
		}
	}
	for _, parameter := range []string{"ipv4/ip_forward", "ipv6/conf/all/forwarding"} {
		if err := os.WriteFile("/proc/sys/net/"+parameter, []byte("1"), 0o644); err != nil {
			return err
		}
	}
	return command("ip", "link", "set", "lo", "up")
}

// probeKernel tries what every rig needs of the kernel.
func probeKernel() error {
	defer command("ip", "netns", "del", "probe")
	for _, words := range []string{
		"ip netns add probe",
		"ip link add probe type veth peer name eth0 netns probe",
		"nsenter --net=/run/netns/probe iptables -t nat -A POSTROUTING -m addrtype ! --dst-type LOCAL -j MASQUERADE",
		"iptables -A INPUT -m conntrack --ctstate INVALID",
		"conntrack -L",
	} {
		f := strings.Fields(words)
		if err := command(f[0], f[1:]...); err != nil {
			return err
		}
	}
	return nil
}

// notHere says that nothing was tested, so that nobody overlooks it.
func notHere(why error) {
	line := strings.Repeat("*", 78)
	fmt.Fprintf(os.Stderr, "\n%s\n* NOT TESTED: %s\n* This machine can not run it: %v\n%s\n\n", line, flag.CommandLine.Name(), why, line)
}

// Program is the path of a program that is under test, "whichpod", or that helps
// testing, "traffic".
func Program(name string) string { return filepath.Join(os.Getenv(within), name) }

// command runs a program in the VNet and waits for it.
func command(name string, args ...string) error {
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		return fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, strings.TrimSpace(string(out)))
	}
	return nil
}
