package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"slices"
	"strings"

	"github.com/apache/arrow/go/v17/arrow/memory"
	"github.com/spf13/cobra"

	"github.com/whichpod/whichpod/evidence"
	"github.com/whichpod/whichpod/query"
)

func (a *app) exportCommand() *cobra.Command {
	var format, out string
	var since, until, known moment
	var signed bool
	var b bundleFlags
	var windows scheduleFlags
	cmd := &cobra.Command{
		Use:   "export --format FORMAT | --bundle --out DIR --key PRIVATE.pem",
		Short: "Write attributed rows, or a signed bundle of evidence",
		Long: `Write attributed rows, all without a time, to standard output without --out.

A row is a tuple of a flow log with what can be said of both its ends;
docs/export.md describes the formats; the columns are the same in all but OCSF.

With --bundle: the rows with all that they rest on, what is missing, and a signed
manifest that names the bundle before it, as the next folder in --out, or the next tar
file in a blob container; there --retain and --legal-hold keep anybody from changing or
deleting it. "verify" checks them; docs/evidence.md says what they prove.

With --every or --once, a bundle for each window of time that is over, from where the
last one ended, once the logs of its interfaces are in or --deadline has passed; and
an amendment where rows, pods or NAT evidence came late and make other rows.`,
		Args: args(0, 0, "none"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if signed {
				if err := checkRange(cmd, since, until); err != nil {
					return err
				}
				if format != "" {
					return usage(cmd, "--format does not go with --bundle, whose rows are Parquet")
				}
				b.since, b.until, b.known = since, until, known
				return a.exportBundle(cmd, out, &b, &windows)
			}
			for _, name := range ofBundles {
				if cmd.Flags().Changed(name) {
					return usage(cmd, "--%s goes with --bundle only", name)
				}
			}
			if !slices.Contains(evidence.Formats(), format) {
				return usage(cmd, "format is %q, want %s", format, strings.Join(evidence.Formats(), ", "))
			}
			if err := checkRange(cmd, since, until); err != nil {
				return err
			}
			defer debug.SetMemoryLimit(debug.SetMemoryLimit(steadyMemory))
			return a.ask(known, func(e *query.Engine) error {
				return a.toFile(out, func(w io.Writer) error {
					rows, err := evidence.NewRowWriter(w, format, memory.DefaultAllocator)
					if err != nil {
						return err
					}
					p := newProgress(a.stderr)
					defer p.done()
					err = e.All(cmd.Context(), int64(since), int64(until), func(at query.Attributed, kept []int32) error {
						p.rows(int64(at.Len()))
						return rows.Write(at, kept)
					})
					return errors.Join(err, rows.Close())
				})
			})
		},
	}
	cmd.Flags().StringVar(&format, "format", "", strings.Join(evidence.Formats(), ", ")+" (required)")
	_ = cmd.RegisterFlagCompletionFunc("format", cobra.FixedCompletions(evidence.Formats(), cobra.ShellCompDirectiveNoFileComp))
	cmd.Flags().StringVar(&out, "out", "", "file to write (- is standard output), with --bundle the folder of bundles or a blob container's URL; what is written appears when it is complete")
	rangeFlags(cmd, &since, &until)
	timeFlag(cmd, &known, "as-known-at", knownAtHelp)
	cmd.Flags().BoolVar(&signed, "bundle", false, "write a signed bundle of evidence")
	cmd.Flags().StringVar(&b.key, "key", "", "with --bundle: "+keyHelp)
	cmd.Flags().StringVar(&b.raw, "raw", "", "with --bundle: the flow logs, to note the SHA-256 of what was read of each")
	cmd.Flags().StringArrayVar(&b.claims, "claim", nil, "with --bundle: YAML file of claims to decide; repeatable")
	spanVar(cmd, &b.hold.Retain, "retain", "with a container: set an immutability policy on each bundle that ends so long after its upload (90d)")
	cmd.Flags().BoolVar(&b.hold.Locked, "locked", false, "with --retain: a locked policy, which nobody can take back")
	cmd.Flags().BoolVar(&b.hold.Legal, "legal-hold", false, "with a container: set a legal hold on each bundle")
	cmd.Flags().StringVar(&b.authority, "timestamp", "", "with --bundle: URL of a time stamping authority (RFC 3161), to have the time of each bundle signed by an outsider")
	windows.add(cmd)
	return cmd
}

// ofBundles are the flags of export that mean nothing without --bundle.
var ofBundles = []string{"key", "raw", "claim", "retain", "locked", "legal-hold", "timestamp", "every", "window", "deadline", "once", "amend"}

// toFile calls write with standard output, or with what is at a path.
func (a *app) toFile(path string, write func(io.Writer) error) error {
	if a.isStdout(path) {
		return buffered(a.stdout, 1<<16, write)
	}
	if err := toPath(path, write); err != nil {
		return fmt.Errorf("export: %q: %w", path, err)
	}
	return nil
}

// isStdout says whether a path stands for standard output, or leads to it: /dev/stdout.
// A file that is both is not to be replaced under its writer.
func (a *app) isStdout(path string) bool {
	if path == "" || path == "-" {
		return true
	}
	f, ok := a.stdout.w.(*os.File)
	if !ok {
		return false
	}
	is, err1 := f.Stat()
	at, err2 := os.Stat(path)
	return err1 == nil && err2 == nil && os.SameFile(is, at)
}
