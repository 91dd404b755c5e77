package main

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"
	"time"
)

// results are all measurements, in the order in which they were made.
type results struct {
	rounds   int
	versions map[string]string
	all      []measured
}

func (r *results) add(m measured) { r.all = append(r.all, m) }

// writeHead writes the configuration lines of Go's benchmark format.
func (r *results) writeHead(w io.Writer) {
	fmt.Fprintf(w, "goos: %s\ngoarch: %s\ncpu: %s\n", runtime.GOOS, runtime.GOARCH, processor())
	for _, name := range systemNames {
		if v, ok := r.versions[name]; ok {
			fmt.Fprintf(w, "%s: %s\n", name, v)
		}
	}
}

var systemNames = []string{"whichpod", "clickhouse", "duckdb"}

// writeLine writes one measurement.
func (r *results) writeLine(w io.Writer, m *measured) {
	fmt.Fprintf(w, "BenchmarkPeers/%s/tuples=%d/%s-%d 1 %d ns/op", m.step, m.tuples, m.system, runtime.GOMAXPROCS(0), m.wall)
	fmt.Fprintf(w, " %.2f cpu-s", m.cpu.Seconds())
	if m.peak > 0 {
		fmt.Fprintf(w, " %.0f peak-MiB", m.peak)
	}
	if m.step == stepQuestion {
		fmt.Fprintf(w, " %.2f first-ms %.2f warm-ms", ms(m.first), ms(m.warm))
	} else {
		fmt.Fprintf(w, " %.0f rows/s %.2f bytes/row", float64(m.rows)/m.wall.Seconds(), float64(m.disk)/float64(m.rows))
	}
	fmt.Fprintln(w)
}

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// of is the median over the rounds of what get takes from a step; false where there is none.
func (r *results) of(system, step string, tuples int64, get func(*measured) float64) (float64, bool) {
	var list []float64
	for i := range r.all {
		if m := &r.all[i]; m.system == system && m.step == step && m.tuples == tuples {
			list = append(list, get(m))
		}
	}
	if len(list) == 0 {
		return 0, false
	}
	return median(list), true
}

// line is one of the report: a figure of each system. Its steps are those whose
// figures count together.
type reportLine struct {
	what, unit string
	steps      map[string][]string // by system
	get        func(*measured) float64
	most       bool // the largest of the steps, not their sum
}

var (
	wall = func(m *measured) float64 { return m.wall.Seconds() }
	cpu  = func(m *measured) float64 { return m.cpu.Seconds() }
	peak = func(m *measured) float64 { return m.peak }
	disk = func(m *measured) float64 { return float64(m.disk) / float64(m.rows) }

	each = func(step ...string) map[string][]string {
		return map[string][]string{"whichpod": step, "clickhouse": step, "duckdb": step}
	}
	durable    = each(stepIngest)
	notJoined  = map[string][]string{"whichpod": {stepIngest}, "clickhouse": {stepRaw}, "duckdb": {stepRaw}}
	attributed = map[string][]string{"whichpod": {stepIngest, stepExport}, "clickhouse": {stepIngest, stepExport}, "duckdb": {stepIngest}}

	reportLines = []reportLine{
		{"JSON to durable and queryable; the peers with their as-of join", "s", durable, wall, false},
		{"the same, processor time", "s", durable, cpu, false},
		{"JSON to durable and queryable; the peers without a join", "s", notJoined, wall, false},
		{"JSON to attributed Parquet of every row", "s", attributed, wall, false},
		{"the same, processor time", "s", attributed, cpu, false},
		{"peak memory of ingest", "MiB", durable, peak, true},
		{"peak memory, export included", "MiB", attributed, peak, true},
		{"on disk, a tuple", "B", durable, disk, false},
		{"who talked to one address: first question in a process", "ms", each(stepQuestion), func(m *measured) float64 { return ms(m.first) }, false},
		{"who talked to one address: warm", "ms", each(stepQuestion), func(m *measured) float64 { return ms(m.warm) }, false},
		{"who talked to one address: the whole command", "ms", each(stepQuestion), func(m *measured) float64 { return ms(m.wall) }, false},
	}
)

