package ingest

import (
	"encoding/binary"
	"math/bits"
)

// maxDepth bounds the nesting of a record: a flow tuple lies at level 7, the rest
// is for keys still unknown. It also bounds how often a byte of hostile input is
// looked at again, because record starts that fail together are nested.
const maxDepth = 32

// maxScalar bounds a number or literal, in bytes; flow logs hold one digit.
const maxScalar = 64

// status is the outcome of a scan.
type status uint8

const (
	scanMore status = iota // all bytes taken, the object goes on
	scanDone               // the object is closed
	scanBad                // not JSON
)

// expect is what may come next inside an object under scan.
type expect uint8

const (
	expectValue  expect = iota // a value
	expectItem                 // a value or ']': just after '['
	expectMember               // a key or '}': just after '{'
	expectKey                  // a key
	expectColon
	expectComma // ',' or the closing bracket
)

// scanner checks one JSON object as its bytes arrive (RFC 8259, but for UTF-8) and
// finds its end. The zero value expects the opening brace.
type scanner struct {
	expect   expect
	inString bool
	isKey    bool   // the string under way is a key
	depth    int    // open brackets
	objects  uint64 // bit d is set where the bracket at depth d is a brace
	why      string // after scanBad
}

// scan takes bytes from b and returns how many. After scanMore, the bytes that it
// did not take (a few: a cut escape or scalar) MUST come again, with more behind.
func (s *scanner) scan(b []byte) (int, status) {
	i := 0
	for {
		if s.inString {
			n, st := s.string(b[i:])
			i += n
			if st != scanDone {
				return i, st
			}
			if s.expect == expectComma && !s.inObject() {
				i += s.strings(b[i:])
			}
		}
		for i < len(b) && isSpace(b[i]) {
			i++
		}
		if i == len(b) {
			return i, scanMore
		}
		n, st := s.token(b[i:])
		i += n
		if st != scanDone {
			return i, st
		}
		if s.depth == 0 {
			return i, scanDone
		}
		if n == 0 {
			return i, scanMore
		}
	}
}

// strings takes items of an array of strings, as long as they come without space and
// escapes: nearly all of a flow log are tuples in such arrays.
func (s *scanner) strings(b []byte) int {
	i := 0
	for len(b)-i > 2 && b[i] == ',' && b[i+1] == '"' {
		n := i + 2 + plain(b[i+2:])
		if n == len(b) || b[n] != '"' {
			break
		}
		i = n + 1
	}
	return i
}

// token takes one bracket, sign, scalar or opening quote. It takes nothing where a
// scalar is cut by the end of b.
func (s *scanner) token(b []byte) (int, status) {
	c := b[0]
	switch s.expect {
	case expectComma:
		switch c {
		case ',':
			s.expect = expectValue
			if s.inObject() {
				s.expect = expectKey
			}
			return 1, scanDone
		case ']', '}':
			return s.close(c)
		}
		return s.bad("want a comma or a closing bracket")
	case expectColon:
		if c != ':' {
			return s.bad("want a colon")
		}
		s.expect = expectValue
		return 1, scanDone
	case expectKey, expectMember:
		if c == '"' {
			s.inString, s.isKey = true, true
			return 1, scanDone
		}
		if c == '}' && s.expect == expectMember {
			return s.close(c)
		}
		return s.bad("want a key")
	}
	return s.value(b)
}

func (s *scanner) value(b []byte) (int, status) {
	switch c := b[0]; c {
	case '"':
		if s.depth == 0 {
			return s.bad("want an object")
		}
		s.inString, s.isKey = true, false
		return 1, scanDone
	case '{', '[':
		return s.open(c)
	case ']':
		if s.expect == expectItem {
			return s.close(c)
		}
		return s.bad("want a value")
	}
	return s.scalar(b)
}

func (s *scanner) open(c byte) (int, status) {
	if s.depth == maxDepth {
		return s.bad("nested too deeply")
	}
	s.depth++
	if c == '{' {
		s.objects |= 1 << s.depth
		s.expect = expectMember
	} else {
		s.objects &^= 1 << s.depth
		s.expect = expectItem
	}
	return 1, scanDone
}

func (s *scanner) close(c byte) (int, status) {
	if s.inObject() != (c == '}') {
		return s.bad("closing brackets do not match")
	}
	s.depth--
	s.expect = expectComma
	return 1, scanDone
}

