package query

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/apache/arrow/go/v17/arrow/memory"

	"github.com/whichpod/whichpod/flow"
	"github.com/whichpod/whichpod/index"
)

// TestEachEndsEarly wants the error of who takes the batches, and that of a context,
// and no batch left over, however many of them were read and taken before.
func TestEachEndsEarly(t *testing.T) {
	mem := memory.NewCheckedAllocator(memory.DefaultAllocator)
	defer mem.AssertSize(t, 0)
	var rows []flow.Row
	const batches = 17 // more than are read ahead: the first ones are small
	for i := range 120_000 {
		rows = append(rows, row(100+float64(i)/100, fmt.Sprintf("%s:%d %s:%d O B - -", aIP, 1024+i%60_000, bIP, 443+i/60_000)))
	}
	e := engineIn(t, mem, cluster(), rows...)
	enough := errors.New("enough")
	for _, taken := range []int{0, 1, 2, 5, batches - 1, batches, batches + 1} {
		ctx, cancel := context.WithCancel(context.Background())
		err := e.Each(ctx, index.Filter{}, endAfter(taken, func() error { return enough }))
		if want := taken < batches; errors.Is(err, enough) != want || !want && err != nil {
			t.Errorf("after %d batches: error is %v, want the taker's: %t", taken, err, want)
		}
		err = e.Each(ctx, index.Filter{}, endAfter(taken, func() error { cancel(); return nil }))
		if taken == 0 && !errors.Is(err, context.Canceled) || err != nil && !errors.Is(err, context.Canceled) {
			t.Errorf("canceled after %d batches: error is %v", taken, err)
		}
		cancel()
	}
}

// endAfter takes some batches, and then calls end with each.
func endAfter(taken int, end func() error) func(Attributed) error {
	return func(Attributed) error {
		if taken--; taken < 0 {
			return end()
		}
		return nil
	}
}

// Rows are few where they are all there are, and fewer than fewRows.
func TestFewRows(t *testing.T) {
	for _, n := range []int{1, fewRows - 1, fewRows, 20_000} {
		var rows []flow.Row
		for i := range n {
			rows = append(rows, row(100+float64(i)/100, fmt.Sprintf("%s:%d %s:443 O B - -", aIP, 1024+i, bIP)))
		}
		seen := 0
		err := engineIn(t, memory.DefaultAllocator, cluster(), rows...).Each(context.Background(), index.Filter{}, func(a Attributed) error {
			if seen += a.Len(); a.few != (n < fewRows) {
				t.Errorf("%d rows, %d of them so far, are few: %t", n, seen, a.few)
			}
			return nil
		})
		if err != nil || seen != n {
			t.Errorf("%d of %d rows: %v", seen, n, err)
		}
	}
}
