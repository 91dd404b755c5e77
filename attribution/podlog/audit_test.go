package podlog

import (
	"bufio"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/whichpod/whichpod/attribution"
	"github.com/whichpod/whichpod/flow"
)

// auditLine is a line of AKS's log, s seconds after noon.
func auditLine(s int, verb, subresource, user, request, response string) string {
	at := time.Date(2026, 11, 20, 12, 0, s, 0, time.UTC).Format(time.RFC3339Nano)
	ev := fmt.Sprintf(`{"kind":"Event","apiVersion":"audit.k8s.io/v1","auditID":"a","stage":"ResponseComplete","verb":%q,"user":{"username":%q},`+
		`"objectRef":{"resource":"pods","namespace":"web","name":"api-7","apiVersion":"v1","subresource":%q},"responseStatus":{"code":200},"stageTimestamp":%q`,
		verb, user, subresource, at)
	if request != "" {
		ev += `,"requestObject":` + request
	}
	if response != "" {
		ev += `,"responseObject":` + response
	}
	log, _ := json.Marshal(ev + "}\n")
	return fmt.Sprintf(`{"category":"kube-audit-admin","operationName":"x","properties":{"log":%s,"stream":"stdout"},"time":%q}`, log, at)
}

const (
	auditCreated = `{"kind":"Pod","apiVersion":"v1","metadata":{"name":"api-7","namespace":"web","uid":"u7","resourceVersion":"10","creationTimestamp":"2026-11-20T12:00:00Z","labels":{"app":"api"}},"spec":{"nodeName":"n1"},"status":{"phase":"Pending"}}`
	auditStart   = `{"metadata":{"uid":"u7"},"status":{"$setElementOrder/conditions":[{"type":"PodScheduled"}],"conditions":[{"type":"PodScheduled","status":"True","lastTransitionTime":"2026-11-20T12:00:01Z"}],"hostIP":"10.224.0.4","startTime":"2026-11-20T12:00:01Z"}}`
	auditAddress = `{"metadata":{"uid":"u7"},"status":{"podIP":"10.244.0.9","podIPs":[{"ip":"10.244.0.9"}],"phase":"Running","containerStatuses":[{"name":"c","restartCount":0,"state":{"running":{"startedAt":"2026-11-20T12:00:03Z"}}}]}}`
	auditReady   = `{"metadata":{"uid":"u7"},"status":{"conditions":[{"type":"Ready","status":"True","lastTransitionTime":"2026-11-20T12:00:04Z"}]}}`
	auditEnd     = `{"metadata":{"uid":"u7"},"status":{"phase":"Succeeded","containerStatuses":[{"name":"c","restartCount":0,"state":{"terminated":{"exitCode":0,"startedAt":"2026-11-20T12:00:03Z","finishedAt":"2026-11-20T12:00:30Z"}}}]}}`
)

func auditDeleted(grace int) string {
	return fmt.Sprintf(`{"kind":"Pod","apiVersion":"v1","metadata":{"name":"api-7","namespace":"web","uid":"u7","resourceVersion":"20","creationTimestamp":"2026-11-20T12:00:00Z","deletionTimestamp":"2026-11-20T12:00:40Z","deletionGracePeriodSeconds":%d},`+
		`"spec":{"nodeName":"n1"},"status":{"phase":"Running","hostIP":"10.224.0.4","podIP":"10.244.0.9","podIPs":[{"ip":"10.244.0.9"}],"startTime":"2026-11-20T12:00:01Z","containerStatuses":[{"name":"c","restartCount":0,"state":{"running":{"startedAt":"2026-11-20T12:00:03Z"}}}]}}`, grace)
}

