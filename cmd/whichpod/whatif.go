package main

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/whichpod/whichpod/attribution"
	"github.com/whichpod/whichpod/benchmarks/report"
	"github.com/whichpod/whichpod/benchmarks/whatif"
	"github.com/whichpod/whichpod/query"
)

// whatifOptions are what is replayed.
type whatifOptions struct {
	modes               []string
	out                 string
	since, until, known moment
}

func (a *app) whatifCommand() *cobra.Command {
	o := &whatifOptions{}
	cmd := &cobra.Command{
		Use:   "whatif",
		Short: "What would be said of your own rows under another network mode",
		Long: `Replay the rows of the data folder under another network mode: of how many would
something else be said, and what. The folder is only read.

The same pods are taken to send the same; the mode decides whose address a row shows.
Whom a node's address hides today stays hidden, and is counted as what cannot be
replayed where the other mode would show it, unless NAT evidence names it.`,
		Example: `  whichpod bench whatif --config clusters.yaml --mode overlay --since 30d --out whatif-report`,
		Args:    args(0, 0, "none"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := checkRange(cmd, o.since, o.until); err != nil {
				return err
			}
			for _, m := range o.modes {
				if !slices.Contains(whatif.Modes, attribution.Network(m)) {
					return usage(cmd, "mode is %q, want one of %v", m, whatif.Modes)
				}
			}
			return a.ask(o.known, func(e *query.Engine) error { return a.whatif(cmd.Context(), e, o) })
		},
	}
	cmd.Flags().StringSliceVar(&o.modes, "mode", nil, "only these network modes")
	cmd.Flags().StringVar(&o.out, "out", "", outHelp)
	rangeFlags(cmd, &o.since, &o.until)
	timeFlag(cmd, &o.known, "as-known-at", knownAtHelp)
	return cmd
}

func (a *app) whatif(ctx context.Context, e *query.Engine, o *whatifOptions) error {
	cfg, err := a.readConfig()
	if err != nil {
		return err
	}
	modes := slices.DeleteFunc(slices.Clone(whatif.Modes), func(m attribution.Network) bool {
		return len(o.modes) > 0 && !slices.Contains(o.modes, string(m))
	})
	all, err := whatif.Run(ctx, e, cfg, modes, int64(o.since), int64(o.until))
	if err != nil {
		return fmt.Errorf("bench whatif: %w", err)
	}
	doc := &report.Document{
		Title: "What if: another network mode",
		Lead:  "The rows of one data folder, and what would be said of their senders under other network modes of AKS.",
		Setting: []report.Entry{
			{Name: "rows", Value: fmt.Sprint(all[0].Rows)},
			{Name: "since", Value: query.Time(o.since).String()},
			{Name: "until", Value: query.Time(o.until).String()},
			{Name: "as known at", Value: query.Time(o.known).String()},
		},
		Findings: whatif.Findings(all), Sections: whatif.Sections(all), Environment: environment(),
	}
	if all[0].Rows == 0 {
		doc.Findings = []report.Finding{{Figure: "no row", Says: "is there of the time that was asked for"}}
	}
	doc.Setting = append(doc.Setting, modesToday(e.View())...)
	if err := a.printDocument(doc, o.out); err != nil {
		return err
	}
	if all[0].Rows == 0 {
		return exitCode(nothingFound)
	}
	return nil
}

// modesToday are those of the node pools, as of the end of what was watched.
func modesToday(v *attribution.View) (out []report.Entry) {
	for _, p := range v.Posture("", v.LastSettled("")) {
		var modes []string
		for _, m := range p.Modes {
			modes = append(modes, string(m))
		}
		out = append(out, report.Entry{Name: strings.TrimSpace("network today, " + p.Cluster + " " + p.Name), Value: strings.Join(modes, " or ")})
	}
	return out
}
