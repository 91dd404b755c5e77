package podlog

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/whichpod/whichpod/attribution"
)

// inventoryOf is a sample of a pod with one running container that never ran before.
func inventoryOf(uid, ip string, at, started float64, more map[string]string) map[string]string {
	row := map[string]string{
		"TimeGenerated": clockText(at), "PodUid": uid, "PodIp": ip, "PodStatus": "Running", "Name": uid, "Namespace": "web", "Computer": "n",
		"ClusterName": "c", "ClusterId": "/subscriptions/s/resourceGroups/g/providers/Microsoft.ContainerService/managedClusters/c",
		"PodCreationTimeStamp": clockText(started - 2), "PodStartTime": clockText(started - 1), "PodLabel": `[{"app":"api"}]`,
		"ControllerKind": "ReplicaSet", "ControllerName": "api",
		"ContainerStatus": "running", "ContainerStartTime": clockText(started), "ContainerRestartCount": "0", "InstanceName": uid,
	}
	for k, v := range more {
		row[k] = v
	}
	return row
}

func samples(uid, ip string, from, to, started float64) []map[string]string {
	var out []map[string]string
	for s := from; s <= to; s += 60 {
		out = append(out, inventoryOf(uid, ip, s, started, nil))
	}
	return out
}

var csvColumns = []string{"InstanceName", "PodUid", "PodIp", "PodStatus", "TimeGenerated", "Name", "Namespace", "Computer", "ClusterName", "ClusterId", "PodCreationTimeStamp",
	"PodStartTime", "PodLabel", "ControllerKind", "ControllerName", "ContainerStatus", "ContainerStartTime", "ContainerRestartCount"}

func csvOf(rows []map[string]string) string {
	var b strings.Builder
	b.WriteString(strings.Join(csvColumns, ",") + "\r\n")
	for _, r := range rows {
		for i, c := range csvColumns {
			if i > 0 {
				b.WriteByte(',')
			}
			b.WriteString(`"` + strings.ReplaceAll(r[c], `"`, `""`) + `"`)
		}
		b.WriteString("\r\n")
	}
	return b.String()
}

func arrayOf(rows []map[string]string) string {
	data, _ := json.MarshalIndent(rows, "", "  ")
	return string(data)
}

func linesOf(rows []map[string]string) string {
	var b strings.Builder
	for _, r := range rows {
		data, _ := json.Marshal(r)
		b.Write(append(data, '\n'))
	}
	return b.String()
}

func tablesOf(rows []map[string]string) string {
	type column struct {
		Name string `json:"name"`
		Type string `json:"type"`
	}
	var columns []column
	for _, c := range csvColumns {
		columns = append(columns, column{c, "string"})
	}
	var values [][]any
	for _, r := range rows {
		var v []any
		for _, c := range csvColumns {
			switch c {
			case "ContainerRestartCount":
				v = append(v, json.Number(r[c]))
			default:
				v = append(v, r[c])
			}
		}
		values = append(values, v)
	}
	data, _ := json.Marshal(map[string]any{"tables": []any{map[string]any{"name": "PrimaryResult", "columns": columns, "rows": values}}})
	// The service writes the columns before the rows; encoding/json sorts, and so does it.
	return string(data)
}

