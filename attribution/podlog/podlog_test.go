package podlog

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"

	"github.com/whichpod/whichpod/attribution"
)

func TestWatchJournal(t *testing.T) {
	t.Parallel()
	a := func(version int, more string) string { return podJSON("a", theIP, version, 10, more) }
	v, sum := viewOf(t, journal(slices.Concat(
		[]string{snapshotLine(0, 5), line("ADDED", 10, podJSON("a", "", 6, 10, "")), line("MODIFIED", 12, a(7, ran(11, 0))), bookmark(70),
			line("MODIFIED", 101, a(8, ran(11, 100))), line("DELETED", 103, strings.Replace(a(9, ran(11, 100)), `"creationTimestamp"`, `"deletionTimestamp":"2026-11-23T10:01:40Z","creationTimestamp"`, 1))},
		alive(160, 400))...), Options{})
	if got, want := watchedText(v), "0-400"; got != want {
		t.Errorf("watched %s, want %s", got, want)
	}
	for at, want := range map[float64]string{5: "gap", 10.5: "exact a", 50: "exact a", 102.5: "gap", 200: "gap", 450: "gap"} {
		if at == 102.5 {
			want = "gap" // its containers ended at 100, said with whole seconds
		}
		if got := who(v, theIP, at); got != want {
			t.Errorf("at %v: got %q, want %q", at, got, want)
		}
	}
	want := Summary{Documents: 11, Pods: 4, From: sec(0), To: sec(400), Format: Watch, Watched: []attribution.Range{{From: sec(0), To: sec(400)}}}
	if diff := cmp.Diff(want, sum); diff != "" {
		t.Errorf("summary: -want +got:\n%s", diff)
	}
}

// When a watch counts as alive, from the lines of a journal.
func TestCoverage(t *testing.T) {
	t.Parallel()
	added := func(at float64, uid string) string { return line("ADDED", at, podJSON(uid, "10.244.0.77", 1, at, "")) }
	undated := `{"type":"ADDED","object":` + podJSON("u", "10.244.0.78", 1, 0, "") + `}`
	for _, c := range []struct {
		name  string
		lines []string
		want  string
	}{
		{"a snapshot and bookmarks", []string{snapshotLine(0, 5), bookmark(60), bookmark(120)}, "0-120"},
		{"a watch that begins with what is there", []string{added(0, "a"), added(0.1, "b"), bookmark(60)}, "0-60"},
		{"exactly two minutes of silence", []string{snapshotLine(0, 5), bookmark(120)}, "0-120"},
		{"more than two minutes: what was missed is known from the next list on", []string{snapshotLine(0, 5), bookmark(60), bookmark(181), bookmark(240), snapshotLine(250, 9), bookmark(260)}, "0-60 250-260"},
		{"a list in the middle: something may have been missed before it", []string{snapshotLine(0, 5), bookmark(60), snapshotLine(90, 9), bookmark(150)}, "0-60 90-150"},
		{"a list at once with a line, which proves nothing of the time before", []string{snapshotLine(0, 5), bookmark(60), snapshotLine(60, 9), bookmark(90)}, "60-90"},
		{"cut in the middle of a watch: who was there before is not known", []string{bookmark(0), bookmark(60), snapshotLine(70, 5), bookmark(100)}, "70-100"},
		{"one line", []string{snapshotLine(0, 5)}, ""},
		{"lines without the time at which they came", []string{undated, undated}, ""},
		{"an error event and a list after it", []string{snapshotLine(0, 5), bookmark(30), `{"type":"ERROR","object":{"kind":"Status","code":410}}`, snapshotLine(40, 9), bookmark(50)}, "0-30 40-50"},
		{"many lines within a second", []string{snapshotLine(0, 5), added(1.1, "a"), added(1.5, "b"), added(1.9, "d")}, "0-1.9"},
		{"in any order", []string{snapshotLine(0, 5), bookmark(120), bookmark(60)}, "0-120"},
	} {
		v, _ := viewOf(t, journal(c.lines...), Options{})
		if got := watchedText(v); got != c.want {
			t.Errorf("%s: watched %q, want %q", c.name, got, c.want)
		}
	}
}

