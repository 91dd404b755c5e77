package podlog

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func versionMark(at float64, version string) string {
	return line("BOOKMARK", at, `{"kind":"Pod","metadata":{"resourceVersion":"`+version+`"}}`)
}

// A clock that was set back is reported, and the time that it stamped twice is no
// coverage; lines that only stand out of order are no step.
func TestClockSetBack(t *testing.T) {
	for _, c := range []struct {
		name    string
		file    string
		jumps   []Jump
		watched string
	}{
		{"steady", journal(snapshotLine(0, 5), versionMark(60, "6"), versionMark(120, "7"), versionMark(180, "8")), nil, "0-180"},
		{"slewed", journal(snapshotLine(0, 5), versionMark(60, "6"), versionMark(120, "7"), versionMark(119.5, "8"), versionMark(180, "9")), nil, "0-180"},
		{"set back by 20 s, ten lines later right again", journal(snapshotLine(0, 5), versionMark(60, "6"), versionMark(120, "7"), versionMark(180, "8"), versionMark(160, "9"), versionMark(220, "10"), versionMark(280, "11")),
			[]Jump{{sec(180), sec(160)}}, "0-140 200-280"},
		{"an old line that came late", journal(snapshotLine(0, 5), versionMark(60, "6"), versionMark(120, "8"), versionMark(70, "7"), versionMark(180, "9"), versionMark(240, "10"), versionMark(300, "11"),
			versionMark(360, "12"), versionMark(420, "13"), versionMark(480, "14"), versionMark(540, "15")), nil, "0-540"},
	} {
		v, sum := viewOf(t, c.file, Options{})
		if diff := cmp.Diff(c.jumps, sum.Jumps); diff != "" {
			t.Errorf("%s: jumps: -want +got:\n%s", c.name, diff)
		}
		if got := watchedText(v); got != c.watched {
			t.Errorf("%s: watched %s, want %s", c.name, got, c.watched)
		}
	}
}

// A stage before its request: the API server's clock was set back between them.
func TestAuditClockSetBack(t *testing.T) {
	odd := strings.Replace(auditAt(300, "patch", "status", "a", `{"metadata":{"uid":"a"},"status":{"podIP":"10.244.0.9"}}`, ""),
		`"requestReceivedTimestamp":"`+clockText(300), `"requestReceivedTimestamp":"`+clockText(310), 1)
	v, sum := viewOf(t, journal(append(auditTicks(0, 600), odd)...), Options{})
	if diff := cmp.Diff([]Jump{{sec(310), sec(300)}}, sum.Jumps); diff != "" {
		t.Errorf("jumps: -want +got:\n%s", diff)
	}
	if got := watchedText(v); got != "0-290 320-600" {
		t.Errorf("watched %s", got)
	}
	if owners := v.Owners(mustAddr(theIP)); len(owners) != 1 || owners[0].FromLatest < sec(310) {
		t.Errorf("seen by %+v, want no earlier than it was asked for", owners)
	}
}

// A stamp before the object's own times is of a clock that is behind: nobody saw the
// pod before it was.
func TestStampBeforeObject(t *testing.T) {
	v, _ := viewOf(t, journal(snapshotLine(0, 5), line("ADDED", 12, podJSON("a", theIP, 7, 10, ready("True", 40)))), Options{})
	if owners := v.Owners(mustAddr(theIP)); len(owners) != 1 || owners[0].FromLatest < sec(40) {
		t.Errorf("got %+v, want it seen by 40 s", owners)
	}
}
