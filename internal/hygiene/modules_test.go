package hygiene

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const dependenciesDoc = "docs/dependencies.md"

// documented is a line of the table in docs/dependencies.md.
var documented = regexp.MustCompile("^\\| `([^`]+)` \\| ([^|]*\\S)? *\\|")

// dependencies: each direct dependency of go.mod has one line, with a reason, in
// docs/dependencies.md, in any order; and nothing else has.
func dependencies(t *tree) []string {
	direct := directDependencies(t.files["go.mod"])
	var problems []string
	seen := make(map[string]bool)
	for n, line := range strings.Split(t.files[dependenciesDoc], "\n") {
		m := documented.FindStringSubmatch(line)
		if m == nil {
			continue
		}
		where := fmt.Sprintf("%s:%d", dependenciesDoc, n+1)
		switch name := m[1]; {
		case seen[name]:
			problems = append(problems, fmt.Sprintf("%s names %s a second time", where, name))
		case !direct[name]:
			problems = append(problems, fmt.Sprintf("%s names %s, which is no direct dependency in go.mod", where, name))
		case m[2] == "":
			problems = append(problems, fmt.Sprintf("%s does not say why %s is worth it", where, name))
		}
		seen[m[1]] = true
	}
	for _, name := range slices.Sorted(maps.Keys(direct)) {
		if !seen[name] {
			problems = append(problems, fmt.Sprintf("go.mod requires %s, which has no line in %s", name, dependenciesDoc))
		}
	}
	return problems
}

// directDependencies are the modules that go.mod requires without "// indirect".
func directDependencies(mod string) map[string]bool {
	out := make(map[string]bool)
	inBlock := false
	for line := range strings.Lines(mod) {
		line = strings.TrimSpace(line)
		switch {
		case line == "require (":
			inBlock = true
			continue
		case line == ")":
			inBlock = false
			continue
		case strings.HasPrefix(line, "require "):
			line = strings.TrimPrefix(line, "require ")
		case !inBlock:
			continue
		}
		spec, comment, _ := strings.Cut(line, "//")
		if fields := strings.Fields(spec); len(fields) == 2 && !strings.HasPrefix(strings.TrimSpace(comment), "indirect") {
			out[fields[0]] = true
		}
	}
	return out
}

// moduleAndLicence: the module has the name that people import, and its licence.
func moduleAndLicence(t *tree) []string {
	var problems []string
	first, _, _ := strings.Cut(t.files["go.mod"], "\n")
	if want := "module " + modulePath; first != want {
		problems = append(problems, fmt.Sprintf("go.mod begins %q, want %q", first, want))
	}
	licence := t.files["LICENSE"]
	for _, want := range []string{"Apache License", "Version 2.0, January 2004", "9. Accepting Warranty or Additional Liability"} {
		if !strings.Contains(licence, want) {
			problems = append(problems, fmt.Sprintf("LICENSE does not contain %q", want))
		}
	}
	return problems
}

func TestDependencies(t *testing.T) {
	const mod = `module x

require example.org/alone v1.0.0

require (
	example.org/b v1.0.0
	example.org/a v1.0.0 // kept for a reason
	example.org/deep v1.0.0 // indirect
)

exclude example.org/never v1.0.0
`
	doc := func(names ...string) map[string]string {
		text := "| module | why |\n|---|---|\n"
		for _, n := range names {
			text += "| `" + n + "` | it is worth it |\n"
		}
		return map[string]string{"go.mod": mod, dependenciesDoc: text}
	}
	wants(t, badTree(t, dependencies, doc("example.org/b", "example.org/alone", "example.org/a")))
	wants(t, badTree(t, dependencies, doc("example.org/b", "example.org/alone")), "requires example.org/a, which has no line")
	wants(t, badTree(t, dependencies, doc("example.org/a", "example.org/b", "example.org/alone", "example.org/deep")), "example.org/deep, which is no direct")
	wants(t, badTree(t, dependencies, doc("example.org/a", "example.org/a", "example.org/b", "example.org/alone")), "a second time")
	bare := doc("example.org/b", "example.org/alone")
	bare[dependenciesDoc] += "| `example.org/a` |  |\n"
	wants(t, badTree(t, dependencies, bare), "does not say why")
	wants(t, badTree(t, dependencies, map[string]string{"go.mod": "module x\nrequire example.org/a v1.0.0\n"}), "has no line")
}

func TestModuleAndLicence(t *testing.T) {
	wants(t, badTree(t, moduleAndLicence, map[string]string{
		"go.mod":  "module " + modulePath + "\n",
		"LICENSE": "Apache License\nVersion 2.0, January 2004\n9. Accepting Warranty or Additional Liability",
	}))
	wants(t, badTree(t, moduleAndLicence, map[string]string{"go.mod": "module example.org/fork\n", "LICENSE": "Apache License\nVersion 2.0, January 2004\n"}),
		"go.mod begins", "9. Accepting")
	wants(t, badTree(t, moduleAndLicence, nil), "go.mod begins", "LICENSE", "LICENSE", "LICENSE")
}
