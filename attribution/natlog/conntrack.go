package natlog

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"strconv"

	"github.com/whichpod/whichpod/attribution/nat"
)

// conntrackParser reads what "conntrack -E -o timestamp,extended" of conntrack-tools
// prints, one event a line:
//
//	[1795438861.012756]	    [NEW] ipv4     2 tcp      6 120 SYN_SENT src=10.244.0.11 dst=203.0.113.66 sport=47902 dport=8443 [UNREPLIED] src=203.0.113.66 dst=10.224.0.4 sport=8443 dport=47902
//
// The time is the tool's, in seconds and microseconds. After the protocol's number come
// the timeout and the state, which not all have; counters (packets=, bytes=), zone=,
// mark=, id=, delta-time= and words in brackets may come. Two tuples are there: as the
// sender made the connection, and as an answer to it comes in.
type conntrackParser struct {
	sum     *Summary
	tracker *Tracker
	last    int64 // Unix milliseconds of the last event
	lost    bool  // a line since it could not be read
}

// maxSilence is how long a file may show no event and still be taken for whole, in
// milliseconds: nothing marks where the tool was stopped and started again. It is the
// shortest time for which Linux keeps an answered connection of TCP, UDP or ICMP after
// its last packet, unless told otherwise (nf_conntrack_tcp_timeout_close; the kernel's
// nf_conntrack-sysctl.rst). One that is refused goes at once (nf_conntrack_proto_tcp.c),
// so a shorter break can hide a user of a port all the same: docs/verdicts.md says so.
const maxSilence = 10_000

func (p *conntrackParser) line(b []byte) error {
	e, err := parseConntrack(b)
	if err != nil {
		p.sum.reject(p.sum.Lines, "%v", err)
		p.unread()
		return nil
	}
	e.Place = uint64(p.sum.Lines)
	p.sum.Events++
	at := milliCeil(e.At)
	if p.last != 0 && (p.lost || at-p.last > maxSilence) {
		if err := p.tracker.Lost(p.last, max(p.last, at)); err != nil {
			return err
		}
	}
	p.last, p.lost = max(p.last, at), false
	return p.tracker.Take(&e)
}

// unread says that a line was an event, perhaps, and is lost.
func (p *conntrackParser) unread() { p.lost = true }

func (p *conntrackParser) end() error {
	err := p.tracker.Close()
	p.sum.Flows, p.sum.Losses, p.sum.Covered = p.tracker.flows, p.tracker.losses, p.tracker.covered
	return err
}

var (
	errNoTime  = errors.New("it does not begin with a time, want [SECONDS.MICROSECONDS] as -o timestamp prints")
	errNoEvent = errors.New("it names no event, want [NEW], [UPDATE] or [DESTROY]")
	errCut     = errors.New("it does not have both directions of a connection; perhaps it was cut")
)

// parseConntrack reads a line.
func parseConntrack(b []byte) (Event, error) {
	var e Event
	f := fields{b}
	first := f.next()
	if len(first) < 3 || first[0] != '[' || first[len(first)-1] != ']' {
		return e, errNoTime
	}
	var ok bool
	if e.At, ok = microTime(first[1 : len(first)-1]); !ok {
		return e, errNoTime
	}
	switch string(f.next()) {
	case "[NEW]":
		e.Kind = New
	case "[UPDATE]":
		e.Kind = Update
	case "[DESTROY]":
		e.Kind = Destroy
	default:
		return e, errNoEvent
	}
	f.next() // ipv4 or ipv6, and its number
	f.next()
	f.next() // the protocol's name, and its number
	protocol, err := strconv.ParseUint(string(f.next()), 10, 8)
	if err != nil {
		return e, fmt.Errorf("it names no protocol by number: %q", clip(b))
	}
	e.Protocol = uint8(protocol)
	return e, e.rest(f)
}

