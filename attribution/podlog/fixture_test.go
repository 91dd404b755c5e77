package podlog

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/whichpod/whichpod/attribution"
	"github.com/whichpod/whichpod/flow"
)

// Times in tests are seconds after ten o'clock.
var ten = time.Date(2026, 11, 23, 10, 0, 0, 0, time.UTC)

func sec(s float64) int64 { return ten.UnixMilli() + int64(s*1000) }

// clockText is a time as objects and lines have it.
func clockText(s float64) string { return time.UnixMilli(sec(s)).UTC().Format(time.RFC3339Nano) }

// podJSON is a pod object; more is further JSON of its status, and begins with a comma.
func podJSON(uid, ip string, version int, madeAt float64, more string) string {
	ips := ""
	if ip != "" {
		ips = fmt.Sprintf(`,"podIP":%q,"podIPs":[{"ip":%q}]`, ip, ip)
	}
	return fmt.Sprintf(`{"kind":"Pod","metadata":{"uid":%q,"name":%q,"namespace":"web","resourceVersion":"%d","creationTimestamp":%q},`+
		`"spec":{"nodeName":"n"},"status":{"phase":"Running","hostIP":"10.224.0.4","startTime":%q%s%s}}`,
		uid, uid, version, clockText(madeAt), clockText(madeAt), ips, more)
}

// ran is the status of one container that ran; ended 0 is that it still does.
func ran(started, ended float64) string {
	state := fmt.Sprintf(`"running":{"startedAt":%q}`, clockText(started))
	if ended != 0 {
		state = fmt.Sprintf(`"terminated":{"startedAt":%q,"finishedAt":%q}`, clockText(started), clockText(ended))
	}
	return `,"containerStatuses":[{"state":{` + state + `}}]`
}

// line is a line of a watch journal.
func line(typ string, at float64, object string) string {
	return fmt.Sprintf(`{"type":%q,"receivedAt":%q,"object":%s}`, typ, clockText(at), object)
}

func bookmark(at float64) string {
	return line("BOOKMARK", at, `{"kind":"Pod","metadata":{"resourceVersion":"1"}}`)
}

func snapshotLine(at float64, version int, pods ...string) string {
	return line("SNAPSHOT", at, fmt.Sprintf(`{"kind":"PodList","metadata":{"resourceVersion":"%d"},"items":[%s]}`, version, strings.Join(pods, ",")))
}

func journal(lines ...string) string { return strings.Join(lines, "\n") + "\n" }

// alive are bookmarks from one second to another, one a minute.
func alive(from, to float64) []string {
	var out []string
	for s := from; s <= to; s += 60 {
		out = append(out, bookmark(s))
	}
	return out
}

const theIP = "10.244.0.9"

func config() attribution.Config {
	cfg := attribution.DefaultConfig()
	cfg.Clusters = []attribution.Cluster{{Name: "c", Network: attribution.Overlay, PodCIDRs: []netip.Prefix{netip.MustParsePrefix("10.244.0.0/16")}}}
	return cfg
}

// readInto reads a file into a ledger, as the command line does.
func readInto(t testing.TB, l *attribution.Ledger, file string, opt Options) Summary {
	t.Helper()
	opt.Cluster = "c"
	if opt.Format == "" {
		opt.Format = Auto
	}
	if opt.ReadBy == 0 {
		opt.ReadBy = sec(86_400)
	}
	opt.Known = func(yield func(string, uint64, int64)) { l.Existing("c", yield) }
	opt.WatchedUntil = func(before int64) int64 { return l.WatchedUntil("c", before) }
	sum, err := Read(strings.NewReader(file), opt, func(facts []attribution.Fact) error {
		_, err := l.Append(facts...)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return sum
}

func viewOf(t testing.TB, file string, opt Options) (*attribution.View, Summary) {
	t.Helper()
	l := attribution.NewLedger()
	sum := readInto(t, l, file, opt)
	return l.View(config()), sum
}

// who renders who sent from an address in a flow that began then.
func who(v *attribution.View, ip string, at float64) string {
	return text(v.Resolve(attribution.Question{Address: netip.MustParseAddr(ip), Begin: flow.Span{From: sec(at), To: sec(at)}, Sent: true, Destination: netip.MustParseAddr("203.0.113.66")}))
}

func text(r *attribution.Resolution) string {
	out := r.Verdict.String()
	for _, c := range r.Candidates {
		if c.IsNode {
			out += " @" + c.Node
		} else {
			out += " " + c.UID
		}
	}
	return out
}

// watchedText renders when the cluster was watched, in seconds.
func watchedText(v *attribution.View) string {
	var out []string
	for _, c := range v.Stats() {
		for _, w := range c.Watched {
			out = append(out, fmt.Sprintf("%g-%g", float64(w.From-sec(0))/1000, float64(w.To-sec(0))/1000))
		}
	}
	return strings.Join(out, " ")
}

func mustAddr(s string) netip.Addr { return netip.MustParseAddr(s) }
