package rivals

import (
	"context"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/whichpod/whichpod/benchmarks/sim"
)

// story is one address that three pods have, one after the other, with times in seconds
// after 12:00. a is a job: finished at 100, its object stays until 400 and is written once
// more at 250. b has the address from 120 and is deleted at 200. c has it from 260 on.
var story = []string{
	event("SNAPSHOT", 0, `{"items": []}`),
	event("ADDED", 10, pod("a", "", "Pending")),
	event("MODIFIED", 12, pod("a", "10.0.0.1", "Running")),
	event("MODIFIED", 100, pod("a", "10.0.0.1", "Succeeded")),
	event("MODIFIED", 120, pod("b", "10.0.0.1", "Running")),
	event("DELETED", 200, pod("b", "10.0.0.1", "Running")),
	event("MODIFIED", 250, pod("a", "10.0.0.1", "Succeeded")),
	event("MODIFIED", 260, pod("c", "10.0.0.1", "Running")),
	event("DELETED", 400, pod("a", "10.0.0.1", "Succeeded")),
	event("BOOKMARK", 1200, `{}`),
}

var noon = time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)

func event(kind string, at int, object string) string {
	return `{"type": "` + kind + `", "receivedAt": "` + noon.Add(time.Duration(at)*time.Second).Format(time.RFC3339) + `", "object": ` + object + `}`
}

func pod(uid, address, phase string) string {
	ips := "[]"
	if address != "" {
		ips = `[{"ip": "` + address + `"}]`
	}
	return `{"metadata": {"uid": "` + uid + `", "creationTimestamp": "` + map[string]string{"a": "2026-11-20T12:00:10Z", "b": "2026-11-20T12:01:50Z", "c": "2026-11-20T12:03:30Z"}[uid] +
		`"}, "status": {"phase": "` + phase + `", "podIPs": ` + ips + `}}`
}

// Each rule names whom its description says, right or wrong.
func TestRules(t *testing.T) {
	seen, err := Watch(strings.NewReader(strings.Join(story, "\n")))
	if err != nil {
		t.Fatal(err)
	}
	address := netip.MustParseAddr("10.0.0.1")
	for _, c := range []struct {
		rule        string
		time, asked int // seconds after noon
		want        string
		why         string
	}{
		{"cluster as it is now", 50, 60, "c", "a had it; only c has it at the end"},

		{"snapshots every three minutes", 50, 60, "", "the list at 0 was empty"},
		{"snapshots every three minutes", 150, 300, "", "b lived between two lists"},
		{"snapshots every three minutes", 181, 300, "b", "the list at 180"},
		{"snapshots every three minutes", 350, 400, "b", "still the list at 180, though c has it"},
		{"snapshots every three minutes", 365, 400, "c", "the list at 360"},

		{"last writer wins", 50, 60, "a", ""},
		{"last writer wins", 50, 150, "b", "the row arrives when b has written"},
		{"last writer wins", 150, 255, "a", "b is gone, and a is on record"},
		{"last writer wins", 270, 300, "c", "c wrote after a"},
		{"last writer wins", 5, 11, "", "nobody showed it yet"},

		{"first match", 150, 190, "a", "a finished and is still listed"},
		{"first match", 270, 300, "a", "as before"},
		{"first match", 270, 401, "c", "a is deleted"},

		{"five minutes after delete", 5, 60, "a", "a sole candidate, at whatever time"},
		{"five minutes after delete", 150, 300, "a", "of several the first that lived then; a's object did"},
		{"five minutes after delete", 450, 500, "c", "a is kept until 700, and was deleted at 400"},
		{"five minutes after delete", 150, 1000, "c", "a and b were forgotten: a sole candidate"},

		{"plain as-of", 50, 400, "a", ""},
		{"plain as-of", 110, 400, "", "a was seen to finish, b not yet seen"},
		{"plain as-of", 150, 400, "b", ""},
		{"plain as-of", 259, 400, "", "c has the address, and nobody told yet"},
		{"plain as-of", 260, 400, "c", ""},
	} {
		at := func(s int) int64 { return noon.Add(time.Duration(s) * time.Second).UnixMilli() }
		if got := ruleNamed(t, c.rule).Pod(seen, Question{address, at(c.time), at(c.asked)}); got != c.want {
			t.Errorf("%s, row at %d read at %d: %q, want %q (%s)", c.rule, c.time, c.asked, got, c.want, c.why)
		}
	}
	for _, r := range Rules {
		if got := r.Pod(seen, Question{netip.MustParseAddr("10.0.0.2"), at50, at50}); got != "" {
			t.Errorf("%s names %q for an address that nobody had", r.Name, got)
		}
	}
}

