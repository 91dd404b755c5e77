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

// A sink that fails in the middle of a blob sees no more rows, has all rows that are
// counted and is advanced past none; batches that were queued behind are released.
func TestRunStopsInAppend(t *testing.T) {
	full := errors.New("disk is full")
	mem := memory.NewCheckedAllocator(memory.NewGoAllocator())
	defer mem.AssertSize(t, 0)
	calls := map[string]int{}
	sink := sourcetest.NewSink(t)
	sink.Fail = func(call string) error {
		if calls[call]++; calls["Append"] == 3 {
			return full
		}
		return nil
	}
	sum, err := ingest.Run(context.Background(), newMemSource(blobOf(0, 12*flow.MaxBatchRows/10)), sink, ingest.Options{Memory: mem})
	var broken *ingest.SinkError
	const two = 2 * flow.MaxBatchRows // or a few less: a record is not cut for the last rows of a batch
	if !errors.Is(err, full) || !errors.As(err, &broken) || sum.Rows > two || sum.Rows < two-40 || sum.Read != 0 {
		t.Errorf("got error %v and %+v, want %v and the rows of two batches, %d", err, sum, full, two)
	}
	if calls["Append"] != 3 || calls["Advance"] != 0 || calls["Commit"] != 0 {
		t.Errorf("calls of the sink: %v, want Append three times", calls)
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
