// Command peers measures whichpod beside ClickHouse and DuckDB, on the same generated
// flow logs, in one run on one machine.
//
// In: the number of tuples, the folder of the npm packages, and a built whichpod. Out:
// a line in Go's benchmark format for each step, system and round on standard output,
// for benchstat, and with -report a page in Markdown. Every system has to find the
// same rows, else it fails. What each is made to do: README.md beside this file.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/whichpod/whichpod/benchmarks/bulk"
)

// config is what the flags say.
type config struct {
	sizes   []int64 // tuples; of several, a table of growth
	rounds  int
	systems []string
	steps   []string
	program string // whichpod
	modules string // folder node_modules
	dir     string
	report  string
}

func main() {
	var c config
	sizes := flag.String("tuples", "1200000", "how many tuples; several, by commas, for a table of growth")
	systems := flag.String("systems", "whichpod,clickhouse,duckdb", "which of them, in this order")
	names := flag.String("steps", "raw,ingest,export,question", "which of the steps; each needs those before it, but for raw")
	flag.IntVar(&c.rounds, "rounds", 3, "how often everything is run, one system after the other")
	flag.StringVar(&c.program, "program", "bin/whichpod", "the built whichpod")
	flag.StringVar(&c.modules, "modules", ".e2e/node_modules", "where npm installed @duckdb/node-api and chdb")
	flag.StringVar(&c.dir, "dir", os.TempDir(), "where logs and data go, about 200 bytes a tuple")
	flag.StringVar(&c.report, "report", "", "file for the report")
	data := flag.String("ask", "", "only ask the question of this data folder: a part of the measurement")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := c.set(*sizes, *systems, *names)
	switch {
	case err != nil:
	case *data != "":
		err = ask(ctx, *data, os.Stdout)
	default:
		err = c.run(ctx)
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "peers: error: %v\n", err)
		os.Exit(2)
	}
}

func (c *config) set(sizes, systems, names string) error {
	for s := range strings.SplitSeq(sizes, ",") {
		n, err := strconv.ParseInt(s, 10, 64)
		if err != nil || n < 1 {
			return fmt.Errorf("-tuples has %q, want a number of 1 or more", s)
		}
		c.sizes = append(c.sizes, n)
	}
	for name := range strings.SplitSeq(names, ",") {
		if !slices.Contains([]string{stepRaw, stepIngest, stepExport, stepQuestion}, name) {
			return fmt.Errorf("-steps has %q, want some of raw, ingest, export, question", name)
		}
		c.steps = append(c.steps, name)
	}
	for name := range strings.SplitSeq(systems, ",") {
		if steps[name] == nil {
			return fmt.Errorf("-systems has %q, want some of whichpod, clickhouse, duckdb", name)
		}
		c.systems = append(c.systems, name)
	}
	if c.rounds < 1 {
		return fmt.Errorf("-rounds is %d, want 1 or more", c.rounds)
	}
	var errs [3]error
	c.program, errs[0] = filepath.Abs(c.program)
	c.modules, errs[1] = filepath.Abs(c.modules)
	c.dir, errs[2] = filepath.Abs(c.dir)
	return errors.Join(errs[:]...)
}

// run measures all, prints the lines as they come, and writes the report.
func (c *config) run(ctx context.Context) (err error) {
	dir, err := os.MkdirTemp(c.dir, "whichpod-peers-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	r := &results{rounds: c.rounds, versions: map[string]string{}}
	for _, name := range c.systems {
		if r.versions[name], err = c.version(ctx, name); err != nil {
			return err
		}
	}
	r.writeHead(os.Stdout)
	for _, tuples := range c.sizes {
		t, err := bulk.Generate(filepath.Join(dir, "traffic"), tuples)
		if err != nil {
			return err
		}
		for round := range c.rounds {
			order := slices.Clone(c.systems)
			if round%2 == 1 {
				slices.Reverse(order) // who comes first has a colder machine
			}
			for _, name := range order {
				if err := c.measure(ctx, r, name, t, filepath.Join(dir, name)); err != nil {
					return fmt.Errorf("measure %s with %d tuples: %w", name, t.Tuples, err)
				}
			}
		}
		if err := os.RemoveAll(filepath.Join(dir, "traffic")); err != nil {
			return err
		}
	}
	if c.report == "" {
		return nil
	}
	return os.WriteFile(c.report, []byte(r.report(c.sizes)), 0o644)
}

// measure has one system do all its steps once, in a folder of its own.
func (c *config) measure(ctx context.Context, r *results, system string, t bulk.Traffic, dir string) (err error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	for _, step := range steps[system] {
		if !slices.Contains(c.steps, step.name) {
			continue
		}
		m, err := step.run(ctx, c, t, dir)
		if err != nil {
			return fmt.Errorf("%s: %w", step.name, err)
		}
		want := t.Tuples
		if step.name == stepQuestion {
			want = bulk.NeedleRows
		}
		if m.rows != want {
			return fmt.Errorf("%s: got %d rows, want %d", step.name, m.rows, want)
		}
		m.system, m.step, m.tuples = system, step.name, t.Tuples
		r.add(m)
		r.writeLine(os.Stdout, &m)
	}
	return nil
}
