package query

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/whichpod/whichpod/flow"
)

// rowsOfTests: a's flows, one of a2's, one logged at both ends, one masked, one that
// ended late, one denied, one of a stranger's.
func rowsOfTests(t testing.TB) *Engine {
	return engine(t, cluster(),
		row(100, aIP+":4000 "+internet+":443 O B - -"), row(160, aIP+":4000 "+internet+":443 O E 500 900"),
		row(200, aIP+":5000 "+bIP+":80 O B - -"), row(260, aIP+":5000 "+bIP+":80 O E 70 90"),
		row(200, aIP+":5000 "+bIP+":80 I B - -"), row(260, aIP+":5000 "+bIP+":80 I E 71 91"),
		row(1500, aIP+":4000 "+internet+":443 O B - -"), row(1600, aIP+":4000 "+internet+":443 O E 7 8"),
		row(300, nIP+":1035 "+internet+":8443 O B - -"), row(400, nIP+":1035 "+internet+":8443 O E 5183 6707"),
		row(900, aIP+":6000 "+internet+":25 O B - -"), row(1400, aIP+":6000 "+internet+":25 O E 3 4"),
		row(500, aIP+":7000 "+internet+":22 O D - -"),
		row(600, aIP+":8000 "+internet+":80 O E 11 12"), // its begin was not logged
		row(1300, aIP+":8001 "+internet+":80 O E 13 14"),
		row(700, "198.51.100.7:9 "+bIP+":443 I B - -"),
		row(800, "10.244.7.7:1 "+internet+":443 O B - -"), // of the pod range, but nobody's
		row(2050, "10.244.7.7:2 "+internet+":443 O B - -"))
}

func TestWhoSent(t *testing.T) {
	t.Parallel()
	e := rowsOfTests(t)
	for _, c := range []struct {
		name, of, to string
		q            Question
		want         string
	}{
		{"all rows there are: one answer for each owner", aIP + ":4000", "", Question{}, "exact rows=4 bytes=507/908 | exact a rows=2 bytes=500/900 | exact a2 rows=2 bytes=7/8"},
		{"in a range", aIP + ":4000", "", Question{Since: sec(1000), Until: sec(2000)}, "exact a2 rows=2 bytes=7/8 | exact a2 rows=2 bytes=7/8"},
		{"until is exclusive, since is not", aIP + ":4000", "", Question{Since: sec(160), Until: sec(1500)}, "exact a rows=1 bytes=500/900 | exact a rows=1 bytes=500/900"},
		{"the flow open at a moment", aIP + ":4000", "", Question{At: sec(130)}, "exact a rows=2 bytes=500/900"},
		{"open still though its pod is gone: who began it", aIP + ":6000", "", Question{At: sec(1300)}, "exact a rows=2 bytes=3/4"},
		{"not open: the rows within a minute", aIP + ":4000", "", Question{At: sec(219)}, "exact a rows=1 bytes=500/900"},
		{"not open, nothing near", aIP + ":4000", "", Question{At: sec(221)}, "none rows=0 bytes=0/0"},
		{"the other flow of the same ports", aIP + ":4000", "", Question{At: sec(1550)}, "exact a2 rows=2 bytes=7/8"},
		{"logged at two interfaces: one copy counts", aIP + ":5000", "", Question{}, "exact a rows=4 bytes=70/90 | exact a rows=4 bytes=70/90"},
		{"by destination", aIP, bIP, Question{}, "exact a rows=4 bytes=70/90 | exact a rows=4 bytes=70/90"},
		{"by destination and port", aIP, internet + ":25", Question{}, "exact a rows=2 bytes=3/4 | exact a rows=2 bytes=3/4"},
		{"another port", aIP, internet + ":26", Question{}, "none rows=0 bytes=0/0"},
		{"masked", nIP + ":1035", internet + ":8443", Question{At: sec(350)}, "masked @n a rows=2 bytes=5183/6707"},
		{"denied", aIP + ":7000", "", Question{At: sec(500)}, "exact a rows=1 bytes=0/0"},
		{"a begin that was not logged, one holder in all of its span", aIP + ":8000", "", Question{At: sec(500)}, "exact a rows=1 bytes=11/12"},
		{"external", "198.51.100.7:9", "", Question{}, "external rows=1 bytes=0/0 | external rows=1 bytes=0/0"},
		{"gap: nobody had it", "10.244.7.7:1", "", Question{At: sec(800)}, "gap rows=1 bytes=0/0"},
		{"gap: nobody watched", "10.244.7.7:2", "", Question{At: sec(2050)}, "gap rows=1 bytes=0/0"},
		{"nothing", "192.0.2.1:1", "", Question{}, "none rows=0 bytes=0/0"},
	} {
		if got := answersText(who(t, e, c.of, c.to, c.q)); got != c.want {
			t.Errorf("%s:\n got %s\nwant %s", c.name, got, c.want)
		}
	}
	// The second E of a flow with no begin: it may have begun under a or under a2.
	if a := who(t, e, aIP+":8001", "", Question{}); a.text() != "boundary a a2 rows=1 bytes=13/14" || a.Bits != 1 || a.Pod != nil {
		t.Errorf("a begin that was not seen, the address changed hands: got %s, %v bits", a.text(), a.Bits)
	}
}

