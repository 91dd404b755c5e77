package index

import (
	"errors"
	"io"
	"math/rand/v2"
	"testing"

	"github.com/apache/arrow/go/v17/arrow/memory"

	"github.com/whichpod/whichpod/flow"
)

// Batches that are kept, in any number and until after the scan is closed, hold what
// they held at first, however many others were released meanwhile and their memory
// used anew. All of it is given back.
func TestBatchesOutliveTheirScan(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	mem := memory.NewCheckedAllocator(memory.DefaultAllocator)
	defer mem.AssertSize(t, 0)
	s := mustStore(t, t.TempDir(), Options{Mem: mem})
	w := mustWriter(t, s)
	for part := range int64(3) {
		appendRows(t, w, randomRows(r, "blob", 30_000, part*1_000_000))
		must(t, w.Advance(position("blob", part), nil))
		must(t, w.Commit())
	}
	want := mustScan(t, s, Filter{})
	for range 10 {
		sc, err := s.Scan(t.Context(), Filter{})
		must(t, err)
		type kept struct {
			*flow.Batch
			first int
		}
		var batches []kept
		n := 0
		for {
			b, err := sc.Next()
			if errors.Is(err, io.EOF) {
				break
			}
			must(t, err)
			if batches = append(batches, kept{b, n}); r.IntN(2) == 0 {
				batches = batches[:len(batches)-1]
				b.Release()
			}
			n += b.Len()
		}
		must(t, sc.Close())
		if n != len(want) || len(batches) == 0 {
			t.Fatalf("%d rows, want %d, in batches of which %d were kept", n, len(want), len(batches))
		}
		for _, b := range batches {
			for i := range b.Len() {
				if got := b.Row(i); got != want[b.first+i] {
					t.Fatalf("row %d is %+v, want %+v", b.first+i, got, want[b.first+i])
				}
			}
			b.Release()
		}
	}
}
