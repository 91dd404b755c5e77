package evidence

import (
	"slices"

	"github.com/whichpod/whichpod/internal/parquet"
)

// part is the codes of a column of an end. Columns may share one.
type part struct {
	codes   []uint32
	present []uint8
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
			c.Codes, c.Present = g.parts[first+k-colSrc].fillPresent(g.byEnd, ends)
		default:
			c.Codes = g.parts[first+k-colSrc].fill(g.byEnd, ends)
		}
	}
}

// fill is the code of each row.
func (p *part) fill(byEnd, ends []uint32) []uint32 {
	p.codes = p.codes[:0]
	out := extend(&p.codes, len(ends))
	for i, e := range ends {
		out[i] = byEnd[e]
	}
	return out
}

// fillPresent is the code of each row that has one, and which do.
func (p *part) fillPresent(byEnd, ends []uint32) ([]uint32, []uint8) {
	p.codes, p.present = p.codes[:0], p.present[:0]
	out, present := extend(&p.codes, len(ends)), extend(&p.present, len(ends))
	n := 0
	for i, e := range ends { // without a jump that hangs on the code
		code := byEnd[e]
		out[n] = code
		has := uint8(0)
		if code != parquet.None {
			has = 1
		}
		present[i] = has
		n += int(has)
	}
	return out[:n], present
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