// Samples alone: exact only while a container that never ran before is known to run;
// never between two holders, after the last sample, or for a pod that started again.
func TestInventoryVerdicts(t *testing.T) {
	again := inventoryOf("r", "10.244.0.3", 600, 500, map[string]string{"ContainerRestartCount": "3"})
	done := inventoryOf("s", "10.244.0.4", 900, 500, map[string]string{"PodStatus": "Succeeded", "ContainerStatus": "terminated", "ContainerStartTime": ""})
	rows := append(samples("a", theIP, 60, 600, 20), samples("b", theIP, 1200, 1800, 1100)...)
	rows = append(rows, again, done, inventoryOf("s", "10.244.0.4", 840, 500, nil), inventoryOf("h", "10.224.0.4", 600, 20, nil), inventoryOf("k", "10.224.0.4", 600, 20, nil))
	for name, file := range map[string]string{"CSV": csvOf(rows), "array": arrayOf(rows), "lines": linesOf(rows), "tables": tablesOf(rows)} {
		v, sum := viewOf(t, file, Options{})
		if sum.Format != PodInventory || sum.Rejections != 0 || sum.Pods != len(rows) {
			t.Errorf("%s: read %+v, want %d rows", name, sum, len(rows))
		}
		if got := watchedText(v); got != "" {
			t.Errorf("%s: watched %s, want never: samples are no coverage", name, got)
		}
		for _, c := range []struct {
			ip   string
			at   float64
			want string
		}{
			{theIP, 10, "gap"}, {theIP, 300, "exact a"}, {theIP, 535, "exact a"},
			{theIP, 590, "gap"}, // the last sample may be a minute old
			{theIP, 900, "gap"}, // the next holder's container had not started
			{theIP, 1500, "exact b"}, {theIP, 3000, "gap"},
			{"10.244.0.3", 590, "gap"},                                  // it started again: perhaps in a new sandbox
			{"10.244.0.4", 700, "exact s"}, {"10.244.0.4", 1000, "gap"}, // its PodIp stayed, and means nothing
			{"10.224.0.4", 590, "gap"}, // the node's own, or a pod's: it does not say
		} {
			if got := who(v, c.ip, c.at); got != c.want {
				t.Errorf("%s: %s at %v: got %q, want %q", name, c.ip, c.at, got, c.want)
			}
		}
		owners := v.Owners(mustAddr(theIP))
		if len(owners) != 2 || owners[0].Sources.String() != "inventory" || owners[0].Owner != "ReplicaSet/api" || owners[0].Node != "n" || !cmp.Equal(owners[0].Labels, []string{"app=api"}) ||
			owners[0].FromEarliest != sec(19) || owners[0].FromLatest != sec(21) || owners[0].ToEarliest != sec(540) {
			t.Errorf("%s: owners are %+v", name, owners)
		}
	}
}

// The watch's brackets are the tighter ones; the inventory adds its name.
func TestInventoryBesideWatch(t *testing.T) {
	l := attribution.NewLedger()
	readInto(t, l, journal(append([]string{snapshotLine(0, 5), line("ADDED", 12, podJSON("a", theIP, 7, 10, ran(11, 0)))}, alive(60, 900)...)...), Options{})
	before := l.View(config()).Owners(mustAddr(theIP))[0]
	readInto(t, l, csvOf(samples("a", theIP, 60, 600, 11)), Options{})
	v := l.View(config())
	after := v.Owners(mustAddr(theIP))[0]
	if after.Sources.String() != "watch+inventory" || after.FromEarliest != before.FromEarliest || after.FromLatest != before.FromLatest || after.ToLatest != before.ToLatest || len(after.Disputes) != 0 {
		t.Errorf("got %+v, before the inventory %+v", after, before)
	}
	if got := who(v, theIP, 800); got != "exact a" {
		t.Errorf("got %q", got)
	}
}

func TestInventoryTimes(t *testing.T) {
	want := sec(1.123)
	for text, whole := range map[string]bool{
		"2026-11-23T10:00:01.123Z": false, "2026-11-23T10:00:01.1230000Z": false, "2026-11-23T11:00:01.123+01:00": false, "2026-11-23 10:00:01.123": false, "2026-11-23T10:00:01.123": false,
		"2026-11-23 10:00:01.123Z": false, "11/23/2026, 10:00:01.123 AM": false, "11/23/2026, 10:00:01.123\u202fAM": false,
		"2026-11-23T10:00:01Z": true, "11/23/2026, 10:00:01 AM": true, " 2026-11-23 10:00:01 ": true,
	} {
		at, by, err := inventoryTime(text)
		if err != nil || (!whole && (at != want || by != want)) || (whole && (at != sec(1) || by != sec(2))) {
			t.Errorf("%q: got %d to %d, %v", text, at-sec(0), by-sec(0), err)
		}
	}
	for _, bad := range []string{"yesterday", "23/11/2026, 13:00:01", "05/11/2026, 13:00:01", "1700000000", "0001-01-01T00:00:00Z", "2026-13-01T00:00:00Z", strings.Repeat("9", 1000)} {
		if at, _, err := inventoryTime(bad); err == nil || len(err.Error()) > 300 {
			t.Errorf("%.40q: got %d, %v, want a short error", bad, at, err)
		}
	}
}

