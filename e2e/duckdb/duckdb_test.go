//go:build e2e

// Package duckdb_test reads with DuckDB what "whichpod decode" and "whichpod export" write.
//
// It needs node, and the npm package @duckdb/node-api (1.5.6-r.1) in the folder
// node_modules below the one that WHICHPOD_E2E names, by default .e2e at the root of
// the repository. Without them the test fails.
package duckdb_test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/whichpod/whichpod/ingest/sourcetest"
)

// script prints the result of a query as a line a row.
const script = `
const { DuckDBInstance } = require('@duckdb/node-api');
(async () => {
  const db = await (await DuckDBInstance.create(':memory:')).connect();
  const rows = await db.runAndReadAll(process.argv[1]);
  for (const row of rows.getRows()) console.log(row.join(' '));
})().catch((e) => { console.error(e); process.exit(1); });
`

func query(t *testing.T, sql string) string {
	t.Helper()
	dir := os.Getenv("WHICHPOD_E2E")
	if dir == "" {
		dir = "../../.e2e"
	}
	modules, err := filepath.Abs(filepath.Join(dir, "node_modules"))
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("node", "-e", script, sql)
	cmd.Env = append(os.Environ(), "NODE_PATH="+modules)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s (npm install --prefix .e2e @duckdb/node-api@1.5.6-r.1)", err, out)
	}
	return strings.TrimSpace(string(out))
}

// A flow log and a firewall's log, by way of Parquet and of JSON lines.
func TestDecodeForDuckDB(t *testing.T) {
	dir := t.TempDir()
	program := filepath.Join(dir, "whichpod")
	if out, err := exec.Command("go", "build", "-o", program, "../../cmd/whichpod").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	const firewall = `{"category":"AzureFirewallApplicationRule","properties":{"msg":"HTTPS request from 10.244.0.7:56029 to a.example.net:443. Action: Deny. No rule matched"},"time":"2026-08-20T14:01:05.0Z"}` + "\n"
	log := sourcetest.Blob(sourcetest.Record(0, 40_000), sourcetest.Record(40_000, 40_000)) + firewall
	for _, format := range []string{"parquet", "jsonl"} {
		var out bytes.Buffer
		cmd := exec.Command(program, "decode", "-", "--format", format)
		cmd.Stdin, cmd.Stdout = strings.NewReader(log), &out
		if err := cmd.Run(); err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(dir, "rows."+format)
		if err := os.WriteFile(path, out.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
		from := "read_parquet('" + path + "')"
		if format == "jsonl" {
			from = "read_json('" + path + "', format = 'newline_delimited')"
		}
		got := query(t, "SELECT count(*), count(nic), count(dst_ip), count(bytes_sent), count(DISTINCT src_ip), sum(src_port), sum(\"offset\"), "+
			"epoch_ms(min(time::TIMESTAMP)), epoch_ms(max(time::TIMESTAMP)), count(*) FILTER (NOT allowed), max(CASE WHEN nic IS NULL THEN rule END) FROM "+from)
		offsets, ports := 0, 56029
		for at := 0; ; {
			i := strings.Index(log[at:], `"1787236`)
			if i < 0 {
				break
			}
			at += i + 1
			offsets += at
		}
		offsets += strings.Index(log, firewall)
		for i := range 80_000 {
			ports += 1024 + i%60000
		}
		want := strings.Join([]string{"80001", "80000", "80000", "80000", "251", strconv.Itoa(ports), strconv.Itoa(offsets), "1787234465000", "1787236879999", "1", "No rule matched"}, " ")
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", format, diff)
		}
	}
}
