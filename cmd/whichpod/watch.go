package main

import (
	"errors"
	"fmt"
	"net/url"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/whichpod/whichpod/attribution"
	"github.com/whichpod/whichpod/attribution/podwatch"
)

func (a *app) watchCommand() *cobra.Command {
	var cluster, kubeconfig, kubecontext string
	cmd := &cobra.Command{
		Use:   "watch --cluster CLUSTER",
		Short: "Keep the ledger up to date from a live cluster",
		Long: `Keep the ledger up to date from a live cluster, until it is interrupted.

It needs the verbs list and watch on pods. With the same on nodes, namespaces,
kube-system's ConfigMaps and Azure's NodeNetworkConfigs it also keeps what decides which
traffic leaves under a node's address; what may not be watched of these is said, and
asked for again. deploy/watch.yaml has all rights that it can use. Started again, it
goes on where it stopped; where the API server has forgotten what happened since, that
time is a gap.`,
		Args: args(0, 0, "none"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if cluster == "" {
				return usage(cmd, "--cluster is missing: what is this cluster called?")
			}
			return a.watch(cmd, cluster, kubeconfig, kubecontext)
		},
	}
	cmd.Flags().StringVar(&cluster, "cluster", "", "name of the cluster in the ledger (required)")
	cmd.Flags().StringVar(&kubeconfig, "kubeconfig", "", "kubeconfig file (default $KUBECONFIG, else ~/.kube/config, else the pod's own account)")
	cmd.Flags().StringVar(&kubecontext, "context", "", "context of the kubeconfig")
	return cmd
}

func (a *app) watch(cmd *cobra.Command, cluster, kubeconfig, kubecontext string) (err error) {
	cfg := podwatch.DefaultConfig()
	if cfg.API, err = podwatch.LoadAPI(kubeconfig, kubecontext); err != nil {
		return err
	}
	ledger, err := attribution.OpenLedger(a.ledgerFolder(), attribution.Options{})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, ledger.Close()) }()
	a.warnWriter(ledger.Damage())
	cfg.Cluster = cluster
	cfg.Bookmark = filepath.Join(a.ledgerFolder(), "watch-"+url.PathEscape(cluster)+".json")
	cfg.Report = func(s string) { fmt.Fprintf(a.stderr, "whichpod: watch: %s\n", oneLine(s)) }
	w, err := podwatch.New(cfg, a.lookForTwins(ledger, cluster))
	if err != nil {
		return err
	}
	return w.Run(cmd.Context())
}
