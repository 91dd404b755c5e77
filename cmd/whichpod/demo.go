package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/whichpod/whichpod/attribution/podlog"
	"github.com/whichpod/whichpod/benchmarks/sim"
	"github.com/whichpod/whichpod/ingest"
)

func (a *app) demoCommand() *cobra.Command {
	var keep string
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Show the main job on a simulated cluster, without an account",
		Long: `Show the main job on a simulated cluster, without an account.

Makes the flow logs and pod events of a small cluster in a temporary folder, reads
them by the ordinary path, and asks: a pod that is certain, the same address after it
was reused, a node's address behind which pods hide, and a time at which nobody
watched. With --keep the folder stays, to ask more.`,
		Args: args(0, 0, "none"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if a.output != "text" {
				return usage(cmd, "the demo is text; what it asks can be asked again with -o json where --keep left it")
			}
			dir := keep
			if keep == "" {
				var err error
				if dir, err = os.MkdirTemp("", "whichpod-demo-"); err != nil {
					return fmt.Errorf("demo: %w", err)
				}
				defer os.RemoveAll(dir)
			}
			d := demo{app: *a, dir: dir, world: sim.Generate(demoCluster())}
			if err := d.run(cmd.Context(), keep != ""); err != nil {
				return fmt.Errorf("demo: %w", err)
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&keep, "keep", "", "make the cluster in this folder and leave it there")
	return cmd
}

// demoCluster is an Overlay cluster: traffic between its pods shows their addresses,
// what leaves it shows a node's. Its watch was lost once.
func demoCluster() sim.Config {
	cfg := sim.DefaultConfig()
	cfg.Mode, cfg.Cluster = sim.Overlay, "demo"
	cfg.Duration, cfg.Warmup = 20*time.Minute, 0
	cfg.Faults.LostWatches, cfg.Faults.LostFor = 1, 4*time.Minute
	cfg.Faults.DoubledAddress = 0.01
	return cfg
}

// demo is one run of the command.
type demo struct {
	app   app
	dir   string
	world *sim.World
}

func (d *demo) run(ctx context.Context, kept bool) error {
	if err := d.write(); err != nil {
		return err
	}
	blobs, journal := filepath.Join(d.dir, "blobs"), filepath.Join(d.dir, "podwatch.jsonl")
	a := &d.app
	a.data, a.config = filepath.Join(d.dir, "data"), filepath.Join(d.dir, "config.yaml")
	fmt.Fprintf(a.stdout, "A simulated cluster: %d nodes, %d pods that come and go in %v.\n\n", d.world.Config.Nodes, len(d.world.Pods), d.world.Config.Duration)

	d.typed("ingest", "blobs")
	sum, err := a.ingest(ctx, []string{blobs}, ingest.Options{}, &natSummary{})
	if err != nil {
		return err
	}
	if err := a.printIngest(sum, natSummary{Rejected: []skipped{}}); err != nil {
		return err
	}
	d.typed("import", "pods", "podwatch.jsonl", "--cluster", "demo")
	report, err := a.importPods(ctx, []string{journal}, importOptions{cluster: "demo", format: string(podlog.Auto)})
	if err != nil {
		return err
	}
	report.Files[0].File = "podwatch.jsonl"
	if err := a.printImport(report); err != nil {
		return err
	}
	questions, err := d.questions()
	if err != nil {
		return err
	}
	for _, q := range questions {
		fmt.Fprintf(a.stdout, "\n# %s\n", q.why)
		if err := d.ask(ctx, q); err != nil {
			return err
		}
	}
	if kept {
		fmt.Fprintf(a.stdout, "\nThe cluster is in %s. Ask more: cd there, and export WHICHPOD_DATA=data\n", d.dir)
	}
	return nil
}

// write makes the cluster's files, as Azure and a watcher would have left them.
func (d *demo) write() error {
	if err := os.MkdirAll(d.dir, 0o755); err != nil {
		return err
	}
	if err := d.world.WriteBlobs(filepath.Join(d.dir, "blobs")); err != nil {
		return err
	}
	for name, write := range map[string]func(io.Writer) error{"podwatch.jsonl": d.world.WriteWatch, "config.yaml": d.world.WriteConfig} {
		f, err := os.Create(filepath.Join(d.dir, name))
		if err != nil {
			return err
		}
		if err := errors.Join(write(f), f.Close()); err != nil {
			return err
		}
	}
	return nil
}

// typed prints the command that a person would type.
func (d *demo) typed(words ...string) {
	fmt.Fprint(d.app.stdout, "$ whichpod")
	for _, w := range words {
		fmt.Fprint(d.app.stdout, " ", w)
	}
	fmt.Fprintln(d.app.stdout)
}

// ask runs a question as the command line would, and holds its verdict against what
// the simulator knows.
func (d *demo) ask(ctx context.Context, q demoQuestion) error {
	d.typed(q.words...)
	args := append(append([]string{}, q.words...), "--data", d.app.data, "--config", d.app.config)
	if d.app.stdout.err != nil {
		return d.app.stdout.err // and not that of the question
	}
	if code := run(ctx, args, d.app.stdout, d.app.stderr, d.app.getenv); code != q.code {
		return fmt.Errorf("the answer's exit code is %d, want %d (%s)", code, q.code, q.why)
	}
	if q.truth != "" {
		fmt.Fprintf(d.app.stdout, "(in truth: %s)\n", q.truth)
	}
	return nil
}
