package podlog

import (
	"bufio"
	"bytes"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// maxRecord bounds one row of an inventory, in bytes, also where it spans lines.
const maxRecord = 1 << 20

// isInventory says whether a stream begins like an inventory.
func isInventory(r *bufio.Reader) bool {
	head, _ := r.Peek(64 << 10)
	head = bytes.TrimLeft(bytes.TrimPrefix(head, []byte("\xef\xbb\xbf")), " \t\r\n")
	switch {
	case len(head) == 0:
		return false
	case head[0] == '[':
		return true // no other format is an array
	case head[0] == '{':
		line, _, _ := bytes.Cut(head, []byte("\n"))
		rows := bytes.Contains(line, []byte(`"PodUid"`)) && bytes.Contains(line, []byte(`"TimeGenerated"`))
		return rows || bytes.HasPrefix(bytes.TrimLeft(head[1:], " \t\r\n"), []byte(`"tables"`))
	default:
		line, _, _ := bytes.Cut(head, []byte("\n"))
		return bytes.Contains(line, []byte("PodUid")) && bytes.Contains(line, []byte("TimeGenerated"))
	}
}

// readInventory reads a stream in whichever of the forms it is.
func (r *reader) readInventory(in *bufio.Reader) error {
	r.summary.Format = PodInventory
	v := &inventory{r: r, pods: make(map[string]*sampled)}
	if mark, _ := in.Peek(3); bytes.Equal(mark, []byte("\xef\xbb\xbf")) {
		_, _ = in.Discard(3)
	}
	for {
		c, err := in.Peek(1)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read pods: %w", err)
		}
		if !bytes.ContainsAny(c, " \t\r\n") {
			break
		}
		_, _ = in.Discard(1)
	}
	head, _ := in.Peek(256)
	var err error
	switch {
	case head[0] == '[':
		err = v.array(json.NewDecoder(in))
	case head[0] == '{' && bytes.HasPrefix(bytes.TrimLeft(head[1:], " \t\r\n"), []byte(`"tables"`)):
		err = v.tables(json.NewDecoder(in))
	case head[0] == '{':
		err = v.lines(in)
	default:
		err = v.csv(in)
	}
	if err != nil && !errors.Is(err, errCut) {
		return err
	}
	if err := v.flush(); err != nil {
		return err
	}
	return r.Flush()
}

// take counts a row, and leaves it out where it is no good.
func (v *inventory) take(row *inventoryRow, offset int64, line int) error {
	v.r.summary.Documents++
	err := v.row(row)
	var stop ledgerError
	switch {
	case errors.As(err, &stop):
		return stop.error
	case err != nil:
		v.r.rejectLine(offset, line, err.Error())
	}
	return nil
}

// object takes a row that is a JSON object.
func (v *inventory) object(doc []byte, offset int64) error {
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(doc, &fields); err != nil {
		v.r.rejectLine(offset, 0, err.Error())
		return nil
	}
	var row inventoryRow
	for i, name := range inventoryColumns {
		row[i] = plainText(fields[name])
	}
	for _, i := range []int{colTime, colUID} {
		if row[i] == "" {
			v.r.summary.Documents++
			v.r.rejectLine(offset, 0, fmt.Sprintf("row has no %s", inventoryColumns[i]))
			return nil
		}
	}
	return v.take(&row, offset, 0)
}

// plainText is a JSON value as text; null is empty.
func plainText(v json.RawMessage) string {
	var s string
	switch {
	case len(v) == 0 || string(v) == "null":
		return ""
	case json.Unmarshal(v, &s) == nil:
		return s
	default:
		return string(v)
	}
}

func (v *inventory) lines(in *bufio.Reader) error {
	return newDocuments(in).each(v.object, func(bad *broken) { v.r.rejectLine(bad.Offset, 0, bad.Err.Error()) })
}

// array reads [{...}, ...]. Where it breaks off, the rest is one rejection.
func (v *inventory) array(dec *json.Decoder) error {
	if _, err := dec.Token(); err != nil {
		return v.cut(dec, err)
	}
	for dec.More() {
		var doc json.RawMessage
		offset := dec.InputOffset()
		if err := dec.Decode(&doc); err != nil {
			return v.cut(dec, err)
		}
		if err := v.object(doc, offset); err != nil {
			return err
		}
	}
	if _, err := dec.Token(); err != nil {
		return v.cut(dec, err)
	}
	return nil
}

// errCut says that the rest of a stream can not be read, and was counted.
var errCut = errors.New("cut off")

// cut counts the rest of a stream that can not be read on.
func (v *inventory) cut(dec *json.Decoder, err error) error {
	var syntax *json.SyntaxError
	if errors.As(err, &syntax) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		v.r.rejectLine(dec.InputOffset(), 0, fmt.Sprintf("nothing can be read from here on: %v", err))
		return errCut
	}
	return fmt.Errorf("read pods: %w", err)
}

