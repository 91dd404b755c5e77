package main

import (
	"bytes"
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/whichpod/whichpod/query"
)

// ownersOf is a history of n owners in a row, ten minutes each, with a minute between.
func ownersOf(cluster string, n int) ([]query.Pod, []query.Gap) {
	const start, minute = 1_795_430_000_000, 60_000
	var pods []query.Pod
	var vacant []query.Gap
	for i := range n {
		from := query.Time(start + i*11*minute)
		pods = append(pods, query.Pod{Kind: "pod", Cluster: cluster, Namespace: "a-namespace-with-a-long-name", Name: fmt.Sprintf("a-deployment-with-a-longer-name-%d", i), UID: fmt.Sprintf("00000000-0000-4000-8000-%012d", i),
			Node: "aks-np1-12345678-vmss000000", Source: "watch", FromEarliest: from, FromLatest: from + 2000, ToEarliest: from + 9*minute, ToLatest: from + 10*minute})
		vacant = append(vacant, query.Gap{Cluster: cluster, From: from + 10*minute, To: from + 11*minute})
	}
	return pods, vacant
}

func drawn(t *testing.T, o *query.Owners, limit int) []string {
	t.Helper()
	var out bytes.Buffer
	a := &app{stdout: &answerWriter{w: &out}, output: "text"}
	o.Question = &query.Question{Of: query.Endpoint{Prefix: netip.MustParsePrefix("10.244.0.9/32")}}
	if err := a.printOwners(o, limit); err != nil {
		t.Fatal(err)
	}
	return strings.Split(out.String(), "\n")
}

// Thousands of owners stay readable in a terminal: the last ones, in 80 columns of
// plain ASCII, and how many were left out.
func TestOwnersOfLongHistory(t *testing.T) {
	pods, vacant := ownersOf("prod", 5000)
	o := &query.Owners{Owners: pods, Vacant: vacant, From: pods[0].FromEarliest, To: vacant[4999].To}
	lines := drawn(t, o, 40)
	stays := 0
	for _, l := range lines {
		if len(l) > terminal && !strings.HasPrefix(l, "[") {
			t.Errorf("line has %d columns: %s", len(l), l)
		}
		if strings.IndexFunc(l, func(r rune) bool { return r < ' ' || r > '~' }) >= 0 {
			t.Errorf("line is not plain ASCII: %q", l)
		}
		if strings.Contains(l, "=") && strings.Contains(l, "|") {
			stays++
		}
	}
	if stays != 40 || !strings.Contains(strings.Join(lines, "\n"), "4960 owners earlier left out: --since, --until and --limit show them") {
		t.Errorf("%d stays are drawn, want 40, in\n%s", stays, strings.Join(lines[:6], "\n"))
	}
	if all := drawn(t, &query.Owners{Owners: pods, Vacant: vacant, From: o.From, To: o.To}, 5000); strings.Contains(strings.Join(all[:5], "\n"), "left out") {
		t.Error("something is left out, though the limit is the number of owners")
	}
}

// Certain and uncertain time, gaps and vacancies have marks of their own; open ends go
// to the edge; two clusters are apart.
func TestOwnersTimeline(t *testing.T) {
	at := func(minute int) query.Time { return query.Time(1_795_430_400_000 + minute*60_000) } // 10:40:00
	o := &query.Owners{From: at(0), To: at(60),
		Owners: []query.Pod{
			{Kind: "pod", Cluster: "prod", Namespace: "web", Name: "a", UID: "u1", Node: "n", Source: "watch", FromEarliest: at(0), FromLatest: at(10), ToEarliest: at(20), ToLatest: at(30)},
			{Kind: "pod", Cluster: "prod", Namespace: "web", Name: "b", UID: "u2", Node: "n", Source: "audit", FromEarliest: at(40), FromLatest: at(45), KnownUntil: at(50)},
			{Kind: "pod", Cluster: "stage", Namespace: "web", Name: "c", UID: "u3", Node: "m", Source: "list", FromLatest: at(30)},
		},
		Gaps:   []query.Gap{{Cluster: "prod", From: at(50), To: at(60)}},
		Vacant: []query.Gap{{Cluster: "prod", From: at(30), To: at(40)}},
	}
	var bars []string
	for _, tl := range timelines(o) {
		for i := range tl.lines {
			bars = append(bars, tl.cluster+" "+tl.bar(&tl.lines[i], 12)+" "+tl.lines[i].what)
		}
	}
	want := []string{
		"prod ~~==~~       web/a",
		"prod       ..     nobody",
		"prod         ~=~~ web/b",
		"prod           xx not watched",
		"stage ~~~~~~~~~~~~ web/c",
	}
	if diff := cmp.Diff(want, bars); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}
