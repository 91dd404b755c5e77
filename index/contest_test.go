package index

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/apache/arrow/go/v17/arrow/memory"

	"github.com/whichpod/whichpod/flow"
)

// TestContest merges cursors in memory, of any number, whose rows are often equal in all
// but the last things that are compared.
func TestContest(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	for round := range 300 {
		d := newScanAddresses(memory.DefaultAllocator)
		var want []flow.Row
		var contest contest
		var all [][]flow.Row // by cursor
		for i := range r.IntN(20) {
			rows := sorted(randomRows(r, fmt.Sprint("blob ", i), 1+r.IntN(60), 0))
			if round%2 == 0 { // stretches of one key that are long, and those of others between them
				for k := range rows {
					rows[k].Src, rows[k].Dst, rows[k].SrcPort, rows[k].DstPort, rows[k].Protocol = rows[0].Src, rows[0].Src, 1, 1, 6
				}
				rows = sorted(rows)
			}
			all, want = append(all, rows), append(want, rows...)
			contest.cursors = append(contest.cursors, memoryCursor(d, rows))
		}
		contest.settle()
		var got []flow.Row
		for c := contest.first(); c != nil; c = contest.first() {
			if r.IntN(30) == 0 {
				contest.settle()
			}
			n, i := min(contest.stretch(c), 1+r.IntN(5)), slices.Index(contest.cursors, c)
			got = append(got, all[i][c.at:c.at+n]...)
			if c.take(n); c.at < c.len() {
				contest.moved(c)
			} else {
				contest.ended()
			}
		}
		checkRows(t, fmt.Sprintf("round %d, %d cursors", round, len(all)), got, sorted(want))
	}
}

// memoryCursor stands before rows that no source decoded, each with texts of its own.
func memoryCursor(d *scanAddresses, rows []flow.Row) *cursor {
	c := &cursor{addresses: newAddressCoder(d, 0, 0, nil)}
	for i, row := range rows {
		if i == 0 || row.Direction != rows[i-1].Direction || row.Src != rows[i-1].Src || row.Dst != rows[i-1].Dst || row.Protocol != rows[i-1].Protocol ||
			row.SrcPort != rows[i-1].SrcPort || row.DstPort != rows[i-1].DstPort {
			c.runs = append(c.runs, run{src: d.code(row.Src), dst: d.code(row.Dst), ports: uint32(row.SrcPort)<<16 | uint32(row.DstPort),
				kind: uint16(row.Direction)<<8 | uint16(row.Protocol)})
		}
		c.runs[len(c.runs)-1].until = i + 1
		c.time, c.offset, c.state = append(c.time, row.Time), append(c.offset, row.Offset), append(c.state, row.State)
		text := uint32(len(c.texts))
		c.texts = append(c.texts, row.NIC, row.Blob)
		c.origin = append(c.origin, uint32(i))
		c.origins = append(c.origins, origin{texts: [5]uint32{0: text, 4: text + 1}})
	}
	c.setKeys()
	return c
}
