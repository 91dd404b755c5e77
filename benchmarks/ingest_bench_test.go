//go:build unix

package benchmarks

import (
	"encoding/json"
	"flag"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"
	"time"

	"github.com/whichpod/whichpod/benchmarks/bulk"
)

// peakMiB is the budget of design.md §10: the memory of the process, whatever the
// input's size.
const peakMiB = 256

// BenchmarkIngestBlob runs "whichpod ingest" as a process of its own on one blob and
// holds its peak memory against the budget. A blob is an interface's hour in 60
// records; one has records of 50 MiB, close to the limit of 64 MiB.
func BenchmarkIngestBlob(b *testing.B) {
	if testing.Short() {
		b.Skip("ingests blobs of up to 1 GiB")
	}
	program := filepath.Join(b.TempDir(), "whichpod")
	if out, err := exec.Command("go", "build", "-trimpath", "-o", program, "../cmd/whichpod").CombinedOutput(); err != nil {
		b.Fatalf("build whichpod: %v\n%s", err, out)
	}
	const mib = 1 << 20
	for _, c := range []struct {
		name         string
		blob, record int // bytes
	}{
		{"64MiB", 64 * mib, 64 * mib / 60},
		{"256MiB", 256 * mib, 256 * mib / 60},
		{"1GiB", 1024 * mib, 1024 * mib / 60},
		{"1GiB-records-of-50MiB", 1024 * mib, 50 * mib},
	} {
		b.Run(c.name, func(b *testing.B) { ingestBlob(b, program, c.blob, c.record) })
	}
}

func ingestBlob(b *testing.B, program string, blobBytes, recordBytes int) {
	blob := filepath.Join(b.TempDir(), "PT1H.json")
	rows := writeBlob(b, blob, blobBytes, recordBytes)
	info, err := os.Stat(blob)
	must(b, err)
	data := filepath.Join(b.TempDir(), "data")
	peak, cpu := 0.0, time.Duration(0)
	b.SetBytes(info.Size())
	for b.Loop() {
		must(b, os.RemoveAll(data))
		out, used := measured(b, program, "ingest", blob, "--data", data, "--output", "json")
		var report struct {
			Rows     int64
			Rejected map[string]int64
		}
		must(b, json.Unmarshal(out, &report))
		if report.Rows != rows || len(report.Rejected) > 0 {
			b.Fatalf("got %d rows and rejections %v, want %d rows", report.Rows, report.Rejected, rows)
		}
		peak = max(peak, used.PeakMiB)
		cpu += used.CPU
	}
	b.ReportMetric(peak, "peak-MiB")
	b.ReportMetric(float64(rows)*float64(b.N)/b.Elapsed().Seconds(), "rows/s")
	b.ReportMetric(float64(cpu)/float64(b.N)/float64(rows), "cpu-ns/row")
	b.ReportMetric(float64(folderBytes(b, data))/float64(rows), "bytes/row")
	if peak > peakMiB {
		b.Fatalf("peak memory is %.0f MiB, want at most %d", peak, peakMiB)
	}
}

// usage is what a process took.
type usage struct {
	PeakMiB float64 // the most memory it had
	CPU     time.Duration
}

// usageFile names, in the environment, the file that TestMeasureHelper writes.
const usageFile = "WHICHPOD_BENCH_USAGE"

// measured runs a program and returns what it printed and took. On Linux the peak of
// a process is never less than what its parent had when it started it, and this one
// may have simulated clusters before: so one that is small stands between.
func measured(b *testing.B, program string, args ...string) ([]byte, usage) {
	file := filepath.Join(b.TempDir(), "usage.json")
	cmd := exec.Command(os.Args[0], append([]string{"-test.run=^TestMeasureHelper$", "--", program}, args...)...)
	cmd.Env = append(os.Environ(), usageFile+"="+file)
	if out, err := cmd.CombinedOutput(); err != nil {
		b.Fatalf("run whichpod: %v\n%s", err, out)
	}
	raw, err := os.ReadFile(file)
	must(b, err)
	var got struct {
		Out   []byte
		Usage usage
	}
	must(b, json.Unmarshal(raw, &got))
	return got.Out, got.Usage
}

// TestMeasureHelper is the small process of measured. It tests nothing.
func TestMeasureHelper(t *testing.T) {
	file := os.Getenv(usageFile)
	if file == "" {
		t.Skip("a part of BenchmarkIngestBlob")
	}
	cmd := exec.Command(flag.Arg(0), flag.Args()[1:]...)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	must(t, err)
	p := cmd.ProcessState
	raw, err := json.Marshal(map[string]any{"Out": out, "Usage": usage{maxRSS(p), p.UserTime() + p.SystemTime()}})
	must(t, err)
	must(t, os.WriteFile(file, raw, 0o600))
}

// maxRSS is the most memory, in MiB, that an ended child had.
func maxRSS(p *os.ProcessState) float64 {
	n := float64(p.SysUsage().(*syscall.Rusage).Maxrss)
	if runtime.GOOS != "darwin" { // elsewhere it counts in KiB
		n *= 1024
	}
	return n / (1 << 20)
}

func folderBytes(b *testing.B, dir string) (n int64) {
	must(b, filepath.WalkDir(dir, func(_ string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		info, err := e.Info()
		n += info.Size()
		return err
	}))
	return n
}

// tupleBytes is what a tuple takes in JSON, about.
const tupleBytes = 75

// writeBlob writes a blob of about the given sizes and returns its number of tuples:
// 300 pods talk to each other and to addresses outside.
func writeBlob(b *testing.B, path string, blobBytes, recordBytes int) (rows int64) {
	file, err := os.Create(path)
	must(b, err)
	pod := func(r *rand.Rand) string {
		i := r.IntN(300)
		return fmt.Sprintf("10.244.%d.%d", i/250, i%250+2)
	}
	source := bulk.New("000D3A1B2C3D", 10, func(r *rand.Rand, _ int64) string { return pod(r) }, pod)
	shape := bulk.Blob{Start: time.Date(2026, 8, 20, 14, 0, 0, 0, time.UTC).UnixMilli(), Records: blobBytes / recordBytes, Tuples: recordBytes / tupleBytes}
	_, err = source.Write(file, shape)
	must(b, err)
	must(b, file.Close())
	return int64(shape.Records) * int64(shape.Tuples)
}