// A journal that goes on where the one before it ended, within two minutes.
func TestCoverageAcrossFiles(t *testing.T) {
	for gap, want := range map[float64]string{60: "0-240", 180: "0-120"} {
		l := attribution.NewLedger()
		readInto(t, l, journal(snapshotLine(0, 5), bookmark(60), bookmark(120)), Options{})
		readInto(t, l, journal(bookmark(120+gap), bookmark(180+gap)), Options{})
		if got := watchedText(l.View(config())); got != want {
			t.Errorf("%v s apart: watched %q, want %q", gap, got, want)
		}
	}
}

// A list after a lost watch closes what vanished, with an honest bracket.
func TestRelist(t *testing.T) {
	t.Parallel()
	lines := []string{snapshotLine(0, 5), line("ADDED", 12, podJSON("a", theIP, 7, 10, ran(11, 0))), line("ADDED", 13, podJSON("stays", "10.244.0.8", 8, 10, ran(11, 0))), bookmark(60)}
	relist := snapshotLine(300, 50, podJSON("stays", "10.244.0.8", 8, 10, ran(11, 0)))
	for _, c := range []struct {
		name  string
		lines []string
		want  map[float64]string // who sent from theIP
	}{
		{"nobody has it since", slices.Concat(lines, []string{relist}, alive(360, 600)), map[float64]string{40: "exact a", 200: "gap", 302: "boundary a", 400: "boundary a"}},
		{"another has it since", slices.Concat(lines, []string{relist, line("ADDED", 330, podJSON("b", theIP, 60, 320, ran(325, 0)))}, alive(360, 600)),
			map[float64]string{40: "exact a", 200: "gap", 302: "boundary a", 323: "boundary a b", 400: "exact b"}},
		{"an event about the pod that comes after the list, though older", slices.Concat([]string{snapshotLine(0, 5), bookmark(60), relist, line("ADDED", 301, podJSON("a", theIP, 7, 10, ran(11, 0)))}, alive(360, 600)),
			map[float64]string{400: "boundary a"}},
		{"made after the list", slices.Concat(lines[:1], []string{bookmark(60), relist, line("ADDED", 330, podJSON("b", theIP, 60, 320, ran(325, 0)))}, alive(360, 600)),
			map[float64]string{400: "exact b"}},
	} {
		v, _ := viewOf(t, journal(c.lines...), Options{})
		for at, want := range c.want {
			if got := who(v, theIP, at); got != want {
				t.Errorf("%s: at %v got %q, want %q", c.name, at, got, want)
			}
		}
	}
	v, _ := viewOf(t, journal(slices.Concat(lines, []string{relist}, alive(360, 600))...), Options{})
	if got := who(v, "10.244.0.8", 200); got != "exact stays" {
		t.Errorf("a pod that was there before and after the hole: got %q", got)
	}
	cand := v.Owners(v.Pods(attribution.PodRef{UID: "a"})[0].Address)[0]
	if !cand.Lingers {
		t.Errorf("a pod that vanished is not marked: %+v", cand)
	}
}

// A journal that begins with a list marks what the ledger knew and it does not show.
func TestSnapshotAgainstTheLedger(t *testing.T) {
	l := attribution.NewLedger()
	readInto(t, l, journal(slices.Concat([]string{snapshotLine(0, 5), line("ADDED", 12, podJSON("a", theIP, 7, 10, ran(11, 0)))}, alive(60, 300))...), Options{})
	if got := who(l.View(config()), theIP, 100); got != "exact a" {
		t.Fatalf("before the second journal: got %q", got)
	}
	readInto(t, l, journal(slices.Concat([]string{snapshotLine(900, 50)}, alive(960, 1200))...), Options{})
	v := l.View(config())
	for at, want := range map[float64]string{100: "exact a", 500: "gap", 1000: "boundary a"} {
		if got := who(v, theIP, at); got != want {
			t.Errorf("at %v: got %q, want %q", at, got, want)
		}
	}
}