func TestWhoHeld(t *testing.T) {
	t.Parallel()
	e := rowsOfTests(t)
	for _, c := range []struct {
		name, of string
		q        Question
		want     string
	}{
		{"at a moment", aIP, Question{At: sec(130)}, "exact a rows=2 bytes=500/900"},
		{"at another", aIP, Question{At: sec(1500)}, "exact a2 rows=1 bytes=0/0"},
		{"over all time: one answer for each", aIP, Question{}, "exact rows=13 bytes=604/1028 | exact a rows=0 bytes=0/0 | exact a2 rows=0 bytes=0/0"},
		{"between them", aIP, Question{At: sec(1100)}, "gap rows=0 bytes=0/0"},
		{"in a range with no row", aIP, Question{Since: sec(3000), Until: sec(3100)}, "exact a2 rows=0 bytes=0/0 | exact a2 rows=0 bytes=0/0"},
		{"a node", nIP, Question{At: sec(300)}, "masked @n a rows=1 bytes=0/0"},
		{"unwatched", "10.244.3.3", Question{At: sec(2050)}, "gap rows=0 bytes=0/0"},
		{"external, with a row", "198.51.100.7", Question{At: sec(700)}, "external rows=1 bytes=0/0"},
		{"nothing known at all", "192.0.2.1", Question{}, "none rows=0 bytes=0/0"},
		{"nothing known at a moment", "192.0.2.1", Question{At: sec(5)}, "none rows=0 bytes=0/0"},
	} {
		a := who(t, e, c.of, "", c.q)
		if got := answersText(a); got != c.want {
			t.Errorf("%s:\n got %s\nwant %s", c.name, got, c.want)
		}
		ledgerAlone := strings.Contains(strings.Join(a.Warnings, "\n"), "rests on the ledger alone")
		if ledgerAlone != (a.Flows.Rows == 0) {
			t.Errorf("%s: warnings are %q", c.name, a.Warnings)
		}
	}
}

// A flow that two interfaces logged: where the sender's is another node's than the
// ledger says of the pod, the receiver's row does not name the pod either. Who asks for
// one flow hears the same as who reads all rows.
func TestWhoIsHeldAgainstTheOtherCopy(t *testing.T) {
	t.Parallel()
	flows := []flow.Row{
		row(100, mIP+":4000 "+internet+":443 O B - -"), // m's own address: so it is m's interface
		row(200, aIP+":5000 "+bIP+":80 O B - -"), row(260, aIP+":5000 "+bIP+":80 O E 70 90"),
		row(200, aIP+":5000 "+bIP+":80 I B - -"), row(260, aIP+":5000 "+bIP+":80 I E 71 91"),
		row(300, aIP+":5001 "+bIP+":80 I B - -"), row(360, aIP+":5001 "+bIP+":80 I E 71 91"),
	}
	e := engine(t, cluster(), flows...)
	a := who(t, e, aIP+":5000", bIP+":80", Question{})
	if got, want := answersText(a), "boundary a rows=4 bytes=70/90 | boundary a rows=4 bytes=70/90"; got != want || !strings.Contains(strings.Join(a.Warnings, "\n"), "speak against") {
		t.Errorf("got %s, warnings %q, want %s", got, a.Warnings, want)
	}
	if got, want := answersText(who(t, e, aIP+":5001", bIP+":80", Question{})), "exact a rows=2 bytes=71/91 | exact a rows=2 bytes=71/91"; got != want {
		t.Errorf("of one copy: got %s, want %s", got, want)
	}
	var said []string
	must(t, e.All(context.Background(), 0, 0, func(at Attributed, _ []int32) error {
		for i := range at.Len() {
			said = append(said, fmt.Sprintf("%d %c %s", at.SrcPort[i], at.Direction[i], at.Joined.Src[i].Verdict))
		}
		return nil
	}))
	want := []string{"4000 O masked", "5000 O boundary", "5000 O boundary", "5000 I boundary", "5000 I boundary", "5001 I exact", "5001 I exact"}
	if diff := cmp.Diff(want, said); diff != "" {
		t.Errorf("all rows: -want +got:\n%s", diff)
	}
}