func (s *scanner) inObject() bool { return s.objects&(1<<s.depth) != 0 }

func (s *scanner) scalar(b []byte) (int, status) {
	n := 0
	for n < len(b) && n <= maxScalar && isScalar(b[n]) {
		n++
	}
	if n > maxScalar {
		return s.bad("number or literal is too long")
	}
	if n == len(b) {
		return 0, scanDone // may go on behind b
	}
	if s.depth == 0 || !validScalar(b[:n]) {
		return s.bad("want a value")
	}
	s.expect = expectComma
	return n, scanDone
}

func (s *scanner) bad(why string) (int, status) {
	s.why = why
	return 0, scanBad
}

// string takes the rest of a string with its closing quote.
func (s *scanner) string(b []byte) (int, status) {
	i := 0
	for {
		i += plain(b[i:])
		if i == len(b) {
			return i, scanMore
		}
		switch b[i] {
		case '"':
			s.inString = false
			s.expect = expectComma
			if s.isKey {
				s.expect = expectColon
			}
			return i + 1, scanDone
		case '\\':
			n := escapeLen(b[i:])
			if n < 0 {
				s.why = "bad escape in a string"
				return i, scanBad
			}
			if n == 0 {
				return i, scanMore
			}
			i += n
		default:
			s.why = "control character in a string"
			return i, scanBad
		}
	}
}

// plain counts the bytes of b before the first quote, backslash or control
// character, eight at a time: most bytes of a flow log lie inside strings.
func plain(b []byte) int {
	const ones, high = 0x0101010101010101, 0x8080808080808080
	i := 0
	for ; len(b)-i >= 8; i += 8 {
		w := binary.LittleEndian.Uint64(b[i:])
		quote, slash := w^(ones*'"'), w^(ones*'\\')
		m := (quote-ones)&^quote | (slash-ones)&^slash | (w-ones*0x20)&^w
		if m &= high; m != 0 {
			return i + bits.TrailingZeros64(m)/8
		}
	}
	for ; i < len(b); i++ {
		if c := b[i]; c == '"' || c == '\\' || c < 0x20 {
			break
		}
	}
	return i
}

// escapeLen is the length of the escape that b starts with: 0 where b is too short
// to tell, -1 where it is none.
func escapeLen(b []byte) int {
	if len(b) < 2 {
		return 0
	}
	switch b[1] {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		return 2
	case 'u':
		for i := 2; i < 6; i++ {
			if i == len(b) {
				return 0
			}
			if hexDigit(b[i]) < 0 {
				return -1
			}
		}
		return 6
	}
	return -1
}

func isSpace(c byte) bool { return c == ' ' || c == '\n' || c == '\r' || c == '\t' }

func isScalar(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c == 'E' || c == '-' || c == '+' || c == '.'
}

func validScalar(b []byte) bool {
	switch string(b) {
	case "true", "false", "null":
		return true
	}
	return validNumber(b)
}

// validNumber says whether b is a number of RFC 8259 §6.
func validNumber(b []byte) bool {
	if len(b) > 0 && b[0] == '-' {
		b = b[1:]
	}
	whole := digits(b)
	if whole == 0 || whole > 1 && b[0] == '0' {
		return false
	}
	b = b[whole:]
	if len(b) > 0 && b[0] == '.' {
		n := digits(b[1:])
		if n == 0 {
			return false
		}
		b = b[1+n:]
	}
	if len(b) > 0 && (b[0] == 'e' || b[0] == 'E') {
		b = b[1:]
		if len(b) > 0 && (b[0] == '+' || b[0] == '-') {
			b = b[1:]
		}
		n := digits(b)
		if n == 0 {
			return false
		}
		b = b[n:]
	}
	return len(b) == 0
}

// digits counts the decimal digits that b starts with.
func digits(b []byte) int {
	for i, c := range b {
		if c < '0' || c > '9' {
			return i
		}
	}
	return len(b)
}

func hexDigit(c byte) int {
	switch {
	case c >= '0' && c <= '9':
		return int(c - '0')
	case c >= 'a' && c <= 'f':
		return int(c-'a') + 10
	case c >= 'A' && c <= 'F':
		return int(c-'A') + 10
	}
	return -1
}