// Lines that can not be read are counted with their place, and the rest is kept.
func TestBrokenLines(t *testing.T) {
	t.Parallel()
	good := []string{snapshotLine(0, 5), line("ADDED", 12, podJSON("a", theIP, 7, 10, ran(11, 0))), line("ADDED", 13, podJSON("b", "10.244.0.8", 8, 10, ran(11, 0)))}
	for _, bad := range []struct{ name, line, reason string }{
		{"cut off", good[1][:len(good[1])/2], "invalid character"},
		{"two lines in one", good[1][:40] + good[2], "invalid character"},
		{"no JSON", "what is this", "invalid character"},
		{"binary", "\x00\xff\xfe{", "invalid character"},
		{"a list of nothing known", `[1,2]`, "cannot unmarshal array"},
		{"null", `null`, "want a watch event"},
		{"an unknown type", line("RENAMED", 20, podJSON("x", "", 1, 1, "")), `event type is "RENAMED"`},
		{"no uid", line("ADDED", 20, `{"kind":"Pod"}`), "metadata.uid"},
		{"an object that is none", line("ADDED", 20, `7`), "cannot unmarshal number"},
		{"a time that is none", `{"type":"ADDED","receivedAt":"yesterday","object":{}}`, "yesterday"},
		{"an event of another kind", line("ADDED", 20, `{"kind":"Service","metadata":{"uid":"x"}}`), `event is about a "Service", want a Pod`},
		{"a node without a name", line("ADDED", 20, `{"kind":"Node","metadata":{"uid":"x"}}`), "no metadata.name"},
		{"another kind", `{"kind":"Service","metadata":{"uid":"s"}}`, `kind "Service"`},
	} {
		v, sum := viewOf(t, journal(good[0], good[1], bad.line, good[2]), Options{})
		at := int64(len(good[0]) + len(good[1]) + 2)
		if sum.Rejections != 1 || len(sum.Rejected) != 1 || sum.Rejected[0].Offset != at || !strings.Contains(sum.Rejected[0].Reason, bad.reason) {
			t.Errorf("%s: rejected %d %+v, want one at byte %d with %q", bad.name, sum.Rejections, sum.Rejected, at, bad.reason)
		}
		if n := len(v.Pods(attribution.PodRef{})); n != 2 || sum.Pods != 2 {
			t.Errorf("%s: %d pods of %d observations, want 2", bad.name, n, sum.Pods)
		}
	}
	_, sum := viewOf(t, strings.Repeat("bad\n", 500), Options{})
	if sum.Rejections != 500 || len(sum.Rejected) != keepRejections || sum.Rejected[99].Offset != 99*4 {
		t.Errorf("of 500 broken lines %d are counted and %d kept", sum.Rejections, len(sum.Rejected))
	}
}

// indented prints a document as kubectl does.
func indented(t *testing.T, doc string) string {
	t.Helper()
	var b bytes.Buffer
	if err := json.Indent(&b, []byte(doc), "", "    "); err != nil {
		t.Fatal(err)
	}
	return b.String() + "\n"
}

// What "kubectl get pods -A -w --output-watch-events -o json" prints: documents over
// several lines, without the time at which they came.
func TestKubectlWatch(t *testing.T) {
	t.Parallel()
	undated := func(typ, object string) string {
		return indented(t, fmt.Sprintf(`{"type":%q,"object":%s}`, typ, object))
	}
	docs := []string{
		undated("ADDED", podJSON("a", theIP, 7, 10, ran(11, 0))),
		undated("MODIFIED", podJSON("a", theIP, 8, 10, ran(11, 100))),
		undated("DELETED", strings.Replace(podJSON("a", theIP, 9, 10, ran(11, 100)), `"creationTimestamp"`, `"deletionTimestamp":"2026-11-23T10:01:40Z","creationTimestamp"`, 1)),
		undated("ADDED", podJSON("b", theIP, 12, 110, ran(115, 0))),
	}
	v, sum := viewOf(t, strings.Join(docs, ""), Options{ReadBy: sec(1000)})
	if sum.Rejections != 0 || sum.Pods != 4 || sum.Undated != 4 || sum.Format != Watch || sum.From != 0 || sum.To != 0 {
		t.Errorf("summary is %+v", sum)
	}
	if got := watchedText(v); got != "" {
		t.Errorf("watched %q: when is not known", got)
	}
	for at, want := range map[float64]string{5: "gap", 50: "exact a", 105: "gap", 500: "gap"} {
		if got := who(v, theIP, at); got != want {
			t.Errorf("at %v: got %q, want %q", at, got, want)
		}
	}
	for name, cut := range map[string]string{
		"cut in the middle":            docs[1][:len(docs[1])/2] + "\n",
		"its last line is missing":     strings.TrimSuffix(docs[1], "}\n"),
		"a comma is missing":           strings.Replace(docs[1], ",", "", 1),
		"with empty lines and Windows": strings.ReplaceAll(docs[1], "\n", "\r\n\r\n"),
	} {
		_, sum := viewOf(t, docs[0]+cut+docs[2], Options{})
		bad := 1
		if strings.Contains(name, "Windows") {
			bad = 0
		}
		if sum.Rejections != bad || sum.Pods != 3-bad {
			t.Errorf("%s: rejected %+v, %d pods", name, sum.Rejected, sum.Pods)
		}
		if bad == 1 && sum.Rejected[0].Offset != int64(len(docs[0])) {
			t.Errorf("%s: at byte %d, want %d", name, sum.Rejected[0].Offset, len(docs[0]))
		}
	}
}