// A gap says when nobody watched and who is known on either side.
func TestWhoInAGap(t *testing.T) {
	t.Parallel()
	e := rowsOfTests(t)
	a := who(t, e, "10.244.7.7:2", "", Question{At: sec(2050)})
	if diff := cmp.Diff([]Gap{{"prod", Time(sec(2000)), Time(sec(2100))}}, a.Gaps); diff != "" {
		t.Errorf("gaps: -want +got:\n%s", diff)
	}
	if a := who(t, e, aIP, "", Question{At: sec(1100)}); !strings.Contains(strings.Join(a.Warnings, "\n"), "known before: web/api-0 (a) had 10.244.0.9 from 2026-11-23T10:00:10.000Z..") ||
		!strings.Contains(strings.Join(a.Warnings, "\n"), "known after: web/api-0 (a2)") {
		t.Errorf("warnings are %q", a.Warnings)
	}
	if a := who(t, e, aIP+":4000", "", Question{Since: sec(1900), Until: sec(5000)}); len(a.Gaps) != 2 || a.Gaps[1] != (Gap{"prod", Time(sec(4000)), Time(sec(5000))}) {
		t.Errorf("gaps of a range are %v", a.Gaps)
	}
}

// A question over a range that nobody watched in part is a gap beside what is known. Time
// in which the pod is certain, or which was watched and nobody's, is none; but whatever was
// not watched is listed.
func TestWhoHeldInARangeWithHoles(t *testing.T) {
	t.Parallel()
	e := rowsOfTests(t)
	hole, before, after := "2000-2100", "-3100--3000", "4000-"
	for _, c := range []struct {
		name, of string
		now      float64
		q        Question
		want     string // verdict, those of the answers, and the gaps
	}{
		{"all that is known: a2 had it before and after the hole", aIP, 9000, Question{}, "exact exact exact " + hole},
		{"watched throughout", aIP, 9000, Question{Since: sec(500), Until: sec(1900)}, "exact exact exact"},
		{"watched from one end to the other", aIP, 9000, Question{Since: sec(-3000), Until: sec(2000)}, "exact exact exact"},
		{"until after the watch ended", aIP, 9000, Question{Since: sec(1900), Until: sec(5000)}, "gap exact gap " + hole + " 4000-5000"},
		{"since before it began", aIP, 9000, Question{Since: sec(-3100), Until: sec(500)}, "gap gap exact " + before},
		{"until now", aIP, 9000, Question{Since: sec(1900)}, "exact exact " + hole + " " + after},
		{"until now, after the hole", aIP, 9000, Question{Since: sec(2500)}, "exact exact " + after},
		{"until now, and the watch may be going on", aIP, 4100, Question{Since: sec(2500)}, "exact exact"},
		{"until now, and it ended before", aIP, 9000, Question{Since: sec(8950)}, "gap gap " + after},
		{"as was known", aIP, 9000, Question{Since: sec(2500), AsKnownAt: sec(4050)}, "exact exact"},
		{"until before all that is known", aIP, 9000, Question{Until: sec(-3500)}, "gap gap --3000"},
		{"a node", nIP, 9000, Question{Since: sec(10), Until: sec(3000)}, "gap masked gap " + hole},
		{"a node, who is known to have been there", nIP, 9000, Question{}, "masked masked " + hole},
		{"never held: watched, and not", "10.244.3.3", 9000, Question{}, "gap gap " + hole},
		{"never held, watched", "10.244.3.3", 9000, Question{Since: sec(100), Until: sec(200)}, "gap gap"},
	} {
		e.at(c.now)
		a := who(t, e, c.of, "", c.q)
		got := []string{a.Verdict.String()}
		for i := range a.Answers {
			got = append(got, a.Answers[i].Verdict.String())
		}
		if text := strings.Join(append(got, gapsText(a.Gaps)...), " "); text != c.want {
			t.Errorf("%s:\n got %s\nwant %s", c.name, text, c.want)
		}
	}
	never := who(t, engine(t, nil), "10.244.3.3", "", Question{})
	if got := strings.Join(gapsText(never.Gaps), " "); never.Verdict.String() != "gap" || got != "-" {
		t.Errorf("a cluster that nobody ever watched: got %s, gaps %s", never.Verdict, got)
	}
	both := who(t, e, "10.244.3.3", "", Question{})
	if notes := strings.Join(both.Answers[0].Warnings, "; "); !strings.Contains(notes, "nobody watched") || !strings.Contains(notes, "no pod is recorded") {
		t.Errorf("one gap for two reasons: warnings are %q", notes)
	}
}

