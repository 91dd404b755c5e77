package ingest

import (
	"encoding/binary"

	"github.com/whichpod/whichpod/flow"
)

// quickStretch is how many tuples are read before their addresses are looked up. The
// table of addresses is larger than the first caches, and so as many look-ups as
// possible should be on their way at once.
const quickStretch = 32

// quickTuples reads tuples of the usual form, for one builder.
type quickTuples struct {
	addresses quickAddresses
	marks     marks                   // of what is read now
	stretch   [quickStretch]quickEnds // of the tuples that were read last

	highDigits uint64 // of the last time, the first eight: what they differ from zeros in
	high       int64  // their value

	encryptionText uint64 // the last value of the field, of at most eight bytes
	encryptionLen  int    // 0: there was none yet
	encryption     uint32
}

// begin MUST come before the first tuple of a batch.
func (p *quickTuples) begin(rows *flow.Builder) {
	p.addresses.begin(rows.Dictionary())
	p.encryptionLen = 0
}

const (
	quickTuple = 128 // bytes that must be there to read a tuple
	timeBytes  = 14  // of the time with its comma
)

// quickEnds are a tuple's addresses, which are still to be looked up.
type quickEnds struct {
	src, dst uint64 // keys of their texts; 0: there is nothing to be looked up
	tuple    int    // where it begins
	at       int    // of the destination in it; the source is behind the time
}

// parse reads the tuple that data has at a place into row n of t, but for its offset and
// its addresses, and returns its length. The places of all commas are known before it
// looks at a field, so that the fields need not wait for each other. On false the row is
// of no use.
func (p *quickTuples) parse(data []byte, at int, rows *flow.Builder, t *flow.Tuples, n int) (int, bool) {
	if len(data)-at < quickTuple || at+timeBytes > p.marks.to {
		return 0, false
	}
	w := (*[quickTuple]byte)(data[at:])
	time, ok := p.time(w)
	if !ok {
		return 0, false
	}
	m := p.marks.at(at + timeBytes) // behind the time: nine fields have at most 64 bytes
	e0, m := nextMark(m)            // where the source ends, and so on: no array, to stay in registers
	e1, m := nextMark(m)
	e2, m := nextMark(m)
	e3, m := nextMark(m)
	e4, m := nextMark(m)
	e5, m := nextMark(m)
	e6, m := nextMark(m)
	e7, _ := nextMark(m)
	if e7 >= timeBytes+64 || w[e0]|w[e1]|w[e2]|w[e3]|w[e4]|w[e5]|w[e6]|w[e7] != ',' { // with a quote among them it is another character
		return 0, false
	}
	from, to := textKey(w, timeBytes, e0), textKey(w, e0+1, e1)
	srcPort, ok1 := numberAt(w, e1+1, e2, 5)
	dstPort, ok2 := numberAt(w, e2+1, e3, 5)
	protocol, ok3 := numberAt(w, e3+1, e4, 3)
	if from == 0 || to == 0 || !(ok1 && ok2 && ok3) || srcPort > 65535 || dstPort > 65535 || protocol > 255 || e5-e4 != 2 || e6-e5 != 2 {
		return 0, false
	}
	direction, state := w[e4+1], w[e5+1]
	if direction != flow.Inbound && direction != flow.Outbound || !isState(state) || !p.encrypted(w, e6+1, e7, rows) {
		return 0, false
	}
	t.Time[n], t.SrcPort[n], t.DstPort[n] = time, uint16(srcPort), uint16(dstPort)
	t.Protocol[n], t.Direction[n], t.State[n], t.Encryption[n] = uint8(protocol), direction, state, p.encryption
	x := &p.stretch[n]
	x.src, x.dst, x.tuple, x.at = from, to, at, e0+1
	return p.counters(w, at, e7+1, t, n)
}

// nextMark is where the first mark behind the time stands in a tuple, and the marks behind
// it. Without any it is behind all.
func nextMark(m uint64) (int, uint64) { return timeBytes + first(m), m & (m - 1) }

// lookUp sets the addresses of rows [from, to), whose tuples are in data. It returns the
// first one of which an address is not in dotted decimal, or to.
func (p *quickTuples) lookUp(data []byte, rows *flow.Builder, t *flow.Tuples, from, to int) int {
	for i := from; i < to; i++ {
		x := &p.stretch[i]
		if x.src == 0 {
			continue
		}
		src, dst := p.addresses.near(x.src), p.addresses.near(x.dst)
		if src.text == x.src && dst.text == x.dst {
			t.Src[i], t.Dst[i] = src.code, dst.code
			continue
		}
		var ok bool
		if t.Src[i], ok = p.addresses.code(x.src, data, x.tuple+timeBytes, rows); !ok {
			return i
		}
		if t.Dst[i], ok = p.addresses.code(x.dst, data, x.tuple+x.at, rows); !ok {
			return i
		}
	}
	return to
}

func isState(c byte) bool {
	return c == flow.Begin || c == flow.End || c == flow.Continue || c == flow.Denied
}

// time reads 13 digits and the comma behind them.
func (p *quickTuples) time(w *[quickTuple]byte) (int64, bool) {
	text := binary.LittleEndian.Uint64(w[:])
	if digits := text ^ '0'*ones; digits != p.highDigits {
		v, ok := number(text, 8)
		if !ok {
			return 0, false
		}
		p.highDigits, p.high = digits, int64(v)*100_000
	}
	low, ok := number(binary.LittleEndian.Uint64(w[8:]), 5)
	return p.high + int64(low), ok && w[13] == ','
}

// encrypted reads the encryption field at [from, to).
func (p *quickTuples) encrypted(w *[quickTuple]byte, from, to int, rows *flow.Builder) bool {
	n := to - from
	if n < 1 || n > 8 {
		return false
	}
	x := binary.LittleEndian.Uint64(w[from:]) << (64 - 8*n)
	if x == p.encryptionText && n == p.encryptionLen {
		return true
	}
	text := w[from:to]
	if plain(text) != n || !ascii(text) {
		return false
	}
	p.encryptionText, p.encryptionLen, p.encryption = x, n, rows.EncryptionCode(string(text))
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

// counters reads the last four fields of the tuple at a place of data, from the given
// place of it on, into row n of t, and returns where the quote behind them stands.
func (p *quickTuples) counters(w *[quickTuple]byte, tuple, from int, t *flow.Tuples, n int) (int, bool) {
	const zeros = '0'*(1|1<<16|1<<32|1<<48) | ','*(1<<8|1<<24|1<<40) | '"'<<56 // 0,0,0,0"
	t.Null[n] = 0
	if binary.LittleEndian.Uint64(w[from:]) == zeros {
		t.Counters[0][n], t.Counters[1][n], t.Counters[2][n], t.Counters[3][n] = 0, 0, 0, 0
		return from + 7, true
	}
	m := p.marks.at(tuple + from)
	at, digits := from, true
	for k := range t.Counters {
		end := from + first(m)
		m &= m - 1
		want := byte(',')
		if k == 3 {
			want = '"'
		}
		if end >= from+32 || w[end] != want || end-at > 8 {
			return 0, false
		}
		if t.Counters[k][n] = 0; end == at {
			t.Null[n] |= 1 << k
		} else {
			var ok bool
			t.Counters[k][n], ok = number(binary.LittleEndian.Uint64(w[at:]), end-at)
			digits = digits && ok
		}
		at = end + 1
	}
	return at - 1, digits
}
