package query

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/whichpod/whichpod/attribution"
)

// Who is no candidate behind a node's address, and why: and nobody is both.
func TestExcluded(t *testing.T) {
	pod := func(uid, address string, from, to float64) attribution.Fact {
		f := attribution.Fact{Cluster: "prod", Pod: attribution.PodFact{UID: uid, Identity: &attribution.Identity{Namespace: "web", Name: uid, Node: "n", Version: 1,
			HostAddresses: []netip.Addr{netip.MustParseAddr(nIP)}}, Presence: attribution.Bounds{NotBefore: sec(from), SeenBy: sec(from), SeenLast: sec(from), RunningBy: sec(from), AliveAt: sec(from)}}}
		if to != 0 {
			f.Pod.Presence.AliveAt, f.Pod.Presence.StoppedFirst, f.Pod.Presence.StoppedLast = sec(to), sec(to), sec(to)
		}
		if address != "" {
			f.Pod.Holdings = []attribution.Holding{{Address: netip.MustParseAddr(address), Bounds: f.Pod.Presence}}
		}
		return f
	}
	facts := []attribution.Fact{
		{Cluster: "prod", Watched: &attribution.Range{From: sec(-9000), To: sec(9000)}},
		pod("there", "10.244.0.9", 10, 0), pod("no-address", "", 10, 0), pod("other-family", "fd00::9", 10, 0),
		pod("before", "10.244.0.10", 10, 200), pod("after", "10.244.0.11", 500, 0), pod("long-before", "10.244.0.12", -8000, -7000),
	}
	e := engine(t, facts, row(300, nIP+":4000 203.0.113.66:443 O B - -"), row(310, nIP+":4001 10.244.9.9:80 O B - -"))
	for _, c := range []struct{ to, verdict, candidates, excluded string }{
		{"203.0.113.66:443", "masked", "there no-address", "after: came, before: gone, other-family: family"},
		{"10.244.9.9:80", "host", "", "after: came, before: gone, there: masquerade, no-address: masquerade, other-family: masquerade"},
	} {
		a := who(t, e, nIP, c.to, Question{At: sec(305)})
		candidates, excluded := []string{}, map[string]string{}
		for _, p := range a.Candidates {
			if p.Kind == "pod" {
				candidates = append(candidates, p.UID)
			}
		}
		for _, x := range a.Excluded {
			excluded[x.UID] = x.Reason
		}
		if got := a.Verdict.String(); got != c.verdict || len(candidates) != len(strings.Fields(c.candidates)) {
			t.Errorf("to %s: got %s %v, want %s %s", c.to, got, candidates, c.verdict, c.candidates)
		}
		for _, uid := range candidates {
			if !strings.Contains(c.candidates, uid) || excluded[uid] != "" {
				t.Errorf("to %s: candidate %s, excluded: %q", c.to, uid, excluded[uid])
			}
		}
		want := strings.Split(c.excluded, ", ")
		if len(excluded) != len(want) {
			t.Errorf("to %s: excluded are %v, want %s", c.to, excluded, c.excluded)
		}
		for _, w := range want {
			uid, why, _ := strings.Cut(w, ": ")
			if !strings.Contains(excluded[uid], why) {
				t.Errorf("to %s: %s is excluded for %q, want something with %q", c.to, uid, excluded[uid], why)
			}
		}
	}
}

// A pod's own address where its node masquerades: the row counts, and is warned of.
func TestRowAgainstTheRules(t *testing.T) {
	for to, want := range map[string]bool{"203.0.113.66:443": true, "10.244.1.5:80": false} {
		e := engine(t, cluster(), row(300, aIP+":4000 "+to+" O B - -"))
		a := who(t, e, aIP+":4000", to, Question{})
		warned := strings.Contains(strings.Join(a.Warnings, "\n"), "1 of the rows from there show a pod's own address")
		if a.Verdict.String() != "exact" || warned != want {
			t.Errorf("to %s: %s, warned %v, want exact and %v", to, a.Verdict, warned, want)
		}
	}
}
