package hygiene

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
)

// Words of the table that stand for many packages.
const (
	anyFolder = "any folder" // every package of the repository
	others    = "others"     // every package of another module
)

// rule forbids imports. Folders are relative to the root and mean what is below them
// too; a name with a dot in its first part is a module. Tests are free.
type rule struct {
	in     []string // who is bound by it
	except []string // folders of those that are not
	not    []string // what must not be imported
	but    []string // folders of that which may be
	why    string
}

type rules struct {
	// folders hold the packages of the repository. Go code anywhere else is wrong.
	folders []string
	// apart are folders that stand outside of the arrow: they may import anything, and
	// nobody imports them.
	apart []string
	// planned are folders of the table that are not there yet. One that is there is
	// wrong here: take it out, and from then on it is noticed when it goes.
	planned []string
	table   []rule
}

// importRules is the layout:
//
//	cmd -> console, benchmarks, evidence -> query -> index, attribution, ingest -> flow
//
// A package may import what stands later on that arrow, never what stands before it.
var importRules = rules{
	folders: []string{"cmd", "console", "benchmarks", "evidence", "query", "index", "attribution", "ingest", "flow", "internal"},
	apart:   []string{"e2e"},
	planned: []string{"console"},
	table: []rule{
		{in: []string{"flow"}, not: []string{anyFolder}, but: []string{"flow"},
			why: "everything rests on it"},
		{in: []string{"internal"}, not: []string{anyFolder}, but: []string{"internal"},
			why: "small packages with one job each stand beside flow"},
		{in: []string{"ingest"}, not: []string{"attribution", "index"},
			why: "a format is tested without a ledger or a disk layout"},
		{in: []string{"index"}, not: []string{"ingest", "attribution"},
			why: "rows are facts; who held an address may be corrected later"},
		{in: []string{"attribution"}, not: []string{"ingest", "index"},
			why: "the ledger answers without any flow log"},
		{in: []string{"ingest", "index", "attribution"}, not: []string{"query", "evidence", "benchmarks", "console", "cmd"},
			why: "query joins rows and ledger, and stands before both on the arrow"},
		{in: []string{"query"}, not: []string{"evidence", "benchmarks", "console", "cmd"},
			why: "an answer does not know who signs, measures, shows or prints it"},
		{in: []string{"evidence", "benchmarks", "console"}, not: []string{"cmd"},
			why: "cmd wires and prints; it has no logic to lend"},
		{in: []string{anyFolder}, except: []string{"attribution/podwatch"}, not: []string{"k8s.io/client-go"},
			why: "the join runs offline from a saved ledger"},
		{in: []string{anyFolder}, except: []string{"attribution/natwatch"}, not: []string{"github.com/ti-mo/conntrack", "github.com/ti-mo/netfilter", "github.com/mdlayher/netlink"},
			why: "formats and the join are tested without a kernel"},
		{in: []string{"attribution/nat"}, not: []string{anyFolder}, but: []string{"attribution/nat", "internal"},
			why: "evidence is kept without knowing who reads it"},
		{in: []string{anyFolder}, except: []string{"ingest/azblob", "evidence/keyvault"}, not: []string{"github.com/Azure/azure-sdk-for-go"},
			why: "local files need no cloud"},
		{in: []string{"benchmarks/sim", "benchmarks/scenario"}, not: []string{anyFolder, others}, but: []string{"benchmarks/sim", "benchmarks/scenario", "flow"},
			why: "it is the independent truth: it shares nothing with the code that it judges"},
		{in: []string{anyFolder}, except: []string{"benchmarks", "cmd"}, not: []string{"benchmarks/sim"},
			why: "simulated clusters are for measures and the demo"},
	},
}

// check returns the forbidden imports, and what of the table is not true any more.
func (r *rules) check(t *tree) []string {
	problems := r.stale(t)
	for i := range t.sources {
		s := &t.sources[i]
		if s.test {
			continue
		}
		if !r.known(s.dir) {
			problems = append(problems, fmt.Sprintf("%s stands outside the layout: want it below one of %s", s.path, strings.Join(r.folders, ", ")))
			continue
		}
		for _, p := range s.imports() {
			problems = append(problems, r.broken(s, p)...)
		}
	}
	return problems
}

func (r *rules) known(dir string) bool {
	return inAny(dir, r.folders) || inAny(dir, r.apart)
}

