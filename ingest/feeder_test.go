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

// After an error of the sink, the summary has what the sink took, and no more.
func TestSummaryAfterSinkError(t *testing.T) {
	full := errors.New("disk is full")
	size := int64(len(blobOf(0, 1)))
	for _, c := range []struct {
		name      string
		short     int // a blob that gives less than was listed
		fails     int // which Advance fails
		read      int
		rows, all int64 // bytes
	}{
		{"the third of five blobs", -1, 3, 2, 30, 2 * size},
		{"a blob that was skipped", 1, 2, 1, 20, size},
	} {
		t.Run(c.name, func(t *testing.T) {
			src, sink := newMemSource(blobOf(0, 1), blobOf(0, 1), blobOf(0, 1), blobOf(0, 1), blobOf(0, 1)), sourcetest.NewSink(t)
			behind, calls := make(chan struct{}), 0
			src.onRead = func(name string) {
				if name == sourcetest.Name(c.fails) { // the next blob: the sink is asked meanwhile
					close(behind)
					src.onRead = nil
				}
			}
			sink.Fail = func(call string) error {
				if call != "Advance" {
					return nil
				}
				if calls++; calls < c.fails {
					return nil
				}
				if c.short < 0 {
					<-behind
				}
				return full
			}
			sum, err := ingest.Run(context.Background(), shortened{src, c.short}, sink, ingest.Options{})
			if !errors.Is(err, full) || sum.Read != c.read || sum.Rows != c.rows || sum.Bytes != c.all {
				t.Errorf("got %+v, error %v, want %d blobs read, %d rows, %d bytes", sum, err, c.read, c.rows, c.all)
			}
		})
	}
}

// shortened lists one blob longer than it is.
type shortened struct {
	*memSource
	blob int
}

func (s shortened) List(ctx context.Context, h ingest.Hours, fn func(ingest.Blob) error) error {
	return s.memSource.List(ctx, h, func(b ingest.Blob) error {
		if b.Name == sourcetest.Name(s.blob) {
			b.Length += 5
		}
		return fn(b)
	})
}
