package main

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/whichpod/whichpod/benchmarks/report"
)

// The whole report twice with one seed: all figures are the same, but for what is marked
// as timed, and the environment.
func TestSameSeedSameReport(t *testing.T) {
	first, second := benchReport(t), benchReport(t)
	timed, figures := untimed(first)
	untimed(second)
	if diff := cmp.Diff(first, second); diff != "" {
		t.Errorf("without what is marked as timed: %s", diff)
	}
	if timed == 0 || figures < 10*timed {
		t.Errorf("%d figures are marked as timed, %d are not", timed, figures)
	}
}

func benchReport(t *testing.T) *report.Document {
	t.Helper()
	var stdout bytes.Buffer
	args := []string{"bench", "report", "--runs", "1", "--mode", "node-subnet", "-o", "json"}
	if code := run(context.Background(), args, &stdout, os.Stderr, func(string) string { return "" }); code != 0 {
		t.Fatalf("exit code %d", code)
	}
	var doc report.Document
	if err := json.Unmarshal(stdout.Bytes(), &doc); err != nil {
		t.Fatal(err)
	}
	return &doc
}

// untimed empties what is marked as timed, and the environment. It returns how many
// figures were marked, and how many were not.
func untimed(d *report.Document) (timed, figures int) {
	d.Environment = nil
	for i := range d.Findings {
		if f := &d.Findings[i]; f.Timed {
			f.Figure = ""
		}
	}
	for i := range d.Sections {
		s := &d.Sections[i]
		for j := range s.Charts {
			if s.Charts[j].Timed {
				s.Charts[j].Max = 0
			}
			for k := range s.Charts[j].Panels {
				for l := range s.Charts[j].Panels[k].Bars {
					if b := &s.Charts[j].Panels[k].Bars[l]; b.Timed {
						b.Says, b.Parts = "", nil
					}
				}
			}
		}
		for j := range s.Tables {
			for _, row := range s.Tables[j].Rows {
				for k := range row {
					switch {
					case row[k].Timed:
						row[k] = report.Cell{}
						timed++
					case row[k].Summary != nil:
						figures++
					}
				}
			}
		}
	}
	return timed, figures
}
