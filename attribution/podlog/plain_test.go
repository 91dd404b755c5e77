package podlog

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// eventLines are events in the forms in which they come, and lines that only look so.
func eventLines() []string {
	pod := podJSON("a", theIP, 7, 10, ran(11, 0))
	at := `"receivedAt":"2026-11-23T10:00:00.125Z",`
	return []string{
		`{"type":"ADDED",` + at + `"object":` + pod + ` }`, line("MODIFIED", 20, fullPod), line("ADDED", 20, strings.Replace(fullPod, "reason", "Name", 1)),
		line("ADDED", 10, pod), line("DELETED", 10.5, pod), snapshotLine(0, 5), bookmark(60),
		`{"type":"MODIFIED","object":` + pod + "}\r\n", `{"type":"added",` + at + `"object":` + pod + `}`,
		`{"type":"ADDED",` + at + `"object":` + pod + `,"kind":"PodList"}`, `{"type":"ADDED",` + at + `"object":` + pod + `,"object":{}}`,
		`{"type":"ADDED",` + at + `"object":` + pod + `}}`, `{"type":"ADDED",` + at + `"object":` + pod, `{"type":"ADDED",` + at + `"object":` + pod + "}\u00a0",
		`{"type":"AD\u0044ED",` + at + `"object":` + pod + `}`, `{"type":"ADDED","receivedAt":null,"object":` + pod + `}`, `{"type":"ADDED","receivedAt":"now","object":` + pod + `}`,
		`{"type":"ADDED",` + at + at + `"object":` + pod + `}`, `{"type":"","object":` + pod + `}`, `{"type":"ADDED","object":null}`, `{"type":"ADDED","object":[]}`,
		`{"type": "ADDED", "object": ` + pod + `}`, `{"type":"ADDED","object":{"metadata":{"name":7}}}`, `{"type":"ADDED","object":{"kind":"Node"}}`,
	}
}

// checkPlain wants what the plain way takes to be what json makes of the line.
func checkPlain(t *testing.T, line []byte) (taken bool) {
	t.Helper()
	got, ok := plainEvent(line)
	if !ok {
		return false
	}
	want := &readEvent{}
	if err := json.Unmarshal(line, &want.event); err != nil {
		t.Fatalf("%q was taken: %v", line, err)
	}
	if err := json.Unmarshal(want.Object, &want.object); err != nil {
		t.Fatalf("the object of %q was taken: %v", line, err)
	}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(readEvent{}, receipt{})); diff != "" {
		t.Fatalf("%q (-json +plain):\n%s", line, diff)
	}
	return true
}

func TestPlainEvent(t *testing.T) {
	taken := 0
	for _, l := range eventLines() {
		if checkPlain(t, []byte(l)) {
			taken++
		}
		for i := range l { // whatever is cut out or changed
			checkPlain(t, []byte(l[:i]+l[i+1:]))
			checkPlain(t, []byte(l[:i]+`"`+l[i+1:]))
		}
	}
	if taken != 9 {
		t.Errorf("%d lines were taken, want 9", taken)
	}
}

// A journal gives the same facts when no line of it is plain.
func TestPlainJournal(t *testing.T) {
	lines := eventLines()
	spaced := func(l string) string { return strings.Replace(l, `{"type":`, `{ "type":`, 1) }
	var plain, other bytes.Buffer
	for _, l := range lines {
		plain.WriteString(strings.TrimSpace(l) + "\n")
		other.WriteString(spaced(strings.TrimSpace(l)) + "\n")
	}
	want, sum := viewOf(t, other.String(), Options{})
	got, plainSum := viewOf(t, plain.String(), Options{})
	for i := range plainSum.Rejected { // offsets and texts differ by the space
		plainSum.Rejected[i], sum.Rejected[i] = Rejection{}, Rejection{}
	}
	if diff := cmp.Diff(sum, plainSum); diff != "" {
		t.Errorf("summary (-json +plain):\n%s", diff)
	}
	for at := range 200 {
		if a, b := who(want, theIP, float64(at)), who(got, theIP, float64(at)); a != b {
			t.Errorf("at %d: %q, without space %q", at, a, b)
		}
	}
}

func FuzzPlainEvent(f *testing.F) {
	for _, l := range eventLines() {
		f.Add([]byte(l))
	}
	f.Fuzz(func(t *testing.T, line []byte) { checkPlain(t, line) })
}
