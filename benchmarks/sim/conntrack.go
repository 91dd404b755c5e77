package sim

import (
	"bufio"
	"cmp"
	"fmt"
	"io"
	"net/netip"
	"slices"
)

// trackEvent is one line of a node's connection tracking.
type trackEvent struct {
	at   int64
	kind byte // 'N' new, 'U' answered, 'W' closed and waiting, 'D' destroyed
	flow uint32
}

// WriteConntrack writes what `conntrack -E -o timestamp,extended` prints on a node of
// the run: each connection that leaves it, with the translation. Connections inside the
// node are left out, and so is the node that takes its place. Times are by the node's own clock.
func (w *World) WriteConntrack(to io.Writer, node int) error {
	return w.WriteConntrackUntil(to, node, 0, forever)
}

// WriteConntrackUntil is WriteConntrack of one of the lives of a node, up to a time, Unix
// milliseconds, by the node's clock.
func (w *World) WriteConntrackUntil(to io.Writer, node, life int, until int64) error {
	out := bufio.NewWriterSize(to, 1<<18)
	open := map[tuple]uint32{} // by the tuple before translation
	skew := w.NICs[node].KubeletSkew
	l := w.NICs[node].Lives()[life]
	from, end := max(w.Config.startMS(), l.From), min(w.Config.endMS(), l.To, min(until, forever)-skew)
	for _, e := range w.tracked(node) {
		f := &w.flows[e.flow]
		original := w.original(f)
		holder, taken := open[original]
		switch {
		case e.kind == 'N' && taken:
			// A new connection on a waiting entry: the kernel drops the entry first.
			w.track(out, trackEvent{e.at, 'D', holder}, skew, from, end)
			open[original] = e.flow
		case e.kind == 'N':
			open[original] = e.flow
		case !taken || holder != e.flow:
			continue // ended that way before
		case e.kind == 'D':
			delete(open, original)
		}
		w.track(out, e, skew, from, end)
	}
	if err := out.Flush(); err != nil {
		return fmt.Errorf("write conntrack events: %w", err)
	}
	return nil
}

// tracked lists the events of a node's connections in order of time.
func (w *World) tracked(node int) []trackEvent {
	var out []trackEvent
	for i := range w.flows {
		f := &w.flows[i]
		if int(f.srcNIC) != node {
			continue
		}
		id := uint32(i)
		out = append(out, trackEvent{f.begin, 'N', id})
		switch {
		case f.denied:
			out = append(out, trackEvent{f.taken() + w.Config.timeWait() - 1, 'D', id}) // its retries keep the entry
			continue
		case f.end-f.last <= 1000 && !f.udp:
			out = append(out, trackEvent{f.begin + 1, 'U', id}, trackEvent{f.end, 'W', id}, trackEvent{f.end + w.Config.timeWait(), 'D', id})
		default: // nobody closed it: the entry stays for as long as its port is not given again
			out = append(out, trackEvent{f.begin + 1, 'U', id}, trackEvent{f.taken() + w.Config.timeWait() - 1, 'D', id})
		}
	}
	out = slices.DeleteFunc(out, func(e trackEvent) bool { return w.NICs[node].away(w.flows[e.flow].begin, e.at) })
	slices.SortStableFunc(out, func(a, b trackEvent) int { return cmp.Compare(a.at, b.at) })
	return out
}

// original is a flow's tuple as the sender made it.
func (w *World) original(f *flowRecord) tuple {
	t := tuple{f.src, f.dst, f.wanted, f.dport, f.udp}
	if f.masked {
		t.src = w.Pods[f.srcPod].Sandboxes[f.srcBox].address(f.v6)
	}
	return t
}

// track writes one line, if it is of the run.
func (w *World) track(out *bufio.Writer, e trackEvent, skew, from, end int64) {
	if e.at < from || e.at >= end {
		return
	}
	f := &w.flows[e.flow]
	t := w.original(f)
	event := map[byte]string{'N': "    [NEW]", 'U': " [UPDATE]", 'W': " [UPDATE]", 'D': "[DESTROY]"}[e.kind]
	// Without a state, as of UDP, the column is left out; an entry that is gone has no timeout.
	state := map[byte]string{'N': "120 SYN_SENT ", 'U': "432000 ESTABLISHED ", 'W': "120 TIME_WAIT ", 'D': "TIME_WAIT "}[e.kind]
	protocol := "tcp      6"
	if f.udp {
		protocol = "udp      17"
		state = map[byte]string{'N': "30 ", 'U': "30 "}[e.kind]
	}
	unreplied, assured := "", " [ASSURED]"
	if e.kind == 'N' || f.denied {
		unreplied, assured = "[UNREPLIED] ", ""
	}
	at := e.at + skew
	// Microseconds tell lines of a millisecond apart; the flow's number gives them.
	fmt.Fprintf(out, "[%d.%03d%03d]\t%s %s %s %s%s %s%s%s\n", at/1000, at%1000, e.flow%1000, event, layer3(f.dst), protocol, state,
		pair(t.src, f.dst, t.sport, f.dport), unreplied, pair(f.dst, f.src, f.dport, f.sport), assured)
}

func layer3(a netip.Addr) string {
	if a.Is4() {
		return "ipv4     2"
	}
	return "ipv6     10"
}

func pair(src, dst netip.Addr, sport, dport uint16) string {
	return fmt.Sprintf("src=%s dst=%s sport=%d dport=%d", src, dst, sport, dport)
}