// broken lists the rules that an import breaks.
func (r *rules) broken(s *source, imported string) []string {
	var out []string
	ours, own := strings.CutPrefix(imported, modulePath+"/")
	if own && inAny(ours, r.apart) && !inAny(s.dir, r.apart) {
		out = append(out, fmt.Sprintf("%s imports %s, which nobody may import", s.path, ours))
	}
	if inAny(s.dir, r.apart) {
		return out
	}
	for i := range r.table {
		rule := &r.table[i]
		if rule.binds(s.dir) && rule.forbids(imported) {
			out = append(out, fmt.Sprintf("%s imports %s, which %s must not: %s", s.path, imported, strings.Join(rule.in, ", "), rule.why))
		}
	}
	return out
}

func (r *rule) binds(dir string) bool {
	return (slices.Contains(r.in, anyFolder) || inAny(dir, r.in)) && !inAny(dir, r.except)
}

func (r *rule) forbids(imported string) bool {
	ours, own := strings.CutPrefix(imported, modulePath+"/")
	if own {
		return !inAny(ours, r.but) && (slices.Contains(r.not, anyFolder) || inAny(ours, r.not))
	}
	first, _, _ := strings.Cut(imported, "/")
	standard := !strings.Contains(first, ".")
	return inAny(imported, r.not) || (!standard && slices.Contains(r.not, others))
}

// stale lists what the table names and the tree no longer has.
func (r *rules) stale(t *tree) []string {
	var problems []string
	named := make(map[string]bool)
	for i := range r.table {
		rule := &r.table[i]
		for _, list := range [][]string{r.folders, rule.in, rule.except, rule.not, rule.but} {
			for _, name := range list {
				if first, _, _ := strings.Cut(name, "/"); name != anyFolder && name != others && !strings.Contains(first, ".") {
					named[name] = true
				}
			}
		}
		problems = append(problems, rule.idle(t, r.planned)...)
	}
	for _, name := range slices.Sorted(maps.Keys(named)) {
		switch exists, planned := holds(t, name), slices.Contains(r.planned, name); {
		case exists && planned:
			problems = append(problems, fmt.Sprintf("%s is here: take it out of the planned folders in importRules", name))
		case !exists && !planned:
			problems = append(problems, fmt.Sprintf("%s is named by importRules, and no Go code is there", name))
		}
	}
	return problems
}

// idle says where a folder is excepted from a rule about a module that it does not
// import any more.
func (r *rule) idle(t *tree, planned []string) []string {
	var problems []string
	for _, module := range r.not {
		if first, _, _ := strings.Cut(module, "/"); !strings.Contains(first, ".") {
			continue
		}
		for _, folder := range r.except {
			if slices.Contains(planned, folder) || !holds(t, folder) {
				continue
			}
			if !imports(t, folder, module) {
				problems = append(problems, fmt.Sprintf("%s may import %s as the only one, and does not", folder, module))
			}
		}
	}
	return problems
}

// holds says whether there is Go code, other than tests, in or below the folder.
func holds(t *tree, folder string) bool {
	return slices.ContainsFunc(t.sources, func(s source) bool { return !s.test && within(s.dir, folder) })
}

func imports(t *tree, folder, module string) bool {
	return slices.ContainsFunc(t.sources, func(s source) bool {
		return !s.test && within(s.dir, folder) && slices.ContainsFunc(s.imports(), func(p string) bool { return within(p, module) })
	})
}

func inAny(p string, folders []string) bool {
	return slices.ContainsFunc(folders, func(f string) bool { return within(p, f) })
}

// layout is a tree that keeps all rules, with nothing planned.
func layout() (rules, map[string]string) {
	r := importRules
	r.planned = nil
	const ours = modulePath + "/"
	return r, map[string]string{
		"cmd/whichpod/main.go":     "package main\nimport (\n\"" + ours + "console\"\n\"" + ours + "benchmarks/sim\"\n)",
		"console/console.go":       "package console\nimport \"" + ours + "query\"",
		"benchmarks/run.go":        "package benchmarks\nimport \"" + ours + "benchmarks/sim\"",
		"benchmarks/sim/sim.go":    "package sim\nimport (\n\"encoding/json\"\n\"" + ours + "flow\"\n)",
		"benchmarks/scenario/s.go": "package scenario\nimport \"net/netip\"",
		"evidence/e.go":            "package evidence\nimport \"" + ours + "query\"",
		"query/q.go":               "package query\nimport (\n\"" + ours + "index\"\n\"" + ours + "attribution\"\n)",
		"index/i.go":               "package index\nimport (\n\"" + ours + "flow\"\n\"" + ours + "internal/journal\"\n)",
		"attribution/a.go":         "package attribution\nimport \"" + ours + "flow\"",
		"attribution/podwatch/p.go": "package podwatch\nimport (\n\"k8s.io/client-go/tools/cache\"\n\"" + ours +
			"attribution\"\n)",
		"attribution/natwatch/n.go": "package natwatch\nimport (\n\"github.com/ti-mo/conntrack\"\n\"github.com/ti-mo/netfilter\"\n\"github.com/mdlayher/netlink\"\n\"" + ours +
			"attribution/nat\"\n)",
		"attribution/nat/s.go":   "package nat\nimport \"" + ours + "internal/journal\"",
		"ingest/i.go":            "package ingest\nimport \"" + ours + "flow\"",
		"ingest/azblob/a.go":     "package azblob\nimport \"github.com/Azure/azure-sdk-for-go/sdk/azcore\"",
		"evidence/keyvault/k.go": "package keyvault\nimport \"github.com/Azure/azure-sdk-for-go/sdk/azcore\"",
		"flow/f.go":              "package flow\nimport \"github.com/apache/arrow/go/v17/arrow\"",
		"internal/journal/j.go":  "package journal\nimport \"" + ours + "internal/journal/disk\"",
		"e2e/cluster.go":         "package e2e\nimport (\n\"k8s.io/client-go/rest\"\n\"" + ours + "query\"\n)",
	}
}

