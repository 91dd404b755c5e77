package main

import (
	"context"
	"fmt"
	"runtime/debug"
	"time"

	"github.com/spf13/cobra"

	"github.com/whichpod/whichpod/index"
	"github.com/whichpod/whichpod/query"
)

// compacted is the document that "compact -o json" prints.
type compacted struct {
	Merged      int     `json:"merged"`    // segments that were written anew
	Written     int     `json:"written"`   // segments that were made of them
	DeadRows    int64   `json:"dead_rows"` // rows that did not count, and are gone
	Dropped     dropped `json:"dropped"`   // with --keep
	BytesBefore int64   `json:"bytes_before"`
	BytesAfter  int64   `json:"bytes_after"`
}

// dropped is what went with whole segments.
type dropped struct {
	Segments int        `json:"segments"`
	Rows     int64      `json:"rows"`
	Bytes    int64      `json:"bytes"`
	First    query.Time `json:"first"` // of the rows
	Last     query.Time `json:"last"`
}

func (a *app) compactCommand() *cobra.Command {
	var keep moment
	cmd := &cobra.Command{
		Use:   "compact",
		Short: "Merge small segments of the index, and drop old ones",
		Long: `Merges small segments of the index, writes those of older formats anew, and
frees the space of rows that do not count: those of blobs that were rewritten.
"ingest" merges small segments by itself; this does it thoroughly.

With --keep, segments go of which every row is older than that. Rows that share a
segment with younger ones stay. The blobs are not read again for it: what was
ingested once and dropped does not come back by itself. To have it again, move the
folder "index" out of the data folder and ingest all blobs anew; ledger and NAT
evidence stay.

Who asks questions meanwhile is not disturbed.`,
		Args: args(0, 0, "none"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if keep.time().After(time.Now()) {
				return usage(cmd, "--keep is %s, which is in the future: every row is from before it", query.Time(keep))
			}
			done, err := a.compact(cmd.Context(), keep)
			if err != nil {
				return err
			}
			if a.output == "json" {
				return a.json(done)
			}
			a.printCompacted(done)
			return nil
		},
	}
	timeFlag(cmd, &keep, "keep", "drop segments whose rows are all from before this time (RFC 3339, or how long ago: 90d)")
	return cmd
}

func (a *app) compact(ctx context.Context, keep moment) (done compacted, err error) {
	defer debug.SetMemoryLimit(debug.SetMemoryLimit(steadyMemory))
	if err := a.needStore(); err != nil {
		return done, err
	}
	err = a.change(func(store *index.Store, w *index.Writer) error {
		done.BytesBefore = store.Stats().Bytes
		if keep != 0 {
			d, err := w.DropBefore(ctx, int64(keep))
			if err != nil {
				return err
			}
			done.Dropped = dropped{d.Segments, d.Rows, d.Bytes, query.Time(d.First), query.Time(d.Last)}
		}
		m, err := w.Compact(ctx)
		done.Merged, done.Written, done.DeadRows = m.Merged, m.Written, m.Dead
		done.BytesAfter = store.Stats().Bytes
		return err
	})
	return done, err
}

func (a *app) printCompacted(c compacted) {
	if d := c.Dropped; d.Segments > 0 {
		fmt.Fprintf(a.stdout, "dropped %s: %s from %s to %s, %d bytes\n", count(int64(d.Segments), "segment"), count(d.Rows, "row"), d.First, d.Last, d.Bytes)
	}
	if c.Merged > 0 {
		fmt.Fprintf(a.stdout, "merged %s into %d; %s that did not count are gone\n", count(int64(c.Merged), "segment"), c.Written, count(c.DeadRows, "row"))
	}
	if c.Dropped.Segments == 0 && c.Merged == 0 {
		fmt.Fprintln(a.stdout, "nothing to do")
		return
	}
	fmt.Fprintf(a.stdout, "%d bytes, %d before\n", c.BytesAfter, c.BytesBefore)
}
