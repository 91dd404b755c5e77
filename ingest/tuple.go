package ingest

import (
	"encoding/binary"
	"fmt"
	"math/bits"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/whichpod/whichpod/flow"
)

// tupleForm is how tuples are written.
type tupleForm uint8

const (
	vnetTuple  tupleForm = iota // VNet flow log, version 4
	nsgTuple1                   // NSG flow log, version 1
	nsgTuple2                   // NSG flow log, version 2
	tupleForms = iota
)

const (
	// maxTuple bounds a tuple, in bytes. Two IPv6 addresses and four counters of 20
	// digits come to less than half.
	maxTuple = 512

	// maxNames bounds the strings and the IPv6 addresses that a parser remembers, so
	// that hostile input cannot make it grow.
	maxNames = 4096
)

// tupleParser reads flow tuples: fields between commas. Those of VNet flow logs have 13
// (vnet-flow-logs-overview, "Log format"), for those of NSG flow logs see nsg.go:
//
//	time, source IP, destination IP, source port, destination port, protocol,
//	direction, state, encryption, packets sent, bytes sent, packets received, bytes received
type tupleParser struct {
	names     map[string]string
	addresses map[string]netip.Addr

	macText, macNormal string // the last MAC, as given and in normal form
}

// parse reads the tuple that b starts with, up to its closing quote, and returns its
// length. It fills the fields of r that a tuple has. On false r may be half filled,
// and the tuple is not valid or has escapes: then [tupleParser.parseText] decides.
//
// b MUST go on behind the quote. With [recordTail] bytes more than the quote, as in
// any record, all fields are read fast.
func (p *tupleParser) parse(form tupleForm, b []byte, r *flow.Row) (int, bool) {
	if form == vnetTuple {
		return p.parseVNet(b, r)
	}
	return p.parseNSG(form, b, r)
}

func (p *tupleParser) parseVNet(b []byte, r *flow.Row) (int, bool) {
	f := fields{b: b}
	ok := f.time(&r.Time) &&
		p.address(&f, &r.Src) && p.address(&f, &r.Dst) &&
		f.port(&r.SrcPort) && f.port(&r.DstPort) &&
		f.protocol(&r.Protocol) &&
		f.letter(&r.Direction, flow.Inbound, flow.Outbound, 0, 0) &&
		f.letter(&r.State, flow.Begin, flow.Continue, flow.End, flow.Denied)
	if !ok {
		return 0, false
	}
	// The values of the encryption field are documented, but a new one is no reason
	// to lose a row: it is kept as given.
	e, ok := f.next()
	if !ok {
		return 0, false
	}
	if string(e) != r.Encryption {
		r.Encryption = p.name(e)
	}
	r.Allowed = r.State != flow.Denied
	ok = f.counters(&r.Counters)
	n := f.i - 1
	return n, ok && n <= maxTuple
}

// parseText is parse for a tuple that stands alone, its escapes resolved.
func (p *tupleParser) parseText(form tupleForm, t []byte, r *flow.Row) bool {
	if len(t) > maxTuple {
		return false
	}
	b := append(make([]byte, 0, maxTuple+1+len(recordTail)), t...)
	b = append(append(b, '"'), recordTail...)
	n, ok := p.parse(form, b, r)
	return ok && n == len(t)
}

// recordTail is the least that stands behind the closing quote of a record's last
// tuple. So eight bytes can be read at once wherever a field may start.
const recordTail = "]}]}]}}"

// name returns b as a string, the same one for the same bytes where it can.
func (p *tupleParser) name(b []byte) string {
	if s, ok := p.names[string(b)]; ok {
		return s
	}
	if p.names == nil || len(p.names) == maxNames {
		p.names = make(map[string]string)
	}
	s := string(b)
	p.names[s] = strings.ToValidUTF8(s, "\ufffd") // as encoding/json does
	return p.names[s]
}

func (p *tupleParser) address(f *fields, into *netip.Addr) bool {
	if f.ipv4(into) {
		return true
	}
	t, ok := f.next()
	if !ok {
		return false
	}
	if a, ok := p.addresses[string(t)]; ok {
		*into = a
		return true
	}
	a, err := netip.ParseAddr(string(t))
	if err != nil || a.Zone() != "" {
		return false
	}
	if p.addresses == nil || len(p.addresses) == maxNames {
		p.addresses = make(map[string]netip.Addr)
	}
	a = a.Unmap()
	p.addresses[string(t)] = a
	*into = a
	return true
}

// fields reads a tuple from left to right. Each reader takes one field with the
// comma or quote behind it, and returns false where the field is not valid. Numbers
// are read eight digits at a time without a branch for each: their lengths are
// random, and half of the branches would be predicted wrong.
type fields struct {
	b []byte
	i int // start of the next field
}

