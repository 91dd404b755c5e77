package hygiene

import (
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
	"testing"
)

// packageComments: each package has exactly one comment, which begins "Package x",
// or for a command "Command x". Tests of a package need none; a folder that holds
// nothing but tests does.
func packageComments(t *tree) []string {
	folders := make(map[string][]*source)
	for i := range t.sources {
		s := &t.sources[i]
		folders[s.dir] = append(folders[s.dir], s)
	}
	var problems []string
	for _, dir := range slices.Sorted(maps.Keys(folders)) {
		list := folders[dir]
		if code := slices.DeleteFunc(slices.Clone(list), func(s *source) bool { return s.test }); len(code) > 0 {
			list = code
		}
		problems = append(problems, packageComment(dir, list)...)
	}
	return problems
}

func packageComment(dir string, list []*source) []string {
	var commented []string
	var problems []string
	for _, s := range list {
		text := s.file.Doc.Text()
		if text == "" {
			continue
		}
		commented = append(commented, s.path)
		want := "Package " + s.file.Name.Name + " "
		if s.file.Name.Name == "main" {
			want = "Command " + path.Base(dir) + " "
		}
		if first, _, _ := strings.Cut(text, "\n"); !strings.HasPrefix(first, want) {
			problems = append(problems, fmt.Sprintf("%s: package comment begins %q, want %q", s.path, first, want+"…"))
		}
	}
	switch len(commented) {
	case 0:
		problems = append(problems, fmt.Sprintf("%s has no package comment", dir))
	case 1:
	default:
		problems = append(problems, fmt.Sprintf("%s has %d package comments, want 1: %s", dir, len(commented), strings.Join(commented, ", ")))
	}
	return problems
}

func TestPackageComments(t *testing.T) {
	wants(t, badTree(t, packageComments, map[string]string{
		"a/good.go":           "// Package a does.\npackage a",
		"a/more.go":           "//go:build unix\n\npackage a",
		"a/more_test.go":      "// Tests of a.\npackage a_test",
		"b/none.go":           "package b",
		"c/one.go":            "// Package c does.\npackage c",
		"c/two.go":            "// Package c does too.\npackage c",
		"d/other.go":          "// This package does.\npackage d",
		"cmd/tool/main.go":    "// Command tool does.\npackage main",
		"cmd/other/main.go":   "// Package main does.\npackage main",
		"f/apart.go":          "// Not a package comment.\n\npackage f",
		"e2e/only_test.go":    "// Package e2e does.\n\n// Not this.\npackage e2e",
		"e2e/more_test.go":    "// Package e2e does.\npackage e2e",
		"bare/silent_test.go": "package bare",
	}),
		"b has no package comment",
		"bare has no package comment",
		"c has 2 package comments",
		`cmd/other/main.go: package comment begins "Package main does."`,
		`d/other.go: package comment begins "This package does."`,
		`e2e/only_test.go: package comment begins "Not this."`,
		"e2e has 2 package comments",
		"f has no package comment",
	)
}