// rest reads the tuples and what stands beside them.
func (e *Event) rest(f fields) error {
	var t [2]tuple
	n := -1
	for word := f.next(); word != nil; word = f.next() {
		name, value, ok := bytes.Cut(word, []byte("="))
		if !ok {
			e.Fresh = e.Fresh || string(word) == "SYN_RECV"
			continue
		}
		if string(name) == "src" {
			n++
		}
		var err error
		switch string(name) {
		case "zone":
			var z uint64
			z, err = strconv.ParseUint(string(value), 10, 16)
			e.Zone = uint16(z)
		case "delta-time":
			var seconds int64
			if seconds, err = strconv.ParseInt(string(value), 10, 64); err == nil && seconds >= 0 {
				e.Lasted = seconds + 1 // it is cut to whole seconds
			}
		default:
			if n >= 0 && n < 2 {
				err = t[n].set(name, value)
			}
		}
		if err != nil {
			return fmt.Errorf("%s is %q: %w", name, clip(value), err)
		}
	}
	if n != 1 || !t[0].whole() || !t[1].whole() || t[0].src.Is4() != t[1].src.Is4() {
		return errCut
	}
	for i := range t {
		if needsPorts(e.Protocol) && t[i].seen&(sawSport|sawDport) != sawSport|sawDport {
			return errCut
		}
	}
	e.Original = nat.Tuple{Src: t[0].src, Dst: t[0].dst, SrcPort: t[0].sport, DstPort: t[0].dport}
	e.Reply = nat.Tuple{Src: t[1].src, Dst: t[1].dst, SrcPort: t[1].sport, DstPort: t[1].dport}
	if t[0].seen&sawID != 0 { // of ICMP: the identifier is what is translated
		e.Original.SrcPort, e.Reply.DstPort = t[0].id, t[1].id
	}
	return nil
}

// needsPorts says whether connections of the protocol have ports: TCP, UDP, DCCP,
// SCTP, UDP-Lite.
func needsPorts(protocol uint8) bool {
	switch protocol {
	case 6, 17, 33, 132, 136:
		return true
	}
	return false
}

// tuple is one direction, as far as it was read.
type tuple struct {
	src, dst     netip.Addr
	sport, dport uint16
	id           uint16
	seen         uint8
}

const (
	sawSport = 1 << iota
	sawDport
	sawID
)

func (t *tuple) whole() bool { return t.src.IsValid() && t.dst.IsValid() && t.src.Is4() == t.dst.Is4() }

func (t *tuple) set(name, value []byte) (err error) {
	switch string(name) {
	case "src":
		t.src, err = address(value)
	case "dst":
		t.dst, err = address(value)
	case "sport":
		t.sport, err = port(value)
		t.seen |= sawSport
	case "dport":
		t.dport, err = port(value)
		t.seen |= sawDport
	case "id":
		if t.seen&sawID == 0 && t.seen&sawSport == 0 { // else it is the connection's
			t.id, err = port(value)
			t.seen |= sawID
		}
	}
	return err
}

func address(b []byte) (netip.Addr, error) {
	a, err := netip.ParseAddr(string(b))
	if err != nil {
		return a, errors.New("no address")
	}
	if a.Zone() != "" {
		return netip.Addr{}, errors.New("an address with a zone")
	}
	return a.Unmap(), nil
}

func port(b []byte) (uint16, error) {
	n, err := strconv.ParseUint(string(b), 10, 16)
	if err != nil {
		return 0, errors.New("no number from 0 to 65535")
	}
	return uint16(n), nil
}

// microTime reads SECONDS.MICROSECONDS, six digits behind the dot.
func microTime(b []byte) (int64, bool) {
	whole, part, ok := bytes.Cut(b, []byte("."))
	s, err1 := strconv.ParseInt(string(whole), 10, 64)
	us, err2 := strconv.ParseUint(string(part), 10, 32)
	if !ok || err1 != nil || err2 != nil || len(part) != 6 || s <= 0 || s > maxSeconds {
		return 0, false
	}
	return s*1_000_000 + int64(us), true
}

// maxSeconds is the year 2286: a time after it is no time.
const maxSeconds = 9_999_999_999

// fields yields the words of a line.
type fields struct{ b []byte }

func (f *fields) next() []byte {
	i := 0
	for i < len(f.b) && (f.b[i] == ' ' || f.b[i] == '\t') {
		i++
	}
	j := i
	for j < len(f.b) && f.b[j] != ' ' && f.b[j] != '\t' {
		j++
	}
	word := f.b[i:j]
	f.b = f.b[j:]
	if len(word) == 0 {
		return nil
	}
	return word
}

// clip keeps a message short.
func clip(b []byte) []byte { return b[:min(len(b), 60)] }
