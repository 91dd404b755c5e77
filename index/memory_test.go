package index

import (
	"math/rand/v2"
	"net/netip"
	"os"
	"runtime"
	"testing"

	"github.com/apache/arrow/go/v17/arrow/memory"

	"github.com/whichpod/whichpod/flow"
)

// liveBytes is what the heap holds once garbage is gone.
func liveBytes() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// TestWriterMemory appends one blob that is many segments long, of addresses that
// hardly ever repeat, and looks at the heap on the way. Not one row is committed
// before the end.
func TestWriterMemory(t *testing.T) {
	if testing.Short() {
		t.Skip("3 million rows")
	}
	const limit = 128 << 20 // two segments of rows, many of them wide, and dictionaries of three with as many addresses as they may have
	r := rand.New(rand.NewPCG(1, 1))
	s := mustStore(t, t.TempDir(), Options{})
	w := mustWriter(t, s)
	before := liveBytes()
	rows := randomRows(r, "blob", flow.MaxBatchRows, 0)
	peak := uint64(0)
	for round := range 180 {
		for i := range rows {
			rows[i].Offset = int64(round*len(rows) + i)
			if round%2 == 0 {
				rows[i].Src = netip.AddrFrom4([4]byte{11, byte(r.Uint32()), byte(r.Uint32()), byte(r.Uint32())})
			}
		}
		b := batchOf(memory.DefaultAllocator, rows)
		err := w.Append(b)
		b.Release()
		must(t, err)
		if round%10 == 9 {
			peak = max(peak, liveBytes()-before)
		}
	}
	must(t, w.Advance(position("blob", 1), nil))
	must(t, w.Commit())
	t.Logf("peak %d MB, %d segments", peak>>20, s.Stats().Segments)
	if peak > limit {
		t.Errorf("the writer held %d MB, at most %d are allowed", peak>>20, limit>>20)
	}
	if st := s.Stats(); st.Rows != 180*flow.MaxBatchRows {
		t.Errorf("%d rows", st.Rows)
	}
}

// TestFilesAreClosed: a scan that ends, is closed early or fails leaves no file open
// once its store is closed.
func TestFilesAreClosed(t *testing.T) {
	open := func() int {
		list, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Skip("no /proc here")
		}
		return len(list)
	}
	dir, _ := smallStore(t)
	before := open()
	s := mustStore(t, dir, Options{ReadOnly: true})
	mustScan(t, s, Filter{})
	sc, err := s.Scan(t.Context(), Filter{})
	must(t, err)
	b, err := sc.Next()
	must(t, err)
	b.Release()
	must(t, sc.Close())
	must(t, s.Close())
	must(t, os.Truncate(segmentName(s.segments, 2, segmentSuffix), 100))
	s = mustStore(t, dir, Options{ReadOnly: true})
	if _, err := scan(s, Filter{}); err == nil {
		t.Error("a short segment was read")
	}
	must(t, s.Close())
	if after := open(); after != before {
		t.Errorf("%d files open, %d before", after, before)
	}
}
