package main

import (
	"fmt"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/whichpod/whichpod/query"
)

func (a *app) postureCommand() *cobra.Command {
	var cluster string
	var at, known moment
	cmd := &cobra.Command{
		Use:   "posture",
		Short: "What each node pool's network lets a flow log show",
		Long: `What each node pool's network lets a flow log show: its mode, what that was concluded
from, and for each kind of destination whether the log shows the pod's address, the
node's, or nothing. Without --at, as of the last moment that was watched.

What no public row of a flow log proves is marked [unproven].`,
		Args: args(0, 0, "none"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.ask(known, func(e *query.Engine) error {
				moment := int64(at)
				if moment == 0 {
					if moment = e.View().LastSettled(cluster); moment == 0 {
						moment = time.Now().UnixMilli()
					}
				}
				p := query.PostureOf(e.View(), cluster, moment)
				if err := a.printPosture(p, cluster); err != nil || len(p.Pools) > 0 {
					return err
				}
				return exitCode(nothingFound)
			})
		},
	}
	cmd.Flags().StringVar(&cluster, "cluster", "", "only this cluster")
	timeFlag(cmd, &at, "at", "at this moment (RFC 3339, or how long ago: 45m, 7d)")
	timeFlag(cmd, &known, "as-known-at", knownAtHelp)
	return cmd
}

func (a *app) printPosture(p *query.Posture, cluster string) error {
	if a.output == "json" {
		return a.json(p)
	}
	if len(p.Pools) == 0 {
		what := "cluster"
		if cluster != "" {
			what = fmt.Sprintf("cluster %q", cluster)
		}
		fmt.Fprintf(a.stdout, "no node of a %s is known at %s\n", what, p.At)
	}
	for i := range p.Pools {
		if err := a.printPool(&p.Pools[i], p.At); err != nil {
			return err
		}
	}
	return nil
}

func (a *app) printPool(p *query.Pool, at query.Time) error {
	fmt.Fprintf(a.stdout, "%s at %s: %s, %s\n", poolName(p), at, poolMode(p), count(int64(p.Nodes), "node"))
	for _, r := range p.Reasons {
		fmt.Fprintf(a.stdout, "  from %s\n", oneLine(r.String()))
	}
	if p.Unwatched {
		fmt.Fprintf(a.stdout, "  nobody watched all ConfigMaps about masquerading then: they may have said otherwise\n")
	}
	tw := tabwriter.NewWriter(a.stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(tw, "  A POD SENDS TO\tTHE FLOW LOG SHOWS")
	for _, s := range p.Shows {
		fmt.Fprintf(tw, "  %s\t%s\n", s.Destination, shows(&s))
	}
	if err := tw.Flush(); err != nil {
		return err
	}
	_, err := fmt.Fprintf(a.stdout, "  behind a node's address: %.1f pods on average (%.2f bits)\n", p.MeanPods, p.MeanBits)
	return err
}

func poolName(p *query.Pool) string {
	if p.Pool == "" {
		return "cluster " + p.Cluster + ", nodes of no pool"
	}
	return "cluster " + p.Cluster + ", pool " + p.Pool
}

func poolMode(p *query.Pool) string {
	mode := strings.Join(p.Modes, " or ")
	if mode == "" {
		mode = "network mode not known"
	}
	if p.Unproven {
		mode += " [unproven]"
	}
	return mode
}

func shows(s *query.Shown) string {
	text := map[string]string{"pod": "the pod's address", "node": "the node's address", "none": "nothing", "unknown": "not known: the pod's address or the node's"}[s.Source]
	if len(s.Except) > 0 {
		text += ", but the pod's for " + strings.Join(s.Except, ", ")
	}
	if s.Unproven {
		text += " [unproven]"
	}
	return text
}