// next takes a field as it is, with the comma behind it.
func (f *fields) next() ([]byte, bool) {
	for i := f.i; i < len(f.b) && i-f.i <= maxTuple; i++ {
		switch f.b[i] {
		case ',':
			v := f.b[f.i:i]
			f.i = i + 1
			return v, true
		case '"', '\\':
			return nil, false
		}
	}
	return nil, false
}

// number takes a decimal number with end behind it and returns how many digits it
// had, perhaps none.
func (f *fields) number(into *uint64, end byte) (int, bool) {
	b := f.b[f.i:]
	if len(b) < 8 {
		return 0, false
	}
	n, v := eightDigits(binary.LittleEndian.Uint64(b))
	if n == 8 {
		return f.longNumber(into, end)
	}
	*into = v
	f.i += n + 1
	return n, b[n&7] == end
}

// eightDigits returns how many decimal digits the eight bytes of w start with, and
// their value.
func eightDigits(w uint64) (int, uint64) {
	x := w ^ 0x3030303030303030 // digits become 0 to 9
	n := bits.TrailingZeros64(((x+0x7676767676767676)|x)&0x8080808080808080) / 8
	x <<= 64 - 8*uint(n) // zeros in front
	x = x * (1 + 10<<8) >> 8 & 0x00ff00ff00ff00ff
	x = x * (1 + 100<<16) >> 16 & 0x0000ffff0000ffff
	return n, x * (1 + 10000<<32) >> 32
}

// longNumber is number for one of eight digits or more.
func (f *fields) longNumber(into *uint64, end byte) (int, bool) {
	t := f.b[f.i:]
	t = t[:min(len(t), maxTuple+1)]
	n := digits(t)
	if n == len(t) || t[n] != end {
		return n, false
	}
	v := uint64(0)
	if n <= 19 { // always fits
		for _, c := range t[:n] {
			v = v*10 + uint64(c-'0')
		}
	} else if u, err := strconv.ParseUint(string(t[:n]), 10, 64); err == nil {
		v = u
	} else {
		return n, false
	}
	*into = v
	f.i += n + 1
	return n, true
}

// time takes the time stamp, Unix time. It has 13 digits, milliseconds, in all real
// logs, and 10 digits, seconds, in the bandwidth example of vnet-flow-logs-overview:
// so the number of digits decides.
func (f *fields) time(into *int64) bool {
	if len(f.b) < 8 {
		return false
	}
	n, high := eightDigits(binary.LittleEndian.Uint64(f.b))
	if n != 8 {
		return false
	}
	f.i = 8
	var low uint64
	n, ok := f.number(&low, ',')
	if n == 2 {
		*into = int64(high*100+low) * 1000
		return ok
	}
	*into = int64(high*100_000 + low)
	return ok && n == 5
}

// ipv4 takes an address in dotted decimal without leading zeros. On false it has
// taken nothing. It finds all three dots and the comma at once, so that the four
// numbers need not wait for each other.
func (f *fields) ipv4(into *netip.Addr) bool {
	i := f.i
	if i < 4 || len(f.b)-i < 16 { // an address has at most 15 bytes; a time stands before it
		return false
	}
	b := f.b[i-4 : i+16]
	m := noDigits(binary.LittleEndian.Uint64(b[4:])) | noDigits(binary.LittleEndian.Uint64(b[12:]))<<8
	var a [4]byte
	from := 0
	for k := range a {
		end := bits.TrailingZeros32(m | 1<<16)
		m &= m - 1
		want := byte('.')
		if k == 3 {
			want = ','
		}
		n := end - from
		if n < 1 || n > 3 || b[4+end] != want {
			return false
		}
		drop := 8 * uint(4-n) // what stands before the number
		x := (binary.LittleEndian.Uint32(b[end:]) ^ 0x30303030) >> drop
		if n > 1 && x&0xff == 0 {
			return false
		}
		x <<= drop
		v := x>>24 + x>>16&0xff*10 + x>>8&0xff*100
		if v > 255 {
			return false
		}
		a[k] = byte(v)
		from = end + 1
	}
	f.i = i + from
	*into = netip.AddrFrom4(a)
	return true
}

// noDigits returns a bit for each byte of w that is no decimal digit, the first byte
// lowest. Behind a byte that is not ASCII it may take a digit for none.
func noDigits(w uint64) uint32 {
	x := w ^ 0x3030303030303030
	m := ((x + 0x7676767676767676) | x) & 0x8080808080808080
	return uint32(m >> 7 * 0x0102040810204080 >> 56)
}

func (f *fields) port(into *uint16) bool {
	var v uint64
	n, ok := f.number(&v, ',')
	*into = uint16(v)
	return ok && n > 0 && v <= 65535
}

