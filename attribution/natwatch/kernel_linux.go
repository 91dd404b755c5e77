package natwatch

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/mdlayher/netlink"
	"github.com/ti-mo/conntrack"
	"github.com/ti-mo/netfilter"
	"golang.org/x/sys/unix"

	"github.com/whichpod/whichpod/attribution/nat"
	"github.com/whichpod/whichpod/attribution/natlog"
)

// receiveBuffer is how much the kernel may keep for the agent, in bytes, which it
// doubles. An event takes 1,280 of them with its overhead (e2e/agent shows how many
// fit), so that it holds 100,000: two seconds of a node that opens 20,000 connections
// in each, and ends as many.
const receiveBuffer = 64 << 20

// kernel is the node's connection tracking, of the network namespace that the process
// is in.
type kernel struct {
	fd  int
	buf []byte
}

// hinted is an error with advice.
type hinted struct {
	error
	hint string
}

func (h hinted) Hint() string  { return h.hint }
func (h hinted) Unwrap() error { return h.error }

// OpenKernel listens to the begin and the end of connections. It needs CAP_NET_ADMIN
// in the network namespace of the process, and nothing else.
func OpenKernel(warn func(string)) (Kernel, error) {
	const folder = "/proc/sys/net/netfilter/"
	if _, err := os.Stat(folder + "nf_conntrack_max"); errors.Is(err, os.ErrNotExist) {
		return nil, hinted{errors.New("open connection tracking: the kernel has none"), "load it with \"modprobe nf_conntrack\"; a node that masquerades has it"}
	}
	if setting(folder+"nf_conntrack_events") == "0" {
		return nil, hinted{errors.New("open connection tracking: its events are off"), "set net.netfilter.nf_conntrack_events=1"}
	}
	if setting(folder+"nf_conntrack_timestamp") == "0" {
		warn("the kernel keeps no times of connections; those at which their events come are taken. \"sysctl net.netfilter.nf_conntrack_timestamp=1\" makes them exact")
	}
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_NETFILTER)
	if err != nil {
		return nil, fmt.Errorf("open netlink: %w", err)
	}
	k := &kernel{fd: fd, buf: make([]byte, 1<<16)}
	if err := k.join(); err != nil {
		return nil, errors.Join(err, unix.Close(fd))
	}
	return k, nil
}

func setting(path string) string {
	b, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}

func (k *kernel) join() error {
	if err := unix.SetsockoptInt(k.fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, receiveBuffer); err != nil {
		return notAllowed("enlarge the receive buffer", err)
	}
	if err := unix.Bind(k.fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return fmt.Errorf("bind netlink: %w", err)
	}
	for _, group := range []netfilter.NetlinkGroup{netfilter.GroupCTNew, netfilter.GroupCTDestroy} {
		if err := unix.SetsockoptInt(k.fd, unix.SOL_NETLINK, unix.NETLINK_ADD_MEMBERSHIP, int(group)); err != nil {
			return notAllowed("listen to connections", err)
		}
	}
	return nil
}

func notAllowed(what string, err error) error {
	err = fmt.Errorf("%s: %w", what, err)
	if errors.Is(err, unix.EPERM) {
		return hinted{err, "the agent needs CAP_NET_ADMIN in the node's network namespace: run it as root, or with that capability and hostNetwork"}
	}
	return err
}

// List implements [Kernel]: the kernel itself leaves out what is not translated.
func (k *kernel) List(fn func(natlog.Event) error) error {
	c, err := conntrack.Dial(nil)
	if err != nil {
		return err
	}
	defer c.Close()
	flows, err := c.DumpFilter(conntrack.NewFilter().Status(conntrack.StatusSrcNAT), nil)
	if err != nil {
		return err
	}
	for i := range flows {
		e, ok := eventOf(&flows[i], natlog.Listed)
		if ok && e.Translated() {
			if err := fn(e); err != nil {
				return err
			}
		}
	}
	return nil
}

