package evidence

import (
	"bufio"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/apache/arrow/go/v17/arrow/memory"

	"github.com/whichpod/whichpod/query"
)

// RowWriter writes exported rows in one format.
type RowWriter interface {
	// Write writes rows of a batch, which MUST ascend. It keeps nothing of them.
	Write(a query.Attributed, rows []int32) error
	// Close completes the output. It does not close the writer below.
	Close() error
}

// Formats of rows, as the command line names them.
func Formats() []string {
	return []string{"parquet", "csv", "jsonl", "ocsf", "ocsf-parquet", "timesketch"}
}

// NewRowWriter returns a writer of the format to w. mem is what Arrow data is
// allocated from; only OCSF as Parquet uses it.
func NewRowWriter(w io.Writer, format string, mem memory.Allocator) (RowWriter, error) {
	switch format {
	case "jsonl":
		return newLines(w, func(_ query.Attributed, _ int, row *Row, _ ends) any { return row }), nil
	case "ocsf":
		return newLines(w, ocsfLine), nil
	case "timesketch":
		return newLines(w, timelineLine), nil
	case "ocsf-parquet":
		return newOCSFParquet(w, mem)
	case "csv":
		return newTable(w)
	case "parquet":
		return newParquet(w)
	default:
		return nil, fmt.Errorf("format is %q, want %s", format, strings.Join(Formats(), ", "))
	}
}

// lines writes JSON lines, of what a row is in the format.
type lines struct {
	w    *bufio.Writer
	enc  *json.Encoder
	line lineOf
	ends ends
	row  Row
}

// lineOf returns what is written for row i of a batch.
type lineOf func(a query.Attributed, i int, row *Row, m ends) any

func newLines(w io.Writer, line lineOf) *lines {
	b := bufio.NewWriterSize(w, 1<<16)
	enc := json.NewEncoder(b)
	enc.SetEscapeHTML(false)
	return &lines{w: b, enc: enc, line: line, ends: make(ends)}
}

func (l *lines) Write(a query.Attributed, rows []int32) error {
	for _, row := range rows {
		i := int(row)
		l.row.fill(a, i, l.ends)
		if err := l.enc.Encode(l.line(a, i, &l.row, l.ends)); err != nil {
			return fmt.Errorf("write JSON line: %w", err)
		}
	}
	return nil
}

func (l *lines) Close() error { return l.w.Flush() }

// table writes CSV (RFC 4180) with a header. Candidates are joined by spaces. A text
// that a spreadsheet may take for a formula has an apostrophe before it.
type table struct {
	w      *csv.Writer
	ends   ends
	row    Row
	fields []string
}

func newTable(w io.Writer) (*table, error) {
	t := &table{w: csv.NewWriter(w), ends: make(ends)}
	if err := t.w.Write(Columns); err != nil {
		return nil, fmt.Errorf("write CSV header: %w", err)
	}
	return t, nil
}

func (t *table) Write(a query.Attributed, rows []int32) error {
	for _, row := range rows {
		i := int(row)
		t.row.fill(a, i, t.ends)
		t.fields = t.row.fields(t.fields[:0])
		for k, text := range t.fields {
			t.fields[k] = inert(text)
		}
		if err := t.w.Write(t.fields); err != nil {
			return fmt.Errorf("write CSV row: %w", err)
		}
	}
	return nil
}

func (t *table) Close() error {
	t.w.Flush()
	return t.w.Error()
}

// formula are the first characters that spreadsheets take for the begin of a formula,
// or pass over before one (OWASP, "CSV Injection"), and the apostrophe itself, so that
// taking one away from the front of a field always gives the text back.
const formula = "=+-@\t\r\n'\uff1d\uff0b\uff0d\uff20"

// inert is a field that no spreadsheet evaluates. Numbers and times never change.
func inert(field string) string {
	first, _ := utf8.DecodeRuneInString(field)
	if field == "" || !strings.ContainsRune(formula, first) {
		return field
	}
	return "'" + field
}

// fields appends the row's columns as text, in the order of Columns.
func (row *Row) fields(into []string) []string {
	into = append(into, row.Time, orEmpty(row.NIC), orEmpty(row.Direction), row.State, row.SrcIP, strconv.Itoa(int(row.SrcPort)), orEmpty(row.DstIP), strconv.Itoa(int(row.DstPort)),
		strconv.Itoa(int(row.Protocol)), orEmpty(row.Encryption), orEmpty(row.Rule), orEmpty(row.ACL),
		number(row.PacketsSent), number(row.BytesSent), number(row.PacketsReceived), number(row.BytesReceived), row.Blob, strconv.FormatInt(row.Offset, 10))
	into = append(into, row.SrcVerdict, orEmpty(row.SrcCluster), orEmpty(row.SrcNamespace), orEmpty(row.SrcPod), orEmpty(row.SrcPodUID),
		orEmpty(row.SrcNode), strings.Join(row.SrcCandidates, " "), orEmpty(row.SrcSource))
	return append(into, orEmpty(row.DstVerdict), orEmpty(row.DstCluster), orEmpty(row.DstNamespace), orEmpty(row.DstPod), orEmpty(row.DstPodUID),
		orEmpty(row.DstNode), strings.Join(row.DstCandidates, " "), orEmpty(row.DstSource))
}

func orEmpty(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}