// tables reads {"tables": [{"name": ..., "columns": [{"name": ...}], "rows": [[...]]}]}.
func (v *inventory) tables(dec *json.Decoder) error {
	var columns *[numColumns]int
	for {
		tok, err := dec.Token()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return v.cut(dec, err)
		}
		switch tok {
		case "columns":
			var list []struct{ Name string }
			if err := dec.Decode(&list); err != nil {
				return v.cut(dec, err)
			}
			names := make([]string, len(list))
			for i := range list {
				names[i] = list[i].Name
			}
			at, err := columnsOf(names)
			if err != nil {
				return err
			}
			columns = &at
		case "rows":
			if columns == nil {
				return fmt.Errorf("pod inventory: a table has its rows before its columns, want the columns first")
			}
			if err := v.tableRows(dec, columns); err != nil {
				return err
			}
		}
	}
}

func (v *inventory) tableRows(dec *json.Decoder, columns *[numColumns]int) error {
	if _, err := dec.Token(); err != nil {
		return v.cut(dec, err)
	}
	for dec.More() {
		var values []json.RawMessage
		offset := dec.InputOffset()
		err := dec.Decode(&values)
		var wrong *json.UnmarshalTypeError
		switch {
		case errors.As(err, &wrong):
			v.r.rejectLine(offset, 0, "row is no array")
			continue
		case err != nil:
			return v.cut(dec, err)
		}
		var row inventoryRow
		for i, pos := range columns {
			if pos >= 0 && pos < len(values) {
				row[i] = plainText(values[pos])
			}
		}
		if err := v.take(&row, offset, 0); err != nil {
			return err
		}
	}
	_, err := dec.Token()
	if err != nil {
		return v.cut(dec, err)
	}
	return nil
}

func (v *inventory) csv(in *bufio.Reader) error {
	records := &records{in: in}
	header, _, _, err := records.next(0)
	if err != nil {
		return fmt.Errorf("pod inventory: read the header: %w", err)
	}
	columns, err := columnsOf(header)
	if err != nil {
		return err
	}
	for {
		values, offset, line, err := records.next(len(header))
		var bad *broken
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case errors.As(err, &bad):
			v.r.summary.Documents++
			v.r.rejectLine(offset, line, bad.Err.Error())
			continue
		case err != nil:
			return fmt.Errorf("read pods: %w", err)
		}
		var row inventoryRow
		for i, pos := range columns {
			if pos >= 0 {
				row[i] = values[pos]
			}
		}
		if err := v.take(&row, offset, line); err != nil {
			return err
		}
	}
}

// records splits CSV (RFC 4180) into records. A line that is broken costs itself: a
// quote that is never closed does not swallow the rest.
type records struct {
	in     *bufio.Reader
	ahead  [][]byte // lines that were read too far
	offset int64    // of the next line
	line   int      // number of the line before it
}

// next returns a record of so many fields (0: any), where it begins, the number of its
// first line; io.EOF, or a *broken, after which it can be called again.
func (r *records) next(fields int) (record []string, offset int64, line int, err error) {
	var text []byte
	var lines [][]byte
	quotes := 0
	for {
		l, err := r.read()
		if err != nil && !(errors.Is(err, io.EOF) && len(lines) > 0) {
			return nil, r.offset, r.line + 1, err
		}
		if err == nil {
			lines, text, quotes = append(lines, l), append(text, l...), quotes+bytes.Count(l, []byte(`"`))
			if len(lines) == 1 && len(bytes.TrimSpace(l)) == 0 {
				r.used(l)
				lines, text = nil, nil
				continue
			}
			if quotes%2 == 1 && len(text) < maxRecord {
				continue // a quoted value goes on in the next line
			}
		}
		break
	}
	offset, line = r.offset, r.line+1
	c := csv.NewReader(bytes.NewReader(text))
	c.FieldsPerRecord = fields
	if fields == 0 {
		c.FieldsPerRecord = -1
	}
	record, err = c.Read()
	if err != nil || len(text) >= maxRecord {
		r.used(lines[0])
		r.ahead = append(lines[1:], r.ahead...)
		if err == nil {
			err = fmt.Errorf("row has more than %d bytes", maxRecord)
		}
		var at *csv.ParseError
		if errors.As(err, &at) {
			err = at.Err
		}
		if errors.Is(err, csv.ErrFieldCount) {
			err = fmt.Errorf("row has %d fields, want %d", len(record), fields)
		}
		return nil, offset, line, &broken{offset, err}
	}
	for _, l := range lines {
		r.used(l)
	}
	return record, offset, line, nil
}

func (r *records) used(line []byte) {
	r.offset += int64(len(line))
	r.line++
}

// read returns the next line, with its newline; those that were read too far come first.
func (r *records) read() ([]byte, error) {
	if len(r.ahead) > 0 {
		l := r.ahead[0]
		r.ahead = r.ahead[1:]
		return l, nil
	}
	var line []byte
	for {
		part, err := r.in.ReadSlice('\n')
		line = append(line, part...)
		switch {
		case errors.Is(err, bufio.ErrBufferFull) && len(line) <= 4*maxRecord:
			continue
		case errors.Is(err, bufio.ErrBufferFull):
			return nil, fmt.Errorf("line %d is longer than %d bytes", r.line+1, len(line))
		case errors.Is(err, io.EOF) && len(line) > 0:
			return line, nil
		}
		return line, err
	}
}