// auditView reads lines and returns what the ledger then says.
func auditView(t *testing.T, lines ...string) (*attribution.View, Summary) {
	t.Helper()
	l := attribution.NewLedger()
	sum, err := Read(strings.NewReader(strings.Join(lines, "\n")+"\n"), Options{Cluster: "prod", Format: Auto, ReadBy: 1}, func(f []attribution.Fact) error {
		_, err := l.Append(f...)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return l.View(attribution.DefaultConfig()), sum
}

func auditOwner(v *attribution.View, second int) *attribution.Resolution {
	at := time.Date(2026, 11, 20, 12, 0, second, 0, time.UTC).UnixMilli()
	return v.Resolve(attribution.Question{Address: netip.MustParseAddr("10.244.0.9"), Begin: flow.Span{From: at, To: at}, Sent: true})
}

func TestAuditFoldsPatches(t *testing.T) {
	other := `{"category":"kube-audit","properties":{"log":"{\"kind\":\"Event\",\"apiVersion\":\"audit.k8s.io/v1\",\"verb\":\"update\",\"objectRef\":{\"resource\":\"leases\"}}"},"time":"2026-11-20T12:01:30Z"}`
	lines := []string{
		auditLine(0, "create", "", "admin", "", auditCreated),
		auditLine(1, "patch", "status", "system:node:n1", auditStart, ""),
		auditLine(3, "patch", "status", "system:node:n1", auditAddress, ""),
		auditLine(4, "patch", "status", "system:node:n1", auditReady, ""),
		auditLine(31, "patch", "status", "system:node:n1", auditEnd, ""),
		auditLine(50, "delete", "", "system:node:n1", "", strings.Replace(auditDeleted(0), `"phase":"Running"`, `"phase":"Succeeded"`, 1)),
		other,
	}
	r := rand.New(rand.NewPCG(1, 1))
	for range 20 { // in any order within a minute
		v, sum := auditView(t, lines...)
		if sum.Format != KubeAudit || sum.Rejections != 0 || sum.Pods != 6 {
			t.Fatalf("read %+v, want 6 observations of kube-audit", sum)
		}
		if got := auditOwner(v, 20); got.Verdict != attribution.Exact || got.Candidates[0].Name != "api-7" || got.Candidates[0].Node != "n1" || got.Candidates[0].Sources.String() != "audit" {
			t.Fatalf("while it ran: %+v", got)
		}
		if got := auditOwner(v, 45); got.Verdict != attribution.Gap {
			t.Fatalf("after its containers ended, though status.podIP stayed: %+v", got)
		}
		rest := lines[:6]
		r.Shuffle(len(rest), func(i, j int) { rest[i], rest[j] = rest[j], rest[i] })
	}
}

func TestAuditDeletions(t *testing.T) {
	begin := []string{
		auditLine(0, "create", "", "admin", "", auditCreated),
		auditLine(3, "patch", "status", "system:node:n1", auditAddress, ""),
	}
	late := auditLine(119, "get", "", "admin", "", "")
	// Asked to go, with a grace period: the object is still there.
	v, _ := auditView(t, append(begin, auditLine(10, "delete", "", "admin", "", auditDeleted(30)), late)...)
	if got := auditOwner(v, 20); got.Verdict != attribution.Exact || got.Candidates[0].Lingers {
		t.Errorf("in its grace period: %+v", got)
	}
	// Deleted by force: gone without the kubelet's word.
	v, _ = auditView(t, append(begin, auditLine(10, "delete", "", "admin", "", auditDeleted(0)), late)...)
	if got := auditOwner(v, 20); got.Verdict != attribution.Exact || !got.Candidates[0].Lingers {
		t.Errorf("after a deletion by force: %+v", got)
	}
	// Refused: nothing happened.
	v, _ = auditView(t, append(begin, strings.Replace(auditLine(10, "delete", "", "admin", "", auditDeleted(0)), `\"code\":200`, `\"code\":403`, 1), late)...)
	if got := auditOwner(v, 20); got.Verdict != attribution.Exact || got.Candidates[0].Lingers {
		t.Errorf("after a deletion that was refused: %+v", got)
	}
}

// What was there before the log began may be missing: a node's candidates are not
// all known.
func TestAuditIsPartial(t *testing.T) {
	v, _ := auditView(t, auditLine(0, "create", "", "admin", "", auditCreated), auditLine(1, "patch", "status", "system:node:n1", auditStart, ""),
		auditLine(3, "patch", "status", "system:node:n1", auditAddress, ""), auditLine(119, "get", "", "admin", "", ""))
	at := time.Date(2026, 11, 20, 12, 0, 20, 0, time.UTC).UnixMilli()
	got := v.Resolve(attribution.Question{Address: netip.MustParseAddr("10.224.0.4"), Begin: flow.Span{From: at, To: at}, Sent: true})
	if got.Verdict != attribution.Gap || !got.Has("u7") {
		t.Errorf("a node's address, known from an audit log alone: %+v", got)
	}
}

func TestAuditBadLines(t *testing.T) {
	good := auditLine(3, "patch", "status", "system:node:n1", auditAddress, "")
	cut := good[:len(good)/2]
	_, sum := auditView(t, auditLine(0, "create", "", "admin", "", auditCreated), cut, good, `{"category":"kube-audit","properties":{"log":"{pods"}}`)
	if sum.Pods != 2 || sum.Rejections != 2 || sum.Rejected[0].Offset != int64(len(auditLine(0, "create", "", "admin", "", auditCreated))+1) {
		t.Errorf("got %+v, want 2 observations and 2 rejections, the first at the second line", sum)
	}
	wrapped := `{"records":[` + auditLine(0, "create", "", "admin", "", auditCreated) + "," + good + `]}`
	if _, sum := auditView(t, wrapped); sum.Pods != 2 {
		t.Errorf("an event hub's form: got %+v, want 2 observations", sum)
	}
}

// The audit log of a real node, alone, attributes its traffic.
func TestAuditOfRealNode(t *testing.T) {
	const dir = "../../../shared/samples/real-node-podsubnet"
	log, err := os.Open(dir + "/audit/PT1H.json")
	if os.IsNotExist(err) {
		t.Skip("the recordings of a real node are not here")
	}
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	l := attribution.NewLedger()
	if _, err := Read(log, Options{Cluster: "real", Format: KubeAudit}, func(f []attribution.Fact) error { _, err := l.Append(f...); return err }); err != nil {
		t.Fatal(err)
	}
	v := l.View(attribution.DefaultConfig())
	truth, err := os.Open(dir + "/truth.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	defer truth.Close()
	rows, exact := 0, 0
	for sc := bufio.NewScanner(truth); sc.Scan(); rows++ {
		var row struct {
			Begin  int64
			Src    netip.Addr
			SrcPod struct{ UID string } `json:"src_pod"`
		}
		if err := json.Unmarshal(sc.Bytes(), &row); err != nil {
			t.Fatal(err)
		}
		r := v.Resolve(attribution.Question{Address: row.Src, Begin: flow.Span{From: row.Begin, To: row.Begin}, Sent: true})
		if !r.Has(row.SrcPod.UID) {
			t.Errorf("%s: %v names %+v", sc.Bytes(), r.Verdict, r.Candidates)
		}
		if r.Verdict == attribution.Exact {
			exact++
		}
	}
	if rows == 0 || float64(exact) < 0.95*float64(rows) {
		t.Errorf("%d of %d rows are exact, want at least 95 %%", exact, rows)
	}
	t.Logf("%d of %d rows are exact", exact, rows)
}
