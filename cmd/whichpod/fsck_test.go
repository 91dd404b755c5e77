package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/whichpod/whichpod/attribution"
)

// fullFolder is a data folder with a file of each kind that fsck reads, and those files.
func fullFolder(t *testing.T) (data string, files []string) {
	t.Helper()
	data = filepath.Join(t.TempDir(), "data")
	fixture := filepath.Join("testdata", "fixture")
	for _, args := range [][]string{
		{"ingest", filepath.Join(fixture, "blobs")},
		{"ingest", filepath.Join(fixture, "shipped")},
		{"import", "pods", filepath.Join(fixture, "podwatch.jsonl"), "--cluster", "prod"},
		{"who", "10.244.0.9", "--at", "2026-11-23T13:04:00Z", "--case", "A", "--detected", "2026-11-23T13:00:00Z"},
		{"who", "10.244.0.9", "--at", "2026-11-23T13:04:00Z", "--case", "B", "--detected", "2026-11-23T13:00:00Z"},
	} {
		if code, out := inFolder(t, data, args...); code == failed {
			t.Fatalf("%v: %s", args, out)
		}
	}
	ledger, err := attribution.OpenLedger(filepath.Join(data, "ledger"), attribution.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := ledger.Checkpoint(); err != nil {
		t.Fatal(err)
	}
	if err := ledger.Close(); err != nil {
		t.Fatal(err)
	}
	for _, pattern := range []string{"index/manifest.journal", "index/segments/*.seg", "ledger/ledger.journal", "ledger/ledger.checkpoint", "nat/evidence.journal", "nat/*.nat", "cases.journal"} {
		found, err := filepath.Glob(filepath.Join(data, filepath.FromSlash(pattern)))
		if err != nil || len(found) == 0 {
			t.Fatalf("no file %s: %v", pattern, err)
		}
		files = append(files, found...)
	}
	return data, files
}

func inFolder(t *testing.T, data string, args ...string) (code int, out string) {
	t.Helper()
	var b bytes.Buffer
	code = run(t.Context(), append([]string{"--data", data}, args...), &b, &b, func(string) string { return "" })
	return code, b.String()
}

// Whatever byte is changed of whatever file, fsck names that file; where its end or all of
// it is gone too, with or without calling it damage.
func TestFsckFindsEveryChange(t *testing.T) {
	data, files := fullFolder(t)
	if code, out := inFolder(t, data, "fsck"); code != answered || out != "no damage\n" {
		t.Fatalf("code %d: %s", code, out)
	}
	for _, path := range files {
		file, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		check := func(what string, changed []byte) {
			t.Helper()
			if err := os.WriteFile(path, changed, 0o600); err != nil {
				t.Fatal(err)
			}
			if code, out := inFolder(t, data, "fsck"); !strings.Contains(out, path) || strings.Contains(out, "no damage") != (code == answered) {
				t.Errorf("%s of %s: code %d: %s", what, path, code, out)
			}
		}
		for at := range file {
			if at >= 24 && at < len(file)-40 && at%41 != 0 { // the heads and the ends whole, of the rest some
				continue
			}
			changed := slices.Clone(file)
			changed[at] ^= byte(1 << (at % 8))
			check(fmt.Sprintf("byte %d", at), changed)
		}
		check("the end", file[:len(file)-1])
		check("all", nil)
		if err := os.WriteFile(path, file, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// A ledger's journal that was cut between two groups is whole by itself; its checkpoint
// knows that it was longer.
func TestFsckFindsShorterLedger(t *testing.T) {
	data, _ := fullFolder(t)
	if err := os.Truncate(filepath.Join(data, "ledger", "ledger.journal"), 8); err != nil {
		t.Fatal(err)
	}
	if code, out := inFolder(t, data, "fsck"); code != failed || !strings.Contains(out, "ledger.checkpoint: byte 0: it is of another journal, or of this one when it was longer") {
		t.Errorf("code %d: %s", code, out)
	}
}