func TestList(t *testing.T) {
	t.Parallel()
	items := podJSON("a", theIP, 7, 10, ran(11, 0)) + "," + podJSON("done", "10.244.0.8", 9, 10, ran(11, 40))
	items = strings.Replace(items, `"phase":"Running","hostIP":"10.224.0.4","startTime":"2026-11-23T10:00:10Z","podIP":"10.244.0.8"`, `"phase":"Succeeded","podIP":"10.244.0.8"`, 1)
	api := `{"kind":"PodList","metadata":{"resourceVersion":"20"},"items":[` + items + `]}`
	kubectl := indented(t, `{"apiVersion":"v1","items":[`+items+`],"kind":"List","metadata":{"resourceVersion":""}}`)
	for name, file := range map[string]string{"as the API server writes it": api, "as kubectl prints it": kubectl} {
		v, sum := viewOf(t, file, Options{ReadBy: sec(500)})
		if sum.Format != List || sum.Pods != 2 || sum.Rejections != 0 || sum.Documents != 1 {
			t.Errorf("%s: summary is %+v", name, sum)
		}
		if got := watchedText(v); got != "" {
			t.Errorf("%s: watched %q", name, got)
		}
		// the newest time in it is 40: a was there then, less what the kubelet may not have reported
		for ip, want := range map[string]map[float64]string{theIP: {5: "gap", 20: "exact a", 28: "exact a", 600: "gap"}, "10.244.0.8": {20: "exact done", 39.5: "gap", 45: "gap"}} {
			for at, want := range want {
				if got := who(v, ip, at); got != want {
					t.Errorf("%s: %s at %v got %q, want %q", name, ip, at, got, want)
				}
			}
		}
		if c := v.Pods(attribution.PodRef{UID: "a"})[0]; c.Sources.String() != "list" || c.Name != "a" || c.Node != "n" {
			t.Errorf("%s: %+v", name, c)
		}
	}
	// What "kubectl get all" prints is of every kind.
	mixed := `{"kind":"List","items":[{"kind":"Service","metadata":{"uid":"s","name":"a","namespace":"web"}},{"metadata":{"name":"no uid"}},` + items + `]}`
	if v, sum := viewOf(t, mixed, Options{}); sum.Pods != 2 || len(v.Pods(attribution.PodRef{})) != 2 {
		t.Errorf("a list of every kind: %+v", sum)
	}
	// A later list without a pod does not say that it went: it may be of one namespace.
	l := attribution.NewLedger()
	readInto(t, l, api, Options{ReadBy: sec(500)})
	readInto(t, l, `{"kind":"PodList","metadata":{"resourceVersion":"90"},"items":[]}`, Options{ReadBy: sec(900)})
	if c := l.View(config()).Pods(attribution.PodRef{UID: "a"})[0]; c.Lingers {
		t.Errorf("a later list does not show it: %+v", c)
	}
}

func TestFormats(t *testing.T) {
	list, watch := `{"kind":"PodList","metadata":{},"items":[`+podJSON("a", theIP, 7, 10, "")+`]}`, snapshotLine(0, 5, podJSON("a", theIP, 7, 10, ""))
	for _, c := range []struct {
		file   string
		format Format
		found  Format
		pods   int
	}{
		{list, Auto, List, 1}, {list, List, List, 1}, {list, Watch, Watch, 0},
		{watch, Auto, Watch, 1}, {watch, Watch, Watch, 1}, {watch, List, List, 0},
		{"", Auto, Auto, 0}, {"\n \n", Auto, Auto, 0},
	} {
		_, sum := viewOf(t, c.file, Options{Format: c.format})
		bad := 0
		if c.pods == 0 && strings.TrimSpace(c.file) != "" {
			bad = 1
		}
		if sum.Format != c.found || sum.Pods != c.pods || sum.Rejections != bad {
			t.Errorf("%.40s as %s: %+v, want %+v", c.file, c.format, sum, c)
		}
	}
	if got := strings.Join(Formats(), " "); !strings.HasPrefix(got, "auto watch list") {
		t.Errorf("formats are %s", got)
	}
}

