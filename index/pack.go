package index

import (
	"encoding/binary"
	"fmt"
	"math/bits"
	"slices"
)

// A packed column is a list of numbers in as few bits as is cheap to read at any
// place. It has one of two forms, named by its first byte:
//
//	frame       base, and for each number its distance from it in the same number of
//	            bits; the few that do not fit have their high bits in a list
//	dictionary  the distinct numbers, and for each place which of them
//
// docs/format/segment.md has the bytes.
const (
	formFrame      = 0
	formDictionary = 1

	// maxPacked is how many numbers a column has at most: places of those that do not
	// fit take 16 bits.
	maxPacked = 1 << 16
	// maxDistinct is where a dictionary stops to pay.
	maxDistinct = 256
	// packPad is how many bytes MUST follow a column in memory: numbers are read eight
	// bytes at a time, and one more.
	packPad = 9
)

// appendBits writes each value's distance from base, which MUST have at most width bits,
// the first one lowest, and fills up the last byte with zeros.
func appendBits(dst []byte, values []uint64, base uint64, width int) []byte {
	if width == 0 {
		return dst
	}
	start, size := len(dst), bitsLen(len(values), width)
	dst = slices.Grow(dst, size+wordsOfEight)[:start+size+wordsOfEight]
	out := dst[start:]
	if width <= 16 {
		n := len(values) &^ 7
		putEights(out, values[:n], base, uint(width))
		values, out = values[n:], out[n/8*width:]
	}
	var word uint64
	have := 0
	for _, v := range values {
		v -= base
		word |= v << (have & 63)
		if have += width; have >= 64 {
			binary.LittleEndian.PutUint64(out, word)
			out = out[8:]
			have -= 64
			word = v >> 1 >> ((width - have - 1) & 63) // 0 where nothing is left
		}
	}
	binary.LittleEndian.PutUint64(out, word)
	return dst[:start+size]
}

// wordsOfEight is how many bytes are written at once: as much may be written behind a list.
const wordsOfEight = 16

// putEights writes values, a multiple of eight, in at most 16 bits each. Eight of them
// are width bytes and begin with a byte of their own; what is written too much, the next
// eight write over. A shift by 64 leaves 0.
func putEights(out []byte, values []uint64, base uint64, width uint) {
	bases := four(base, base, base, base, width)
	if width <= 8 {
		for ; len(values) >= 8; values, out = values[8:], out[width:] {
			v := (*[8]uint64)(values)
			low, high := four(v[0], v[1], v[2], v[3], width)-bases, four(v[4], v[5], v[6], v[7], width)-bases
			binary.LittleEndian.PutUint64(out, low|high<<(4*width&63))
		}
		return
	}
	for ; len(values) >= 8; values, out = values[8:], out[width:] {
		v := (*[8]uint64)(values)
		low, high := four(v[0], v[1], v[2], v[3], width)-bases, four(v[4], v[5], v[6], v[7], width)-bases
		binary.LittleEndian.PutUint64(out, low|high<<(4*width))
		binary.LittleEndian.PutUint64(out[8:], high>>(64-4*width))
	}
}

// four puts values above one another, so that their sum less that of four bases is their
// distances side by side, although each by itself may be wider than that.
func four(a, b, c, d uint64, width uint) uint64 {
	width &= 31 // as it is anyway: it spares a comparison for each shift
	return ((d<<width+c)<<width+b)<<width + a
}

// bitsLen is what n values of a width take, in bytes.
func bitsLen(n, width int) int { return (n*width + 7) / 8 }

// bitsAt reads value i of a list that appendBits wrote.
func bitsAt(b []byte, i, width int) uint64 {
	at := i * width
	p, shift := b[at>>3:], at&7
	v := binary.LittleEndian.Uint64(p) >> shift
	if shift+width > 64 {
		v |= uint64(p[8]) << (64 - shift)
	}
	return v & (1<<width - 1)
}

// packer writes packed columns. Its memory is kept from one to the next.
type packer struct {
	places []uint16 // of values over the width
	highs  []uint64
	seen   *[1 << 16]uint32 // by number: the round when it was last seen, and which of the distinct ones it was
	round  uint32           // in steps of maxDistinct
	codes  []uint64
}

