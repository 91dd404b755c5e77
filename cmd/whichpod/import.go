package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/whichpod/whichpod/attribution"
	"github.com/whichpod/whichpod/attribution/podlog"
)

func (a *app) importCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "import",
		Short: "Read what is known of a cluster into the ledger",
		Args:  args(0, 0, "a subcommand: pods or nat"),
		RunE:  func(cmd *cobra.Command, _ []string) error { return usage(cmd, "got no subcommand, want pods or nat") },
	}
	cmd.AddCommand(a.importPodsCommand(), a.importNATCommand())
	return cmd
}

func (a *app) importPodsCommand() *cobra.Command {
	var cluster, format string
	cmd := &cobra.Command{
		Use:   "pods FILE...",
		Short: "Read who held which address when",
		Long: `Read who held which address when, from files ("-" is standard input).

Formats: watch, a journal of watch events with the time at which each came
({"type": ..., "receivedAt": ..., "object": ...}), or what "kubectl get pods -A -w
--output-watch-events -o json" prints; list, a PodList ("kubectl get pods -A -o json");
kube-audit, the API server's audit log as AKS keeps it (kube-audit, kube-audit-admin).
Nodes, namespaces, NodeNetworkConfigs and kube-system's ConfigMaps in a journal or a
list are taken in too. A file can be imported again: what is known already adds nothing.`,
		Args: args(1, 10000, "at least one file"),
		RunE: func(cmd *cobra.Command, files []string) error {
			if cluster == "" {
				return usage(cmd, "--cluster is missing: which cluster are these pods of?")
			}
			if !slices.Contains(podlog.Formats(), format) {
				return usage(cmd, "format is %q, want %s", format, strings.Join(podlog.Formats(), ", "))
			}
			report, err := a.importPods(files, cluster, podlog.Format(format))
			if err != nil {
				return err
			}
			return a.printImport(report)
		},
	}
	cmd.Flags().StringVar(&cluster, "cluster", "", "name of the cluster (required)")
	cmd.Flags().StringVar(&format, "format", "auto", strings.Join(podlog.Formats(), ", "))
	_ = cmd.RegisterFlagCompletionFunc("format", cobra.FixedCompletions(podlog.Formats(), cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

// importReport is what one import of several files found.
type importReport struct {
	Files []importedFile `json:"files"`
	Facts int            `json:"facts"` // that were new to the ledger
}

type importedFile struct {
	File      string             `json:"file"`
	Format    string             `json:"format"`
	Documents int                `json:"documents"`
	Pods      int                `json:"pod_observations"`
	Objects   int                `json:"object_observations"` // of nodes, namespaces, ConfigMaps, NodeNetworkConfigs
	Undated   int                `json:"undated"`             // lines without the time at which they came
	Rejected  int                `json:"rejected"`
	Details   []podlog.Rejection `json:"rejections"`
}

func (a *app) importPods(files []string, cluster string, format podlog.Format) (report importReport, err error) {
	ledger, err := attribution.OpenLedger(a.ledgerFolder(), attribution.Options{})
	if err != nil {
		return report, err
	}
	defer func() { err = errors.Join(err, ledger.Close()) }()
	for _, file := range files {
		sum, err := importFile(ledger, file, cluster, format, &report.Facts)
		if err != nil {
			return report, err
		}
		report.Files = append(report.Files, importedFile{file, string(sum.Format), sum.Documents, sum.Pods, sum.Objects, sum.Undated, sum.Rejections, sum.Rejected})
	}
	return report, nil
}

func importFile(ledger *attribution.Ledger, file, cluster string, format podlog.Format, facts *int) (podlog.Summary, error) {
	var r io.Reader = os.Stdin
	readBy := time.Now()
	if file != "-" {
		f, err := os.Open(file)
		if err != nil {
			return podlog.Summary{}, fmt.Errorf("import pods: %w", err)
		}
		defer f.Close()
		info, err := f.Stat()
		if err != nil {
			return podlog.Summary{}, fmt.Errorf("import pods: %w", err)
		}
		if info.IsDir() {
			return podlog.Summary{}, fmt.Errorf("import pods: %q is a folder, want a file", file)
		}
		r, readBy = f, info.ModTime()
	}
	opt := podlog.Options{
		Cluster: cluster, Format: format, ReadBy: readBy.UnixMilli(),
		Known:        func(yield func(string, uint64, int64)) { ledger.Existing(cluster, yield) },
		Objects:      func(kind attribution.Kind, yield func(attribution.ObjectFact)) { ledger.Objects(cluster, kind, yield) },
		WatchedUntil: func(before int64) int64 { return ledger.WatchedUntil(cluster, before) },
	}
	sum, err := podlog.Read(r, opt, func(batch []attribution.Fact) error {
		n, err := ledger.Append(batch...)
		*facts += n
		return err
	})
	if err != nil {
		return sum, fmt.Errorf("import pods %q: %w", file, err)
	}
	return sum, nil
}

func (a *app) printImport(report importReport) error {
	if a.output == "json" {
		return a.json(report)
	}
	var bad, good int
	for _, f := range report.Files {
		others := ""
		if f.Objects > 0 {
			others = fmt.Sprintf(", %d of nodes and other objects", f.Objects)
		}
		fmt.Fprintf(a.stdout, "%s: %s of pods%s (%s)\n", f.File, count(int64(f.Pods), "observation"), others, f.Format)
		if f.Undated > 0 {
			fmt.Fprintf(a.stderr, "whichpod: warning: %s: %s without the time at which they came: when the cluster was watched is not known\n", f.File, count(int64(f.Undated), "line"))
		}
		for i, r := range f.Details {
			if i == 3 {
				break
			}
			fmt.Fprintf(a.stderr, "whichpod: warning: %s: byte %d: %s\n", f.File, r.Offset, oneLine(r.Reason))
		}
		if f.Rejected > 3 {
			fmt.Fprintf(a.stderr, "whichpod: warning: %s: %d documents could not be read, -o json lists more of them\n", f.File, f.Rejected)
		}
		bad, good = bad+f.Rejected, good+f.Pods+f.Objects
	}
	fmt.Fprintf(a.stdout, "%s new to the ledger\n", count(int64(report.Facts), "fact"))
	if good == 0 && bad > 0 {
		return errors.New("import pods: nothing could be read")
	}
	return nil
}
