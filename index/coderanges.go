package index

import "slices"

// codeRanges is a set of dictionary codes, as half-open ranges that ascend and do not
// touch. nil stands for every code where a filter does not name any.
type codeRanges []codeRange

type codeRange struct{ low, high uint32 }

// add returns the set with [low, high) in it.
func (r codeRanges) add(low, high int) codeRanges {
	if low >= high {
		return r
	}
	out := codeRanges{}
	mine := codeRange{uint32(low), uint32(high)}
	for _, x := range r {
		if x.high < mine.low || mine.high < x.low {
			out = append(out, x)
			continue
		}
		mine.low, mine.high = min(mine.low, x.low), max(mine.high, x.high)
	}
	at := 0
	for at < len(out) && out[at].low < mine.low {
		at++
	}
	return slices.Insert(out, at, mine)
}

func (r codeRanges) has(code uint32) bool {
	for _, x := range r {
		if code < x.high {
			return code >= x.low
		}
	}
	return false
}

// size is how many codes are in the set.
func (r codeRanges) size() (n int) {
	for _, x := range r {
		n += int(x.high - x.low)
	}
	return n
}

// bitSet is a set of small numbers.
type bitSet []uint64

func newBitSet(n int) bitSet { return make(bitSet, (n+63)/64) }

func (s bitSet) add(i int)      { s[i/64] |= 1 << (i % 64) }
func (s bitSet) has(i int) bool { return s[i/64]&(1<<(i%64)) != 0 }