// gapsText renders gaps in seconds after ten o'clock.
func gapsText(gaps []Gap) []string {
	at := func(t Time) string {
		if !t.Known() {
			return ""
		}
		return fmt.Sprint((int64(t) - sec(0)) / 1000)
	}
	var out []string
	for _, g := range gaps {
		out = append(out, at(g.From)+"-"+at(g.To))
	}
	return out
}

// Rows are answered each at its time, and the range's gaps are said all the same; also those
// in which a row's flow can have begun.
func TestGapsOfRows(t *testing.T) {
	t.Parallel()
	e := engine(t, cluster(),
		row(1300, aIP+":4000 "+internet+":443 O B - -"), row(1310, aIP+":4000 "+internet+":443 O E 5 9"),
		row(2200, "10.244.7.7:1 "+internet+":22 O E 1 1")) // its begin was not logged
	e.at(9000)
	for _, c := range []struct {
		name string
		ask  func() *Answer
		want string
	}{
		{"no range: that of the rows", func() *Answer { return who(t, e, aIP+":4000", "", Question{}) }, "exact"},
		{"since", func() *Answer { return who(t, e, aIP+":4000", "", Question{Since: sec(1200)}) }, "exact 2000-2100 4000-"},
		{"until", func() *Answer { return who(t, e, aIP+":4000", "", Question{Until: sec(2050)}) }, "exact 2000-2100"},
		{"a begin in the hole", func() *Answer { return who(t, e, "10.244.7.7:1", "", Question{}) }, "gap 2000-2100"},
		{"the same at a moment", func() *Answer { return who(t, e, "10.244.7.7:1", "", Question{At: sec(2199)}) }, "gap 2000-2100"},
		{"talkers: no range", func() *Answer { return talkers(t, e, internet+":443", Question{}) }, "exact"},
		{"talkers: since", func() *Answer { return talkers(t, e, internet+":443", Question{Since: sec(1200)}) }, "exact 2000-2100 4000-"},
		{"talkers: a begin in the hole", func() *Answer { return talkers(t, e, internet+":22", Question{}) }, "gap 2000-2100"},
		{"talkers: none", func() *Answer { return talkers(t, e, "192.0.2.1", Question{Since: sec(1200)}) }, "none"},
	} {
		a := c.ask()
		if got := strings.Join(append([]string{a.Verdict.String()}, gapsText(a.Gaps)...), " "); got != c.want {
			t.Errorf("%s: got %s, want %s", c.name, got, c.want)
		}
	}
}

// A private address that looks external while nobody is known to have watched may be a
// pod's: the answer says so, and lists what was not watched. Ordinary answers do not.
func TestExternalIsNotAlwaysCertain(t *testing.T) {
	t.Parallel()
	rows := func() []flow.Row {
		return []flow.Row{row(500, "10.99.0.9:1 "+internet+":22 O B - -"), row(2050, "10.99.0.9:2 "+internet+":22 O B - -"), row(2050, internet+":3 "+bIP+":80 I B - -")}
	}
	watched, unwatched := engine(t, cluster(), rows()...), engine(t, nil, rows()...)
	for _, c := range []struct {
		name string
		a    *Answer
		want bool
	}{
		{"watched", who(t, watched, "10.99.0.9:1", "", Question{}), false},
		{"in a hole", who(t, watched, "10.99.0.9:2", "", Question{}), true},
		{"in a hole, at a moment", who(t, watched, "10.99.0.9:2", "", Question{At: sec(2050)}), true},
		{"public, in a hole", who(t, watched, internet+":3", "", Question{}), false},
		{"the address alone, watched", who(t, watched, "10.99.0.9", "", Question{At: sec(500)}), false},
		{"the address alone, in a hole", who(t, watched, "10.99.0.9", "", Question{At: sec(2050)}), true},
		{"the address alone, over a range", who(t, watched, "10.99.0.9", "", Question{}), true},
		{"nobody ever watched", who(t, unwatched, "10.99.0.9:1", "", Question{}), true},
		{"talkers, nobody ever watched", talkers(t, unwatched, internet, Question{Until: sec(1000)}), true},
		{"talkers, watched", talkers(t, watched, internet, Question{Until: sec(1000)}), false},
		{"talkers, in a hole", talkers(t, watched, internet+":22", Question{}), true},
		{"talkers, public", talkers(t, watched, bIP, Question{}), false},
	} {
		warned := strings.Contains(strings.Join(c.a.Warnings, "\n"), "external only as far as is known: pods can have addresses like 10.99.0.9")
		if c.a.Verdict.String() != "external" || warned != c.want {
			t.Errorf("%s: %s, warnings are %q", c.name, c.a.Verdict, c.a.Warnings)
		}
		if len(c.a.Gaps) == 0 && c.want {
			t.Errorf("%s: no gap", c.name)
		}
	}
}