func TestImports(t *testing.T) {
	r, good := layout()
	wants(t, badTree(t, r.check, good)) // none
	const ours = modulePath + "/"
	for _, c := range []struct{ file, imported, want string }{
		{"flow/x.go", ours + "internal/journal", "everything rests on it"},
		{"internal/x/x.go", ours + "flow", "beside flow"},
		{"ingest/x.go", ours + "attribution", "a format is tested"},
		{"ingest/azblob/x.go", ours + "index", "a format is tested"},
		{"index/x.go", ours + "ingest", "rows are facts"},
		{"attribution/podlog/x.go", ours + "index", "without any flow log"},
		{"attribution/x.go", ours + "query", "query joins"},
		{"index/x.go", ours + "cmd/whichpod", "query joins"},
		{"query/x.go", ours + "evidence", "does not know who signs"},
		{"evidence/x.go", ours + "cmd/whichpod", "no logic to lend"},
		{"attribution/x.go", "k8s.io/client-go/rest", "offline"},
		{"cmd/whichpod/x.go", "k8s.io/client-go", "offline"},
		{"attribution/natlog/x.go", "github.com/ti-mo/conntrack", "without a kernel"},
		{"attribution/nat/x.go", ours + "attribution", "without knowing who reads"},
		{"cmd/whichpod/x.go", "github.com/Azure/azure-sdk-for-go/sdk/azidentity", "need no cloud"},
		{"benchmarks/sim/x.go", ours + "attribution", "independent truth"},
		{"benchmarks/sim/x.go", "github.com/google/go-cmp/cmp", "independent truth"},
		{"benchmarks/scenario/x.go", ours + "attribution", "independent truth"},
		{"console/x.go", ours + "benchmarks/sim", "for measures"},
		{"query/x.go", ours + "e2e", "nobody may import"},
		{"common/x.go", "fmt", "outside the layout"},
		{"x.go", "fmt", "outside the layout"},
	} {
		t.Run(c.file+" "+c.imported, func(t *testing.T) {
			bad := maps.Clone(good)
			bad[c.file] = "package x\nimport \"" + c.imported + "\""
			wants(t, badTree(t, r.check, bad), c.want)
		})
	}
	t.Run("tests are free", func(t *testing.T) {
		bad := maps.Clone(good)
		bad["query/q_test.go"] = "package query\nimport \"" + ours + "benchmarks/sim\""
		wants(t, badTree(t, r.check, bad))
	})
}

func TestImportTableGoesStale(t *testing.T) {
	r, good := layout()
	without := func(file string) map[string]string {
		bad := maps.Clone(good)
		delete(bad, file)
		return bad
	}
	wants(t, badTree(t, r.check, without("console/console.go")), "console is named")
	wants(t, badTree(t, r.check, without("attribution/podwatch/p.go")), "attribution/podwatch is named")
	wants(t, badTree(t, r.check, without("ingest/azblob/a.go")), "ingest/azblob is named")

	idle := maps.Clone(good)
	idle["ingest/azblob/a.go"] = "package azblob"
	wants(t, badTree(t, r.check, idle), "ingest/azblob may import github.com/Azure/azure-sdk-for-go as the only one, and does not")

	r.planned = []string{"console"}
	wants(t, badTree(t, r.check, without("console/console.go")))
	wants(t, badTree(t, r.check, good), "console is here")
}
