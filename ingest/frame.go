package ingest

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"

	"github.com/whichpod/whichpod/flow"
)

// before is what a framer last saw: it decides what may come next.
type before uint8

const (
	atStart      before = iota // nothing yet
	afterOpener                // {"records":[
	afterRecord                //
	afterComma                 //
	afterCloser                // ]}
	afterDamage                // bytes that were rejected
	undecidedMax = 1024        // bytes looked at to tell whether a brace starts a record
)

// gzipMagic is how a compressed file begins (RFC 1952), as it is quoted.
const gzipMagic = `"\x1f\x8b`

// framer splits a blob into records. A blob of flow logs is {"records":[ R, R, … ]},
// written as a block of 12 bytes, blocks of records of which all but the first start
// with a comma, and a block of 2 bytes (flow-logs-read). One of other resource logs has
// a record a line ("Azure resource logs", azure-monitor). It also takes what one data
// block holds, and goes on after any whole record.
//
// It checks the syntax of each record before anyone sees it. After damage it looks
// for the next brace that is followed by a key of a record, from the byte after the
// start of the damaged one, so that whole records behind or inside are found.
type framer struct {
	win     window
	pos     int64 // next byte to look at
	last    before
	opened  bool  // the blob has closing brackets, or should have
	resumed bool  // the opener, if any, lies before the first byte
	cut     int64 // start of the record that the end of the blob cuts off, or -1
	tail    string
	reject  func(offset int64, reason, detail string)

	scanned int64 // bytes, those looked at again included
}

// start begins at a position. Whether the blob has closing brackets shows in what
// follows the last whole record; where nothing does, in whether they were missed
// before.
func (f *framer) start(from flow.Position) {
	f.pos, f.last, f.cut, f.tail = from.Offset, atStart, -1, ""
	f.resumed = from.Offset > 0
	f.opened = f.resumed && strings.HasPrefix(from.Tail, ReasonTruncated)
}

// next moves pos to the brace of the next record, which [framer.record] takes. It
// returns false at the end of the blob.
func (f *framer) next() (bool, error) {
	if f.last == atStart && f.pos == 0 {
		if err := f.opener(); err != nil {
			return false, err
		}
	}
	for {
		c, ok, err := f.peek()
		if err != nil {
			return false, err
		}
		if !ok {
			f.finish()
			return false, nil
		}
		if f.resumed && f.last == atStart {
			f.opened = c != '{'
		}
		if c != '{' || f.last == afterCloser {
			if err := f.between(c); err != nil {
				return false, err
			}
			continue
		}
		if f.last == afterRecord && f.opened {
			f.damage(f.pos, ReasonStray, "no comma between two records")
		}
		return true, nil
	}
}

// opener takes a byte order mark and {"records":[ where the blob starts with them.
func (f *framer) opener() error {
	b, err := f.lookahead(3)
	if err != nil {
		return err
	}
	if bytes.HasPrefix(b, []byte("\ufeff")) {
		f.pos += 3
	}
	if c, ok, err := f.peek(); !ok || c != '{' {
		return err
	}
	if b, err = f.lookahead(undecidedMax); err != nil {
		return err
	}
	if n := match(b, "{", `"records"`, ":", "["); n > 0 {
		f.pos += int64(n)
		f.last, f.opened = afterOpener, true
	}
	return nil
}

// between takes a byte that starts no record.
func (f *framer) between(c byte) error {

	switch {
	case c == ',' && (f.last == afterRecord || f.last == atStart):
		f.pos++
		f.last = afterComma
		return nil
	case c == ']' && f.last != afterCloser:
		return f.closer()
	case c == ',' && f.last == afterOpener: // the block with the first record is missing
		f.damage(f.pos, ReasonStray, "a comma before the first record")
		f.pos++
		f.last = afterComma
		return nil
	}
	got, err := f.show(f.pos)
	if err != nil {
		return err
	}
	if f.pos == 0 && strings.HasPrefix(got, gzipMagic) {
		got = "what gzip compressed"
	}
	f.damage(f.pos, ReasonStray, fmt.Sprintf("got %s, want %s", got, f.want()))
	if c == '{' { // behind the closing brackets; it may be a record all the same
		f.opened = false
		return f.resync(f.pos)
	}
	return f.resync(f.pos + 1)
}

func (f *framer) want() string {
	switch f.last {
	case afterRecord:
		return "a comma or the closing brackets"
	case afterCloser:
		return "the end of the blob"
	case atStart, afterOpener, afterComma, afterDamage:
	}
	return "a record"
}

// closer takes ]} at the end of the records.
func (f *framer) closer() error {
	at := f.pos
	f.pos++
	c, ok, err := f.peek() // after which at may no longer be in memory
	switch {
	case err != nil:
		return err
	case !ok:
		f.damage(at, ReasonTruncated, "the blob ends inside its closing brackets")
		f.last = afterDamage
		return nil
	case c != '}':
		f.damage(at, ReasonStray, "got a closing bracket without a brace behind it, want a comma or both")
		return f.resync(f.pos)
	}
	if f.last == afterComma {
		f.damage(at, ReasonStray, "a comma and then no record")
	}
	f.pos++
	f.last = afterCloser
	return nil
}

