package ingest

import (
	"encoding/binary"

	"github.com/whichpod/whichpod/flow"
)

// quickStretch is how many tuples are read before their addresses are looked up. The
// table of addresses is larger than the caches of a core, and so as many look-ups as
// possible should be on their way at once.
const quickStretch = 32

// quickTuples reads tuples of the usual form, for one builder.
type quickTuples struct {
	addresses quickAddresses
	marks     marks                   // of what is read now
	stretch   [quickStretch]quickEnds // of the tuples that were read last
	places    [2 * quickStretch]int   // of their addresses in the table
	middles   [1 << middleBits]middle // those that the batch has

	highDigits uint64 // of the last time, the first eight: what they differ from zeros in
	high       int64  // their value
}

// begin MUST come before the first tuple of a batch.
func (p *quickTuples) begin(rows *flow.Builder) { p.addresses.begin(rows.Dictionary()) }

// forget MUST come after each batch.
func (p *quickTuples) forget() { clear(p.middles[:]) }

const (
	quickTuple = 136 // bytes that must be there to read a tuple
	timeBytes  = 14  // of the time with its comma
	leastTuple = len("1787236800000,0.0.0.0,0.0.0.0,0,0,6,O,B,,,,,")
)

// quickEnds are a tuple's addresses, which are still to be looked up.
type quickEnds struct {
	tuple          int    // where it begins
	src, dst       int    // where they end in it; 0: there is nothing to be looked up
	srcKey, dstKey uint64 // of their texts
}

// parse reads the tuple that data has at a place into row n of t, but for its offset and
// its addresses, and returns its length. That, and the places of all commas, are known
// before it looks at a field: so neither the fields nor the next tuple need wait for each
// other. A quote that is no comma is part of a field, which is not valid then. On false the
// row is of no use.
func (p *quickTuples) parse(data []byte, at int, rows *flow.Builder, t *flow.Tuples, n int) (int, bool) {
	if len(data)-at < quickTuple || at+leastTuple > p.marks.to {
		return 0, false
	}
	w := (*[quickTuple]byte)(data[at:])
	place := at - p.marks.from
	end := leastTuple + first(p.marks.quotes.at(place+leastTuple))
	m := p.marks.commas.at(place + timeBytes) // behind the time: nine fields have no more than is marked
	e0, m := nextMark(m)                      // where the source ends, and so on: no array, to stay in registers
	e1, m := nextMark(m)
	e2, m := nextMark(m)
	e3, m := nextMark(m)
	_, m = nextMark(m)
	_, m = nextMark(m)
	_, m = nextMark(m)
	e7, _ := nextMark(m)
	srcDigits, dstDigits := e2-e1-1, e3-e2-1
	if e7 >= timeBytes+markedBytes || uint(srcDigits|dstDigits) > 7 {
		return 0, false
	}
	high, rest := eight(w, 0)^'0'*ones, eight(w, 8)
	if high != p.highDigits && !p.setHigh(high) {
		return 0, false
	}
	low, bad := decimal(rest, 5)
	srcPort, bad1 := decimal(eight(w, e1+1), srcDigits)
	dstPort, bad2 := decimal(eight(w, e2+1), dstDigits)
	if (bad|bad1|bad2)&highs != 0 || srcPort|dstPort > 65535 || rest>>40&0xff != ',' {
		return 0, false
	}
	head, tail := eight(w, e3+1), eight(w, e7-8)
	mid := &p.middles[middlePlace(head, tail)]
	if (mid.head != head || mid.tail != tail || mid.size != e7-e3-1) && !mid.read(w, e3+1, e7, rows) {
		return 0, false
	}
	t.Time[n], t.SrcPort[n], t.DstPort[n] = p.high+int64(low), uint16(srcPort), uint16(dstPort)
	t.Protocol[n], t.Direction[n], t.State[n], t.Encryption[n] = mid.protocol, mid.direction, mid.state, mid.encryption
	x := &p.stretch[n]
	x.tuple, x.src, x.dst = at, e0, e1
	return end, p.counters(w, place, e7+1, end, t, n)
}

// eight are the eight bytes at a place, which MUST be below 128.
func eight(w *[quickTuple]byte, at int) uint64 {
	at &= 127 // known to be in bounds
	return binary.LittleEndian.Uint64(w[at : at+8])
}

// nextMark is where the first mark behind the time stands in a tuple, and the marks behind
// it. Without any it is behind all.
func nextMark(m uint64) (int, uint64) { return timeBytes + first(m), m & (m - 1) }

// setHigh takes the first eight digits of a time, given by what they differ from zeros in,
// and says whether they are digits.
func (p *quickTuples) setHigh(digits uint64) bool {
	v, bad := decimal(digits^'0'*ones, 8)
	if bad&highs != 0 {
		return false
	}
	p.highDigits, p.high = digits, int64(v)*100_000
	return true
}

