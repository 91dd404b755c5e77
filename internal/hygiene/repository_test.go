package hygiene

import (
	"os"
	"strings"
	"testing"
)

// checks are all that a checkout must pass. Each returns a line for each thing that
// is wrong.
var checks = map[string]func(*tree) []string{
	"imports":      func(t *tree) []string { return importRules.check(t) },
	"comments":     packageComments,
	"format":       unformatted,
	"words":        forbiddenWords,
	"dependencies": dependencies,
	"links":        brokenLinks,
	"contract":     undocumented,
	"module":       moduleAndLicence,
}

func TestRepository(t *testing.T) {
	repo, err := readTree(os.DirFS("../.."))
	if err != nil {
		t.Fatal(err)
	}
	if len(repo.sources) == 0 {
		t.Fatal("found no Go file: is this test still two folders below the root?")
	}
	for name, check := range checks {
		t.Run(name, func(t *testing.T) {
			for _, problem := range check(repo) {
				t.Error(problem)
			}
		})
	}
}

// wants fails the test unless there is exactly one problem for each text, which
// contains it, in this order.
func wants(t *testing.T, problems []string, texts ...string) {
	t.Helper()
	if len(problems) != len(texts) {
		t.Fatalf("got %d problems, want %d:\n%s", len(problems), len(texts), strings.Join(problems, "\n"))
	}
	for i, text := range texts {
		if !strings.Contains(problems[i], text) {
			t.Errorf("problem %d is %q, want it to contain %q", i, problems[i], text)
		}
	}
}

// badTree reads a fixture and gives it to a check.
func badTree(t *testing.T, check func(*tree) []string, files map[string]string) []string {
	t.Helper()
	tr, err := fixture(files)
	if err != nil {
		t.Fatal(err)
	}
	return check(tr)
}

func TestReadTree(t *testing.T) {
	tr, err := fixture(map[string]string{
		"flow/flow.go":                  "package flow",
		"flow/testdata/broken.go":       "no Go at all",
		".e2e/node_modules/x/x.go":      "no Go at all",
		"node_modules/x/x.go":           "no Go at all",
		"e2e/cluster/go.mod":            "module other",
		"e2e/cluster/main.go":           "no Go at all",
		".ci/run":                       "#!/bin/bash",
		"flow/testdata/vnet/PT1H.json":  "{}",
		"internal/journal/lock_unix.go": "//go:build unix\n\npackage journal",
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(tr.sources) != 2 || tr.sources[0].path != "flow/flow.go" || tr.sources[1].dir != "internal/journal" {
		t.Errorf("sources are %v, want flow/flow.go and internal/journal/lock_unix.go", tr.sources)
	}
	if _, ok := tr.files[".ci/run"]; !ok {
		t.Error(".ci/run was not read")
	}
	if _, err := fixture(map[string]string{"flow/flow.go": "no Go at all"}); err == nil {
		t.Error("a file that is no Go was accepted")
	}
}
