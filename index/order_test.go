package index

import (
	"bytes"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/apache/arrow/go/v17/arrow/memory"

	"github.com/whichpod/whichpod/internal/journal/disk"
)

// TestLongTies keeps rows of which the sort's keys say little: one flow of several
// chunks, that come from the last to the first, between rows of others.
func TestLongTies(t *testing.T) {
	r := rand.New(rand.NewPCG(12, 12))
	s := mustStore(t, t.TempDir(), Options{})
	w := mustWriter(t, s)
	rows := randomRows(r, "ties", 4*chunkRows, 0)
	for i := range rows {
		row := &rows[i]
		if i%8 != 0 {
			row.Src, row.Dst, row.Protocol, row.SrcPort = rows[0].Src, rows[0].Dst, rows[0].Protocol, uint16(r.IntN(2))
			row.Time = rows[0].Time - int64(i/3)
		}
	}
	appendRows(t, w, rows)
	must(t, w.Advance(position("ties", 1), nil))
	must(t, w.Commit())
	checkRows(t, "all", mustScan(t, s, Filter{}), sorted(rows))
}

// A segment has the same bytes on however many cores it is encoded.
func TestHurry(t *testing.T) {
	r := rand.New(rand.NewPCG(13, 13))
	rows := randomRows(r, "hurry", 5*chunkRows+100, 0)
	seal := func(hurry bool) []byte {
		s, err := newSealer(disk.OS{})
		must(t, err)
		s.chunks = make([]chunk, 3)
		s.hurry.Store(hurry)
		c := newColumns()
		for from := 0; from < len(rows); from += 5000 {
			b := batchOf(memory.DefaultAllocator, rows[from:min(from+5000, len(rows))])
			src := newSource(b)
			c.append(&src, 0, b.Len(), []uint32{1})
			b.Release()
		}
		name := filepath.Join(t.TempDir(), "segment")
		_, err = s.seal(name, 1, c, nil).finish()
		must(t, err)
		raw, err := os.ReadFile(name)
		must(t, err)
		return raw
	}
	if one, all := seal(false), seal(true); !bytes.Equal(one, all) || len(one) < len(rows) {
		t.Errorf("%d bytes on one core and %d on three are not the same", len(one), len(all))
	}
}
