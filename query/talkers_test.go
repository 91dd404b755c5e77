package query

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/whichpod/whichpod/attribution"
	"github.com/whichpod/whichpod/attribution/nat"
)

func TestTalkers(t *testing.T) {
	t.Parallel()
	e := rowsOfTests(t)
	for _, c := range []struct {
		name, of string
		q        Question
		want     string
	}{
		{"of an address", internet, Question{Since: sec(90), Until: sec(450)}, "masked rows=4 bytes=5683/7607 | exact a rows=2 bytes=500/900 | masked @n a rows=2 bytes=5183/6707"},
		{"of an address and its port", internet + ":25", Question{}, "exact a rows=2 bytes=3/4 | exact a rows=2 bytes=3/4"},
		{"of a range", "203.0.113.0/24:25", Question{}, "exact a rows=2 bytes=3/4 | exact a rows=2 bytes=3/4"},
		{"of a pod: who called it and whom it called; two copies of one flow count once", bIP, Question{}, "exact rows=5 bytes=70/90 | exact a rows=4 bytes=70/90 | external rows=1 bytes=0/0"},
		{"nobody", "192.0.2.0/24", Question{}, "none rows=0 bytes=0/0"},
	} {
		c.q.Of = endpoint(t, c.of)
		a, err := e.Talkers(context.Background(), c.q)
		must(t, err)
		if got := answersText(a); got != c.want {
			t.Errorf("%s:\n got %s\nwant %s", c.name, got, c.want)
		}
		checkAnswer(t, c.name, tree(t, a), false)
		if none := strings.Contains(strings.Join(a.Warnings, " "), "no row shows this address"); none != (a.Verdict == 0) {
			t.Errorf("%s: warnings are %q", c.name, a.Warnings)
		}
	}
}

func TestOwners(t *testing.T) {
	t.Parallel()
	forced := pod("f", "gone", "n", nIP, aIP, 3500, 0)
	forced.Pod.Deleted = attribution.Removal{At: sec(3600), Version: 9000}
	e := engine(t, append(cluster(), forced))
	for _, c := range []struct {
		of       string
		q        Question
		want     string
		gaps     int
		warnings int
	}{
		{aIP, Question{}, "a a2 f", 1, 1},
		{aIP, Question{Since: sec(1100), Until: sec(1900)}, "a2", 0, 0},
		{aIP, Question{Since: sec(3900)}, "a2 f", 0, 1},
		{aIP, Question{Since: sec(500), Until: sec(600)}, "a", 0, 0},
		{aIP, Question{Until: sec(5)}, "", 0, 0},
		{bIP, Question{Since: sec(1900), Until: sec(5000)}, "b", 2, 0},
		{nIP, Question{}, "node n", 1, 0},
		{"192.0.2.1", Question{}, "", 0, 0},
	} {
		c.q.Of = endpoint(t, c.of)
		o, err := e.Owners(c.q)
		must(t, err)
		var got []string
		for i := range o.Owners {
			if o.Owners[i].Kind == "node" {
				got = append(got, o.Owners[i].Label())
			} else {
				got = append(got, o.Owners[i].UID)
			}
		}
		if strings.Join(got, " ") != c.want || len(o.Gaps) != c.gaps || len(o.Warnings) != c.warnings {
			t.Errorf("%s %+v: got %q, gaps %v, warnings %q; want %q, %d, %d", c.of, c.q, got, o.Gaps, o.Warnings, c.want, c.gaps, c.warnings)
		}
	}
	// Since a time without an end is until now.
	e.at(9000)
	for _, c := range []struct {
		since    float64
		from, to float64
		gap      Gap
	}{
		{3900, 3900, 4000, Gap{}},
		{5000, 5000, 9000, Gap{"prod", Time(sec(5000)), Time(attribution.Open)}}, // after all that is known
	} {
		o, err := e.Owners(Question{Of: endpoint(t, aIP), Since: sec(c.since)})
		must(t, err)
		if o.From != Time(sec(c.from)) || o.To != Time(sec(c.to)) || (c.gap == Gap{}) != (len(o.Gaps) == 0) || (c.gap != Gap{} && o.Gaps[0] != c.gap) {
			t.Errorf("since %v: %s to %s, gaps %v", c.since, o.From, o.To, o.Gaps)
		}
	}
	if _, err := e.Owners(Question{Of: endpoint(t, "10.0.0.0/8")}); err == nil || !strings.Contains(err.Error(), "want one address") {
		t.Errorf("of a range: got %v", err)
	}
}