// What is broken costs itself, and is counted with its line.
func TestInventoryBadRows(t *testing.T) {
	good := samples("a", theIP, 60, 240, 20)
	lines := strings.SplitAfter(csvOf(good), "\r\n")
	header, rows := lines[0], lines[1:5]
	for _, c := range []struct {
		name string
		file string
		line int // of the rejection
		pods int
		why  string
	}{
		{"a mark at the front, a quoted newline, an empty line", "\ufeff" + header + rows[0] + strings.Replace(rows[1], `"api"`, "\"a\nb\"", 1) + "\r\n" + rows[2], 0, 3, ""},
		{"a time nobody writes", header + rows[0] + strings.Replace(rows[1], clockText(120), "noon", 1) + rows[2], 3, 2, `TimeGenerated: time is "noon"`},
		{"a line cut in half", header + rows[0] + rows[1][:len(rows[1])/2] + "\r\n" + rows[2], 3, 2, ""},
		{"cut inside quotes: what follows is kept", header + rows[0] + strings.TrimSuffix(rows[1], "\"\r\n") + "\r\n" + rows[2] + rows[3], 3, 3, ""},
		{"a quote in the middle of a value", header + strings.Replace(rows[0], `"n"`, `n"n`, 1) + rows[1] + rows[2], 2, 2, ""},
		{"too few fields", header + "a,b\n" + rows[0], 2, 1, "row has 2 fields, want 18"},
		{"no UID", header + strings.Replace(rows[0], `"a"`, `""`, 2) + rows[1], 2, 1, "PodUid"},
		{"no address at all", header + strings.Replace(rows[0], theIP, "localhost", 1) + rows[1], 2, 1, `PodIp is "localhost"`},
		{"another cluster's row", header + strings.ReplaceAll(strings.Replace(rows[0], `"c"`, `"d"`, 1), "managedClusters/c", "managedClusters/d") + rows[1], 2, 1, "managedClusters/d"},
	} {
		_, sum := viewOf(t, c.file, Options{})
		wantBad := 0
		if c.line > 0 {
			wantBad = 1
		}
		if sum.Rejections != wantBad || sum.Pods != c.pods {
			t.Errorf("%s: got %d rejections (%+v) and %d rows, want %d and %d", c.name, sum.Rejections, sum.Rejected, sum.Pods, wantBad, c.pods)
			continue
		}
		if wantBad > 0 && (sum.Rejected[0].Line != c.line || !strings.Contains(sum.Rejected[0].Reason, c.why)) {
			t.Errorf("%s: rejected %+v, want line %d and %q", c.name, sum.Rejected[0], c.line, c.why)
		}
	}
	for name, file := range map[string]string{"array": arrayOf(good), "tables": tablesOf(good)} {
		_, sum := viewOf(t, file[:len(file)*2/3], Options{})
		if sum.Pods == 0 || sum.Pods == len(good) || sum.Rejections != 1 || sum.Rejected[0].Offset == 0 {
			t.Errorf("%s cut short: %+v", name, sum)
		}
	}
	_, sum := viewOf(t, linesOf(good[:1])+"{\"PodUid\": \n"+linesOf(good[1:]), Options{})
	if sum.Pods != len(good) || sum.Rejections != 1 {
		t.Errorf("lines: %+v", sum)
	}
}

func TestInventoryColumns(t *testing.T) {
	for _, c := range []struct{ file, want string }{
		{"PodUid,TimeGenerated,Name\n", "columns PodIp, PodStatus, Namespace, Computer are missing"},
		{"PodUid,TimeGenerated [Local Time],Name,PodIp,PodStatus,Namespace,Computer\n", "not in UTC"},
		{`{"tables":[{"rows":[],"columns":[]}]}`, "rows before its columns"},
		{`{"tables":[{"columns":[{"name":"PodUid"}],"rows":[]}]}`, "are missing"},
	} {
		_, err := Read(strings.NewReader(c.file), Options{Cluster: "c", Format: PodInventory}, func([]attribution.Fact) error { return nil })
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %q", c.file, err, c.want)
		}
	}
	// The portal's header, and its times.
	file := "TimeGenerated [UTC],PodUid,PodIp,PodStatus,Name,Namespace,Computer\n\"11/23/2026, 10:00:01.123 AM\",a,10.244.0.9,Running,api,web,n\n"
	if _, sum := viewOf(t, file, Options{}); sum.Pods != 1 || sum.Rejections != 0 || sum.Format != PodInventory {
		t.Errorf("the portal's form: %+v", sum)
	}
}