func (f *fields) protocol(into *uint8) bool {
	var v uint64
	n, ok := f.number(&v, ',')
	*into = uint8(v)
	return ok && n > 0 && v <= 255
}

// letter takes one of the given letters.
func (f *fields) letter(into *byte, a, b, c, d byte) bool {
	return f.letterBefore(',', into, a, b, c, d)
}

// letterBefore takes one of the given letters with end behind it.
func (f *fields) letterBefore(end byte, into *byte, a, b, c, d byte) bool {
	if f.i+1 >= len(f.b) || f.b[f.i+1] != end {
		return false
	}
	v := f.b[f.i]
	*into = v
	f.i += 2
	return v != 0 && (v == a || v == b || v == c || v == d)
}

// counters takes the last four fields and the quote behind them.
func (f *fields) counters(c *flow.Counters) bool {
	c.Null = 0
	return f.counter(&c.PacketsSent, c, flow.NullPacketsSent, ',') &&
		f.counter(&c.BytesSent, c, flow.NullBytesSent, ',') &&
		f.counter(&c.PacketsReceived, c, flow.NullPacketsReceived, ',') &&
		f.counter(&c.BytesReceived, c, flow.NullBytesReceived, '"')
}

// counter takes a number, or nothing: the vendor's example leaves the counters of a
// begin empty where real logs have zeros.
func (f *fields) counter(into *uint64, c *flow.Counters, null flow.Nulls, end byte) bool {
	n, ok := f.number(into, end)
	if n == 0 {
		*into = 0
		c.Null |= null
	}
	return ok
}

// explainTuple says which field of an invalid tuple is wrong, what it is and what it
// may be. It shares no code with parse beyond the limits.
func explainTuple(form tupleForm, t []byte) string {
	if len(t) > maxTuple {
		return fmt.Sprintf("tuple has %d bytes, want at most %d: %s", len(t), maxTuple, quote(t))
	}
	f := strings.Split(string(t), ",")
	want := tupleFields[form]
	if len(f) != len(want) {
		return fmt.Sprintf("tuple has %d fields, want %d: %s", len(f), len(want), quote(t))
	}
	for i, field := range want {
		if want := field.want(f[i]); want != "" {
			return fmt.Sprintf("field %d, %s, is %s, want %s", i+1, field.name, quote([]byte(f[i])), want)
		}
	}
	return "tuple is not valid: " + quote(t)
}

// field is one of a tuple: its name, and what says what it may be where it is not.
type field struct {
	name string
	want func(string) string
}

var tupleFields = [tupleForms][]field{
	vnetTuple: slices.Concat(endpointFields, []field{
		{"protocol", wantNumber(8)}, {"direction", wantLetter("IO")}, {"state", wantLetter("BCED")}, {"encryption", wantPlain},
	}, counterFields),
	nsgTuple1: slices.Concat(endpointFields, decisionFields),
	nsgTuple2: slices.Concat(endpointFields, decisionFields, []field{{"state", wantLetter("BCE")}}, counterFields),
}

var (
	endpointFields = []field{
		{"time", wantTime}, {"source address", wantAddress}, {"destination address", wantAddress},
		{"source port", wantNumber(16)}, {"destination port", wantNumber(16)},
	}
	decisionFields = []field{{"protocol", wantLetter("TU")}, {"direction", wantLetter("IO")}, {"decision", wantLetter("AD")}}
	counterFields  = []field{{"packets sent", wantCounter}, {"bytes sent", wantCounter}, {"packets received", wantCounter}, {"bytes received", wantCounter}}
)

func wantTime(s string) string {
	if n := digits([]byte(s)); n == len(s) && (n == 10 || n == 13) {
		return ""
	}
	return "10 or 13 digits"
}

func wantAddress(s string) string {
	if a, err := netip.ParseAddr(s); err == nil && a.Zone() == "" {
		return ""
	}
	return "an IPv4 or IPv6 address without a zone"
}

func wantNumber(bits int) func(string) string {
	return func(s string) string {
		if _, err := strconv.ParseUint(s, 10, bits); err == nil {
			return ""
		}
		return fmt.Sprintf("a number up to %d", uint64(1)<<bits-1)
	}
}

func wantLetter(letters string) func(string) string {
	return func(s string) string {
		if len(s) == 1 && strings.Contains(letters, s) {
			return ""
		}
		return "one of " + letters
	}
}

func wantCounter(s string) string {
	if s == "" || wantNumber(64)(s) == "" {
		return ""
	}
	return "nothing or a number of 64 bits"
}

func wantPlain(s string) string {
	if strings.ContainsAny(s, `"\`) {
		return "a text without a quote or a backslash"
	}
	return ""
}