// Where nothing is found, an answer says of which times the index has no rows at all.
func TestNothingFoundSaysWhatTheIndexHas(t *testing.T) {
	t.Parallel()
	e := rowsOfTests(t) // from 100 to 2050
	const before, after = "no rows at all before 2026-11-23T10:01:40.000Z", "no rows at all after 2026-11-23T10:34:10.000Z"
	for _, c := range []struct {
		q    Question
		want string
	}{
		{Question{}, ""},
		{Question{Since: sec(200), Until: sec(300)}, ""},
		{Question{Since: sec(50), Until: sec(300)}, before},
		{Question{Since: sec(3000)}, after},
		{Question{Since: sec(200)}, after},
		{Question{Until: sec(90)}, before},
		{Question{Since: sec(50), Until: sec(3000)}, before + "; " + after},
	} {
		for name, a := range map[string]*Answer{"who": who(t, e, "192.0.2.1:1", "", c.q), "who held it": who(t, e, "192.0.2.1", "", c.q), "talkers": talkers(t, e, "192.0.2.1", c.q)} {
			var got []string
			for _, w := range a.Warnings {
				if w, ok := strings.CutPrefix(w, "the index has "); ok {
					got = append(got, w)
				}
			}
			if text := strings.Join(got, "; "); text != c.want {
				t.Errorf("%s, %d to %d: got %q, want %q", name, c.q.Since, c.q.Until, text, c.want)
			}
		}
	}
	if a := who(t, e, "192.0.2.1:1", "", Question{At: sec(2051)}); !strings.Contains(strings.Join(a.Warnings, "\n"), after) {
		t.Errorf("at a moment: warnings are %q", a.Warnings)
	}
	if a := talkers(t, engine(t, cluster()), "192.0.2.1", Question{}); !strings.Contains(strings.Join(a.Warnings, "\n"), `no rows at all: "whichpod ingest"`) {
		t.Errorf("an empty index: warnings are %q", a.Warnings)
	}
}

// The evidence names where each row stands, and the row.
func TestEvidence(t *testing.T) {
	t.Parallel()
	e := rowsOfTests(t)
	a := who(t, e, aIP+":4000", internet+":443", Question{At: sec(130)})
	first, second := int64(100), int64(200)
	want := []Evidence{
		{Kind: "flow", Blob: blob, Offset: &first, Row: "1795428100000,10.244.0.9,203.0.113.66,4000,443,6,O,B,NX,,,,"},
		{Kind: "flow", Blob: blob, Offset: &second, Row: "1795428160000,10.244.0.9,203.0.113.66,4000,443,6,O,E,NX,1,500,1,900"},
		{Kind: "ledger", Source: "watch", Text: "web/api-0 (a) had 10.244.0.9 from 2026-11-23T10:00:10.000Z..2026-11-23T10:00:11.000Z to 2026-11-23T10:16:39.000Z..2026-11-23T10:16:40.000Z"},
	}
	if diff := cmp.Diff(want, a.Evidence); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestWhoWantsOneAddress(t *testing.T) {
	e := engine(t, cluster())
	for _, of := range []string{"10.244.0.0/16", "10.244.0.0/16:443"} {
		if _, err := e.Who(context.Background(), Question{Of: endpoint(t, of)}); err == nil || !strings.Contains(err.Error(), "want one address, got a range") {
			t.Errorf("%s: got %v", of, err)
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := rowsOfTests(t).Who(ctx, Question{Of: endpoint(t, aIP+":4000")}); err == nil {
		t.Error("an ended context: got no error")
	}
}
