package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/whichpod/whichpod/attribution/natwatch"
	"github.com/whichpod/whichpod/ingest/azblob"
)

func (a *app) agentCommand() *cobra.Command {
	var out, spool string
	cfg := natwatch.DefaultConfig()
	megabytes := int64(cfg.MaxSpool >> 20)
	cmd := &cobra.Command{
		Use:   "agent --cluster CLUSTER --node NODE --out TARGET",
		Short: "On a node: record what its kernel translates",
		Long: `Record what this node's kernel translates, until it is interrupted: the evidence that
shows which pod is behind the node's address in a flow log.

TARGET is a folder, or a container (https://ACCOUNT.blob.core.windows.net/CONTAINER),
with credentials as for "ingest"; "ingest TARGET" takes the evidence from there. Only
connections whose source is translated are kept. Batches wait in the spool while the
target is away. It needs CAP_NET_ADMIN in the node's network namespace, and nothing
else. What it did not see, or the kernel dropped, is a gap in the evidence: rows of that
time stay masked.`,
		Args: args(0, 0, "none"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			switch {
			case cfg.Cluster == "":
				return usage(cmd, "--cluster is missing: which cluster is the node of?")
			case cfg.Node == "":
				return usage(cmd, "--node is missing: what does the cluster call this node?")
			case out == "":
				return usage(cmd, "--out is missing: a folder or a container's URL")
			case cfg.BatchEvery < time.Second || megabytes < 1:
				return usage(cmd, "batches every %s and a spool of %d MiB, want at least 1s and 1", cfg.BatchEvery, megabytes)
			}
			cfg.MaxSpool = megabytes << 20
			if cfg.Spool = spool; spool == "" {
				cfg.Spool = filepath.Join(os.TempDir(), "whichpod-spool")
			}
			return a.agent(cmd, cfg, out)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&cfg.Cluster, "cluster", "", "name of the cluster (required)")
	flags.StringVar(&cfg.Node, "node", "", "name of the node in the cluster (required)")
	flags.StringVar(&out, "out", "", "folder, or container's URL, to ship to (required)")
	flags.StringVar(&spool, "spool", "", "folder for what is not shipped yet (default: whichpod-spool in the folder for temporary files)")
	flags.Int64Var(&megabytes, "max-spool", megabytes, "MiB that the spool may have; past it, the oldest batch is forgotten")
	flags.DurationVar(&cfg.BatchEvery, "every", cfg.BatchEvery, "how often to ship")
	return cmd
}

func (a *app) agent(cmd *cobra.Command, cfg natwatch.Config, out string) (err error) {
	cfg.Report = func(s string) { fmt.Fprintf(a.stderr, "whichpod: agent: %s\n", oneLine(s)) }
	target, err := a.target(out)
	if err != nil {
		return err
	}
	kernel, err := natwatch.OpenKernel(func(s string) { fmt.Fprintf(a.stderr, "whichpod: warning: %s\n", s) })
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, kernel.Close()) }()
	agent, err := natwatch.New(cfg, kernel, target)
	if err != nil {
		return err
	}
	return agent.Run(cmd.Context())
}

// target is where an agent ships to.
func (a *app) target(out string) (natwatch.Target, error) {
	if isURL(out) {
		return azblob.NewUploader(out, a.getenv)
	}
	return natwatch.Dir(out), noOtherURL(out)
}
