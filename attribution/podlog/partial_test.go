package podlog

import (
	"fmt"
	"testing"

	"github.com/whichpod/whichpod/attribution"
)

// auditAt is an audit line s seconds after ten o'clock.
func auditAt(s float64, verb, subresource, name, request, response string) string {
	ev := fmt.Sprintf(`{"kind":"Event","apiVersion":"audit.k8s.io/v1","auditID":"a","stage":"ResponseComplete","verb":%q,"user":{"username":"system:node:n"},`+
		`"objectRef":{"resource":"pods","namespace":"web","name":%q,"apiVersion":"v1","subresource":%q},"responseStatus":{"code":200},"requestReceivedTimestamp":%q,"stageTimestamp":%q`,
		verb, name, subresource, clockText(s), clockText(s))
	if request != "" {
		ev += `,"requestObject":` + request
	}
	if response != "" {
		ev += `,"responseObject":` + response
	}
	return ev + "}"
}

// auditTicks are lines about other things, one a minute.
func auditTicks(from, to float64) []string {
	var out []string
	for s := from; s <= to; s += 60 {
		out = append(out, auditAt(s, "get", "", "other", "", ""))
	}
	return out
}

// An audit log shows who changes, not who was there before and stays as he is. So a
// pod of which nothing is known since before the log began may have given its address
// to one that the log does not show: it must not be exact.
func TestPartialCoverageKnowsNoStrangers(t *testing.T) {
	made := auditAt(10, "create", "", "a", "", podJSON("a", "", 5, 10, ""))
	got := auditAt(12, "patch", "status", "a", `{"metadata":{"uid":"a"},"status":{"podIP":"10.244.0.9","containerStatuses":[{"state":{"running":{"startedAt":"`+clockText(11)+`"}}}]}}`, "")
	dayOne := journal(append([]string{auditAt(0, "get", "", "other", "", ""), made, got}, auditTicks(60, 300)...)...)
	dayThree := journal(auditTicks(10_000, 11_000)...)
	list := `{"kind":"PodList","metadata":{"resourceVersion":"20"},"items":[` + podJSON("a", theIP, 7, 10, ran(11, 0)) + `]}`
	for _, c := range []struct {
		name  string
		files []string
		at    float64
		want  string
	}{
		{"an audit log, while it shows the pod", []string{dayOne}, 200, "exact a"},
		{"an audit log after a hole", []string{dayOne, dayThree}, 10_500, "gap"},
		{"the same, the later one read first", []string{dayThree, dayOne}, 10_500, "gap"},
		{"an audit log after a list", []string{list, dayThree}, 10_500, "gap"},
		{"an audit log in which the pod shows itself again", []string{list, dayThree, journal(auditAt(10_800, "patch", "status", "a",
			`{"metadata":{"uid":"a"},"status":{"podIP":"10.244.0.9","containerStatuses":[{"state":{"running":{"startedAt":"`+clockText(11)+`"}}}]}}`, ""))}, 10_900, "exact a"},
	} {
		l := attribution.NewLedger()
		for _, f := range c.files {
			readInto(t, l, f, Options{ReadBy: sec(11)})
		}
		if got := who(l.View(config()), theIP, c.at); got != c.want {
			t.Errorf("%s: at %v got %q, want %q", c.name, c.at, got, c.want)
		}
	}
}

// Two lists, with nothing between them: who was shown first is not taken to hold the
// address beside who was shown later.
func TestListsApart(t *testing.T) {
	l := attribution.NewLedger()
	list := func(uid string, version int, started float64) string {
		return fmt.Sprintf(`{"kind":"PodList","metadata":{"resourceVersion":"%d"},"items":[%s]}`, version, podJSON(uid, theIP, version, started, ran(started+1, 0)+
			`,"conditions":[{"type":"Ready","status":"True","lastTransitionTime":"`+clockText(started+60)+`"}]`))
	}
	readInto(t, l, list("a", 20, 10), Options{ReadBy: sec(100)})
	readInto(t, l, list("b", 900, 5000), Options{ReadBy: sec(5100)})
	v := l.View(config())
	for at, want := range map[float64]string{30: "exact a", 2000: "gap", 5030: "exact b", 6000: "gap"} {
		if got := who(v, theIP, at); got != want {
			t.Errorf("at %v got %q, want %q", at, got, want)
		}
	}
}
