package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"

	"github.com/apache/arrow/go/v17/arrow/memory"
	"github.com/spf13/cobra"

	"github.com/whichpod/whichpod/evidence"
	"github.com/whichpod/whichpod/flow"
	"github.com/whichpod/whichpod/ingest"
)

func (a *app) decodeCommand() *cobra.Command {
	var format string
	cmd := &cobra.Command{
		Use:   "decode FILE|-",
		Short: "Turn a flow log into Arrow, Parquet or JSON lines",
		Long: `Turn a flow log into an Arrow IPC stream, Parquet or JSON lines on standard output,
for any other tool. - is standard input. It reads what "ingest" reads, as it comes
and in bounded memory; docs/cli-json.md names the columns.

What can not be read goes to standard error, with its offset, and the rest is kept.
Exit codes: 0 rows were written, 1 there was no row, 2 usage or failure.`,
		Args: args(1, 1, "one file, or - for standard input"),
		RunE: func(cmd *cobra.Command, files []string) error {
			if !slices.Contains(evidence.PlainFormats(), format) {
				return usage(cmd, "format is %q, want %s", format, strings.Join(evidence.PlainFormats(), ", "))
			}
			if format != "jsonl" && isTerminal(a.stdout.w) {
				return usage(cmd, "format %s is not for a terminal: want a pipe or a file on standard output", format)
			}
			defer debug.SetMemoryLimit(debug.SetMemoryLimit(steadyMemory))
			return a.decode(cmd.Context(), cmd.InOrStdin(), files[0], format)
		},
	}
	cmd.Flags().StringVar(&format, "format", "jsonl", strings.Join(evidence.PlainFormats(), ", "))
	_ = cmd.RegisterFlagCompletionFunc("format", cobra.FixedCompletions(evidence.PlainFormats(), cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

func (a *app) decode(ctx context.Context, in io.Reader, path, format string) error {
	name := path
	if path != "-" {
		f, err := os.Open(path)
		if err != nil {
			return fmt.Errorf("decode: %w", err)
		}
		defer f.Close()
		if abs, err := filepath.Abs(path); err == nil {
			name = ingest.Name(filepath.ToSlash(abs))
		}
		in = f
	}
	out := bufio.NewWriterSize(a.stdout, 1<<16)
	w, err := evidence.NewBatchWriter(out, format, memory.DefaultAllocator)
	if err != nil {
		return err
	}
	r := complaints{w: a.stderr, counts: make(map[string]int64)}
	rows := 0
	d := ingest.NewDecoder(memory.DefaultAllocator, func(b *flow.Batch) error {
		rows += b.Len()
		return w.Write(b)
	}, r.print)
	defer d.Close()
	_, err = d.Decode(ctx, in, flow.Position{Blob: name})
	err = errors.Join(err, w.Close(), out.Flush())
	r.done()
	if err == nil && rows == 0 {
		return exitCode(nothingFound)
	}
	return err
}

// complaints prints rejections, the first ones each by itself.
type complaints struct {
	w      io.Writer
	counts map[string]int64
	shown  int
}

const maxShown = 100

func (r *complaints) print(x flow.Rejection) {
	r.counts[x.Reason]++
	if r.shown++; r.shown <= maxShown {
		fmt.Fprintf(r.w, "whichpod: warning: byte %d of %s: %s: %s\n", x.Offset, x.Blob, x.Reason, x.Detail)
	}
}

func (r *complaints) done() {
	if r.shown > maxShown {
		fmt.Fprintf(r.w, "whichpod: warning: and %s more rejected; in all: %s\n", count(int64(r.shown-maxShown), "piece"), reasons(r.counts))
	}
}
