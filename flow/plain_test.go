package flow

import (
	"math/rand/v2"
	"net/netip"
	"testing"

	"github.com/apache/arrow/go/v17/arrow/memory"
	"github.com/google/go-cmp/cmp"
)

// TestRowsOfFlowsOneByOne holds begins and answers against those found a row at a time,
// for flows that are plain and flows that are not, however they are cut into batches.
func TestRowsOfFlowsOneByOne(t *testing.T) {
	mem := memory.NewCheckedAllocator(memory.DefaultAllocator)
	defer mem.AssertSize(t, 0)
	r := rand.New(rand.NewPCG(11, 3))
	odd := 0
	for range 60 {
		rows := randomFlows(r, 1+r.IntN(400))
		wantSpans, wantAnswers := oneByOne(rows)
		for range 3 {
			batches := cut(mem, r, rows)
			var begins Begins
			var spans []Span
			var answers []bool
			for i, b := range batches {
				var next *Batch
				if i+1 < len(batches) {
					next = batches[i+1]
				}
				spans, answers = begins.Of(b, spans), Answered(b, next, answers)
				odd += len(begins.odd)
			}
			for _, b := range batches {
				b.Release()
			}
			if diff := cmp.Diff(wantSpans, spans); diff != "" {
				t.Fatalf("begins of %d rows in %d batches: -want +got:\n%s", len(rows), len(batches), diff)
			}
			if diff := cmp.Diff(wantAnswers, answers); diff != "" {
				t.Fatalf("answers of %d rows in %d batches: -want +got:\n%s", len(rows), len(batches), diff)
			}
		}
	}
	if odd < 1000 {
		t.Errorf("%d rows were odd, too few to show anything", odd)
	}
}

// randomFlows are rows in flow order, of which every other flow is plain as a rule.
func randomFlows(r *rand.Rand, n int) []Row {
	row := Row{Src: netip.MustParseAddr("10.0.0.1"), Dst: netip.MustParseAddr("10.0.0.2"), Time: 1_000_000_000_000}
	var rows []Row
	for len(rows) < n {
		row.SrcPort++
		row.NIC = []string{"000D3A00BEEF", "000D3A00BEEF", "000D3A00BEEF", ""}[r.IntN(4)]
		states := []byte("BCE")
		if r.IntN(2) == 0 {
			states = make([]byte, 1+r.IntN(8))
			for i := range states {
				states[i] = "BBBBBCCCEEEEEDDX"[r.IntN(16)]
			}
		}
		for _, s := range states {
			row.State, row.Counters = s, Counters{PacketsReceived: uint64(r.IntN(2)), Null: Nulls(r.IntN(16) * r.IntN(2))}
			rows = append(rows, row)
			row.Time += []int64{0, 0, 1, 500, MaxIdle - 1, MaxIdle, MaxIdle + 1}[r.IntN(7)]
		}
	}
	return rows
}

// cut makes batches of rows.
func cut(mem memory.Allocator, r *rand.Rand, rows []Row) (batches []*Batch) {
	b := NewBuilder(mem)
	defer b.Release()
	for i := range rows {
		b.Append(&rows[i])
		if i == len(rows)-1 || r.IntN(40) == 0 {
			batches = append(batches, b.NewBatch())
		}
	}
	return batches
}

func oneByOne(rows []Row) (spans []Span, answers []bool) {
	var open openFlows
	for i, row := range rows {
		follows := i > 0 && compareKey(&rows[i-1], &rows[i]) == 0
		if !follows {
			open = openFlows{}
		}
		span := open.next(row.Time, row.State)
		if span.To%second == 0 {
			span.To += second - 1
		}
		if row.NIC == "" {
			span.From -= MaxDelay
		}
		spans = append(spans, span)
		says := &rows[i]
		if row.State == Begin {
			says = nil
			if i+1 < len(rows) && compareKey(&row, &rows[i+1]) == 0 && rows[i+1].State != Begin {
				says = &rows[i+1]
			}
		}
		answers = append(answers, says != nil && says.Counters.Null&NullPacketsReceived == 0 && says.Counters.PacketsReceived > 0)
	}
	return spans, answers
}
