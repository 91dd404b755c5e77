package ingest

import (
	"encoding/binary"

	"github.com/whichpod/whichpod/flow"
)

// quickTuples reads tuples of the usual form, for one builder.
type quickTuples struct {
	addresses quickAddresses

	highText uint64 // the first eight digits of the last time
	high     int64  // their value

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

// parse reads the tuple that b starts with into t, but for its offset, and returns its
// length. It tells the places of all commas before it looks at a field, so that the
// fields need not wait for each other. On false nothing but t has changed.
func (p *quickTuples) parse(b []byte, rows *flow.Builder, t *flow.Tuple) (int, bool) {
	if len(b) < quickTuple {
		return 0, false
	}
	w := (*[quickTuple]byte)(b)
	time, ok := p.time(w)
	if !ok {
		return 0, false
	}
	t.Time = time
	m := commas(w, timeBytes) // behind the time: nine fields have at most 64 bytes
	var e [8]int              // where source … encryption end
	for k := range e {
		e[k] = timeBytes + first(m)
		m &= m - 1
	}
	if e[7] >= timeBytes+64 {
		return 0, false
	}
	if t.Src, ok = p.addresses.code(w, timeBytes, e[0], rows); !ok {
		return 0, false
	}
	if t.Dst, ok = p.addresses.code(w, e[0]+1, e[1], rows); !ok {
		return 0, false
	}
	src, ok1 := numberAt(w, e[1]+1, e[2], 5)
	dst, ok2 := numberAt(w, e[2]+1, e[3], 5)
	protocol, ok3 := numberAt(w, e[3]+1, e[4], 3)
	if !(ok1 && ok2 && ok3) || src > 65535 || dst > 65535 || protocol > 255 || e[5]-e[4] != 2 || e[6]-e[5] != 2 {
		return 0, false
	}
	t.SrcPort, t.DstPort, t.Protocol = uint16(src), uint16(dst), uint8(protocol)
	t.Direction, t.State = w[e[4]+1], w[e[5]+1]
	if t.Direction != flow.Inbound && t.Direction != flow.Outbound || !isState(t.State) {
		return 0, false
	}
	if !p.encrypted(w, e[6]+1, e[7], rows) {
		return 0, false
	}
	t.Encryption = p.encryption
	return counters(w, e[7]+1, t)
}

func isState(c byte) bool {
	return c == flow.Begin || c == flow.End || c == flow.Continue || c == flow.Denied
}

// time reads 13 digits and the comma behind them.
func (p *quickTuples) time(w *[quickTuple]byte) (int64, bool) {
	if text := binary.LittleEndian.Uint64(w[:]); text != p.highText {
		v, ok := number(text, 8)
		if !ok {
			return 0, false
		}
		p.highText, p.high = text, int64(v)*100_000
	}
	low, ok := number(binary.LittleEndian.Uint64(w[5:]), 5)
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

// counters reads the last four fields, from the given place on, and returns where the
// quote behind them stands.
func counters(w *[quickTuple]byte, from int, t *flow.Tuple) (int, bool) {
	const zeros = '0'*(1|1<<16|1<<32|1<<48) | ','*(1<<8|1<<24|1<<40) | '"'<<56 // 0,0,0,0"
	if from > timeBytes+64 {
		return 0, false
	}
	t.Null = 0
	if binary.LittleEndian.Uint64(w[from:]) == zeros {
		t.Counters = [4]uint64{}
		return from + 7, true
	}
	m := ends(w, from)
	at := from
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
		if end == at {
			t.Null |= 1 << k
		}
		t.Counters[k], _ = number(binary.LittleEndian.Uint64(w[end-8:]), end-at) // digits, all of them
		at = end + 1
	}
	return at - 1, true
}
