package drill

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/whichpod/whichpod/attribution"
	"github.com/whichpod/whichpod/attribution/podwatch/canary"
	"github.com/whichpod/whichpod/ingest"
	"github.com/whichpod/whichpod/internal/metrics"
	"github.com/whichpod/whichpod/query"
)

const (
	own   = "uid-of-the-canary"
	other = "uid-of-another"
	blob  = "flowLogResourceID=/V/y=2026/m=11/d=23/h=13/m=00/macAddress=M/PT1H.json"
)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// says is an answer with candidates.
func says(v attribution.Verdict, uids ...string) query.Answer {
	offset := int64(1000)
	a := query.Answer{Verdict: query.Word(v), Flows: query.Flows{Rows: 1, First: 1}, Evidence: []query.Evidence{{Kind: "flow", Blob: blob, Offset: &offset}}}
	for _, uid := range uids {
		a.Candidates = append(a.Candidates, query.Pod{Kind: "pod", Namespace: "n", Name: "name-of-" + uid, UID: uid})
	}
	if v == attribution.Exact {
		a.Pod = &a.Candidates[0]
	}
	return a
}

func both(v attribution.Verdict, parts ...query.Answer) query.Answer {
	a := says(v, own)
	a.Pod, a.Candidates, a.Answers = nil, nil, parts
	return a
}

func TestJudge(t *testing.T) {
	for name, c := range map[string]struct {
		answer query.Answer
		want   Outcome
		why    string // in the reason
	}{
		"the canary":                       {says(attribution.Exact, own), Named, ""},
		"another pod":                      {says(attribution.Exact, other), Wrong, "name-of-" + other},
		"one owner, twice":                 {both(attribution.Exact, says(attribution.Exact, own), says(attribution.Exact, own)), Named, ""},
		"the canary, and another pod":      {both(attribution.Exact, says(attribution.Exact, own), says(attribution.Exact, other)), Wrong, "name-of-" + other},
		"another pod hidden behind a gap":  {both(attribution.Gap, says(attribution.Gap), says(attribution.Exact, other)), Wrong, "name-of-" + other},
		"the canary for some of the rows":  {both(attribution.Exact, says(attribution.Exact, own), says(attribution.External)), Unknown, "not for all 2"},
		"masked with the canary":           {says(attribution.Masked, own, other), Unknown, "one of 2 candidates"},
		"masked without the canary":        {says(attribution.Masked, other), Wrong, "not among the 1 candidates"},
		"boundary with, ambiguous without": {both(attribution.Ambiguous, says(attribution.Boundary, own), says(attribution.Ambiguous, other)), Wrong, "not among"},
		"host, with a gap beside it":       {both(attribution.Host, says(attribution.Host, own), says(attribution.Gap)), Unknown, "host"},
		"gap":                              {says(attribution.Gap), Unknown, "gap"},
		"external":                         {says(attribution.External), Wrong, "external"},
	} {
		got, why := judge(&c.answer, own)
		if got != c.want || !strings.Contains(why, c.why) || (why == "") != (c.why == "") {
			t.Errorf("%s: %s: %q, want %s: %q", name, got, why, c.want, c.why)
		}
	}
}

// world answers as time goes by, in seconds since the canary was made.
type world struct {
	begin   time.Time
	answers map[int]query.Answer // from this second on; before the first no row is there
	failing map[int]error        // of questions, in this second
	blobs   map[int]int64        // length of the blob from this second on
	asked   []query.Question
}

func at[V any](w *world, list map[int]V) (v V, since int) {
	since = -1
	for from, one := range list {
		if from > since && time.Since(w.begin) >= time.Duration(from)*time.Second {
			v, since = one, from
		}
	}
	return v, since
}

// patience ends between two looks.
const patience = 5*time.Minute + 500*time.Millisecond

