package main

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/whichpod/whichpod/benchmarks/bulk"
)

// BenchmarkCommands takes rows of a cluster in, exports them with what can be said of
// them, and asks questions: about an address of few rows, and about one of many. With
// -cpuprofile it shows where the time of all commands goes.
func BenchmarkCommands(b *testing.B) {
	tuples := int64(3_000_000)
	if testing.Short() {
		tuples = 300_000
	}
	dir := b.TempDir()
	traffic, err := bulk.Generate(dir, tuples)
	if err != nil {
		b.Fatal(err)
	}
	config := filepath.Join(dir, "config.yaml")
	if err := os.WriteFile(config, []byte(`{"clusters": [{"name": "prod", "network": "pod-subnet", "podCIDRs": ["10.244.0.0/16"]}]}`), 0o600); err != nil {
		b.Fatal(err)
	}
	data := filepath.Join(dir, "data")
	do := func(args ...string) {
		b.Helper()
		args = append(args, "--data", data, "--config", config)
		if code := run(context.Background(), args, io.Discard, os.Stderr, func(string) string { return "" }); code == nothingFound || code == failed {
			b.Fatalf("%v: exit code %d", args, code)
		}
	}
	for b.Loop() {
		if err := os.RemoveAll(data); err != nil {
			b.Fatal(err)
		}
		do("import", "pods", traffic.Journal, "--cluster", "prod")
		do("ingest", traffic.Logs)
		do("export", "--format", "parquet", "--out", filepath.Join(dir, "rows.parquet"))
		for range 20 {
			do("talkers", bulk.Needle)
		}
		do("talkers", "10.244.0.5")
	}
	b.ReportMetric(float64(traffic.Tuples)*float64(b.N)/b.Elapsed().Seconds(), "rows/s")
}