// Special pods, through a whole journal.
func TestSpecialPods(t *testing.T) {
	t.Parallel()
	host := `{"kind":"Pod","metadata":{"uid":"h","name":"proxy","namespace":"kube-system","resourceVersion":"7","creationTimestamp":"2026-11-23T10:00:10Z"},"spec":{"nodeName":"n","hostNetwork":true},
		"status":{"phase":"Running","hostIP":"10.224.0.4","podIP":"10.224.0.4","podIPs":[{"ip":"10.224.0.4"}],"startTime":"2026-11-23T10:00:10Z"}}`
	dual := strings.Replace(podJSON("a", theIP, 8, 10, ran(11, 0)), `"podIPs":[{"ip":"10.244.0.9"}]`, `"podIPs":[{"ip":"10.244.0.9"},{"ip":"fd00::9"}]`, 1)
	collected := strings.Replace(podJSON("g", "10.244.0.8", 30, 10, ran(11, 0)), `"phase":"Running"`, `"phase":"Failed","conditions":[{"type":"DisruptionTarget","status":"True","reason":"DeletionByPodGC","lastTransitionTime":"2026-11-23T10:01:00Z"}]`, 1)
	v, _ := viewOf(t, journal(slices.Concat([]string{snapshotLine(0, 5), line("ADDED", 12, strings.ReplaceAll(host, "\n", " ")), line("ADDED", 12, dual), line("ADDED", 12, podJSON("g", "10.244.0.8", 9, 10, ran(11, 0))),
		line("MODIFIED", 60, collected), line("DELETED", 61, collected)}, alive(90, 600))...), Options{})
	for _, c := range []struct {
		ip   string
		at   float64
		want string
	}{
		{"10.224.0.4", 80, "masked @n a g h"}, {theIP, 40, "exact a"}, {"fd00::9", 40, "exact a"},
		{"10.244.0.8", 40, "exact g"}, {"10.244.0.8", 300, "exact g"}, // the garbage collector's word is not the kubelet's
		{"10.224.0.4", 300, "masked @n a g h"},
	} {
		if got := who(v, c.ip, c.at); got != c.want {
			t.Errorf("%s at %v: got %q, want %q", c.ip, c.at, got, c.want)
		}
	}
}

// Lines that come twice or in another order make the same ledger.
func TestOrderOfLinesDoesNotMatter(t *testing.T) {
	t.Parallel()
	lines := alive(60, 600)
	for i := range 12 {
		made, ip := float64(10+i*40), fmt.Sprintf("10.244.0.%d", 1+i%3)
		uid, version := fmt.Sprintf("p%d", i), 10+i*10
		end := made + 30 + float64(i%4)*20
		lines = append(lines, line("ADDED", made, podJSON(uid, "", version, made, "")), line("MODIFIED", made+3, podJSON(uid, ip, version+1, made, ran(made+1, 0))))
		if i%5 != 0 {
			lines = append(lines, line("MODIFIED", end+1, podJSON(uid, ip, version+2, made, ran(made+1, end))))
		}
		lines = append(lines, line("DELETED", end+2, podJSON(uid, ip, version+3, made, ran(made+1, end))))
	}
	first := snapshotLine(0, 5)
	want, _ := viewOf(t, journal(append([]string{first}, lines...)...), Options{})
	for seed := range uint64(30) {
		r := rand.New(rand.NewPCG(seed, 1))
		mixed := append(slices.Clone(lines), lines[:r.IntN(len(lines))]...)
		r.Shuffle(len(mixed), func(i, j int) { mixed[i], mixed[j] = mixed[j], mixed[i] })
		got, _ := viewOf(t, journal(append([]string{first}, mixed...)...), Options{})
		if w, g := watchedText(want), watchedText(got); w != g {
			t.Fatalf("seed %d: watched %s, want %s", seed, g, w)
		}
		for range 200 {
			ip, at := fmt.Sprintf("10.244.0.%d", 1+r.IntN(3)), r.Float64()*650
			if w, g := who(want, ip, at), who(got, ip, at); w != g {
				t.Fatalf("seed %d: %s at %v: got %q, want %q", seed, ip, at, g, w)
			}
		}
	}
}