func (w *world) config() Config {
	cfg := DefaultConfig()
	cfg.To, cfg.Timeout, cfg.Settle, cfg.Every = netip.MustParseAddrPort("203.0.113.66:443"), patience, 30*time.Second, time.Second
	cfg.Send = func(context.Context) (*canary.Sent, error) {
		return &canary.Sent{Namespace: "n", Name: "c", UID: own, Node: "node-1", Addresses: []netip.Addr{netip.MustParseAddr("fd00::9"), netip.MustParseAddr("10.244.0.9")},
			NodeAddresses: []netip.Addr{netip.MustParseAddr("10.224.0.4")}, Port: 23456, Created: time.Now(), Started: time.Now().Add(time.Second), ExitCode: 1}, nil
	}
	cfg.Ask = func(_ context.Context, q query.Question) (*query.Answer, error) {
		w.asked = append(w.asked, q)
		if err := w.failing[int(time.Since(w.begin)/time.Second)]; err != nil {
			return nil, err
		}
		a, _ := at(w, w.answers)
		if q.Of.String() != "10.224.0.4:23456" {
			a = query.Answer{}
		}
		a.Flows.First = query.Time(w.begin.Add(2500 * time.Millisecond).UnixMilli())
		return &a, nil
	}
	if w.blobs != nil {
		cfg.List = func(_ context.Context, hours ingest.Hours, fn func(ingest.Blob) error) error {
			if !hours.Cover(w.begin.Format("y=2006/m=01/d=02/h=15")) {
				return errors.New("the hour of the canary is not listed")
			}
			length, since := at(w, w.blobs)
			if since < 0 {
				return nil
			}
			return fn(ingest.Blob{Name: blob, Length: length, Modified: w.begin.Add(time.Duration(since) * time.Second)})
		}
	}
	return cfg
}

func TestRun(t *testing.T) {
	away := errors.New("away")
	for name, c := range map[string]struct {
		world  world
		want   Outcome
		took   time.Duration // of the drill
		stages string        // seconds since the stage before
		err    error
	}{
		"named as soon as the row is there": {world{answers: map[int]query.Answer{70: says(attribution.Exact, own)}, blobs: map[int]int64{4: 500, 66: 1400, 69: 2000}},
			Named, 70 * time.Second, "sent published+63.5 indexed+4 named+0", nil},
		"published is not looked at": {world{answers: map[int]query.Answer{70: says(attribution.Exact, own)}},
			Named, 70 * time.Second, "sent indexed+67.5 named+0", nil},
		"named once the ledger is sure": {world{answers: map[int]query.Answer{70: says(attribution.Boundary, own, other), 75: says(attribution.Exact, own)}},
			Named, 75 * time.Second, "sent indexed+67.5 named+5", nil},
		"masked for good": {world{answers: map[int]query.Answer{70: says(attribution.Masked, own, other)}},
			Unknown, 100 * time.Second, "sent indexed+67.5 named+30", nil},
		"a wrong name is not waited for": {world{answers: map[int]query.Answer{70: says(attribution.Exact, other), 71: says(attribution.Exact, own)}},
			Wrong, 70 * time.Second, "sent indexed+67.5 named+0", nil},
		"a pod that the ledger does not have yet": {world{answers: map[int]query.Answer{70: says(attribution.External), 72: says(attribution.Exact, own)}},
			Named, 72 * time.Second, "sent indexed+67.5 named+2", nil},
		"external for good": {world{answers: map[int]query.Answer{70: says(attribution.External)}},
			Wrong, 100 * time.Second, "sent indexed+67.5 named+30", nil},
		"never published": {world{blobs: map[int]int64{}}, Late, patience, "sent", nil},
		"time is up while it settles": {world{answers: map[int]query.Answer{290: says(attribution.Gap)}},
			Unknown, patience, "sent indexed+287.5 named+10", nil},
		"an index that is away for a moment": {world{answers: map[int]query.Answer{70: says(attribution.Exact, own)}, failing: map[int]error{70: away}},
			Named, 71 * time.Second, "sent indexed+68.5 named+0", nil},
		"no index": {world{failing: map[int]error{0: away}}, Failed, 0, "", away},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := &c.world
				w.begin = time.Now()
				r, err := Run(t.Context(), w.config())
				if !errors.Is(err, c.err) || time.Since(w.begin) != c.took {
					t.Fatalf("it took %s, error %v; want %s, %v", time.Since(w.begin), err, c.took, c.err)
				}
				if err != nil {
					return
				}
				if got := stagesOf(r); r.Outcome != c.want || got != c.stages {
					t.Errorf("%s (%s), %s; want %s, %s", r.Outcome, r.Reason, got, c.want, c.stages)
				}
			})
		})
	}
}

