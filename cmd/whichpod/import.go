package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/whichpod/whichpod/attribution"
	"github.com/whichpod/whichpod/attribution/podlog"
	"github.com/whichpod/whichpod/ingest"
	"github.com/whichpod/whichpod/query"
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

// importOptions are the flags of "import pods".
type importOptions struct {
	cluster, format, resource string
	since, until              moment
}

func (a *app) importPodsCommand() *cobra.Command {
	var opt importOptions
	cmd := &cobra.Command{
		Use:   "pods SOURCE...",
		Short: "Read who held which address when",
		Long: `Read who held which address when, from files ("-" is standard input), compressed
with gzip or not, or from audit logs in a container or in a folder with a copy of one.

Formats: watch, a journal of watch events with the time at which each came
({"type": ..., "receivedAt": ..., "object": ...}), or what "kubectl get pods -A -w
--output-watch-events -o json" prints; list, a PodList ("kubectl get pods -A -o json");
kube-audit, the API server's audit log as AKS keeps it (kube-audit, kube-audit-admin);
pod-inventory, Container Insights' table KubePodInventory, as CSV or JSON. Nodes,
namespaces, NodeNetworkConfigs and kube-system's ConfigMaps in a journal or a list are
taken in too.

A source that is a folder, a container (https://ACCOUNT.blob.core.windows.net/CONTAINER)
or any blob endpoint's URL holds audit logs, an hour in each blob. What was read before
is not read again. Where it has those of several clusters, --resource-id names one.
A file can be imported again: what is known already adds nothing.`,
		Example: `  whichpod import pods podwatch.jsonl --cluster prod
  whichpod import pods https://ACCOUNT.blob.core.windows.net/insights-logs-kube-audit-admin --cluster prod --since 2d`,
		Args: args(1, 10000, "at least one file, folder or container"),
		RunE: func(cmd *cobra.Command, sources []string) error {
			if opt.cluster == "" {
				return usage(cmd, "--cluster is missing: which cluster are these pods of?")
			}
			if !slices.Contains(podlog.Formats(), opt.format) {
				return usage(cmd, "format is %q, want %s", opt.format, strings.Join(podlog.Formats(), ", "))
			}
			if err := checkRange(cmd, opt.since, opt.until); err != nil {
				return err
			}
			for _, s := range sources {
				if (opt.since != 0 || opt.until != 0) && !isContainer(s) {
					return usage(cmd, "--since and --until select the hours of a container or folder, and %q is neither", redacted(s))
				}
				if isContainer(s) && opt.format != string(podlog.Auto) && opt.format != string(podlog.KubeAudit) {
					return usage(cmd, "format is %q, and %q is a container or folder, of which only audit logs are read", opt.format, redacted(s))
				}
			}
			report, err := a.importPods(cmd.Context(), sources, opt)
			if err != nil {
				return err
			}
			return a.printImport(report)
		},
	}
	cmd.Flags().StringVar(&opt.cluster, "cluster", "", "name of the cluster (required)")
	cmd.Flags().StringVar(&opt.format, "format", "auto", strings.Join(podlog.Formats(), ", "))
	cmd.Flags().StringVar(&opt.resource, "resource-id", "", "the cluster's Azure resource, where a source has those of several")
	rangeFlags(cmd, &opt.since, &opt.until)
	_ = cmd.RegisterFlagCompletionFunc("format", cobra.FixedCompletions(podlog.Formats(), cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

// isContainer says whether a source holds blobs: a URL, or a folder.
func isContainer(s string) bool {
	if isURL(s) {
		return true
	}
	info, err := os.Stat(s)
	return err == nil && info.IsDir()
}

// importReport is what one import of several sources found.
type importReport struct {
	Files    []importedFile `json:"files"`
	Facts    int            `json:"facts"`    // that were new to the ledger
	Warnings []string       `json:"warnings"` // of likely slips: names that may be misspelt, empty sources
}

type importedFile struct {
	File      string         `json:"file"`
	Format    string         `json:"format"`
	Documents int            `json:"documents"`
	Pods      int            `json:"pod_observations"`
	Objects   int            `json:"object_observations"` // of nodes, namespaces, ConfigMaps, NodeNetworkConfigs
	Undated   int            `json:"undated"`             // lines without the time at which they came
	Rejected  int            `json:"rejected"`
	Details   []rejection    `json:"rejections"`
	Foreign   map[string]int `json:"foreign"`     // rows and lines of other clusters, by what they call it
	Watched   []watched      `json:"watched"`     // when it shows that the pods were watched
	Partial   bool           `json:"partial"`     // of that time, changes only
	Jumps     []jump         `json:"clock_jumps"` // of the clock that stamped the lines
	Blobs     *importedBlobs `json:"blobs"`       // of a container or folder, else null
}

type rejection struct {
	File   string `json:"file"` // a blob of the source; empty for the file itself
	Offset int64  `json:"offset"`
	Line   int    `json:"line"` // of a CSV file, else 0
	Reason string `json:"reason"`
}

type jump struct {
	From query.Time `json:"from"`
	To   query.Time `json:"to"`
}

type importedBlobs struct {
	Listed    int       `json:"listed"`
	Read      int       `json:"read"`
	Unchanged int       `json:"unchanged"`
	Resumed   int       `json:"resumed"` // of those read: from where they ended the last time
	Rewritten int       `json:"rewritten"`
	Bytes     int64     `json:"bytes"`
	Skipped   []skipped `json:"skipped"`
}

func (a *app) importPods(ctx context.Context, sources []string, opt importOptions) (report importReport, err error) {
	defer debug.SetMemoryLimit(debug.SetMemoryLimit(steadyMemory))
	ledger, err := attribution.OpenLedger(a.ledgerFolder(), attribution.Options{})
	if err != nil {
		return report, err
	}
	defer func() { err = errors.Join(err, ledger.Close()) }()
	a.warnWriter(ledger.Damage())
	im := importer{app: a, ledger: a.lookForTwins(ledger, opt.cluster), opt: opt, facts: &report.Facts}
	for _, source := range sources {
		read := im.file
		if isContainer(source) {
			read = im.container
		}
		file, err := read(ctx, source)
		if err != nil {
			return report, fmt.Errorf("import pods %q: %w", redacted(source), err)
		}
		a.doubtEmpty(&file)
		report.Files = append(report.Files, file)
	}
	report.Warnings = append([]string{}, a.doubts...)
	return report, nil
}

// doubtEmpty warns of a source with nothing in it: what was to fill it has likely failed.
func (a *app) doubtEmpty(f *importedFile) {
	switch b := f.Blobs; {
	case b != nil && b.Listed == 0:
		a.doubt("%s: no audit log found: want files whose name ends in .json, an hour in each", f.File)
	case f.Documents == 0 && f.Rejected == 0 && (b == nil || b.Read > 0 && b.Unchanged == 0 && len(b.Skipped) == 0):
		a.doubt("%s: there is nothing in it", f.File)
	}
}

// importer reads sources into a ledger.
type importer struct {
	app    *app
	ledger *twins
	opt    importOptions
	facts  *int
}

func (im *importer) options(readBy time.Time) podlog.Options {
	cluster := im.opt.cluster
	return podlog.Options{
		Cluster: cluster, Format: podlog.Format(im.opt.format), ResourceID: im.opt.resource, ReadBy: readBy.UnixMilli(),
		Known: func(yield func(string, uint64, int64)) { im.ledger.Existing(cluster, yield) },
		Objects: func(kind attribution.Kind, yield func(attribution.ObjectFact)) {
			im.ledger.Objects(cluster, kind, yield)
		},
		WatchedUntil: func(before int64) int64 { return im.ledger.WatchedUntil(cluster, before) },
	}
}

func (im *importer) add(batch []attribution.Fact) error {
	n, err := im.ledger.Append(batch...)
	*im.facts += n
	return err
}

func (im *importer) file(_ context.Context, name string) (importedFile, error) {
	var r io.Reader = os.Stdin
	readBy := time.Now()
	if name != "-" {
		f, err := os.Open(name)
		if err != nil {
			return importedFile{}, err
		}
		defer f.Close()
		info, err := f.Stat()
		if err != nil {
			return importedFile{}, err
		}
		r, readBy = f, info.ModTime()
	}
	sum, err := podlog.Read(r, im.options(readBy), im.add)
	return imported(name, sum), err
}

// container reads the audit logs of a container or folder.
func (im *importer) container(ctx context.Context, name string) (importedFile, error) {
	src, err := im.app.source(name)
	if err != nil {
		return importedFile{}, err
	}
	place := redacted(name)
	if abs, err := filepath.Abs(name); err == nil && !strings.Contains(name, "://") {
		place = abs
	}
	progress := newProgress(im.app.stderr)
	defer progress.done()
	sum, err := podlog.ReadBlobs(ctx, auditSource{src}, podlog.BlobOptions{
		Options: im.options(time.Now()), Since: im.opt.since.time(), Until: im.opt.until.time(),
		State: filepath.Join(im.app.ledgerFolder(), "audit-blobs.json"), Source: place, Progress: progress.hours,
		ChangesUntil: func(before int64) int64 { return im.ledger.ChangesUntil(im.opt.cluster, before) },
		ChangesFrom:  func(after int64) int64 { return im.ledger.ChangesFrom(im.opt.cluster, after) },
	}, im.add)
	file := imported(place, sum.Summary)
	file.Blobs = &importedBlobs{sum.Listed, sum.Read, sum.Unchanged, sum.Resumed, sum.Rewritten, sum.Bytes, []skipped{}}
	for _, s := range sum.Skipped {
		file.Blobs.Skipped = append(file.Blobs.Skipped, skipped(s))
	}
	return file, err
}

// auditSource is a source of blobs as podlog wants it.
type auditSource struct{ ingest.Source }

func (s auditSource) List(ctx context.Context, fn func(podlog.Blob) error) error {
	return s.Source.List(ctx, ingest.Hours{}, func(b ingest.Blob) error {
		return fn(podlog.Blob{Name: b.Name, ETag: b.ETag, Length: b.Length, Path: b.Path, Modified: b.Modified})
	})
}

func (s auditSource) Open(ctx context.Context, b podlog.Blob, offset int64) (io.ReadCloser, error) {
	return s.Source.Open(ctx, ingest.Blob{Name: b.Name, ETag: b.ETag, Length: b.Length, Path: b.Path, Modified: b.Modified}, offset)
}

func imported(name string, sum podlog.Summary) importedFile {
	f := importedFile{File: name, Format: string(sum.Format), Documents: sum.Documents, Pods: sum.Pods, Objects: sum.Objects, Undated: sum.Undated, Rejected: sum.Rejections,
		Details: []rejection{}, Foreign: sum.Foreign, Watched: []watched{}, Partial: sum.Partial, Jumps: []jump{}}
	for _, r := range sum.Rejected {
		f.Details = append(f.Details, rejection(r))
	}
	for _, w := range sum.Watched {
		f.Watched = append(f.Watched, watched{query.Time(w.From), query.Time(w.To)})
	}
	for _, j := range sum.Jumps {
		f.Jumps = append(f.Jumps, jump{query.Time(j.From), query.Time(j.To)})
	}
	return f
}

func (a *app) printImport(report importReport) error {
	if a.output == "json" {
		if err := a.json(report); err != nil {
			return err
		}
	}
	var bad, good, skipped int
	for i := range report.Files {
		f := &report.Files[i]
		if a.output != "json" {
			a.printImported(f)
		}
		if f.Blobs != nil {
			skipped += len(f.Blobs.Skipped)
			good += f.Blobs.Unchanged
		}
		bad, good = bad+f.Rejected, good+f.Documents-f.Rejected
	}
	if a.output != "json" {
		fmt.Fprintf(a.stdout, "%s new to the ledger\n", count(int64(report.Facts), "fact"))
	}
	if good <= 0 && bad > 0 {
		return errors.New("import pods: nothing could be read")
	}
	if skipped > 0 {
		return fmt.Errorf("%s could not be read to the end; run import again", count(int64(skipped), "blob"))
	}
	return nil
}

// printImported says what one source held, and warns of what it lacked.
func (a *app) printImported(f *importedFile) {
	warn := func(format string, args ...any) {
		fmt.Fprintf(a.stderr, "whichpod: warning: %s: %s\n", f.File, fmt.Sprintf(format, args...))
	}
	if b := f.Blobs; b != nil {
		fmt.Fprintf(a.stdout, "%s: %s of pods from %s of %s (%d unchanged)\n", f.File, count(int64(f.Pods), "observation"), count(int64(b.Read), "blob"), count(int64(b.Listed), "blob"), b.Unchanged)
		for _, s := range b.Skipped {
			warn("blob %q was not read to its end: %s", s.Blob, s.Reason)
		}
		if b.Rewritten > 0 {
			warn("%s not what was read before, and read again", count(int64(b.Rewritten), "blob"))
		}
	} else {
		others := ""
		if f.Objects > 0 {
			others = fmt.Sprintf(", %d of nodes and other objects", f.Objects)
		}
		fmt.Fprintf(a.stdout, "%s: %s of pods%s (%s)\n", f.File, count(int64(f.Pods), "observation"), others, f.Format)
	}
	if f.Undated > 0 {
		warn("%s without the time at which they came: when the cluster was watched is not known", count(int64(f.Undated), "line"))
	}
	for _, cluster := range slices.Sorted(maps.Keys(f.Foreign)) {
		warn("%d of cluster %q left out: --cluster or --resource-id names what is taken", f.Foreign[cluster], cluster)
	}
	for i, j := range f.Jumps {
		if i == 3 {
			warn("the clock jumped %d times, -o json lists more of them", len(f.Jumps))
			break
		}
		warn("the clock that stamped the lines jumped from %s to %s: the time between counts as unwatched", j.From, j.To)
	}
	for i, r := range f.Details {
		if i == 3 {
			break
		}
		where := fmt.Sprintf("byte %d", r.Offset)
		if r.Line > 0 {
			where = fmt.Sprintf("line %d, byte %d", r.Line, r.Offset)
		}
		if r.File != "" {
			where += " of " + r.File
		}
		warn("%s: %s", where, oneLine(r.Reason))
	}
	if f.Rejected > 3 {
		warn("%d documents could not be read, -o json lists more of them", f.Rejected)
	}
}
