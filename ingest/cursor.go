package ingest

import (
	"bytes"
	"strconv"
	"strings"
	"unicode/utf8"
)

// maxQuote bounds what a rejection shows of its input, in bytes.
const maxQuote = 48

// cursor walks over a record whose syntax was checked.
type cursor struct {
	b []byte
	i int
}

func (c *cursor) space() {
	for isSpace(c.b[c.i]) {
		c.i++
	}
}

// enter takes an opening bracket, if that is what comes.
func (c *cursor) enter(open byte) bool {
	c.space()
	if c.b[c.i] != open {
		return false
	}
	c.i++
	return true
}

// key moves to the value of the next member and returns the span of its key with
// its quotes. At the end of the object it takes the brace and returns false.
func (c *cursor) key() (span, bool) {
	if !c.item() {
		return span{}, false
	}
	k := c.skip()
	c.space()
	c.i++ // colon
	c.space()
	return k, true
}

// item moves to the next value of an array or key of an object. At the end it takes
// the bracket and returns false.
func (c *cursor) item() bool {
	c.space()
	if c.b[c.i] == ',' {
		c.i++
		c.space()
	}
	if c.b[c.i] == ']' || c.b[c.i] == '}' {
		c.i++
		return false
	}
	return true
}

// skip moves past a value and returns its span.
func (c *cursor) skip() span {
	c.space()
	from, depth := c.i, 0
	for {
		switch c.b[c.i] {
		case '"':
			c.skipString()
		case '{', '[':
			depth++
			c.i++
		case '}', ']':
			depth--
			c.i++
		case ',', ':', ' ', '\n', '\r', '\t':
			c.i++
		default:
			for isScalar(c.b[c.i]) {
				c.i++
			}
		}
		if depth == 0 {
			return span{int32(from), int32(c.i)}
		}
	}
}

func (c *cursor) skipString() {
	c.i++
	for {
		c.i += plain(c.b[c.i:])
		if c.b[c.i] == '"' {
			c.i++
			return
		}
		c.i += 2 // an escape; the digits of \uXXXX are plain
	}
}

// descend calls into at a value and stands behind it afterwards, error or not.
func (c *cursor) descend(into func(*cursor) *shapeError) *shapeError {
	from := c.i
	err := into(c)
	if err != nil {
		c.i = from
		c.skip()
	}
	return err
}

func (c *cursor) at(s span) []byte { return c.b[s.lo:s.hi] }

// text is the value of the string at s, without its quotes.
func (c *cursor) text(s span) []byte {
	b := c.b[s.lo+1 : s.hi-1]
	if bytes.IndexByte(b, '\\') < 0 {
		return b
	}
	return unescape(b)
}

// unquote is like text, but nil where s holds no string.
func (c *cursor) unquote(s span) []byte {
	if s.absent() || c.b[s.lo] != '"' {
		return nil
	}
	return c.text(s)
}

func (c *cursor) checkText(s span, name string) *shapeError {
	switch v := c.at(s); {
	case s.absent():
		return nil
	case v[0] != '"':
		return wrongShape("%s is %s, want a string", name, describe(v))
	case len(v) > maxText:
		return wrongShape("%s has %d bytes, want at most %d", name, len(v), maxText)
	}
	return nil
}

// unescape resolves the escapes of a checked JSON string. Half a surrogate pair
// becomes U+FFFD, as in encoding/json.
func unescape(b []byte) []byte {
	out := make([]byte, 0, len(b))
	for i := 0; i < len(b); {
		if b[i] != '\\' {
			out = append(out, b[i])
			i++
			continue
		}
		if b[i+1] != 'u' {
			out = append(out, escaped[b[i+1]])
			i += 2
			continue
		}
		u := hex4(b[i+2:])
		i += 6
		if u >= 0xd800 && u < 0xdc00 && len(b)-i >= 6 && b[i] == '\\' && b[i+1] == 'u' {
			if low := hex4(b[i+2:]); low >= 0xdc00 && low < 0xe000 {
				u = (u-0xd800)<<10 | (low - 0xdc00) + 0x10000
				i += 6
			}
		}
		out = utf8.AppendRune(out, u)
	}
	return out
}

var escaped = [256]byte{'"': '"', '\\': '\\', '/': '/', 'b': '\b', 'f': '\f', 'n': '\n', 'r': '\r', 't': '\t'}

func hex4(b []byte) rune {
	u := rune(0)
	for _, c := range b[:4] {
		u = u<<4 | rune(hexDigit(c))
	}
	return u
}

// describe shows a JSON value in a rejection.
func describe(v []byte) string {
	if len(v) == 0 {
		return "absent"
	}
	return quote(v)
}

// quote shows the first bytes of b in printable ASCII.
func quote(b []byte) string {
	if len(b) == 0 {
		return "nothing"
	}
	cut := ""
	if len(b) > maxQuote {
		b, cut = b[:maxQuote], "..."
	}
	if s := string(b); !strings.ContainsAny(s, "`") && plain(b) < len(b) && printable(b) {
		return "`" + s + "`" + cut // JSON reads better without more backslashes
	}
	return strconv.QuoteToASCII(string(b)) + cut
}

func printable(b []byte) bool {
	for _, c := range b {
		if c < 0x20 || c > 0x7e {
			return false
		}
	}
	return true
}
