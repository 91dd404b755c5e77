package query

import (
	"context"
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/whichpod/whichpod/attribution"
)

// The contract's documents, field by field (docs/cli-json.md). Fields may be added
// here, never renamed or taken away.
const (
	answerFields   = "answers? bits candidates contradictions elapsed_ms evidence excluded flows gaps pod question? verdict warnings"
	questionFields = "address as_known_at at port since to until"
	podFields      = "address cluster from_earliest from_latest held_from held_to host_network? kind known_until name namespace node owner? source to_earliest to_latest uid"
	flowsFields    = "bytes_received bytes_sent first last rows"
	flowEvidence   = "blob kind offset row"
	ledgerEvidence = "kind source text"
	gapFields      = "cluster from to"
	peerFields     = "address denied? direction flows port protocol verdict"
)

// fields checks that an object has just these keys; those with "?" may be absent.
func fields(t *testing.T, where string, object any, want string) map[string]any {
	t.Helper()
	m, ok := object.(map[string]any)
	if !ok {
		t.Fatalf("%s is %T %v, want an object", where, object, object)
	}
	have := slices.Sorted(maps.Keys(m))
	var expected []string
	for _, f := range strings.Fields(want) {
		name := strings.TrimSuffix(f, "?")
		if name == f || slices.Contains(have, name) {
			expected = append(expected, name)
		}
	}
	slices.Sort(expected)
	if diff := cmp.Diff(expected, have); diff != "" {
		t.Errorf("fields of %s: -want +got:\n%s", where, diff)
	}
	return m
}

// list checks that a value is a list, which is never null.
func list(t *testing.T, where string, value any) []any {
	t.Helper()
	l, ok := value.([]any)
	if !ok {
		t.Errorf("%s is %v, want a list", where, value)
	}
	return l
}

func checkAnswer(t *testing.T, where string, object any, inside bool) {
	t.Helper()
	a := fields(t, where, object, answerFields)
	fields(t, where+".flows", a["flows"], flowsFields)
	if _, has := a["question"]; has == inside {
		t.Errorf("%s has a question: %v", where, has)
	}
	for _, c := range list(t, where+".candidates", a["candidates"]) {
		fields(t, where+".candidates[]", c, podFields)
	}
	for _, e := range list(t, where+".evidence", a["evidence"]) {
		if want := flowEvidence; e.(map[string]any)["kind"] == "ledger" {
			fields(t, where+".evidence[]", e, ledgerEvidence)
		} else {
			fields(t, where+".evidence[]", e, want)
		}
	}
	for _, g := range list(t, where+".gaps", a["gaps"]) {
		fields(t, where+".gaps[]", g, gapFields)
	}
	list(t, where+".warnings", a["warnings"])
	list(t, where+".contradictions", a["contradictions"])
	if answers, has := a["answers"]; has {
		for _, inner := range list(t, where+".answers", answers) {
			checkAnswer(t, where+".answers[]", inner, true)
		}
	}
	if a["verdict"] == "exact" && len(list(t, where, a["candidates"])) == 1 {
		if diff := cmp.Diff(a["candidates"].([]any)[0], a["pod"]); diff != "" {
			t.Errorf("%s.pod is not the candidate: %s", where, diff)
		}
	} else if a["pod"] != nil {
		t.Errorf("%s.pod is %v with %v", where, a["pod"], a["verdict"])
	}
}

func TestAnswerJSON(t *testing.T) {
	t.Parallel()
	e := rowsOfTests(t)
	for name, a := range map[string]*Answer{
		"exact":    who(t, e, aIP+":4000", internet+":443", Question{At: sec(130)}),
		"range":    who(t, e, aIP+":4000", "", Question{}),
		"boundary": who(t, e, aIP+":8001", "", Question{}),
		"masked":   who(t, e, nIP+":1035", "", Question{At: sec(350)}),
		"external": who(t, e, "198.51.100.7:9", "", Question{At: sec(700)}),
		"gap":      who(t, e, "10.244.7.7:2", "", Question{At: sec(2050)}),
		"nothing":  who(t, e, "192.0.2.1:1", "", Question{}),
		"held":     who(t, e, aIP, "", Question{}),
	} {
		doc := tree(t, a)
		checkAnswer(t, name, doc, false)
		fields(t, name+".question", doc["question"], questionFields)
		want := any(name)
		switch name {
		case "range", "held":
			want = "exact"
		case "nothing":
			want = nil
		}
		if doc["verdict"] != want {
			t.Errorf("%s: the verdict is %v, want %v", name, doc["verdict"], want)
		}
	}
}