// stagesOf lists the stages that have a time.
func stagesOf(r *Result) string {
	var out []string
	for _, s := range r.Stages {
		text := s.Name
		if s.Seconds != nil {
			text += fmt.Sprintf("+%g", *s.Seconds)
		}
		if s.At != 0 {
			out = append(out, text)
		}
	}
	return strings.Join(out, " ")
}

// The reason says what there is to know about a row that did not come.
func TestLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &world{begin: time.Now(), blobs: map[int]int64{30: 100}}
		r, err := Run(t.Context(), w.config())
		must(t, err)
		for _, want := range []string{"after 5m0.5s", "the newest blob was published at " + w.begin.Add(30*time.Second).Format(time.RFC3339), "exit code 1"} {
			if !strings.Contains(r.Reason, want) {
				t.Errorf("%q does not say %q", r.Reason, want)
			}
		}
		if q := w.asked[1]; q.Of.String() != "10.244.0.9:23456" || q.To.String() != "203.0.113.66:443" || q.Since != w.begin.Add(-time.Minute).UnixMilli() {
			t.Errorf("asked was %s to %s since %d; the first question is of the pod's own address of the destination's family", q.Of, q.To, q.Since)
		}
	})
}

func TestInterrupted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		w := &world{begin: time.Now()}
		if r, err := Run(ctx, w.config()); r != nil || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%v, %v", r, err)
		}
	})
}

func TestOutput(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &world{begin: time.Now(), answers: map[int]query.Answer{70: says(attribution.Exact, other)}, blobs: map[int]int64{66: 1400}}
		r, err := Run(t.Context(), w.config())
		must(t, err)
		var text bytes.Buffer
		must(t, r.WriteText(&text))
		for _, want := range []string{"drill: WRONG ANSWER: canary n/c (uid " + own + ")", "name-of-" + other, "the storage account's clock: ", "+63.5 s", "from sent to the last answer 67.5 s"} {
			if !strings.Contains(text.String(), want) {
				t.Errorf("the text has no %q:\n%s", want, text.String())
			}
		}
		text.Reset()
		must(t, metrics.Write(&text, Families(r, time.UnixMilli(1795438800500))))
		checkLines(t, text.String(), `whichpod_drill_last_run_timestamp_seconds 1.7954388005e+09
whichpod_drill_outcome{outcome="failed"} 0
whichpod_drill_outcome{outcome="late"} 0
whichpod_drill_outcome{outcome="named"} 0
whichpod_drill_outcome{outcome="unknown"} 0
whichpod_drill_outcome{outcome="wrong"} 1
whichpod_drill_identify_seconds 67.5
whichpod_drill_stage_seconds{stage="indexed"} 4
whichpod_drill_stage_seconds{stage="named"} 0
whichpod_drill_stage_seconds{stage="published"} 63.5
`)
		text.Reset()
		must(t, metrics.Write(&text, Families(nil, time.UnixMilli(1000))))
		if want := `whichpod_drill_outcome{outcome="failed"} 1`; !strings.Contains(text.String(), want) {
			t.Errorf("no line %s:\n%s", want, text.String())
		}
	})
}

func checkLines(t *testing.T, text, want string) {
	t.Helper()
	var got strings.Builder
	for line := range strings.Lines(text) {
		if !strings.HasPrefix(line, "#") {
			got.WriteString(line)
		}
	}
	if diff := cmp.Diff(want, got.String()); diff != "" {
		t.Error(diff)
	}
}
