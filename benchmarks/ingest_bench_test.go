//go:build unix

package benchmarks

import (
	"bufio"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"syscall"
	"testing"
	"time"
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

// writeBlob writes a blob of about the given sizes and returns its number of tuples.
// Equal sizes give equal blobs.
func writeBlob(b *testing.B, path string, blobBytes, recordBytes int) (rows int64) {
	file, err := os.Create(path)
	must(b, err)
	defer file.Close()
	out := bufio.NewWriterSize(file, 1<<20)
	g := newBlobTraffic()
	n := put(b, out, `{"records":[`)
	for n < blobBytes {
		if rows > 0 {
			n += put(b, out, ",")
		}
		size, tuples := g.writeRecord(b, out, min(recordBytes, blobBytes-n))
		n += size
		rows += tuples
	}
	put(b, out, `]}`)
	must(b, out.Flush())
	return rows
}

func put(b *testing.B, out io.Writer, text string) int {
	n, err := io.WriteString(out, text)
	must(b, err)
	return n
}

// blobTraffic makes the tuples of a node: 300 pods talk to each other and to 100,000
// addresses outside, of which few get most of the traffic. A flow begins, perhaps
// continues, and ends; about one row in twenty is a denied attempt.
type blobTraffic struct {
	rng  *rand.Rand
	at   int64 // Unix milliseconds
	open []blobFlow
	buf  []byte
}

type blobFlow struct{ ends string } // fields 2 to 7

func newBlobTraffic() *blobTraffic {
	return &blobTraffic{rng: rand.New(rand.NewPCG(10, 1)), at: time.Date(2026, 8, 20, 14, 0, 0, 0, time.UTC).UnixMilli()}
}

// writeRecord writes a record of about the given size: two ACLs of three rules.
func (g *blobTraffic) writeRecord(b *testing.B, out *bufio.Writer, size int) (written int, tuples int64) {
	const groups = 6
	n := put(b, out, fmt.Sprintf(`{"time":%q,"flowLogVersion":4,"flowLogGUID":"66aa66aa-bb77-cc88-dd99-00ee00ee00ee","macAddress":"000D3A1B2C3D",`+
		`"category":"FlowLogFlowEvent","flowLogResourceID":"/SUBSCRIPTIONS/0/RESOURCEGROUPS/NETWORKWATCHERRG/PROVIDERS/MICROSOFT.NETWORK/NETWORKWATCHERS/NETWORKWATCHER_EASTUS/FLOWLOGS/VNET-FLOWLOG",`+
		`"targetResourceID":"/subscriptions/0/resourceGroups/rg/providers/Microsoft.Network/virtualNetworks/vnet","operationName":"FlowLogFlowEvent","flowRecords":{"flows":[`,
		time.UnixMilli(g.at).UTC().Format("2006-01-02T15:04:05.0000000Z")))
	for group := range groups {
		switch group {
		case 0:
			n += put(b, out, `{"aclID":"00aa00aa-bb11-cc22-dd33-44ee44ee44e0","flowGroups":[`)
		case groups / 2:
			n += put(b, out, `]},{"aclID":"00aa00aa-bb11-cc22-dd33-44ee44ee44e1","flowGroups":[`)
		default:
			n += put(b, out, ",")
		}
		n += put(b, out, fmt.Sprintf(`{"rule":"DefaultRule_Allow%d","flowTuples":[`, group))
		for first := true; first || n < size*(group+1)/groups; first = false {
			g.buf = g.buf[:0]
			if !first {
				g.buf = append(g.buf, ',')
			}
			g.tuple()
			written, err := out.Write(g.buf)
			must(b, err)
			n += written
			tuples++
		}
		n += put(b, out, `]}`)
	}
	n += put(b, out, `]}]}}`)
	return n, tuples
}

// tuple appends a tuple in its quotes.
func (g *blobTraffic) tuple() {
	g.at += int64(g.rng.IntN(3))
	f, state := blobFlow{}, byte('B')
	switch k := g.rng.IntN(100); {
	case k < 5:
		f, state = g.flow(), 'D'
	case k < 45 || len(g.open) < 1000:
		f = g.flow()
		g.open = append(g.open, f)
	default:
		i := g.rng.IntN(len(g.open))
		f, state = g.open[i], 'C'
		if k >= 60 || len(g.open) > 20_000 {
			state = 'E'
			last := len(g.open) - 1
			g.open[i] = g.open[last]
			g.open = g.open[:last]
		}
	}
	g.buf = append(g.buf, '"')
	g.buf = strconv.AppendInt(g.buf, g.at, 10)
	g.buf = append(g.buf, ',')
	g.buf = append(g.buf, f.ends...)
	g.buf = append(g.buf, ',', state)
	g.buf = append(g.buf, ",NX"...)
	for i := range 4 {
		g.buf = append(g.buf, ',')
		n := 0
		if state == 'C' || state == 'E' {
			n = 1 + g.rng.IntN(20)
			if i%2 == 1 {
				n *= 40 + g.rng.IntN(1400)
			}
		}
		g.buf = strconv.AppendInt(g.buf, int64(n), 10)
	}
	g.buf = append(g.buf, '"')
}

func (g *blobTraffic) flow() blobFlow {
	pod := func() string {
		i := g.rng.IntN(300)
		return fmt.Sprintf("10.244.%d.%d", i/250, i%250+2)
	}
	ports := [...]int{443, 443, 443, 8443, 53, 6379, 5432, 80}
	src, dst, protocol, direction := pod(), pod(), 6, 'O'
	port := ports[g.rng.IntN(len(ports))]
	if port == 53 {
		protocol = 17
	}
	if g.rng.IntN(2) == 0 {
		u := g.rng.Float64()
		i := int(u * u * u * 100_000)
		dst = fmt.Sprintf("20.%d.%d.%d", 40+i>>16, i>>8&255, i&255)
		if g.rng.IntN(4) == 0 {
			src, dst, direction = dst, src, 'I'
		}
	}
	return blobFlow{fmt.Sprintf("%s,%s,%d,%d,%d,%c", src, dst, 1024+g.rng.IntN(60_000), port, protocol, direction)}
}
