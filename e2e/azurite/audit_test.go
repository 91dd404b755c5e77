//go:build e2e

package azurite_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

const auditHour = "resourceId=/SUBSCRIPTIONS/S/RESOURCEGROUPS/G/PROVIDERS/MICROSOFT.CONTAINERSERVICE/MANAGEDCLUSTERS/%s/y=2026/m=11/d=23/h=%02d/m=00/PT1H.json"

// auditLines are lines of AKS's log, one each half minute of an hour; the first is of
// the pod where there is one.
func auditLines(hour, from, to int, pod string) []byte {
	var b bytes.Buffer
	line := func(second int, event string) {
		at := time.Date(2026, 11, 23, hour, 0, second, 1e8, time.UTC).Format(time.RFC3339Nano)
		log, _ := json.Marshal(strings.ReplaceAll(event, "$at", at) + "\n")
		fmt.Fprintf(&b, `{"category":"kube-audit-admin","properties":{"log":%s},"time":%q}`+"\n", log, at)
	}
	if pod != "" {
		line(from, `{"kind":"Event","apiVersion":"audit.k8s.io/v1","auditID":"1","stage":"ResponseComplete","verb":"patch","user":{"username":"system:node:n"},"objectRef":{"resource":"pods","namespace":"web","name":"`+pod+
			`","subresource":"status"},"responseStatus":{"code":200},"requestObject":{"metadata":{"uid":"`+pod+`"},"status":{"podIP":"10.244.0.9","containerStatuses":[{"restartCount":0,"state":{"running":{"startedAt":"2026-11-23T`+
			fmt.Sprintf("%02d:%02d:%02dZ", hour, (from-1)/60, (from-1)%60)+`"}}}]}},"stageTimestamp":"$at"}`)
	}
	for s := from; s < to; s += 30 {
		line(s, `{"kind":"Event","apiVersion":"audit.k8s.io/v1","auditID":"2","stage":"ResponseComplete","verb":"update","objectRef":{"resource":"leases"},"responseStatus":{"code":200},"stageTimestamp":"$at"}`)
	}
	return b.Bytes()
}

// appendTo appends to an append blob, as AKS does during an hour, and makes it first.
func (s *store) appendTo(t *testing.T, name string, content []byte) {
	t.Helper()
	c := s.client.NewAppendBlobClient(name)
	if _, err := c.GetProperties(context.Background(), nil); err != nil {
		if _, err := c.Create(context.Background(), nil); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := c.AppendBlock(context.Background(), nopCloser{bytes.NewReader(content)}, nil); err != nil {
		t.Fatal(err)
	}
}

// Audit logs from a container: hours as one log, each byte read once, a blob that
// grows read on, two clusters never mixed.
func TestAuditLogs(t *testing.T) {
	dir := t.TempDir()
	bin := filepath.Join(dir, "whichpod")
	if out, err := exec.Command("go", "build", "-o", bin, "../../cmd/whichpod").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	run := func(want int, args ...string) string {
		t.Helper()
		cmd := exec.Command(bin, append(args, "--data", filepath.Join(dir, "data"))...)
		out, _ := cmd.CombinedOutput()
		if code := cmd.ProcessState.ExitCode(); code != want {
			t.Fatalf("%v: exit code %d, want %d: %s", args, code, want, out)
		}
		return string(out)
	}
	says := func(out string, want ...string) {
		t.Helper()
		for _, w := range want {
			if !strings.Contains(out, w) {
				t.Errorf("printed %q, want %q in it", out, w)
			}
		}
	}
	s := newContainer(t)
	name := func(hour int) string { return fmt.Sprintf(auditHour, "REAL", hour) }
	s.appendTo(t, name(12), auditLines(12, 30, 3600, "first"))
	s.appendTo(t, name(13), auditLines(13, 0, 600, ""))
	half := auditLines(13, 600, 1200, "second")
	s.appendTo(t, name(13), half[:200]) // AKS is in the middle of a line
	imp := []string{"import", "pods", s.url(), "--cluster", "prod"}
	says(run(0, imp...), "from 2 blobs of 2 blobs", "1 observation", "byte ")
	says(run(0, imp...), "from 0 blobs of 2 blobs (2 unchanged)", "0 facts new")
	says(run(0, "who", "10.244.0.9", "--at", "2026-11-23T13:05:00Z"), "exact: web/first")

	s.appendTo(t, name(13), half[200:])
	out := run(0, append(imp, "-o", "json")...)
	says(out, `"resumed": 1`, `"read": 1`, `"unchanged": 1`, `"rejected": 0`, fmt.Sprintf(`"bytes": %d`, len(half)))

	s.appendTo(t, fmt.Sprintf(auditHour, "OTHER", 13), auditLines(13, 0, 600, "stranger"))
	says(run(2, imp...), "lines of several clusters", "MANAGEDCLUSTERS/OTHER", "hint: --resource-id")
	says(run(0, append(imp, "--resource-id", "/subscriptions/s/resourcegroups/g/providers/microsoft.containerservice/managedclusters/real")...), "0 facts new")
	if out := run(0, "owners", "10.244.0.9"); strings.Contains(out, "stranger") {
		t.Errorf("another cluster's pod was taken: %s", out)
	}
}
