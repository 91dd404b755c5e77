package hygiene

import (
	"fmt"
	"regexp"
	"strings"
	"testing"
)

const contractDoc = "docs/cli-json.md"

// contracts are the files whose JSON is a written contract.
var contracts = []string{"query/answer.go", "query/translation.go", "query/excluded.go", "query/posture.go", "query/question.go", "query/talkers.go", "evidence/row.go", "evidence/plain.go", "benchmarks/drill/result.go",
	"cmd/whichpod/ingest.go", "cmd/whichpod/ingest_nat.go", "cmd/whichpod/import.go", "cmd/whichpod/import_nat.go", "cmd/whichpod/status.go", "cmd/whichpod/cases.go", "cmd/whichpod/assert.go", "cmd/whichpod/bundle.go", "cmd/whichpod/compact.go", "cmd/whichpod/fsck.go",
	"evidence/claim/judge.go", "evidence/bundle/write.go", "evidence/bundle/verify.go", "evidence/bundle/differ.go", "evidence/stamp/stamp.go", "benchmarks/report/report.go", "benchmarks/stats/stats.go"}

var jsonTag = regexp.MustCompile("`json:\"([a-z0-9_]+)")

// undocumented: each field of the contract's JSON stands in docs/cli-json.md.
func undocumented(t *tree) []string {
	doc := t.files[contractDoc]
	var problems []string
	for _, p := range contracts {
		tags := jsonTag.FindAllStringSubmatch(t.files[p], -1)
		if len(tags) == 0 {
			problems = append(problems, fmt.Sprintf("%s has no JSON field, and is listed as part of the contract", p))
		}
		for _, m := range tags {
			if !strings.Contains(doc, "`"+m[1]+"`") && !strings.Contains(doc, "."+m[1]+"`") {
				problems = append(problems, fmt.Sprintf("%s has the JSON field %s, which is not in %s", p, m[1], contractDoc))
			}
		}
	}
	return problems
}

func TestUndocumented(t *testing.T) {
	tree := map[string]string{contractDoc: "| `verdict` | `pods[].peers` |\n"}
	for _, p := range contracts {
		tree[p] = "package p\n\ntype t struct {\n\tA int `json:\"verdict\"`\n\tB int `json:\"peers,omitempty\"`\n}\n"
	}
	wants(t, badTree(t, undocumented, tree))
	tree["query/answer.go"] = "package p\n\ntype t struct {\n\tA int `json:\"verdict_of\"`\n}\n"
	tree["evidence/row.go"] = "package p\n"
	wants(t, badTree(t, undocumented, tree), "query/answer.go has the JSON field verdict_of", "evidence/row.go has no JSON field")
}