// counters reads the last four fields of a tuple, which stand in [from, end), into row n
// of t. The tuple stands at a place of the marks.
func (p *quickTuples) counters(w *[quickTuple]byte, place, from, end int, t *flow.Tuples, n int) bool {
	t.Null[n] = 0
	m := p.marks.commas.at(place + from)
	c0 := from + first(m)
	m &= m - 1
	c1 := from + first(m)
	m &= m - 1
	c2 := from + first(m)
	n0, n1, n2, n3 := c0-from, c1-c0-1, c2-c1-1, end-c2-1
	if uint((n0-1)|(n1-1)|(n2-1)|(n3-1)) > 7 {
		return sparse(w, [...]int{from, c0 + 1, c1 + 1, c2 + 1, end + 1}, t, n)
	}
	var bad, bad1, bad2, bad3 uint64
	t.Counters[0][n], bad = decimal(eight(w, from), n0)
	t.Counters[1][n], bad1 = decimal(eight(w, c0+1), n1)
	t.Counters[2][n], bad2 = decimal(eight(w, c1+1), n2)
	t.Counters[3][n], bad3 = decimal(eight(w, c2+1), n3)
	return (bad|bad1|bad2|bad3)&highs == 0 && w[end] == '"'
}

// sparse is counters where some are empty. It is told where each of them begins, and what
// stands behind the last one's quote.
func sparse(w *[quickTuple]byte, at [5]int, t *flow.Tuples, n int) bool {
	for k := range t.Counters {
		digits, bad := at[k+1]-1-at[k], uint64(0)
		switch {
		case digits == 0:
			t.Counters[k][n] = 0
			t.Null[n] |= 1 << k
		case uint(digits) > 8:
			return false
		default:
			t.Counters[k][n], bad = decimal(eight(w, at[k]), digits)
		}
		if bad&highs != 0 {
			return false
		}
	}
	return w[at[4]-1] == '"'
}

// middle is what a tuple has between its ports and its counters: few texts in most logs,
// and so each is read once.
type middle struct {
	head, tail uint64 // the first and the last eight bytes
	size       int    // of the text, up to 16; 0: free

	encryption                 uint32
	protocol, direction, state uint8
}

const (
	middleBits = 7
	middleSeed = 0xf5c7036d1ab1a38b // each usual text has a place of its own
)

func middlePlace(head, tail uint64) uint64 { return (head + tail) * middleSeed >> (64 - middleBits) }

// read reads the fields in [from, to), and says whether they are valid.
func (x *middle) read(w *[quickTuple]byte, from, to int, rows *flow.Builder) bool {
	*x = middle{}
	if to-from > 16 {
		return false
	}
	y := middle{head: eight(w, from), tail: eight(w, to-8), size: to - from}
	f := fields{b: w[:], i: from}
	ok := f.protocol(&y.protocol) &&
		f.letter(&y.direction, flow.Inbound, flow.Outbound, 0, 0) &&
		f.letter(&y.state, flow.Begin, flow.Continue, flow.End, flow.Denied)
	if !ok || f.i > to {
		return false
	}
	text := w[f.i:to]
	if plain(text) != len(text) || !ascii(text) {
		return false
	}
	y.encryption = rows.EncryptionCode(string(text))
	*x = y
	return true
}

func ascii(b []byte) bool {
	for _, c := range b {
		if c >= 0x80 {
			return false
		}
	}
	return true
}

// findPlaces finds where in the table the addresses of the first n rows are, whose tuples are
// in data.
func (p *quickTuples) findPlaces(data []byte, n int) {
	places := p.places[:2*n]
	for i := range p.stretch[:n] {
		x := &p.stretch[i]
		if x.src == 0 {
			continue
		}
		w := (*[quickTuple]byte)(data[x.tuple:])
		x.srcKey, x.dstKey = textKey(w, timeBytes, x.src), textKey(w, x.src+1, x.dst)
		places[2*i], places[2*i+1] = p.addresses.place(x.srcKey), p.addresses.place(x.dstKey)
	}
	p.addresses.prefetch(places)
}

// lookUp sets the addresses of rows [from, to), whose tuples are in data and whose places
// were found. It returns the first one of which an address is not in dotted decimal, or to.
// A table that grows meanwhile has addresses at other places, and they are found by code.
func (p *quickTuples) lookUp(data []byte, rows *flow.Builder, t *flow.Tuples, from, to int) int {
	places := &p.places
	for i := from; i < to; i++ {
		x := &p.stretch[i]
		if x.src == 0 {
			continue
		}
		if x.srcKey == 0 || x.dstKey == 0 {
			return i
		}
		src, dst := p.addresses.near(x.srcKey, places[2*i]), p.addresses.near(x.dstKey, places[2*i+1])
		if src.text == x.srcKey && dst.text == x.dstKey {
			t.Src[i], t.Dst[i] = src.code, dst.code
			continue
		}
		var ok bool
		if t.Src[i], ok = p.addresses.code(x.srcKey, data, x.tuple+timeBytes, rows); !ok {
			return i
		}
		if t.Dst[i], ok = p.addresses.code(x.dstKey, data, x.tuple+x.src+1, rows); !ok {
			return i
		}
	}
	return to
}