func (r *results) value(l *reportLine, system string, tuples int64) (sum float64, ok bool) {
	for _, step := range l.steps[system] {
		v, ok := r.of(system, step, tuples, l.get)
		if !ok {
			return 0, false
		}
		if l.most {
			sum = max(sum, v)
		} else {
			sum += v
		}
	}
	return sum, len(l.steps[system]) > 0
}

// report is the page: a table of ratios for each size, and one of growth for several.
func (r *results) report(sizes []int64) string {
	var b strings.Builder
	fmt.Fprintf(&b, "# whichpod beside ClickHouse and DuckDB\n\nMedians of %d rounds, %s, on %d cores (%s). whichpod: %s; ClickHouse: %s; DuckDB: %s.\n"+
		"What each was made to do: `benchmarks/peers/README.md`. A ratio is the peer's figure over whichpod's.\n",
		r.rounds, time.Now().UTC().Format("2006-01-02"), runtime.NumCPU(), processor(), r.version("whichpod"), r.version("clickhouse"), r.version("duckdb"))
	for _, n := range tuplesOf(r) {
		fmt.Fprintf(&b, "\n## %.1f million tuples\n\n| | whichpod | ClickHouse | DuckDB | ClickHouse : whichpod | DuckDB : whichpod |\n|---|---|---|---|---|---|\n", float64(n)/1e6)
		for i := range reportLines {
			r.row(&b, &reportLines[i], n)
		}
	}
	if len(sizes) > 1 {
		r.growth(&b)
	}
	return b.String()
}

func (r *results) version(system string) string {
	if v := r.versions[system]; v != "" {
		return v
	}
	return "not run"
}

// tuplesOf are the sizes that were run, in their order.
func tuplesOf(r *results) (list []int64) {
	seen := map[int64]bool{}
	for i := range r.all {
		if n := r.all[i].tuples; !seen[n] {
			seen[n] = true
			list = append(list, n)
		}
	}
	return list
}

func (r *results) row(b *strings.Builder, l *reportLine, tuples int64) {
	fmt.Fprintf(b, "| %s |", l.what)
	own, ratios := 0.0, ""
	for _, system := range systemNames {
		v, ok := r.value(l, system, tuples)
		text := "–"
		if ok && v > 0 {
			text = fmt.Sprintf("%.3g %s", v, l.unit)
		}
		fmt.Fprintf(b, " %s |", text)
		switch {
		case system == "whichpod":
			own = v
		case ok && own > 0 && v > 0:
			ratios += fmt.Sprintf(" %.1f |", v/own)
		default:
			ratios += " – |"
		}
	}
	b.WriteString(ratios + "\n")
}

// growth shows whichpod alone, by size.
func (r *results) growth(b *strings.Builder) {
	b.WriteString("\n## Growth\n\n| tuples | ingest | peak memory | bytes a tuple | warm question | first question |\n|---|---|---|---|---|---|\n")
	for _, n := range tuplesOf(r) {
		get := func(step string, f func(*measured) float64) float64 { v, _ := r.of("whichpod", step, n, f); return v }
		fmt.Fprintf(b, "| %.1f million | %.2f s | %.0f MiB | %.1f B | %.2f ms | %.1f ms |\n", float64(n)/1e6, get(stepIngest, wall), get(stepIngest, peak), get(stepIngest, disk),
			get(stepQuestion, func(m *measured) float64 { return ms(m.warm) }), get(stepQuestion, func(m *measured) float64 { return ms(m.first) }))
	}
}

// processor names the model, as Linux does; elsewhere the architecture.
func processor() string {
	f, err := os.Open("/proc/cpuinfo")
	if err != nil {
		return runtime.GOARCH
	}
	defer f.Close()
	for s := bufio.NewScanner(f); s.Scan(); {
		if name, v, ok := strings.Cut(s.Text(), ":"); ok && strings.TrimSpace(name) == "model name" {
			return strings.TrimSpace(v)
		}
	}
	return runtime.GOARCH
}