// frame appends values in the first form, of which base is the least. Those over the width
// are changed.
func (p *packer) frame(dst []byte, values []uint64, base uint64) []byte {
	var lengths, second, third, fourth [65]uint32 // four, so that equal neighbours need not wait for each other
	rest := values
	for ; len(rest) >= 4; rest = rest[4:] {
		v := (*[4]uint64)(rest)
		lengths[bits.Len64(v[0]-base)]++
		second[bits.Len64(v[1]-base)]++
		third[bits.Len64(v[2]-base)]++
		fourth[bits.Len64(v[3]-base)]++
	}
	for _, v := range rest {
		lengths[bits.Len64(v-base)]++
	}
	for i := range lengths {
		lengths[i] += second[i] + third[i] + fourth[i]
	}
	width, over, longest := frameWidth(&lengths, len(values))
	dst = append(dst, formFrame)
	dst = binary.AppendUvarint(dst, base)
	dst = append(dst, byte(width))
	dst = binary.LittleEndian.AppendUint16(dst, uint16(over))
	if over == 0 {
		return appendBits(dst, values, base, width)
	}
	p.places, p.highs = p.places[:0], p.highs[:0]
	for i, v := range values {
		if high := (v - base) >> (width & 63); high != 0 {
			p.places, p.highs = append(p.places, uint16(i)), append(p.highs, high)
			values[i] -= high << width
		}
	}
	dst = appendBits(dst, values, base, width)
	dst = append(dst, byte(longest-width))
	for _, i := range p.places {
		dst = binary.LittleEndian.AppendUint16(dst, i)
	}
	return appendBits(dst, p.highs, 0, longest-width)
}

// least is the least value, or 0 where there is none.
func least(values []uint64) uint64 {
	if len(values) == 0 {
		return 0
	}
	a := values[0]
	b, c, d := a, a, a // four, so that one comparison need not wait for the one before
	for ; len(values) >= 4; values = values[4:] {
		a, b, c, d = min(a, values[0]), min(b, values[1]), min(c, values[2]), min(d, values[3])
	}
	for _, v := range values {
		a = min(a, v)
	}
	return min(a, b, c, d)
}

// frameWidth chooses the width that takes the fewest bits, and says how many values
// are over it and how long the longest is.
func frameWidth(lengths *[65]uint32, n int) (width, over, longest int) {
	for longest = 64; longest > 0 && lengths[longest] == 0; {
		longest--
	}
	width = longest
	best, more := n*longest, 0
	for w := longest - 1; w >= 0; w-- {
		more += int(lengths[w+1])
		if cost := n*w + more*(16+longest-w) + 8; cost < best && more < maxPacked {
			best, width, over = cost, w, more
		}
	}
	return width, over, longest
}

// either appends values below 65,536 in the form that takes fewer bytes. They may be
// changed.
func (p *packer) either(dst []byte, values []uint64) []byte {
	if p.seen == nil {
		p.seen = new([1 << 16]uint32)
	}
	if p.round += maxDistinct; p.round == 0 {
		clear(p.seen[:])
		p.round = maxDistinct
	}
	var distinct [maxDistinct]uint16
	n, most := 0, uint64(0)
	p.codes = slices.Grow(p.codes[:0], len(values))[:len(values)]
	for i, v := range values {
		most = max(most, v)
		code := p.seen[uint16(v)] - p.round
		if code >= maxDistinct {
			if n == maxDistinct {
				return p.frame(dst, values, least(values))
			}
			code = uint32(n)
			p.seen[uint16(v)] = p.round + code
			distinct[n] = uint16(v)
			n++
		}
		p.codes[i] = uint64(code)
	}
	width := bits.Len(uint(max(n, 1) - 1))
	if 16*n+width*len(values) >= bits.Len64(most)*len(values) {
		return p.frame(dst, values, least(values))
	}
	dst = append(dst, formDictionary, byte(n-1))
	for _, v := range distinct[:n] {
		dst = binary.LittleEndian.AppendUint16(dst, v)
	}
	return appendBits(dst, p.codes, 0, width)
}

// column is a packed column made ready to be read.
type column struct {
	n, width  int
	base      uint64
	bits      []byte
	places    []byte // of those over the width, 16 bits each, ascending
	highs     []byte // their high bits
	highWidth int
	distinct  []byte // of a dictionary, 16 bits each
}

// parseColumn reads a packed column of n values. b MUST have packPad bytes behind its
// length. All values that it can return are checked here but those of dictionaries
// whose codes are too high: see at.
func parseColumn(b []byte, n int) (c column, err error) {
	whole := len(b)
	bad := func(what string) (column, error) {
		return column{}, fmt.Errorf("packed column of %d bytes for %d numbers: %s", whole, n, what)
	}
	if len(b) < 2 {
		return bad("too short")
	}
	c.n = n
	if b[0] == formDictionary {
		count := int(b[1]) + 1
		c.width = bits.Len(uint(count - 1))
		if len(b) != 2+2*count+bitsLen(n, c.width) {
			return bad("length of a dictionary")
		}
		c.distinct, c.bits = b[2:2+2*count], b[2+2*count:len(b)+packPad]
		return c, nil
	}
	if b[0] != formFrame {
		return bad("unknown form")
	}
	base, k := binary.Uvarint(b[1:])
	if k <= 0 || len(b) < 1+k+3 {
		return bad("base")
	}
	c.base = base
	b = b[1+k:]
	c.width = int(b[0])
	over := int(binary.LittleEndian.Uint16(b[1:]))
	b = b[3:]
	size := bitsLen(n, c.width)
	if c.width > 64 || over > n || len(b) < size {
		return bad("width")
	}
	c.bits, b = b[:size+packPad], b[size:]
	if over == 0 {
		if len(b) != 0 {
			return bad("too long")
		}
		return c, nil
	}
	if len(b) < 1 {
		return bad("no high bits")
	}
	c.highWidth = int(b[0])
	if c.highWidth+c.width > 64 || len(b) != 1+2*over+bitsLen(over, c.highWidth) {
		return bad("high bits")
	}
	c.places, c.highs = b[1:1+2*over], b[1+2*over:len(b)+packPad]
	last := -1
	for i := range over {
		at := int(binary.LittleEndian.Uint16(c.places[2*i:]))
		if at <= last || at >= n {
			return bad("places")
		}
		last = at
	}
	return c, nil
}