var at50 = noon.Add(50 * time.Second).UnixMilli()

func ruleNamed(t *testing.T, name string) *Rule {
	t.Helper()
	for i := range Rules {
		if Rules[i].Name == name {
			return &Rules[i]
		}
	}
	t.Fatalf("no rule is called %q", name)
	return nil
}

// A list ends what it does not show; an address that changes ends the old one.
func TestWatch(t *testing.T) {
	seen, err := Watch(strings.NewReader(strings.Join([]string{
		event("ADDED", 10, pod("a", "10.0.0.1", "Running")),
		event("MODIFIED", 20, pod("a", "10.0.0.2", "Running")),
		event("ADDED", 25, pod("b", "10.0.0.1", "Running")),
		event("SNAPSHOT", 30, `{"items": [`+pod("a", "10.0.0.2", "Running")+`]}`),
	}, "\n")))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		address string
		at      int
		want    string
	}{{"10.0.0.1", 15, "a"}, {"10.0.0.1", 22, ""}, {"10.0.0.2", 22, "a"}, {"10.0.0.1", 27, "b"}, {"10.0.0.1", 31, ""}, {"10.0.0.2", 31, "a"}} {
		if got := seen.snapshot(netip.MustParseAddr(c.address), noon.Add(time.Duration(c.at)*time.Second).UnixMilli()); got != c.want {
			t.Errorf("%s at %d: %q, want %q", c.address, c.at, got, c.want)
		}
	}
	if _, err := Watch(strings.NewReader("{}\n{")); err == nil || !strings.Contains(err.Error(), "at byte") {
		t.Errorf("half a line: %v", err)
	}
}

// On a cluster whose pods live for four minutes the rules go wrong where they are known
// to, and whichpod never does; the same seed gives the same scores.
func TestMeasure(t *testing.T) {
	cfg := sim.DefaultConfig()
	cfg.Duration, cfg.MeanLifetime, cfg.Warmup, cfg.Traffic.FlowsPerSecond, cfg.Traffic.NodeFlows = 15*time.Minute, 4*time.Minute, 0, 0.1, 0.06
	for _, mode := range []sim.Mode{sim.Kubenet, sim.PodSubnet} {
		cfg.Mode = mode
		r, err := Measure(context.Background(), cfg, 2*time.Minute)
		if err != nil {
			t.Fatal(err)
		}
		scores := make(map[string]Score)
		for _, s := range r.Scores {
			t.Logf("%-11s %-30s pods' addresses: named %5.1f %%, wrong %5.2f %% of %d; nodes': named %5.1f %%, wrong %5.2f %% of %d", mode, s.Rule,
				100*s.AtPods.Named(), 100*s.AtPods.Mistaken(), s.AtPods.Rows, 100*s.AtNodes.Named(), 100*s.AtNodes.Mistaken(), s.AtNodes.Rows)
			scores[s.Rule] = s
		}
		for _, name := range []string{Whichpod, WithNAT} {
			if s := scores[name]; s.All().Wrong > 0 || s.AtPods.Named() < 0.97 {
				t.Errorf("%s: %s is wrong %d times and names %.3f of what shows pods", mode, name, s.All().Wrong, s.AtPods.Named())
			}
		}
		wrong := func(name string) float64 { s := scores[name]; return s.AtPods.Mistaken() }
		if now, lists, plain := wrong("cluster as it is now"), wrong("snapshots every three minutes"), wrong("plain as-of"); now <= lists || lists <= plain || plain == 0 {
			t.Errorf("%s: now is wrong on %.3f, lists on %.3f, plain as-of on %.3f", mode, now, lists, plain)
		}
		if s := scores["plain as-of"]; s.AtNodes.Mistaken() < 0.5 {
			t.Errorf("%s: plain as-of is wrong on %d of %d rows that show a node", mode, s.AtNodes.Wrong, s.AtNodes.Rows)
		}
		if s := scores[WithNAT]; s.AtNodes.Right <= scores[Whichpod].AtNodes.Right {
			t.Errorf("%s: NAT evidence names no more pods: %d", mode, s.AtNodes.Right)
		}
	}
}
