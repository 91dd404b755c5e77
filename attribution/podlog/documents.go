package podlog

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// MaxDocument bounds one JSON document, in bytes: a list of a hundred thousand pods
// as the API server writes it takes about this much.
const MaxDocument = 1 << 30

// documents splits a stream into JSON documents: one a line, or printed over several
// lines, as kubectl does, with the braces of the document at the start of a line. A
// document that is broken costs only itself.
type documents struct {
	r      *bufio.Reader
	offset int64 // of the next line
	line   []byte
	buf    []byte // of lines that are longer than r's
	done   bool
	// other says of a line that it will not be looked at: it is checked for being
	// whole, and no more. May be nil.
	other func(line []byte) bool
	// take takes a line that is a plain event: the document that comes next. May be nil.
	take func(line []byte) bool
}

func newDocuments(r io.Reader) *documents {
	d := &documents{r: bufio.NewReaderSize(r, 1<<20)}
	if mark, _ := d.r.Peek(3); bytes.Equal(mark, []byte("\xef\xbb\xbf")) {
		n, _ := d.r.Discard(3) // a byte order mark
		d.offset = int64(n)
	}
	return d
}

// broken says that a stretch of the stream is no JSON document.
type broken struct {
	Offset int64
	Err    error
}

func (e *broken) Error() string { return fmt.Sprintf("byte %d: %v", e.Offset, e.Err) }

// each hands on the documents up to the end of the stream, and what is broken to
// reject.
func (d *documents) each(do func(doc []byte, offset int64) error, reject func(*broken)) error {
	for {
		doc, offset, err := d.next()
		var bad *broken
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case errors.As(err, &bad):
			reject(bad)
			continue
		case err != nil:
			return fmt.Errorf("read pods: %w", err)
		}
		if err := do(doc, offset); err != nil {
			return err
		}
	}
}

// next returns a document and its offset, valid until the next call, io.EOF, or a
// *broken, after which it can be called again.
func (d *documents) next() (doc []byte, offset int64, err error) {
	for {
		if err := d.fill(); err != nil {
			return nil, 0, err
		}
		if len(bytes.TrimSpace(d.line)) > 0 {
			break
		}
		d.drop()
	}
	offset = d.offset
	if d.valid() {
		doc, d.line, d.offset = d.line, nil, d.offset+int64(len(d.line))
		return doc, offset, nil
	}
	doc, size, err := d.block()
	d.offset += size
	if err != nil {
		return nil, 0, err
	}
	if !json.Valid(doc) {
		return nil, 0, &broken{offset, syntax(doc)}
	}
	return doc, offset, nil
}

// valid says whether the line is a document by itself.
func (d *documents) valid() bool {
	if d.take != nil && d.take(d.line) {
		return true
	}
	if d.other != nil && d.other(d.line) {
		return whole(d.line)
	}
	return json.Valid(d.line)
}

// whole says whether a line is one object that was not cut: its strings are closed, and
// its brackets.
func whole(line []byte) bool {
	line = bytes.TrimSpace(line)
	if len(line) < 2 || line[0] != '{' || line[len(line)-1] != '}' {
		return false
	}
	depth := 0
	for i := 0; i < len(line); i++ {
		switch line[i] {
		case '{', '[':
			depth++
		case '}', ']':
			if depth--; depth == 0 {
				return i == len(line)-1
			}
		case '"':
			i = closing(line, i+1)
		}
	}
	return false
}

// closing is the place of the quote that ends a string whose first byte is at i, or
// the end of the line.
func closing(line []byte, i int) int {
	for i < len(line) {
		quote := bytes.IndexByte(line[i:], '"')
		if quote < 0 {
			return len(line)
		}
		quote += i
		escapes := 0
		for k := quote - 1; k >= i && line[k] == '\\'; k-- {
			escapes++
		}
		if escapes%2 == 0 {
			return quote
		}
		i = quote + 1
	}
	return len(line)
}

// block joins lines up to one that closes the document, or up to the start of
// another document.
func (d *documents) block() (doc []byte, size int64, err error) {
	doc = append(doc, d.line...)
	size = int64(len(d.line))
	if !bytes.HasPrefix(d.line, []byte("{")) || len(bytes.TrimSpace(d.line)) > 1 {
		d.line = nil // not how a document over several lines begins
		return doc, size, nil
	}
	d.line = nil
	for {
		err := d.fill()
		if errors.Is(err, io.EOF) || (err == nil && d.line[0] == '{') {
			return doc, size, nil
		}
		if err != nil {
			return nil, size, err
		}
		closes := d.line[0] == '}'
		doc = append(doc, d.line...)
		size += int64(len(d.line))
		d.line = nil
		if closes || len(doc) > MaxDocument {
			return doc, size, nil
		}
	}
}

// fill makes line the next line, with its newline, where it is empty.
func (d *documents) fill() error {
	if len(d.line) > 0 {
		return nil
	}
	if d.done {
		return io.EOF
	}
	line := d.buf[:0]
	for {
		part, err := d.r.ReadSlice('\n')
		if len(line) == 0 && err == nil {
			d.line = part // valid until the next read
			return nil
		}
		line = append(line, part...)
		d.buf = line
		switch {
		case errors.Is(err, bufio.ErrBufferFull) && len(line) <= MaxDocument:
			continue
		case errors.Is(err, bufio.ErrBufferFull):
			return fmt.Errorf("line at byte %d is longer than %d bytes", d.offset, MaxDocument)
		case errors.Is(err, io.EOF):
			d.done = true
			if len(line) == 0 {
				return io.EOF
			}
		case err != nil:
			return err
		}
		d.line = line
		return nil
	}
}

func (d *documents) drop() {
	d.offset += int64(len(d.line))
	d.line = nil
}

// syntax is why a document is not valid.
func syntax(doc []byte) error {
	var into json.RawMessage
	if err := json.Unmarshal(doc, &into); err != nil {
		return err
	}
	return errors.New("no JSON document")
}
