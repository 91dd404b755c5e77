package hygiene

import (
	"bytes"
	"fmt"
	"go/format"
	"path"
	"strings"
	"testing"
)

// unformatted lists the Go files that gofmt would change.
func unformatted(t *tree) []string {
	var problems []string
	for i := range t.sources {
		p := t.sources[i].path
		have := []byte(t.files[p])
		want, err := format.Source(have)
		if err != nil {
			problems = append(problems, fmt.Sprintf("format %s: %v", p, err))
		} else if !bytes.Equal(have, want) {
			problems = append(problems, fmt.Sprintf("%s is not formatted: run gofmt -w on it", p))
		}
	}
	return problems
}

// words must not stand in code or documents.
var words = []struct {
	text string
	why  string
}{
	{"/work/", "a path of one machine"},
	{"/root/", "a path of one machine"},
	{"/home/", "a path of one machine"},
	{"/Users/", "a path of one machine"},
	{"proxy.golang.org", "where modules come from is the reader's choice"},
	{"GOPROXY=", "where modules come from is the reader's choice"},
	{"GOFLAGS=-mod=mod", "a build must not change go.mod"},
	{"\r\n", "lines end in a line feed"},
}

// wordsFile holds the list above.
const wordsFile = "internal/hygiene/sources_test.go"

func forbiddenWords(t *tree) []string {
	var problems []string
	for _, p := range t.paths() {
		if p == wordsFile || p == "LICENSE" {
			continue
		}
		for n, line := range strings.SplitAfter(t.files[p], "\n") {
			for _, w := range words {
				if at := strings.Index(line, w.text); at >= 0 && startsPath(line, at, w.text) {
					problems = append(problems, fmt.Sprintf("%s:%d has %q: %s", p, n+1, w.text, w.why))
				}
			}
		}
	}
	return append(problems, emptyNames(t)...)
}

// startsPath: "a/work/b" and "https://host/work/b" are no paths of a machine.
func startsPath(line string, at int, word string) bool {
	if !strings.HasPrefix(word, "/") || at == 0 {
		return true
	}
	before := line[at-1]
	return !('a' <= before && before <= 'z' || 'A' <= before && before <= 'Z' || '0' <= before && before <= '9' || strings.IndexByte("._-/$})*", before) >= 0)
}

// emptyNames lists packages whose name says nothing about their job.
func emptyNames(t *tree) []string {
	var problems []string
	seen := make(map[string]bool)
	for i := range t.sources {
		dir := t.sources[i].dir
		if seen[dir] {
			continue
		}
		seen[dir] = true
		switch base := path.Base(dir); base {
		case "util", "utils", "common", "models", "helpers", "misc":
			problems = append(problems, fmt.Sprintf("package %s is named %q: want a name that says its one job", dir, base))
		}
	}
	return problems
}

func TestUnformatted(t *testing.T) {
	wants(t, badTree(t, unformatted, map[string]string{
		"a/good.go":          "package a\n\nvar x = 1\n",
		"a/bad.go":           "package a\nvar  x=1\n",
		"a/testdata/wild.go": "package   a",
	}), "a/bad.go is not formatted")
}

func TestForbiddenWords(t *testing.T) {
	wants(t, badTree(t, forbiddenWords, map[string]string{
		"a/a.go":               "package a\n\n// see /work/notes\n",
		"a/b.go":               "package a\n\n// $WORK/x, https://host/work/x and benchmarks/work/x are fine\n",
		".ci/run":              "cd /root/whichpod\n",
		"docs/a.md":            "one\r\ntwo\n",
		"Makefile":             "test:\n\tGOPROXY=https://proxy.golang.org go test\n",
		wordsFile:              "package hygiene // /work/",
		"internal/util/one.go": "package util",
		"internal/util/two.go": "package util",
	}),
		".ci/run:1", "Makefile:2", "Makefile:2", "a/a.go:3", "docs/a.md:1", `package internal/util is named "util"`)
}
