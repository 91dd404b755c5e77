package evidence

import (
	"bytes"
	"slices"

	"github.com/whichpod/whichpod/internal/parquet"
)

// part is the codes of a column of an end. Columns may share one.
type part struct{ codes []uint32 }

// presence is which rows have a value in a column. Most columns of a side share one of
// two: that of rows of which one pod is named, or that of rows of which anybody is.
type presence struct {
	byEnd []uint8  // 1 for an end that has a value, else 0
	rows  []uint8  // likewise
	ends  []uint32 // of the rows that have one
}

// partEnds fills the columns of an end, from the first one on. It renumbers ends in the
// order in which rows first have them.
func (g *rowGroup) partEnds(first int, ends []uint32) {
	used := g.renumber(ends)
	for k := range endColumns {
		c := &g.chunks[first+k]
		g.byEnd, g.byEndBefore = g.byEndBefore[:0], g.byEnd
		if k == endCandidates {
			texts := g.book.texts[endPodUID].texts
			table := g.unsetTable(len(texts))
			for _, e := range used {
				g.byEnd = append(g.byEnd, g.list(c, g.book.ends[e].candidates, table, texts))
			}
			c.Codes = g.parts[first+k-colSrc].fill(g.byEnd, ends)
			continue
		}
		texts := g.book.texts[k].texts
		table := g.unsetTable(len(texts))
		for _, e := range used {
			g.byEnd = append(g.byEnd, codeOf(c, g.book.ends[e].texts[k], table, texts))
		}
		switch {
		case k == endPodUID && slices.Equal(g.byEnd, g.byEndBefore): // as where no two pods have one name
			c.Codes, c.Present = g.chunks[first+endPod].Codes, g.chunks[first+endPod].Present
		case slices.Contains(g.byEnd, parquet.None):
			p := g.presence(first, ends)
			c.Codes, c.Present = g.parts[first+k-colSrc].fill(g.byEnd, p.ends), p.rows
		default:
			c.Codes = g.parts[first+k-colSrc].fill(g.byEnd, ends)
		}
	}
}

// fill is the code of each row. It is never nil, which would say that there are no codes.
func (p *part) fill(byEnd, ends []uint32) []uint32 {
	p.codes = slices.Grow(p.codes[:0], max(1, len(ends)))[:len(ends)]
	for i, e := range ends {
		p.codes[i] = byEnd[e]
	}
	return p.codes
}

// presence is that of byEnd, which may be another column's of the side, too.
func (g *rowGroup) presence(first int, ends []uint32) *presence {
	list := &g.presences[(first-colSrc)/endColumns]
	g.has = g.has[:0]
	for _, code := range g.byEnd {
		has := uint8(1)
		if code == parquet.None {
			has = 0
		}
		g.has = append(g.has, has)
	}
	for i := range *list {
		if p := &(*list)[i]; bytes.Equal(p.byEnd, g.has) {
			return p
		}
	}
	*list = slices.Grow(*list, 1)[:len(*list)+1] // what is behind its length has memory
	p := &(*list)[len(*list)-1]
	p.byEnd = append(p.byEnd[:0], g.has...)
	p.fill(ends)
	return p
}

// fill is for each row whether it has a value, and the ends of those that do.
func (p *presence) fill(ends []uint32) {
	p.rows, p.ends = p.rows[:0], p.ends[:0]
	rows, out := extend(&p.rows, len(ends)), extend(&p.ends, len(ends))
	n := 0
	for i, e := range ends { // without a jump that hangs on the end
		has := p.byEnd[e]
		rows[i], out[n] = has, e
		n += int(has)
	}
	p.ends = p.ends[:n]
}

// renumber numbers ends anew, in the order in which rows have them, and returns their
// numbers in the book.
func (g *rowGroup) renumber(ends []uint32) []uint32 {
	table := g.unsetTable(len(g.book.ends))
	g.used = g.used[:0]
	for i, e := range ends {
		if table[e] == unset {
			table[e] = uint32(len(g.used))
			g.used = append(g.used, e)
		}
		ends[i] = table[e]
	}
	return g.used
}

// codeOf is the code in a column of a text with a number, or None.
func codeOf(c *parquet.Chunk, number uint32, table []uint32, texts []string) uint32 {
	if number == parquet.None {
		return parquet.None
	}
	if table[number] == unset {
		table[number] = uint32(len(c.Texts))
		c.Texts = append(c.Texts, texts[number])
	}
	return table[number]
}

// list is the code of a list of candidates, or None.
func (g *rowGroup) list(c *parquet.Chunk, candidates []uint32, table []uint32, texts []string) uint32 {
	if len(candidates) == 0 {
		return parquet.None
	}
	from := len(g.lists)
	for _, number := range candidates {
		g.lists = append(g.lists, codeOf(c, number, table, texts))
	}
	c.Lists = append(c.Lists, g.lists[from:len(g.lists):len(g.lists)])
	return uint32(len(c.Lists) - 1)
}
