package evidence

import (
	"slices"

	"github.com/whichpod/whichpod/internal/parquet"
)

// addPlaces takes in which ends rows have, by their numbers in the book, all less than most.
func (t *gatherer) addPlaces(side int, numbers []uint32, most int) {
	places, ends := t.places[side], &t.group.ends[side]
	if n := most - len(places); n > 0 {
		places = slices.Grow(places, n)
		for len(places) < most {
			places = append(places, unset)
		}
		t.places[side] = places
	}
	of := extend(&ends.of, len(numbers))
	for i, n := range numbers {
		if places[n] == unset {
			places[n], ends.numbers = uint32(len(ends.numbers)), append(ends.numbers, n)
		}
		of[i] = uint16(places[n])
	}
}

// partEnds fills the columns of an end with a code for each end, and for each row which
// end it has.
func (w *groupWriter) partEnds(columns []parquet.Chunk, ends *groupEnds, book *endBook) {
	w.said = w.said[:0]
	for _, n := range ends.numbers {
		w.said = append(w.said, book.ends[n])
	}
	for k := range columns {
		c, column := &columns[k], k
		if k == endCandidates {
			column = endPodUID
		}
		texts := book.texts[column].texts
		table := w.unset(len(texts))
		c.Of = ends.of
		for i := range w.said {
			code := uint32(0)
			if k == endCandidates {
				code = w.list(c, book.lists[w.said[i].from:w.said[i].to], table, texts)
			} else {
				code = codeOf(c, w.said[i].texts[k], table, texts)
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
func (w *groupWriter) list(c *parquet.Chunk, candidates []uint32, table []uint32, texts []string) uint32 {
	if len(candidates) == 0 {
		return parquet.None
	}
	from := len(w.lists)
	for _, number := range candidates {
		w.lists = append(w.lists, codeOf(c, number, table, texts))
	}
	c.Lists = append(c.Lists, w.lists[from:len(w.lists):len(w.lists)])
	return uint32(len(c.Lists) - 1)
}