// A row of another name is taken where the resource is named.
func TestInventoryOfNamedResource(t *testing.T) {
	rows := csvOf(samples("a", theIP, 60, 240, 20))
	id := "/SUBSCRIPTIONS/S/RESOURCEGROUPS/G/PROVIDERS/MICROSOFT.CONTAINERSERVICE/MANAGEDCLUSTERS/C"
	count := func(opt Options) (int, map[string]int) {
		sum, err := Read(strings.NewReader(rows), opt, func([]attribution.Fact) error { return nil })
		if err != nil {
			t.Fatal(err)
		}
		return sum.Pods, sum.Foreign
	}
	if n, foreign := count(Options{Cluster: "prod", Format: Auto}); n != 0 || foreign["/subscriptions/s/resourceGroups/g/providers/Microsoft.ContainerService/managedClusters/c"] != 4 {
		t.Errorf("under another name: took %d, foreign %v", n, foreign)
	}
	if n, foreign := count(Options{Cluster: "prod", Format: Auto, ResourceID: id}); n != 4 || foreign != nil {
		t.Errorf("with its resource named: took %d, foreign %v", n, foreign)
	}
	if n, _ := count(Options{Cluster: "c", Format: Auto, ResourceID: "/x"}); n != 0 {
		t.Errorf("with another resource named: took %d", n)
	}
}

// A large file is read within bounded memory, whatever is wrong with it: here a quote
// that is never closed, and a pod more in each row.
func TestInventoryIsBounded(t *testing.T) {
	row := strings.SplitAfter(csvOf(samples("a", theIP, 60, 60, 20)), "\r\n")
	pr, pw := io.Pipe()
	go func() {
		fmt.Fprint(pw, row[0])
		for i := range 50_000 {
			r := strings.ReplaceAll(row[1], `"a"`, fmt.Sprintf(`"p%d"`, i))
			if i%10_000 == 5000 {
				fmt.Fprint(pw, `"never closed`+"\r\n")
			}
			fmt.Fprint(pw, r)
		}
		pw.Close()
	}()
	largest, pods := 0, 0
	sum, err := Read(pr, Options{Cluster: "c", Format: PodInventory}, func(f []attribution.Fact) error {
		largest, pods = max(largest, len(f)), pods+len(f)
		return nil
	})
	if err != nil || sum.Pods != 50_000 || sum.Rejections != 5 || pods != 50_000 || largest > batchFacts {
		t.Errorf("read %d rows, %d rejections, %d facts in batches of up to %d: %v", sum.Pods, sum.Rejections, pods, largest, err)
	}
}

func TestGzip(t *testing.T) {
	var zipped bytes.Buffer
	w := gzip.NewWriter(&zipped)
	fmt.Fprint(w, csvOf(samples("a", theIP, 60, 240, 20)))
	w.Close()
	if _, sum := viewOf(t, zipped.String(), Options{}); sum.Pods != 4 || sum.Format != PodInventory {
		t.Errorf("%+v", sum)
	}
	cut := zipped.String()[:zipped.Len()-12] // what could be read before it is kept
	if _, sum := viewOf(t, cut, Options{}); sum.Pods == 0 || sum.Rejections == 0 || !strings.Contains(sum.Rejected[sum.Rejections-1].Reason, "compressed file") {
		t.Errorf("cut: %+v", sum)
	}
}

func FuzzInventory(f *testing.F) {
	rows := samples("a", theIP, 60, 240, 20)
	for _, s := range []string{csvOf(rows), arrayOf(rows), linesOf(rows), tablesOf(rows), "PodUid,TimeGenerated\n\"", "[{]", `{"tables":[{"columns":1}]}`, "\ufeff", "[1,2]"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var facts int
		sum, _ := Read(bytes.NewReader(data), Options{Cluster: "c", Format: PodInventory}, func(f []attribution.Fact) error {
			for i := range f {
				b := f[i].Pod.Presence
				if f[i].Watched != nil || (b.AliveAt != 0 && b.RunningBy == 0) {
					t.Errorf("fact is %+v", f[i])
				}
			}
			facts += len(f)
			return nil
		})
		if sum.Pods > sum.Documents || facts > sum.Pods {
			t.Errorf("%d facts of %d rows of %d documents", facts, sum.Pods, sum.Documents)
		}
	})
}
