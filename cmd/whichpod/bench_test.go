package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"io"
	"io/fs"
	"os"
	"path/filepath"
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
	for i := range d.Conclusions {
		if c := &d.Conclusions[i]; c.Timed {
			c.Says = ""
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

// What if only reads: each file of the data folder is afterwards what it was.
func TestWhatIfOnlyReads(t *testing.T) {
	kept := filepath.Join(t.TempDir(), "kept")
	do := func(args ...string) {
		t.Helper()
		if code := run(context.Background(), args, io.Discard, os.Stderr, func(string) string { return "" }); code != 0 {
			t.Fatalf("%v: exit code %d", args, code)
		}
	}
	do("demo", "--keep", kept)
	before := contents(t, kept)
	do("bench", "whatif", "--data", filepath.Join(kept, "data"), "--config", filepath.Join(kept, "config.yaml"))
	if diff := cmp.Diff(before, contents(t, kept)); diff != "" || len(before) == 0 {
		t.Errorf("of %d files: %s", len(before), diff)
	}
}

// contents has the SHA-256 of each file below a folder.
func contents(t *testing.T, dir string) map[string][32]byte {
	t.Helper()
	out := make(map[string][32]byte)
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		out[path] = sha256.Sum256(data)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}
