package main

import (
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/apache/arrow/go/v17/parquet/file"

	"github.com/whichpod/whichpod/benchmarks/bulk"
)

// Steps that systems have in common. Raw is ingest without the pods.
const (
	stepRaw      = "raw"
	stepIngest   = "ingest"
	stepExport   = "export"
	stepQuestion = "question"
)

// measured is what one step of one system took.
type measured struct {
	system, step string
	tuples, rows int64
	usage
	disk        int64         // bytes, after the step; 0 where it leaves nothing that counts
	first, warm time.Duration // of a question inside the process: the first, and the median of seven more
}

type step struct {
	name string
	run  func(ctx context.Context, c *config, t bulk.Traffic, dir string) (measured, error)
}

// steps of each system, in their order.
var steps = map[string][]step{
	"whichpod":   {{stepIngest, ownIngest}, {stepExport, ownExport}, {stepQuestion, ownQuestion}},
	"clickhouse": {peerStep("clickhouse", stepRaw), peerStep("clickhouse", stepIngest), peerStep("clickhouse", stepExport), peerStep("clickhouse", stepQuestion)},
	"duckdb":     {peerStep("duckdb", stepRaw), peerStep("duckdb", stepIngest), peerStep("duckdb", stepQuestion)},
}

// clusterConfig describes the cluster: its pods' addresses are seen as they are.
const clusterConfig = `{"clusters": [{"name": "prod", "network": "pod-subnet", "vnetCIDRs": ["10.224.0.0/12"], "podCIDRs": ["10.244.0.0/16"]}]}`

// ownIngest takes the pods into the ledger and the logs into the index.
func ownIngest(ctx context.Context, c *config, t bulk.Traffic, dir string) (m measured, err error) {
	data := filepath.Join(dir, "data")
	if err := os.WriteFile(filepath.Join(dir, "config.yaml"), []byte(clusterConfig), 0o644); err != nil {
		return m, err
	}
	_, pods, err := process(ctx, nil, c.program, "import", "pods", t.Journal, "--cluster", "prod", "--data", data)
	if err != nil {
		return m, err
	}
	out, logs, err := process(ctx, nil, c.program, "ingest", t.Logs, "--data", data, "-o", "json")
	if err != nil {
		return m, err
	}
	var report struct{ Rows int64 }
	if err := json.Unmarshal(out, &report); err != nil {
		return m, err
	}
	m.rows, m.usage = report.Rows, usage{pods.wall + logs.wall, pods.cpu + logs.cpu, max(pods.peak, logs.peak)}
	m.disk, err = folderBytes(data)
	return m, err
}

func ownExport(ctx context.Context, c *config, t bulk.Traffic, dir string) (m measured, err error) {
	out := filepath.Join(dir, "rows.parquet")
	_, m.usage, err = process(ctx, nil, c.program, "export", "--format", "parquet", "--out", out, "--data", filepath.Join(dir, "data"), "--config", filepath.Join(dir, "config.yaml"))
	if err != nil {
		return m, err
	}
	if m.disk, err = folderBytes(out); err != nil {
		return m, err
	}
	m.rows, err = parquetRows(out)
	return m, err
}

// ownQuestion asks as a command, and then in a process that has the index open.
func ownQuestion(ctx context.Context, c *config, _ bulk.Traffic, dir string) (m measured, err error) {
	data := filepath.Join(dir, "data")
	_, m.usage, err = process(ctx, nil, c.program, "talkers", bulk.Needle, "-o", "json", "--data", data, "--config", filepath.Join(dir, "config.yaml"))
	if err != nil {
		return m, err
	}
	self, err := os.Executable()
	if err != nil {
		return m, err
	}
	out, _, err := process(ctx, nil, self, "-ask", data)
	if err != nil {
		return m, err
	}
	var p printed
	if err := json.Unmarshal(out, &p); err != nil {
		return m, err
	}
	m.rows, m.first, m.warm = p.Rows, milliseconds(p.First), milliseconds(p.Warm)
	return m, nil
}

//go:embed clickhouse.js
var clickhouseScript string

//go:embed duckdb.js
var duckdbScript string

// printed is what the scripts print.
type printed struct {
	MS, First, Warm float64 // milliseconds
	Rows            int64
	Version         string
}

// node runs a step of a peer's script.
func (c *config) node(ctx context.Context, system, step string, t bulk.Traffic, dir string) (p printed, u usage, err error) {
	script := map[string]string{"clickhouse": clickhouseScript, "duckdb": duckdbScript}[system]
	out, u, err := process(ctx, []string{"NODE_PATH=" + c.modules}, "node", "-e", script, "--", filepath.Join(dir, "data"), step, t.Logs, t.Pods, filepath.Join(dir, "rows.parquet"), bulk.Needle)
	if err != nil {
		return p, u, err
	}
	if err := json.Unmarshal(out, &p); err != nil {
		return p, u, fmt.Errorf("read what the script of %s printed, %q: %w", system, out, err)
	}
	return p, u, nil
}

// peerStep runs a step in a process of its own. Its time is without the start of
// node, except that a question's is that of the whole command.
func peerStep(system, name string) step {
	return step{name, func(ctx context.Context, c *config, t bulk.Traffic, dir string) (m measured, err error) {
		data, parquet := filepath.Join(dir, "data"), filepath.Join(dir, "rows.parquet")
		p, u, err := c.node(ctx, system, name, t, dir)
		if err != nil {
			return m, err
		}
		m.rows, m.usage, m.first, m.warm = p.Rows, u, milliseconds(p.First), milliseconds(p.Warm)
		if name != stepQuestion {
			m.wall = milliseconds(p.MS)
		}
		switch {
		case system == "duckdb" && name != stepQuestion, name == stepExport:
			m.disk, err = folderBytes(parquet)
		case name == stepIngest:
			m.disk, err = folderBytes(data)
		case name == stepRaw:
			m.disk, err = folderBytes(data)
			err = errors.Join(err, os.RemoveAll(data))
		}
		return m, err
	}}
}

func (c *config) version(ctx context.Context, system string) (string, error) {
	if system == "whichpod" {
		out, _, err := process(ctx, nil, c.program, "version")
		return strings.TrimSpace(string(out)), err
	}
	p, _, err := c.node(ctx, system, "version", bulk.Traffic{}, os.TempDir())
	return p.Version, err
}

func parquetRows(path string) (int64, error) {
	f, err := file.OpenParquetFile(path, false)
	if err != nil {
		return 0, err
	}
	return f.NumRows(), f.Close()
}

func milliseconds(n float64) time.Duration { return time.Duration(n * float64(time.Millisecond)) }

func median[T ~int64 | ~float64](list []T) T {
	sorted := slices.Sorted(slices.Values(list))
	return sorted[len(sorted)/2]
}
