package evidence

import (
	"slices"

	"github.com/whichpod/whichpod/internal/parquet"
)

// partEnds fills the columns of an end, from the first one on, with a code for each end
// and for each row which end it has.
func (g *rowGroup) partEnds(first int, ends []uint32) {
	g.renumber(ends)
	for k := range endColumns {
		c, column := &g.chunks[first+k], k
		if k == endCandidates {
			column = endPodUID
		}
		texts := g.book.texts[column].texts
		table := g.unsetTable(len(texts))
		c.Of = ends
		for i := range g.said {
			code := uint32(0)
			if k == endCandidates {
				code = g.list(c, g.said[i].candidates, table, texts)
			} else {
				code = codeOf(c, g.said[i].texts[k], table, texts)
			}
			c.Codes = append(c.Codes, code)
		}
	}
}

// renumber numbers ends anew, in the order in which rows have them, and notes what is
// said of them.
func (g *rowGroup) renumber(ends []uint32) {
	table := g.unsetTable(len(g.book.ends))
	g.said = g.said[:0]
	for i, e := range ends {
		if table[e] == unset {
			table[e] = uint32(len(g.said))
			g.said = append(g.said, g.book.ends[e])
		}
		ends[i] = table[e]
	}
}

// dropVerdicts takes away the verdicts on destinations that are not known: there is none
// on nothing.
func (g *rowGroup) dropVerdicts() {
	addresses, c := g.chunks[colDstIP].Codes, &g.chunks[colDst]
	if !slices.Contains(addresses, parquet.None) {
		return
	}
	g.verdicts = g.verdicts[:0]
	for i, address := range addresses {
		verdict := c.Codes[c.Of[i]]
		if address == parquet.None {
			verdict = parquet.None
		}
		g.verdicts = append(g.verdicts, verdict)
	}
	c.Codes, g.verdicts, c.Of = g.verdicts, c.Codes, nil
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