// finish counts what the end of the blob cuts off.
func (f *framer) finish() {
	switch {
	case f.cut >= 0:
		f.damage(f.cut, ReasonTruncated, fmt.Sprintf("the blob ends at byte %d inside a record", f.win.end()))
		f.cut = -1
	case f.last == atStart && f.win.whole == 0:
		f.damage(0, ReasonEmpty, fmt.Sprintf("got %d bytes without a record, want {\"records\":[ ... ]}", f.win.end()))
	case f.last == afterOpener, f.last == afterComma, f.opened && (f.last == afterRecord || f.last == atStart):
		f.damage(f.pos, ReasonTruncated, "the blob ends before its closing brackets")
	}
	f.last = afterDamage // finish may come again
}

// record takes the record at pos and returns its bytes, which are valid until the next
// call. It returns nil where the record is damaged; pos is then at the next one that
// may be whole.
func (f *framer) record() ([]byte, error) {
	start, at := f.pos, f.pos
	var s scanner
	for {
		b := f.win.from(at)
		b = b[:min(int64(len(b)), start+MaxRecordBytes+1-at)]
		full := at+int64(len(b)) > start+MaxRecordBytes // more bytes are no help
		n, st := s.scan(b)
		at += int64(n)
		f.scanned += int64(n)
		switch {
		case st == scanDone && at-start <= MaxRecordBytes:
			return f.took(start, at), nil
		case st == scanBad:
			got, err := f.show(at)
			if err != nil {
				return nil, err
			}
			f.broken(start, ReasonRecord, fmt.Sprintf("at byte %d: %s, got %s", at, s.why, got))
			return nil, f.resync(start + 1)
		case full:
			f.broken(start, ReasonTooLarge, fmt.Sprintf("record does not end within %d bytes", MaxRecordBytes))
			return nil, f.resync(start + 1)
		}
		ok, err := f.win.fill(start)
		if err != nil {
			return nil, err
		}
		if !ok {
			if f.cut < 0 {
				f.cut = start
			}
			return nil, f.resync(start + 1)
		}
	}
}

func (f *framer) took(start, end int64) []byte {
	if f.cut >= 0 {
		cut := f.cut
		f.cut = -1
		f.damage(cut, ReasonRecord, fmt.Sprintf("not closed: another record starts at byte %d", start))
	}
	f.pos, f.last, f.tail = end, afterRecord, ""
	f.win.took(end)
	return f.win.from(start)[:end-start]
}

// broken counts a damaged record, unless it lies in one that is cut off: that one's
// rejection stands for all bytes up to the next whole record.
func (f *framer) broken(at int64, reason, detail string) {
	if f.cut < 0 {
		f.damage(at, reason, detail)
	}
}

func (f *framer) damage(at int64, reason, detail string) {
	f.tail = reason + " at byte " + strconv.FormatInt(at, 10)
	f.reject(at, reason, detail)
}

// resync moves pos to the next brace from at on that may start a record, or to the
// end of the blob.
func (f *framer) resync(at int64) error {
	f.pos, f.last = at, afterDamage
	for {
		b := f.win.from(f.pos)
		i := bytes.IndexByte(b, '{')
		if i < 0 {
			f.pos += int64(len(b))
			ok, err := f.win.fill(f.pos)
			if err != nil || !ok {
				return err
			}
			continue
		}
		f.pos += int64(i)
		b, err := f.lookahead(undecidedMax)
		if err != nil {
			return err
		}
		if startsRecord(b) {
			return nil
		}
		f.pos++
	}
}

// startsRecord says whether b starts with a brace and one of the keys of a record.
func startsRecord(b []byte) bool {
	n := match(b, "{", `"`)
	if n == 0 {
		return false
	}
	key := b[n-1:]
	for _, k := range [...]string{
		`"time"`, `"flowLogVersion"`, `"flowLogGUID"`, `"macAddress"`, `"category"`,
		`"flowLogResourceID"`, `"targetResourceID"`, `"operationName"`, `"flowRecords"`,
		`"systemId"`, `"resourceId"`, `"properties"`,
	} {
		if match(key, k, ":") > 0 {
			return true
		}
	}
	return false
}

// match returns the length of the given pieces, with space between them, at the
// start of b, or 0.
func match(b []byte, pieces ...string) int {
	n := 0
	for _, p := range pieces {
		for n < len(b) && isSpace(b[n]) {
			n++
		}
		if len(b)-n < len(p) || string(b[n:n+len(p)]) != p {
			return 0
		}
		n += len(p)
	}
	return n
}

// show quotes the bytes at offset, the same however they were read.
func (f *framer) show(at int64) (string, error) {
	for f.win.end()-at <= maxQuote {
		if ok, err := f.win.fill(min(f.pos, at)); err != nil {
			return "", err
		} else if !ok {
			break
		}
	}
	return quote(f.win.from(at)), nil
}

// peek skips space and returns the next byte; false at the end of the blob.
func (f *framer) peek() (byte, bool, error) {
	for {
		for _, c := range f.win.from(f.pos) {
			if !isSpace(c) {
				return c, true, nil
			}
			f.pos++
		}
		if ok, err := f.win.fill(f.pos); err != nil || !ok {
			return 0, false, err
		}
	}
}

// lookahead returns n bytes from pos on, fewer at the end of the blob.
func (f *framer) lookahead(n int64) ([]byte, error) {
	for f.win.end()-f.pos < n {
		if ok, err := f.win.fill(f.pos); err != nil {
			return nil, err
		} else if !ok {
			break
		}
	}
	b := f.win.from(f.pos)
	return b[:min(n, int64(len(b)))], nil
}
