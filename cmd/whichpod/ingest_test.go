package main

import (
	"io"
	"testing"

	"github.com/whichpod/whichpod/ingest"
)

// A blob that was not read to its end is a failure, whatever the output.
func TestIngestSkipped(t *testing.T) {
	for _, output := range []string{"text", "json"} {
		a := &app{stdout: &answerWriter{w: io.Discard}, stderr: io.Discard, output: output}
		if err := a.printIngest(ingest.Summary{Listed: 2, Read: 1, Skipped: []ingest.Skip{{Blob: "b", Reason: "gone"}}}, natSummary{}); err == nil {
			t.Errorf("%s: no error", output)
		}
		if err := a.printIngest(ingest.Summary{Listed: 1, Read: 1}, natSummary{}); err != nil {
			t.Errorf("%s: %v", output, err)
		}
	}
}
