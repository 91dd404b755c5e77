package ingest_test

import (
	"context"
	"errors"
	"testing"

	"github.com/apache/arrow/go/v17/arrow/memory"

	"github.com/whichpod/whichpod/flow"
	"github.com/whichpod/whichpod/ingest"
	"github.com/whichpod/whichpod/ingest/sourcetest"
)

// A sink that stops in the middle of a blob, by an error or because the run is
// cancelled, sees no more rows, has all rows that are counted and is advanced past
// none; batches that were queued behind it are released.
func TestRunStopsInAppend(t *testing.T) {
	full := errors.New("disk is full")
	text := blobOf(0, 12*flow.MaxBatchRows/10) // 12 batches
	for name, stop := range map[string]struct {
		in   func(cancel func()) error
		rows int64
		want error
	}{
		"error":  {func(func()) error { return full }, 2 * flow.MaxBatchRows, full},
		"cancel": {func(cancel func()) error { cancel(); return nil }, 3 * flow.MaxBatchRows, context.Canceled},
	} {
		t.Run(name, func(t *testing.T) {
			mem := memory.NewCheckedAllocator(memory.NewGoAllocator())
			defer mem.AssertSize(t, 0)
			ctx, cancel := context.WithCancel(context.Background())
			defer cancel()
			calls := map[string]int{}
			sink := sourcetest.NewSink(t)
			sink.Fail = func(call string) error {
				calls[call]++
				if calls["Append"] == 3 {
					return stop.in(cancel)
				}
				return nil
			}
			sum, err := ingest.Run(ctx, newMemSource(text), sink, ingest.Options{Memory: mem})
			if !errors.Is(err, stop.want) || sum.Rows != stop.rows || sum.Read != 0 {
				t.Errorf("got error %v and %+v, want %v and %d rows", err, sum, stop.want, stop.rows)
			}
			if calls["Append"] != 3 || calls["Advance"] != 0 || calls["Commit"] != 0 {
				t.Errorf("calls of the sink: %v, want Append three times", calls)
			}
		})
	}
}

// The sink is given a blob's batches in their order, and all of them before Advance,
// however slow it is.
func TestRunKeepsTheOrder(t *testing.T) {
	const batches = 12
	sink := sourcetest.NewSink(t)
	sourcetest.Run(t, newMemSource(blobOf(0, batches*flow.MaxBatchRows/10), blobOf(0, 1)), sink)
	rows := sink.Rows(sourcetest.Name(0))
	for i := 1; i < len(rows); i++ {
		if rows[i].Offset <= rows[i-1].Offset {
			t.Fatalf("row %d is of offset %d, the one before of %d", i, rows[i].Offset, rows[i-1].Offset)
		}
	}
	if len(rows) < (batches-1)*flow.MaxBatchRows || len(sink.Rows(sourcetest.Name(1))) != 10 {
		t.Errorf("got %d rows, want those of %d batches", len(rows), batches)
	}
}
