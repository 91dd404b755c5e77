//go:build e2e

package duckdb_test

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// The rows of a bundle of evidence: DuckDB finds the sums that the bundle states itself
// and those of the same rows as JSON lines; and it reads the events for a SIEM.
func TestBundleForDuckDB(t *testing.T) {
	dir := t.TempDir()
	program := filepath.Join(dir, "whichpod")
	if out, err := exec.Command("go", "build", "-o", program, "../../cmd/whichpod").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	run := func(name string, args ...string) {
		t.Helper()
		cmd := exec.Command(name, args...)
		cmd.Dir = dir
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%s %q: %v: %s", name, args, err, out)
		}
	}
	run("openssl", "genpkey", "-algorithm", "ed25519", "-out", "private.pem")
	run(program, "demo", "--keep", "demo")
	data := []string{"--data", "demo/data", "--config", "demo/config.yaml"}
	run(program, append(data, "export", "--bundle", "--out", "bundles", "--key", "private.pem")...)
	for _, format := range []string{"jsonl", "ocsf-parquet"} {
		run(program, append(data, "export", "--format", format, "--out", format)...)
	}

	const sums = "SELECT count(*), sum(src_port), sum(bytes_sent), sum(\"offset\"), count(DISTINCT blob), count(src_pod_uid), " +
		"count(*) FILTER (src_verdict = 'exact'), count(*) FILTER (src_verdict = 'masked'), sum(len(src_candidates)), epoch_ms(min(time::TIMESTAMP)), epoch_ms(max(time::TIMESTAMP)) FROM "
	got := query(t, sums+"read_parquet('"+filepath.Join(dir, "bundles/000001-begin-end/rows.parquet")+"')")
	want := query(t, sums+"read_json('"+filepath.Join(dir, "jsonl")+"', format = 'newline_delimited')")
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("sums (-lines +bundle):\n%s", diff)
	}
	var stated struct {
		Verdicts struct {
			Rows int64            `json:"rows"`
			Src  map[string]int64 `json:"src"`
		} `json:"verdicts"`
	}
	raw, err := os.ReadFile(filepath.Join(dir, "bundles/000001-begin-end/completeness.json"))
	if err == nil {
		err = json.Unmarshal(raw, &stated)
	}
	if err != nil {
		t.Fatal(err)
	}
	v := stated.Verdicts
	if f := strings.Fields(got); f[0] != fmt.Sprint(v.Rows) || f[6] != fmt.Sprint(v.Src["exact"]) || f[7] != fmt.Sprint(v.Src["masked"]) || v.Src["exact"] == 0 {
		t.Errorf("the bundle states %+v, DuckDB finds %s", v, got)
	}
	events := query(t, "SELECT count(*), sum(src_endpoint.port), sum(traffic.bytes_out), count(*) FILTER (src_attribution.verdict = 'exact') FROM read_parquet('"+filepath.Join(dir, "ocsf-parquet")+"')")
	rows := query(t, "SELECT count(*), sum(src_port), sum(bytes_sent), count(*) FILTER (src_verdict = 'exact') FROM read_json('"+filepath.Join(dir, "jsonl")+"', format = 'newline_delimited')")
	if diff := cmp.Diff(rows, events); diff != "" {
		t.Errorf("events (-rows +events):\n%s", diff)
	}
}
