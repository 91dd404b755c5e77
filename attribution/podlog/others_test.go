package podlog

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/whichpod/whichpod/attribution"
)

// journalOf has a watch of pods, one of nodes and one of kube-system's ConfigMaps, that
// all begin with a list; the nodes' is lost for ten minutes.
const journalOf = `{"type":"SNAPSHOT","receivedAt":"2026-11-23T10:00:00.000Z","object":{"kind":"PodList","metadata":{"resourceVersion":"100"},"items":[]}}
{"type":"SNAPSHOT","receivedAt":"2026-11-23T10:00:00.100Z","object":{"kind":"NodeList","metadata":{"resourceVersion":"100"},"items":[{"metadata":{"name":"n1","uid":"a","resourceVersion":"50"},"status":{"addresses":[{"type":"InternalIP","address":"10.224.0.4"}]}},{"metadata":{"name":"n2","uid":"b","resourceVersion":"51"}}]}}
{"type":"SNAPSHOT","receivedAt":"2026-11-23T10:00:00.200Z","object":{"kind":"ConfigMapList","metadata":{"resourceVersion":"100"},"items":[{"metadata":{"name":"azure-ip-masq-agent-config","namespace":"kube-system","uid":"c","resourceVersion":"40","managedFields":[{"time":"2026-11-22T08:00:00Z"}]},"data":{"ip-masq-agent":"x"}},{"metadata":{"name":"other","namespace":"kube-system","uid":"d","resourceVersion":"41"}}]}}
{"type":"BOOKMARK","receivedAt":"2026-11-23T10:01:00.000Z","object":{"kind":"Node","metadata":{"resourceVersion":"110"}}}
{"type":"BOOKMARK","receivedAt":"2026-11-23T10:01:00.000Z","object":{"kind":"ConfigMap","metadata":{"resourceVersion":"110"}}}
{"type":"MODIFIED","receivedAt":"2026-11-23T10:02:00.000Z","object":{"kind":"ConfigMap","metadata":{"name":"azure-ip-masq-agent-config","namespace":"kube-system","uid":"c","resourceVersion":"120","managedFields":[{"time":"2026-11-23T10:01:59Z"}]},"data":{"ip-masq-agent":"y"}}}
{"type":"DELETED","receivedAt":"2026-11-23T10:02:30.000Z","object":{"kind":"ConfigMap","metadata":{"name":"azure-ip-masq-agent-config","namespace":"kube-system","uid":"c","resourceVersion":"130"},"data":{"ip-masq-agent":"y"}}}
{"type":"SNAPSHOT","receivedAt":"2026-11-23T10:11:00.000Z","object":{"kind":"NodeList","metadata":{"resourceVersion":"200"},"items":[{"metadata":{"name":"n1","uid":"a","resourceVersion":"50"},"status":{"addresses":[{"type":"InternalIP","address":"10.224.0.4"}]}}]}}
{"type":"BOOKMARK","receivedAt":"2026-11-23T10:12:00.000Z","object":{"kind":"Node","metadata":{"resourceVersion":"210"}}}
`

