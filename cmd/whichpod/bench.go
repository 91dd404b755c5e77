package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/whichpod/whichpod/benchmarks/mtti"
	"github.com/whichpod/whichpod/benchmarks/plugins"
	"github.com/whichpod/whichpod/benchmarks/report"
	"github.com/whichpod/whichpod/benchmarks/rivals"
	"github.com/whichpod/whichpod/benchmarks/sim"
	"github.com/whichpod/whichpod/benchmarks/stats"
)

const outHelp = "write report.html, report.md and report.json into this folder too"

// benchOptions are what all measures share.
type benchOptions struct {
	seed     uint64
	runs     int
	modes    []string
	out      string
	assumed  mtti.Assumed // of which the publishing counts for rivals too
	hostile  bool
	kernel   string
	progress bool
	stderr   io.Writer
}

// measure is one of the measures: what it is called, and how it is run.
type measure struct {
	name, short string
	run         func(o *benchOptions, ctx context.Context) (measured, error)
	flags       func(o *benchOptions, cmd *cobra.Command)
}

// measured is what a measure found.
type measured struct {
	sections    []report.Section
	findings    []report.Finding
	conclusions []report.Conclusion
	wrong       int // times whichpod was sure of a wrong pod
}

var measures = []measure{
	{"plugins", "What each network mode lets a flow log show", (*benchOptions).plugins, (*benchOptions).pluginsFlags},
	{"rivals", "The same traces under lookup rules of other tools, restated", (*benchOptions).rivals, (*benchOptions).rivalsFlags},
	{"mtti", "Time from an incident's first packet to the name of its pod", (*benchOptions).mtti, (*benchOptions).mttiFlags},
}

