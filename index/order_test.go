package index

import (
	"math/rand/v2"
	"testing"
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