func readOthers(t *testing.T, l *attribution.Ledger, journal string, format Format) Summary {
	t.Helper()
	opt := Options{Cluster: "c", Format: format, ReadBy: moment("2026-11-23T12:00:00Z"),
		Objects: func(kind attribution.Kind, yield func(attribution.ObjectFact)) { l.Objects("c", kind, yield) }}
	sum, err := Read(strings.NewReader(journal), opt, func(facts []attribution.Fact) error {
		_, err := l.Append(facts...)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return sum
}

func moment(s string) int64 {
	t, err := time.Parse(time.RFC3339Nano, s)
	if err != nil {
		panic(err)
	}
	return t.UnixMilli()
}

func lastStates(l *attribution.Ledger, kind attribution.Kind) []string {
	var out []string
	l.Objects("c", kind, func(f attribution.ObjectFact) {
		s := fmt.Sprintf("%s@%d", f.Name, f.Version)
		if f.State == nil {
			s += " gone"
		} else {
			s += fmt.Sprint(f.State.Fields)
		}
		out = append(out, s)
	})
	slices.Sort(out)
	return out
}

func TestJournalWithOtherKinds(t *testing.T) {
	for name, journal := range map[string]string{"as it came": journalOf, "twice": journalOf + journalOf} {
		l := attribution.NewLedger()
		sum := readOthers(t, l, journal, Auto)
		if sum.Rejections != 0 || sum.Objects < 5 {
			t.Fatalf("%s: %+v", name, sum)
		}
		if got, want := strings.Join(lastStates(l, attribution.Nodes), ", "), "n1@50[{address 10.224.0.4}], n2@200 gone"; got != want {
			t.Errorf("%s: nodes: got %s, want %s", name, got, want)
		}
		if got, want := strings.Join(lastStates(l, attribution.ConfigMaps), ", "), "azure-ip-masq-agent-config@130 gone"; got != want {
			t.Errorf("%s: ConfigMaps: got %s, want %s", name, got, want)
		}
		for _, c := range []struct {
			kind         attribution.Kind
			before, want string
		}{
			{attribution.Nodes, "2026-11-23T10:10:00Z", "2026-11-23T10:01:00Z"},
			{attribution.Nodes, "2026-11-23T11:00:00Z", "2026-11-23T10:12:00Z"},
			{attribution.ConfigMaps, "2026-11-23T11:00:00Z", "2026-11-23T10:02:30Z"},
		} {
			if got := l.KindWatchedUntil("c", c.kind, moment(c.before)); got != moment(c.want) {
				t.Errorf("%s: %v was watched until %v before %s, want %s", name, c.kind, time.UnixMilli(got).UTC(), c.before, c.want)
			}
		}
	}
}

// A line that can not be read may have been of any kind: no watch counts until its next list.
func TestLineThatIsLostBreaksEveryWatch(t *testing.T) {
	lines := strings.SplitAfter(journalOf, "\n")
	lines = slices.Insert(lines, 4, "{\"type\":\"MODIFIED\",\n")
	l := attribution.NewLedger()
	if sum := readOthers(t, l, strings.Join(lines, ""), Watch); sum.Rejections != 1 {
		t.Fatalf("%+v", sum)
	}
	if got := l.KindWatchedUntil("c", attribution.ConfigMaps, moment("2026-11-23T11:00:00Z")); got > moment("2026-11-23T10:01:00Z") {
		t.Errorf("ConfigMaps count as watched until %v", time.UnixMilli(got).UTC())
	}
}

// An event that comes late is put in its place, and what was seen after it stays.
func TestStateThatComesLate(t *testing.T) {
	const line = `{"type":"MODIFIED","receivedAt":"2026-11-23T10:00:0%d.000Z","object":{"kind":"Node","metadata":{"name":"n","uid":"a","resourceVersion":"%d"},"spec":{"providerID":%q}}}` + "\n"
	l := attribution.NewLedger()
	readOthers(t, l, fmt.Sprintf(line, 1, 1, "x")+fmt.Sprintf(line, 2, 9, "x")+fmt.Sprintf(line, 3, 5, "y"), Watch)
	if got, want := strings.Join(lastStates(l, attribution.Nodes), ", "), "n@9[{providerID x}]"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

// "kubectl get nodes,configmaps -A -o json" prints a List of both.
func TestListOfOtherKinds(t *testing.T) {
	l := attribution.NewLedger()
	sum := readOthers(t, l, `{"kind":"List","metadata":{"resourceVersion":""},"items":[{"kind":"Node","metadata":{"name":"n1","uid":"a","resourceVersion":"50"}},{"kind":"ConfigMap","metadata":{"name":"azure-ip-masq-agent-config","namespace":"kube-system","uid":"c","resourceVersion":"40"}},{"kind":"Pod","metadata":{"name":"p","uid":"p"}},{"kind":"Secret","metadata":{"name":"s"}}]}`, Auto)
	if sum.Objects != 2 || sum.Pods != 1 || sum.Rejections != 0 || sum.Format != List {
		t.Errorf("%+v", sum)
	}
	if sum := readOthers(t, l, `{"kind":"NodeList","metadata":{"resourceVersion":"60"},"items":[{"metadata":{"name":"n1","uid":"a"}}]}`, Auto); sum.Rejections != 1 {
		t.Errorf("a node without a version: %+v", sum)
	}
	if got, want := strings.Join(lastStates(l, attribution.Nodes), ", "), "n1@50[]"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}
