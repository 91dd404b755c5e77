package evidence

import (
	"slices"

	"github.com/whichpod/whichpod/internal/parquet"
)

// unset marks what has no number yet.
const unset = parquet.None - 1

// tables is room for a table from codes to numbers.
type tables struct {
	table []uint32
	blank []uint32 // of unset
}

// unset is a table of n codes without numbers, until the next one is asked for.
func (t *tables) unset(n int) []uint32 {
	for len(t.blank) < n {
		t.blank = append(t.blank, unset)
	}
	t.table = append(t.table[:0], t.blank[:n]...)
	return t.table
}

// numberNew gives codes that are unset in a table the next numbers, from one on, in order,
// and appends them to those that got theirs so. First it puts aside what is unset, of equal
// codes that follow each other, as they often do, one: no jump hangs on a code there, so
// that many reads of the table are under way at once.
func numberNew(table, codes, numbered []uint32, next uint32) []uint32 {
	had := len(numbered)
	numbered = slices.Grow(numbered, len(codes))
	aside := numbered[had : had+len(codes)]
	n, before := 0, uint32(parquet.None)
	for _, code := range codes {
		aside[n] = code
		n += bit(table[code] == unset) & bit(code != before)
		before = code
	}
	fresh := 0
	for _, code := range aside[:n] {
		if table[code] == unset {
			table[code], aside[fresh] = next, code
			next, fresh = next+1, fresh+1
		}
	}
	return numbered[:had+fresh]
}

// translate writes what a table has for each code.
func translate(out, codes, table []uint32) {
	out = out[:len(codes)]
	for i, code := range codes {
		out[i] = table[code]
	}
}

func bit(b bool) int {
	if b {
		return 1
	}
	return 0
}