// at is value i. A code beyond its dictionary, which only a file made wrong has, reads
// as the last of the distinct values.
func (c *column) at(i int) uint64 {
	v := bitsAt(c.bits, i, c.width)
	if c.distinct != nil {
		return c.distinctAt(v)
	}
	if len(c.places) > 0 {
		if k, ok := c.place(i); ok {
			v |= bitsAt(c.highs, k, c.highWidth) << c.width
		}
	}
	return v + c.base
}

func (c *column) distinctAt(code uint64) uint64 {
	code = min(code, uint64(len(c.distinct)/2-1))
	return uint64(binary.LittleEndian.Uint16(c.distinct[2*code:]))
}

// place finds i among the places.
func (c *column) place(i int) (int, bool) {
	low, high := 0, len(c.places)/2
	for low < high {
		mid := (low + high) / 2
		if int(binary.LittleEndian.Uint16(c.places[2*mid:])) < i {
			low = mid + 1
		} else {
			high = mid
		}
	}
	return low, low < len(c.places)/2 && int(binary.LittleEndian.Uint16(c.places[2*low:])) == i
}

// all appends every value to dst.
func (c *column) all(dst []uint64) []uint64 {
	start := len(dst)
	dst = slices.Grow(dst, c.n)[:start+c.n]
	out := dst[start:]
	if c.distinct != nil {
		unpackBits(out, c.bits, c.width, 0)
		var values [maxDistinct]uint64
		for code := range 1 << c.width {
			values[code] = c.distinctAt(uint64(code))
		}
		for i, code := range out {
			out[i] = values[byte(code)]
		}
		return dst
	}
	unpackBits(out, c.bits, c.width, c.base)
	for k := range len(c.places) / 2 {
		out[binary.LittleEndian.Uint16(c.places[2*k:])] += bitsAt(c.highs, k, c.highWidth) << c.width
	}
	return dst
}

// unpackBits fills out with the values of a list that appendBits wrote, each and base.
func unpackBits(out []uint64, b []byte, width int, base uint64) {
	mask := uint64(1)<<width - 1
	i, at := 0, 0 // values so far, and bits
	switch {
	case width == 0:
		for i := range out {
			out[i] = base
		}
		return
	case width == 8:
		for i, v := range b[:len(out)] {
			out[i] = uint64(v) + base
		}
		return
	case width <= 16: // eight at a time: they begin with a byte of their own
		i = len(out) &^ 7
		unpackEights(out[:i], b, uint(width), base)
		at = i * width
	case width <= 28:
		for ; i+2 <= len(out); i += 2 {
			word, two := binary.LittleEndian.Uint64(b[at>>3:])>>(at&7), out[i:i+2:i+2]
			two[0] = word&mask + base
			two[1] = word>>(width&63)&mask + base
			at += 2 * width
		}
	}
	for ; i < len(out); i++ {
		out[i] = bitsAt(b, i, width) + base
	}
}

// unpackEights is unpackBits for a multiple of eight values of at most 16 bits.
func unpackEights(out []uint64, b []byte, width uint, base uint64) {
	width &= 31 // as it is anyway: it spares a comparison for each shift
	mask := uint64(1)<<width - 1
	second, rest := width/2, 4*(width&1) // bytes and bits before the second four
	for ; len(out) >= 8; out, b = out[8:], b[width:] {
		low, high, v := binary.LittleEndian.Uint64(b), binary.LittleEndian.Uint64(b[second:])>>rest, (*[8]uint64)(out)
		v[0] = low&mask + base
		v[1] = low>>width&mask + base
		v[2] = low>>(2*width&63)&mask + base
		v[3] = low>>(3*width&63)&mask + base
		v[4] = high&mask + base
		v[5] = high>>width&mask + base
		v[6] = high>>(2*width&63)&mask + base
		v[7] = high>>(3*width&63)&mask + base
	}
}

// zigzag makes small numbers of both signs small unsigned ones.
func zigzag(v int64) uint64   { return uint64(v)<<1 ^ uint64(v>>63) }
func unzigzag(v uint64) int64 { return int64(v>>1) ^ -int64(v&1) }
