package parquet

import (
	"encoding/binary"
	"math/bits"
	"slices"
)

// fronts compresses the page of a dictionary of texts: each one by what its front has in
// common with the one before it, or the one before that. A general compressor finds
// little else in such pages, and has to search for it. A match begins behind the first
// byte of the text's length, as the other three are 0.
type fronts struct {
	literals literals
	matches  []match
}

// match is a sequence of zstd: how many literals stand before a match, its length, and how
// far back the same bytes are.
type match struct{ literals, length, distance uint32 }

const (
	mostFront   = 255 // bytes of a text
	leastFronts = 512 // bytes of a page: the frame of fewer is not worth it

	// mostTexts are bytes of texts in a block: then it has fewer than 0x7f00 matches, and
	// what is made of it is no larger than a block may be.
	mostTexts = frameBlock - frameBlock/16
)

// appendFrame appends the page, of texts of which none has more than mostFront bytes. What
// is not smaller than the page MUST NOT be used.
func (f *fronts) appendFrame(out, page []byte, texts int) []byte {
	out = beginFrame(out, len(page))
	mean := len(page) / texts
	code := codeOfDistance(mean + mean/4)
	for at, before := 0, [2]int{}; at < len(page); {
		at, before = f.find(page, at, before, code)
		out = f.appendBlock(out, code, at == len(page))
	}
	return out
}

// codeOfDistance is how many bits a distance and 3 more has below its highest one. Where
// all matches have one code, a block says it once.
func codeOfDistance(distance int) int { return bits.Len32(uint32(distance+3)) - 1 }

// find fills matches and literals of a block of texts from one on, as many as it may
// hold. It returns where the next text is, and the two before that. Where the text before is
// too near for the code, the one before that is taken.
func (f *fronts) find(page []byte, at int, before [2]int, code int) (int, [2]int) {
	f.matches = f.matches[:0]
	f.literals.b = slices.Grow(f.literals.b[:0], mostTexts+literalPiece)
	literals, kept, end := f.literals.b, at, at+mostTexts // the next literals begin at kept
	for at < len(page) {
		next := at + 4 + int(page[at])
		if next > end {
			break
		}
		with := before[0]
		if codeOfDistance(at-with) < code {
			with = before[1]
		}
		if at > with && codeOfDistance(at-with) == code {
			n := common(page, at+1, with+1, next)
			f.matches = append(f.matches, match{uint32(at + 1 - kept), uint32(n), uint32(at - with)})
			literals = appendPiece(literals, page, kept, at+1)
			kept = at + 1 + n
		}
		at, before = next, [2]int{at, before[0]}
	}
	f.literals.b = append(literals, page[kept:at]...)
	return at, before
}

// common is how many bytes of the page are the same from two places on, before an end.
func common(page []byte, at, with, end int) int {
	n := 0
	for at+n < end {
		if at+n+8 > len(page) {
			if page[at+n] != page[with+n] {
				break
			}
			n++
			continue
		}
		if x := binary.LittleEndian.Uint64(page[at+n:]) ^ binary.LittleEndian.Uint64(page[with+n:]); x != 0 {
			n += bits.TrailingZeros64(x) / 8
			break
		}
		n += 8
	}
	return min(n, end-at)
}

const literalPiece = 16

// appendPiece appends a part of the page to literals, which have room for a piece more: most
// parts are shorter, so a whole one is copied.
func appendPiece(literals, page []byte, from, to int) []byte {
	if to-from > literalPiece || from+literalPiece > len(page) {
		return append(literals, page[from:to]...)
	}
	at := len(literals)
	*(*[literalPiece]byte)(literals[at : at+literalPiece]) = *(*[literalPiece]byte)(page[from:])
	return literals[:at+to-from]
}

// appendBlock appends a block of what was found.
func (f *fronts) appendBlock(out []byte, code int, last bool) []byte {
	at := len(out)
	out = f.literals.append(append(out, 0, 0, 0), true)
	out = appendCount(out, len(f.matches))
	if len(f.matches) > 0 {
		out = append(out, oneDistance, byte(code))
		out = f.appendMatches(out, code)
	}
	putBlockHead(out[at:], len(out)-at-3, blockPacked, last)
	return out
}

// oneDistance says that distances have one code, and lengths the tables that any zstd has.
const oneDistance = 0b00_01_00_00

// appendMatches appends matches as a reader wants them, who begins at the end: of each one
// the bits of its distance, its length and its literals, and then what leads from its
// states to those of the next one.
func (f *fronts) appendMatches(out []byte, code int) []byte {
	w := backward{out: slices.Grow(out, 8*len(f.matches)+16)}
	last := &f.matches[len(f.matches)-1]
	literals, length := literalsCode(last.literals), lengthCode(last.length)
	states := [2]uint8{literalsTable.first[literals.code], lengthTable.first[length.code]}
	for i := len(f.matches) - 1; ; i-- {
		w.add(uint64(literals.rest), literals.bits)
		w.add(uint64(length.rest), length.bits)
		w.add(uint64(f.matches[i].distance+3)&(1<<code-1), uint8(code))
		w.flush()
		if i == 0 {
			break
		}
		literals, length = literalsCode(f.matches[i-1].literals), lengthCode(f.matches[i-1].length)
		step := &lengthTable.before[length.code][states[1]]
		w.add(uint64(step.rest), step.bits)
		states[1] = step.state
		step = &literalsTable.before[literals.code][states[0]]
		w.add(uint64(step.rest), step.bits)
		states[0] = step.state
	}
	w.add(uint64(states[1]), stateBits)
	w.add(uint64(states[0]), stateBits)
	return w.end()
}
