package main

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/whichpod/whichpod/index"
	"github.com/whichpod/whichpod/ingest"
	"github.com/whichpod/whichpod/ingest/azblob"
)

func (a *app) ingestCommand() *cobra.Command {
	var since, until moment
	var shard, metricsAddress string
	var followed bool
	every := time.Minute
	cmd := &cobra.Command{
		Use:   "ingest SOURCE...",
		Short: "Read flow logs into the index",
		Long: `Read flow logs into the index: VNet flow logs, version 4; NSG flow logs, versions 1
and 2; the rule logs of Azure Firewall, structured and legacy. What a blob holds is
told by its content, whatever its name.

A source is a folder or a file, a container (https://ACCOUNT.blob.core.windows.net/CONTAINER),
or any blob endpoint's URL, an emulator's too. Credentials for a container come from a SAS
in the URL, AZURE_STORAGE_CONNECTION_STRING, AZURE_STORAGE_KEY, or Azure's default
credential. Blobs are only listed and read.

A URL without a container stands for the containers of flow logs that the account has.

What was read before is not read again: only what is new in each blob. What agents
shipped to a container or folder (whichpod-nat/) is taken with it, as NAT evidence.

With --follow it
goes on until it is stopped: it reads what each blob grows by, waits for an account
that is away, and commits what it has when it is told to end.`,
		Args: args(1, 1000, "at least one source"),
		RunE: func(cmd *cobra.Command, sources []string) error {
			if err := checkRange(cmd, since, until); err != nil {
				return err
			}
			opt := ingest.Options{Since: since.time(), Until: until.time()}
			var err error
			if opt.Shard, err = parseShard(shard); err != nil {
				return usage(cmd, "%s", err)
			}
			if followed {
				if until != 0 {
					return usage(cmd, "--until does not go with --follow, which has no end")
				}
				if every < time.Second {
					return usage(cmd, "--every is %s, want 1s or more", every)
				}
				return a.follow(cmd.Context(), sources, opt, every, metricsAddress)
			}
			if metricsAddress != "" || cmd.Flags().Changed("every") {
				return usage(cmd, "--every and --metrics go with --follow")
			}
			translated := natSummary{Rejected: []skipped{}}
			sum, err := a.ingest(cmd.Context(), sources, opt, &translated)
			if err != nil {
				return err
			}
			return a.printIngest(sum, translated)
		},
	}
	rangeFlags(cmd, &since, &until)
	cmd.Flags().StringVar(&shard, "shard", "", "part I of N of the blobs, by NIC, from 0: I/N")
	cmd.Flags().BoolVar(&followed, "follow", false, "go on reading as the blobs grow")
	spanVar(cmd, &every, "every", "with --follow: how often to look")
	cmd.Flags().StringVar(&metricsAddress, "metrics", "", "with --follow: serve Prometheus metrics at PORT of loopback, or HOST:PORT")
	return cmd
}

func parseShard(s string) (ingest.Shard, error) {
	if s == "" {
		return ingest.Shard{}, nil
	}
	i, n, ok := strings.Cut(s, "/")
	index, err1 := strconv.Atoi(i)
	count, err2 := strconv.Atoi(n)
	if !ok || err1 != nil || err2 != nil || index < 0 || index >= count {
		return ingest.Shard{}, fmt.Errorf("shard is %q, want I/N with I from 0 to N-1", s)
	}
	return ingest.Shard{Index: index, Count: count}, nil
}

// steadyMemory is where the collector starts to work harder, in bytes, so that what
// streams all rows stays below 256 MiB whatever their number: about 140 MB are in use
// while a blob is read whose records are as large as they may be.
const steadyMemory = 208 << 20

