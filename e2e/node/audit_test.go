//go:build e2e

package node_test

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/whichpod/whichpod/e2e/process"
)

// auditLine is the envelope in which AKS keeps a line of the API server's audit log.
type auditLine struct {
	Category      string          `json:"category"`
	OperationName string          `json:"operationName"`
	Properties    auditProperties `json:"properties"`
	ResourceID    string          `json:"resourceId"`
	ServiceBuild  string          `json:"serviceBuild"`
	Time          time.Time       `json:"time"`
}

type auditProperties struct {
	Pod         string `json:"pod"`
	ContainerID string `json:"containerID"`
	Log         string `json:"log"` // the event as text, with its newline
	Stream      string `json:"stream"`
}

const auditedCluster = "/SUBSCRIPTIONS/00000000-0000-0000-0000-00000000ABCD/RESOURCEGROUPS/RG/PROVIDERS/MICROSOFT.CONTAINERSERVICE/MANAGEDCLUSTERS/E2E"

// writeAudit puts the API server's audit log into AKS' envelope, a file for each hour,
// and returns the files.
func writeAudit(t *testing.T, log string) []string {
	t.Helper()
	text, err := os.ReadFile(log)
	process.Must(t, err)
	dir, hours, files := t.TempDir(), make(map[string]*bytes.Buffer), []string(nil)
	for line := range bytes.Lines(text) {
		var event struct {
			At time.Time `json:"stageTimestamp"`
		}
		process.Must(t, json.Unmarshal(line, &event))
		out, err := json.Marshal(auditLine{"kube-audit", "Microsoft.ContainerService/managedClusters/diagnosticLogs/Read",
			auditProperties{"kube-apiserver-5d8f7c9b6-2xkqv", "0123456789abcdef", string(line), "stdout"}, auditedCluster, "na", event.At})
		process.Must(t, err)
		name := filepath.Join(dir, "resourceId="+auditedCluster, event.At.Format("y=2006/m=01/d=02/h=15/m=00"), "PT1H.json")
		if hours[name] == nil {
			hours[name], files = &bytes.Buffer{}, append(files, name)
		}
		hours[name].Write(append(out, '\n'))
	}
	for name, content := range hours {
		process.Must(t, os.MkdirAll(filepath.Dir(name), 0o755))
		process.Must(t, os.WriteFile(name, content.Bytes(), 0o644))
	}
	return files
}