// Next implements [Kernel].
func (k *kernel) Next(deadline time.Time) (natlog.Event, error) {
	for {
		n, _, err := unix.Recvfrom(k.fd, k.buf, 0)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case errors.Is(err, unix.ENOBUFS):
			return natlog.Event{}, ErrDropped
		case errors.Is(err, unix.EAGAIN):
			left := time.Until(deadline)
			if left <= 0 {
				return natlog.Event{}, ErrIdle
			}
			poll := []unix.PollFd{{Fd: int32(k.fd), Events: unix.POLLIN}}
			if _, err := unix.Poll(poll, int(left/time.Millisecond)+1); err != nil && !errors.Is(err, unix.EINTR) {
				return natlog.Event{}, fmt.Errorf("wait for netlink: %w", err)
			}
		case err != nil:
			return natlog.Event{}, fmt.Errorf("read netlink: %w", err)
		default:
			if e, ok, err := decode(k.buf[:n]); err != nil || ok {
				return e, err
			}
		}
	}
}

func (k *kernel) Close() error { return unix.Close(k.fd) }

// decode reads a message of one connection; false is one that is of no interest.
func decode(b []byte) (natlog.Event, bool, error) {
	if len(b) < unix.NLMSG_HDRLEN {
		return natlog.Event{}, false, fmt.Errorf("read netlink: %d bytes are no message", len(b))
	}
	length := binary.NativeEndian.Uint32(b)
	if int(length) > len(b) || length < unix.NLMSG_HDRLEN {
		return natlog.Event{}, false, fmt.Errorf("read netlink: a message of %d bytes in %d", length, len(b))
	}
	msg := netlink.Message{Data: b[unix.NLMSG_HDRLEN:length], Header: netlink.Header{
		Length: length, Type: netlink.HeaderType(binary.NativeEndian.Uint16(b[4:])), Flags: netlink.HeaderFlags(binary.NativeEndian.Uint16(b[6:]))}}
	var ev conntrack.Event
	if err := ev.Unmarshal(msg); err != nil {
		return natlog.Event{}, false, fmt.Errorf("read connection: %w", err)
	}
	if ev.Flow == nil {
		return natlog.Event{}, false, nil
	}
	kind := natlog.Update
	switch ev.Type {
	case conntrack.EventNew:
		kind = natlog.New
	case conntrack.EventDestroy:
		kind = natlog.Destroy
	}
	e, ok := eventOf(ev.Flow, kind)
	return e, ok, nil
}

// eventOf is what the kernel says of a connection; false where it has no addresses.
func eventOf(f *conntrack.Flow, kind natlog.Kind) (natlog.Event, bool) {
	e := natlog.Event{Kind: kind, Protocol: f.TupleOrig.Proto.Protocol, Zone: f.Zone, Original: tupleOf(&f.TupleOrig), Reply: tupleOf(&f.TupleReply)}
	if start := f.Timestamp.Start; !start.IsZero() && start.Unix() > 0 {
		e.Began = start.UnixMicro()
		if kind == natlog.New {
			e.At = e.Began
		}
	}
	if stop := f.Timestamp.Stop; kind == natlog.Destroy && !stop.IsZero() && stop.Unix() > 0 {
		e.At = stop.UnixMicro()
	}
	if e.Protocol == unix.IPPROTO_ICMP || e.Protocol == unix.IPPROTO_ICMPV6 {
		e.Original.SrcPort, e.Reply.DstPort = f.TupleOrig.Proto.ICMPID, f.TupleReply.Proto.ICMPID
	}
	return e, e.Original.Src.IsValid() && e.Reply.Src.IsValid() && e.Reply.Dst.IsValid()
}

func tupleOf(t *conntrack.Tuple) nat.Tuple {
	return nat.Tuple{Src: t.IP.SourceAddress.Unmap(), Dst: t.IP.DestinationAddress.Unmap(), SrcPort: t.Proto.SourcePort, DstPort: t.Proto.DestinationPort}
}