// ingest reads the sources one after the other into the index.
func (a *app) ingest(ctx context.Context, sources []string, opt ingest.Options, translated *natSummary) (total ingest.Summary, err error) {
	defer debug.SetMemoryLimit(debug.SetMemoryLimit(steadyMemory))
	var opened []ingest.Source
	for _, s := range sources {
		src, err := a.source(s)
		if err != nil {
			return total, err
		}
		opened = append(opened, src)
	}
	store, err := index.Open(a.data, index.Options{})
	if err != nil {
		return total, err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	total.Rejected = make(map[string]int64)
	for i, src := range opened {
		sum, err := a.ingestOne(ctx, store, src, opt)
		addSummary(&total, sum)
		if err != nil {
			return total, fmt.Errorf("ingest %q: %w", redacted(sources[i]), err)
		}
		if err := a.ingestNAT(ctx, src, redacted(sources[i]), translated); err != nil {
			return total, fmt.Errorf("ingest NAT evidence of %q: %w", redacted(sources[i]), err)
		}
	}
	return total, nil
}

func (a *app) ingestOne(ctx context.Context, store *index.Store, src ingest.Source, opt ingest.Options) (sum ingest.Summary, err error) {
	w, err := store.Writer()
	if err != nil {
		return sum, err
	}
	defer func() { err = errors.Join(err, w.Close()) }()
	p := newProgress(a.stderr)
	defer p.done()
	opt.Progress, opt.Ahead = p.ingest, openAhead
	if p.terminal {
		if p.blobs, p.bytes, err = ingest.Survey(ctx, src, w, opt); err != nil {
			return sum, err
		}
	}
	return ingest.Run(ctx, src, w, opt)
}

// source opens a folder, a file or a container.
func (a *app) source(s string) (ingest.Source, error) {
	if isURL(s) {
		return azblob.New(s, a.getenv)
	}
	if err := noOtherURL(s); err != nil {
		return nil, err
	}
	return ingest.OpenFolder(s)
}

// isURL says whether a place is a container's URL, not a folder.
func isURL(s string) bool {
	return strings.HasPrefix(s, "https://") || strings.HasPrefix(s, "http://")
}

// scheme is how a URL begins.
var scheme = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9+.-]*://`)

// noOtherURL refuses a place that is a URL of another kind: it would be taken for a
// folder.
func noOtherURL(s string) error {
	if kind := scheme.FindString(s); kind != "" && !isURL(s) {
		return fmt.Errorf("%q begins with %s, want a path, or a URL with https:// or http://", redacted(s), kind)
	}
	return nil
}

// redacted is a source without the signature that its URL may bear.
func redacted(s string) string {
	before, _, _ := strings.Cut(s, "?")
	return before
}

func addSummary(t *ingest.Summary, s ingest.Summary) {
	t.Listed += s.Listed
	t.Selected += s.Selected
	t.Unchanged += s.Unchanged
	t.Read += s.Read
	t.Resumed += s.Resumed
	t.Rewritten += s.Rewritten
	t.Rows += s.Rows
	t.Bytes += s.Bytes
	t.Skipped = append(t.Skipped, s.Skipped...)
	for reason, n := range s.Rejected {
		t.Rejected[reason] += n
	}
}

func (a *app) printIngest(s ingest.Summary, translated natSummary) error {
	if a.output == "json" {
		return errors.Join(a.json(ingestReport{s.Listed, s.Read, s.Unchanged, s.Rewritten, s.Rows, s.Bytes, s.Rejected, skips(s.Skipped), translated}), unread(s.Skipped))
	}
	fmt.Fprintf(a.stdout, "%s from %s of %s (%d unchanged)\n", count(s.Rows, "row"), count(int64(s.Read), "blob"), count(int64(s.Listed), "blob"), s.Unchanged)
	a.printIngestNAT(&translated)
	if s.Listed == 0 && translated.Batches+translated.Known == 0 {
		fmt.Fprintln(a.stderr, "whichpod: warning: no flow log found: want files whose name ends in .json, of the hours asked for")
	}
	var rejected int64
	for _, n := range s.Rejected {
		rejected += n
	}
	if rejected > 0 {
		fmt.Fprintf(a.stderr, "whichpod: warning: %s rejected: %s; \"whichpod status\" names blob and offset\n", count(rejected, "piece"), reasons(s.Rejected))
	}
	for _, skip := range s.Skipped {
		fmt.Fprintf(a.stderr, "whichpod: warning: blob %q was not read to its end: %s\n", skip.Blob, skip.Reason)
	}
	return unread(s.Skipped)
}

func unread(list []ingest.Skip) error {
	if len(list) == 0 {
		return nil
	}
	return fmt.Errorf("%s could not be read to the end; run ingest again", count(int64(len(list)), "blob"))
}

type ingestReport struct {
	Listed    int              `json:"blobs_listed"`
	Read      int              `json:"blobs_read"`
	Unchanged int              `json:"blobs_unchanged"`
	Rewritten int              `json:"blobs_rewritten"`
	Rows      int64            `json:"rows"`
	Bytes     int64            `json:"bytes"`
	Rejected  map[string]int64 `json:"rejected"`
	Skipped   []skipped        `json:"skipped"`
	NAT       natSummary       `json:"nat"` // what agents shipped
}

type skipped struct {
	Blob   string `json:"blob"`
	Reason string `json:"reason"`
}

func skips(list []ingest.Skip) []skipped {
	out := make([]skipped, 0, len(list))
	for _, s := range list {
		out = append(out, skipped(s))
	}
	return out
}

// reasons lists counts by reason, sorted.
func reasons(counts map[string]int64) string {
	var out []string
	for reason, n := range counts {
		out = append(out, fmt.Sprintf("%d %s", n, reason))
	}
	slices.Sort(out)
	return strings.Join(out, ", ")
}