// Facts come in batches; an error of the receiver, or of the file, ends the reading.
func TestReadErrors(t *testing.T) {
	var lines []string
	for i := range 3 * batchFacts {
		lines = append(lines, line("ADDED", float64(i)/100, podJSON(fmt.Sprint(i), "", i+1, 0, "")))
	}
	var sizes []int
	_, err := Read(strings.NewReader(journal(lines...)), Options{Format: Auto}, func(f []attribution.Fact) error { sizes = append(sizes, len(f)); return nil })
	if diff := cmp.Diff([]int{batchFacts, batchFacts, batchFacts, 1}, sizes); err != nil || diff != "" {
		t.Errorf("%v, batches -want +got:\n%s", err, diff)
	}
	full := errors.New("disk is full")
	for bad := range sizes {
		n := 0
		_, err := Read(strings.NewReader(journal(lines...)), Options{Format: Auto}, func([]attribution.Fact) error {
			if n++; n > bad {
				return full
			}
			return nil
		})
		if !errors.Is(err, full) || n != bad+1 {
			t.Errorf("got %v after %d batches, want the receiver's error after %d", err, n, bad+1)
		}
	}
	torn := errors.New("connection reset")
	_, err = Read(io.MultiReader(strings.NewReader(journal(lines[:2]...)), iotest.ErrReader(torn)), Options{Format: Auto}, func([]attribution.Fact) error { return nil })
	if !errors.Is(err, torn) || !strings.Contains(err.Error(), "read pods") {
		t.Errorf("got %v, want the file's error", err)
	}
}

func fuzzSeeds() []string {
	return []string{
		"", "{", "}\n{", "null\n", "{}", snapshotLine(0, 5, podJSON("a", theIP, 7, 10, ran(11, 0))),
		journal(line("ADDED", 12, podJSON("a", theIP, 7, 10, ran(11, 90))), bookmark(60), "broken", line("DELETED", 90, podJSON("a", theIP, 9, 10, ran(11, 90)))),
		"{\n    \"type\": \"ADDED\",\n    \"object\": " + podJSON("a", theIP, 7, 10, "") + "\n}\n",
		`{"kind":"List","items":[` + podJSON("a", "fd00::1", 7, 10, "") + `,{}]}`,
		`{"type":"ADDED","receivedAt":"9999-12-31T23:59:59.999999999Z","object":{"metadata":{"uid":"a","creationTimestamp":"0001-01-01T00:00:00Z","resourceVersion":"18446744073709551615"}}}`,
		`{"type":"SNAPSHOT","receivedAt":"1677-01-01T00:00:00Z","object":{"items":[{"metadata":{"uid":"a"}}]}}`,
	}
}

// readAny reads untrusted bytes and asks about what came out.
func readAny(t *testing.T, file string) {
	l := attribution.NewLedger()
	for _, format := range []Format{Auto, Watch, List} {
		sum, err := Read(strings.NewReader(file), Options{Cluster: "c", Format: format, ReadBy: sec(1000)}, func(f []attribution.Fact) error {
			_, err := l.Append(f...)
			return err
		})
		if err != nil {
			t.Errorf("as %s: %v", format, err)
		}
		for _, r := range sum.Rejected {
			if r.Offset < 0 || r.Offset > int64(len(file)) { // its end is where something is missing
				t.Errorf("as %s: rejection %+v is outside of %d bytes", format, r, len(file))
			}
		}
	}
	v := l.View(config())
	for _, at := range []float64{0, 50, 1000} {
		_ = who(v, theIP, at)
	}
}

func TestReadSeeds(t *testing.T) {
	for _, s := range fuzzSeeds() {
		readAny(t, s)
	}
}

func FuzzRead(f *testing.F) {
	for _, s := range fuzzSeeds() {
		f.Add(s)
	}
	f.Fuzz(readAny)
}