func (a *app) benchCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "bench",
		Short: "Measure on simulated clusters: network modes, lookup rules, times",
		Long: `Measure on simulated clusters, whose truth is known; and with whatif, replay your own data.

The same seed gives the same clusters and the same figures, times aside. Medians are over
the runs, with an interval that holds the true median with at least 95 %. The answer is
Markdown, or JSON with -o json; --out DIR also writes report.html, report.md and
report.json there. Exit code 2: whichpod itself was sure of a wrong pod.`,
		Args: func(cmd *cobra.Command, got []string) error {
			if len(got) > 0 {
				return usage(cmd, "unknown measure %q", got[0])
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	for _, m := range measures {
		cmd.AddCommand(a.measureCommand(m.name, m.short, []measure{m}))
	}
	cmd.AddCommand(a.measureCommand("report", "All measures, in one report", measures), a.whatifCommand())
	return cmd
}

// measureCommand is the command that runs some measures.
func (a *app) measureCommand(name, short string, list []measure) *cobra.Command {
	opt := &benchOptions{}
	cmd := &cobra.Command{
		Use: name, Short: short, Args: args(0, 0, "none"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			opt.stderr = a.stderr
			var all []measured
			for _, m := range list {
				found, err := m.run(opt, cmd.Context())
				if err != nil {
					return fmt.Errorf("bench %s: %w", m.name, err)
				}
				all = append(all, found)
			}
			return a.present(opt, all)
		},
	}
	opt.flags(cmd)
	for _, m := range list {
		m.flags(opt, cmd)
	}
	return cmd
}

func (o *benchOptions) flags(cmd *cobra.Command) {
	cmd.Flags().Uint64Var(&o.seed, "seed", 1, "of the first run; each further one has the next")
	cmd.Flags().IntVar(&o.runs, "runs", 10, "simulated clusters of each kind")
	cmd.Flags().StringVar(&o.out, "out", "", outHelp)
	cmd.Flags().StringSliceVar(&o.modes, "mode", nil, "only these network modes")
	cmd.PreRunE = func(cmd *cobra.Command, _ []string) error {
		if o.runs < 1 {
			return usage(cmd, "runs is %d, want at least 1", o.runs)
		}
		if err := o.checkAssumed(cmd); err != nil {
			return err
		}
		for _, m := range o.modes {
			if !slices.Contains(sim.Modes, sim.Mode(m)) {
				return usage(cmd, "mode is %q, want one of %v", m, sim.Modes)
			}
		}
		return nil
	}
}

func (o *benchOptions) rivalsFlags(cmd *cobra.Command) {
	if cmd.Flags().Lookup("publishing") == nil {
		cmd.Flags().DurationVar(&o.assumed.Publishing, "publishing", mtti.DefaultPlan().Assumed.Publishing, "assumed: from a record's time until Azure lets it be read")
	}
}

func (o *benchOptions) mttiFlags(cmd *cobra.Command) {
	o.rivalsFlags(cmd)
	by := mtti.DefaultPlan().Assumed
	cmd.Flags().DurationVar(&o.assumed.Polling, "polling", by.Polling, "assumed: from one look at the logs to the next")
	cmd.Flags().DurationVar(&o.assumed.Download, "manual-download", by.Download, "assumed: a person finds and downloads the hour's blobs")
	cmd.Flags().DurationVar(&o.assumed.Search, "manual-search", by.Search, "assumed: and finds the row in them")
	cmd.Flags().DurationVar(&o.assumed.Lookup, "manual-lookup", by.Lookup, "assumed: and finds who had the address then")
}

// checkAssumed refuses times below 0.
func (o *benchOptions) checkAssumed(cmd *cobra.Command) error {
	a := &o.assumed
	for _, f := range []struct {
		name string
		is   time.Duration
	}{{"publishing", a.Publishing}, {"polling", a.Polling}, {"manual-download", a.Download}, {"manual-search", a.Search}, {"manual-lookup", a.Lookup}} {
		if f.is < 0 {
			return usage(cmd, "%s is %v, want no less than 0", f.name, f.is)
		}
	}
	return nil
}

func (o *benchOptions) pluginsFlags(cmd *cobra.Command) {
	cmd.Flags().BoolVar(&o.hostile, "hostile", false, "with every fault at once, and ports that are given again at once")
	cmd.Flags().StringVar(&o.kernel, "kernel", "", "recording of a real kernel to compare with (default: the one that comes with this version)")
	cmd.Flags().BoolVar(&o.progress, "progress", false, "a line on stderr for each run")
}

// simulated are the modes to run, in the order of reports.
func (o *benchOptions) simulated() []sim.Mode {
	if len(o.modes) == 0 {
		return sim.Modes
	}
	return slices.DeleteFunc(slices.Clone(sim.Modes), func(m sim.Mode) bool { return !slices.Contains(o.modes, string(m)) })
}

func (o *benchOptions) plugins(ctx context.Context) (measured, error) {
	plan := plugins.DefaultPlan()
	if o.hostile {
		plan.Hostile()
	}
	plan.Modes, plan.Seed, plan.Runs = o.simulated(), o.seed, o.runs
	kernel, err := plugins.ReadKernel(o.kernel)
	if err != nil {
		return measured{}, err
	}
	flows, wrong, runs := 0, 0, 0
	results, err := plugins.Run(ctx, plan, func(r plugins.Result) {
		flows, wrong, runs = flows+r.Flows, wrong+r.Wrong, runs+1
		if o.progress || r.Wrong > 0 {
			fmt.Fprintf(o.stderr, "run %d, %s, seed %d: %d flows and %d wrong so far %s\n", runs, r.Mode, r.Seed, flows, wrong, r.Example)
		}
	})
	if err != nil {
		return measured{}, err
	}
	return measured{
		[]report.Section{plugins.BlindSpots(plan, results, kernel), plugins.Section(plan, results)},
		append(plugins.Findings(plan, results), kernel.Finding()), plugins.Conclusions(plan, results), plugins.Wrong(results),
	}, nil
}

func (o *benchOptions) rivals(ctx context.Context) (measured, error) {
	plan := rivals.DefaultPlan()
	plan.Modes, plan.Seed, plan.Runs, plan.Published = o.simulated(), o.seed, o.runs, o.assumed.Publishing
	results, err := rivals.Run(ctx, plan)
	if err != nil {
		return measured{}, err
	}
	return measured{[]report.Section{rivals.Section(plan, results)}, rivals.Findings(plan, results), rivals.Conclusions(plan, results), rivals.Wrong(results)}, nil
}

func (o *benchOptions) mtti(ctx context.Context) (measured, error) {
	plan := mtti.DefaultPlan()
	plan.Modes, plan.Seed, plan.Runs, plan.Assumed = o.simulated(), o.seed, o.runs, o.assumed
	results, err := mtti.Run(ctx, plan)
	if err != nil {
		return measured{}, err
	}
	return measured{[]report.Section{mtti.Section(plan, results)}, mtti.Findings(plan, results), mtti.Conclusions(plan, results), mtti.Wrong(results)}, nil
}

// document is the report of some measures.
func (o *benchOptions) document(all []measured) (doc *report.Document, wrong int) {
	doc = &report.Document{
		Title: "Which pod sent this, by network mode",
		Lead:  "Measured on simulated Azure clusters with known truth: who was behind each row of the flow logs, and what can be said of it.",
		Setting: []report.Entry{
			{Name: "seeds", Value: fmt.Sprintf("%d to %d", o.seed, o.seed+uint64(o.runs)-1)},
			{Name: "runs of each kind", Value: fmt.Sprint(o.runs)},
			{Name: "intervals", Value: "in brackets: hold the true median with at least 95 % (order statistics); differences by the sign test, at 5 %"},
		},
		Environment: environment(),
	}
	if o.runs < stats.LeastRuns {
		doc.Setting = append(doc.Setting, report.Entry{Name: "too few runs", Value: fmt.Sprintf("with fewer than %d, intervals are the least and the most, and no difference can be found", stats.LeastRuns)})
	}
	for _, m := range all {
		wrong += m.wrong
		doc.Findings = append(doc.Findings, m.findings...)
		doc.Conclusions = append(doc.Conclusions, m.conclusions...)
		doc.Sections = append(doc.Sections, m.sections...)
	}
	doc.Findings = append([]report.Finding{{Figure: fmt.Sprintf("%d wrong", wrong), Bad: wrong > 0,
		Says: "answers that whichpod called exact and that were another pod's, in all runs of this report"}}, doc.Findings...)
	return doc, wrong
}

// present prints a report and writes its files.
func (a *app) present(o *benchOptions, all []measured) error {
	doc, wrong := o.document(all)
	if err := a.printDocument(doc, o.out); err != nil {
		return err
	}
	if wrong > 0 {
		return fmt.Errorf("bench: %d answers are exact and wrong", wrong)
	}
	return nil
}

// printDocument prints a report, and writes its files into a folder where one is named.
func (a *app) printDocument(doc *report.Document, out string) error {
	if out != "" {
		if err := writeReport(doc, out); err != nil {
			return err
		}
	}
	if a.output == "json" {
		return doc.WriteJSON(a.stdout)
	}
	return doc.WriteMarkdown(a.stdout)
}

func environment() []report.Entry {
	version := "unknown"
	if info, ok := debug.ReadBuildInfo(); ok {
		version = info.Main.Version
	}
	return []report.Entry{
		{Name: "whichpod", Value: version}, {Name: "go", Value: runtime.Version()},
		{Name: "platform", Value: fmt.Sprintf("%s/%s, %d processors", runtime.GOOS, runtime.GOARCH, runtime.GOMAXPROCS(0))},
		{Name: "at", Value: time.Now().UTC().Format(time.RFC3339)},
	}
}

func writeReport(doc *report.Document, dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("write report: %w", err)
	}
	for name, write := range map[string]func(*os.File) error{
		"report.html": func(f *os.File) error { return doc.WriteHTML(f) },
		"report.md":   func(f *os.File) error { return doc.WriteMarkdown(f) },
		"report.json": func(f *os.File) error { return doc.WriteJSON(f) },
	} {
		f, err := os.Create(filepath.Join(dir, name))
		if err != nil {
			return fmt.Errorf("write report: %w", err)
		}
		if err := errors.Join(write(f), f.Close()); err != nil {
			return fmt.Errorf("write report %q: %w", name, err)
		}
	}
	return nil
}