// A StatefulSet uses its names again: one trail for each UID.
func TestTrail(t *testing.T) {
	t.Parallel()
	e := rowsOfTests(t)
	text := func(ref attribution.PodRef, since, until int64) []string {
		tr, err := e.Trail(context.Background(), ref, since, until)
		must(t, err)
		out := []string{}
		for _, p := range tr.Pods {
			out = append(out, p.Pod.Label()+" "+p.Pod.UID)
			for _, a := range p.Addresses {
				out = append(out, " had "+a.Address)
			}
			for _, peer := range p.Peers {
				denied := ""
				if peer.Denied {
					denied = " denied"
				}
				out = append(out, fmt.Sprintf(" %s %s:%d %s rows=%d bytes=%d/%d%s", peer.Direction, peer.Address, peer.Port, peer.Verdict, peer.Flows.Rows, peer.Flows.BytesSent, peer.Flows.BytesReceived, denied))
			}
		}
		return out
	}
	if diff := cmp.Diff([]string{
		"web/api-0 a", " had 10.244.0.9",
		" sent 203.0.113.66:443 exact rows=2 bytes=500/900", " sent 10.244.1.5:80 exact rows=4 bytes=70/90",
		" sent 203.0.113.66:8443 masked rows=2 bytes=5183/6707",
		" sent 203.0.113.66:22 exact rows=1 bytes=0/0 denied", " sent 203.0.113.66:80 exact rows=1 bytes=11/12",
		" sent 203.0.113.66:25 exact rows=2 bytes=3/4", " sent 203.0.113.66:80 boundary rows=1 bytes=13/14",
		"web/api-0 a2", " had 10.244.0.9",
		" sent 203.0.113.66:80 boundary rows=1 bytes=13/14", " sent 203.0.113.66:443 exact rows=2 bytes=7/8",
	}, text(attribution.PodRef{Namespace: "web", Name: "api-0"}, 0, 0)); diff != "" {
		t.Errorf("by name: -want +got:\n%s", diff)
	}
	if diff := cmp.Diff([]string{"web/api-1 b", " had 10.244.1.5", " received 10.244.0.9:80 exact rows=4 bytes=70/90"},
		text(attribution.PodRef{UID: "b"}, sec(0), sec(650))); diff != "" {
		t.Errorf("by UID, in a range: -want +got:\n%s", diff)
	}
	if got := text(attribution.PodRef{Namespace: "kube-system", Name: "api-0"}, 0, 0); len(got) != 0 {
		t.Errorf("in another namespace: got %q", got)
	}
}

// Each hands on every row once, in flow order, and says which are in a range.
// What evidence shows to be a pod's, who asks for the pod's peers finds too, whatever the ledger
// knows of the address.
func TestTrailBehindEvidence(t *testing.T) {
	for name, at := range map[string]string{"a former pod's": "10.244.0.77", "nobody's": "10.224.0.99", "a node's": nIP} {
		e := engine(t, append(cluster(), pod("old", "old-0", "n", nIP, "10.244.0.77", 10, 100)), row(500, at+":1027 203.0.113.66:443 O B 10 20"))
		s, err := nat.Open(t.TempDir(), nat.Options{})
		must(t, err)
		defer s.Close()
		w, err := s.Begin(nat.Import{Cluster: "prod", Kind: "conntrack", Name: "x"})
		must(t, err)
		must(t, w.Add(nat.Flow{Key: nat.Key{Src: addr(at), SrcPort: 1027, Dst: addr(internet), DstPort: 443, Protocol: 6}, Node: "n",
			Original:     nat.Tuple{Src: addr(aIP), SrcPort: 40000, Dst: addr(internet), DstPort: 443},
			FromEarliest: sec(499), FromLatest: sec(499), ToEarliest: sec(510), ToLatest: sec(510)}))
		w.Cover("n", "s", sec(200), sec(900))
		_, err = w.Commit("")
		must(t, err)
		e.view.WithNAT(s)
		if got := answersText(who(t, e, at+":1027", internet+":443", Question{})); !strings.HasPrefix(got, "exact a") {
			t.Fatalf("%s: who says %q, want pod a", name, got)
		}
		tr, err := e.Trail(context.Background(), attribution.PodRef{UID: "a"}, 0, 0)
		must(t, err)
		if len(tr.Pods[0].Peers) != 1 || tr.Pods[0].Peers[0].Address != internet {
			t.Errorf("%s: the trail has the peers %+v", name, tr.Pods[0].Peers)
		}
	}
}

func TestAll(t *testing.T) {
	t.Parallel()
	e := rowsOfTests(t)
	for _, c := range []struct {
		since, until float64
		want         int
	}{{0, 0, 18}, {160, 300, 5}, {160, 300.001, 6}, {5000, 0, 0}, {0, 100, 0}} {
		var q Question
		if c.since != 0 {
			q.Since = sec(c.since)
		}
		if c.until != 0 {
			q.Until = sec(c.until)
		}
		n := 0
		must(t, e.All(context.Background(), q.Since, q.Until, func(a Attributed, rows []int32) error {
			if len(a.Begins) != a.Len() || len(a.Joined.Src) != a.Len() || len(a.Joined.Dst) != a.Len() {
				t.Fatalf("%d rows with %d begins", a.Len(), len(a.Begins))
			}
			if !slices.IsSorted(rows) {
				t.Errorf("rows %v do not ascend", rows)
			}
			n += len(rows)
			return nil
		}))
		if n != c.want {
			t.Errorf("%v to %v: %d rows, want %d", c.since, c.until, n, c.want)
		}
	}
	full := fmt.Errorf("disk is full")
	if err := e.All(context.Background(), 0, 0, func(Attributed, []int32) error { return full }); err == nil || !strings.Contains(err.Error(), "disk is full") {
		t.Errorf("got %v, want the receiver's error", err)
	}
}
