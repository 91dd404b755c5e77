package evidence

import (
	"slices"

	"github.com/whichpod/whichpod/internal/parquet"
)

// endPlaces are which ends the rows of a side have: places in a list of those that any has,
// in the order in which rows first have them.
type endPlaces struct {
	of      []uint16 // by row; a group has no more rows than that
	numbers []uint32 // in the book, by place
	places  []uint32 // by number in the book, or unset
}

func (p *endPlaces) reset() {
	for _, n := range p.numbers {
		p.places[n] = unset
	}
	p.of, p.numbers = p.of[:0], p.numbers[:0]
}

// append takes in numbers of ends of rows, all less than most.
func (p *endPlaces) append(numbers []uint32, most int) {
	for len(p.places) < most {
		p.places = append(p.places, unset)
	}
	p.numbers = numberNew(p.places, numbers, p.numbers, uint32(len(p.numbers)))
	translate(extend(&p.of, len(numbers)), numbers, p.places)
}

// partEnds fills the columns of an end, from the first one on, with a code for each end
// and for each row which end it has.
func (g *rowGroup) partEnds(first int, ends *endPlaces) {
	g.said = g.said[:0]
	for _, n := range ends.numbers {
		g.said = append(g.said, g.book.ends[n])
	}
	for k := range endColumns {
		c, column := &g.chunks[first+k], k
		if k == endCandidates {
			column = endPodUID
		}
		texts := g.book.texts[column].texts
		table := g.unsetTable(len(texts))
		c.Of = ends.of
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

// dropVerdicts takes away the verdicts on destinations that are not known: there is none
// on nothing. So they are by row.
func (g *rowGroup) dropVerdicts() {
	addresses, c := g.chunks[colDstIP].Codes, &g.chunks[colDst]
	if !slices.Contains(addresses, parquet.None) {
		return
	}
	verdicts := extend(&c.Small, len(addresses)) // a byte is enough for one
	for i, address := range addresses {
		verdicts[i] = uint8(c.Codes[c.Of[i]])
		if address == parquet.None {
			verdicts[i] = parquet.SmallNone
		}
	}
	c.Codes, c.Of = c.Codes[:0], nil
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