// One document in full: what a reader sees.
func TestAnswerInFull(t *testing.T) {
	e := rowsOfTests(t)
	a := who(t, e, nIP+":1035", internet+":8443", Question{At: sec(350)})
	a.ElapsedMS = 1.8
	data, err := json.MarshalIndent(a, "", " ")
	must(t, err)
	want := `{
 "question": {
  "address": "10.224.0.4",
  "port": 1035,
  "to": "203.0.113.66:8443",
  "at": "2026-11-23T10:05:50.000Z",
  "since": null,
  "until": null,
  "as_known_at": null
 },
 "verdict": "masked",
 "pod": null,
 "candidates": [
  {
   "kind": "node",
   "cluster": "prod",
   "namespace": "",
   "name": "",
   "uid": "",
   "node": "n",
   "address": "10.224.0.4",
   "held_from": null,
   "held_to": null,
   "from_earliest": null,
   "from_latest": null,
   "to_earliest": null,
   "to_latest": null,
   "known_until": null,
   "source": ""
  },
  {
   "kind": "pod",
   "cluster": "prod",
   "namespace": "web",
   "name": "api-0",
   "uid": "a",
   "owner": "StatefulSet/api",
   "node": "n",
   "address": "10.244.0.9",
   "held_from": "2026-11-23T10:00:10.000Z",
   "held_to": "2026-11-23T10:16:40.000Z",
   "from_earliest": "2026-11-23T10:00:10.000Z",
   "from_latest": "2026-11-23T10:00:11.000Z",
   "to_earliest": "2026-11-23T10:16:39.000Z",
   "to_latest": "2026-11-23T10:16:40.000Z",
   "known_until": null,
   "source": "watch"
  }
 ],
 "excluded": [],
 "bits": 1,
 "flows": {
  "rows": 2,
  "bytes_sent": 5183,
  "bytes_received": 6707,
  "first": "2026-11-23T10:05:00.000Z",
  "last": "2026-11-23T10:06:40.000Z"
 },
`
	if diff := cmp.Diff(want, string(data)[:min(len(want), len(data))]); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestOtherDocumentsJSON(t *testing.T) {
	t.Parallel()
	e := rowsOfTests(t)
	owners, err := e.Owners(Question{Of: endpoint(t, aIP)})
	must(t, err)
	doc := fields(t, "owners", tree(t, owners), "contradictions from gaps owners question to vacant warnings")
	for _, p := range list(t, "owners.owners", doc["owners"]) {
		fields(t, "owners[]", p, podFields)
	}
	trail, err := e.Trail(context.Background(), attribution.PodRef{Namespace: "web", Name: "api-0"}, 0, 0)
	must(t, err)
	doc = fields(t, "trail", tree(t, trail), "pods question")
	fields(t, "trail.question", doc["question"], "name namespace since uid until")
	for _, p := range list(t, "trail.pods", doc["pods"]) {
		m := fields(t, "trail.pods[]", p, "addresses peers pod")
		fields(t, "trail.pods[].pod", m["pod"], podFields)
		for _, peer := range list(t, "peers", m["peers"]) {
			fields(t, "flows", fields(t, "trail.pods[].peers[]", peer, peerFields)["flows"], flowsFields)
		}
	}
	nobody, err := e.Owners(Question{Of: endpoint(t, "192.0.2.1")})
	must(t, err)
	nowhere, err := e.Trail(context.Background(), attribution.PodRef{Name: "nobody"}, 0, 0)
	must(t, err)
	for what, v := range map[string]any{"gaps": tree(t, nobody)["gaps"], "owners": tree(t, nobody)["owners"], "warnings": tree(t, nobody)["warnings"], "pods": tree(t, nowhere)["pods"]} {
		if l := list(t, what, v); len(l) != 0 {
			t.Errorf("%s of nobody are %v", what, l)
		}
	}
}

// The whole of a range is called by the answer that says least.
func TestLeastSure(t *testing.T) {
	order := []attribution.Verdict{attribution.Gap, attribution.Ambiguous, attribution.Boundary, attribution.Masked, attribution.Host, attribution.Exact, attribution.External}
	for i, least := range order {
		var answers []Answer
		for _, v := range slices.Backward(order[i:]) {
			answers = append(answers, Answer{Verdict: Word(v)})
		}
		if got := leastSure(answers); got != Word(least) {
			t.Errorf("of %v: got %v, want %v", order[i:], got, least)
		}
	}
	if leastSure(nil) != 0 || Word(0).String() != "none" {
		t.Error("no answers have a verdict")
	}
}

func TestTimeText(t *testing.T) {
	for v, want := range map[Time]string{0: "-", Time(attribution.Open): "-", Time(sec(0)): "2026-11-23T10:00:00.000Z", -5: "-"} {
		if v.String() != want {
			t.Errorf("%d is %q, want %q", v, v, want)
		}
	}
}
