package evidence

import (
	"bufio"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/apache/arrow/go/v17/arrow/memory"

	"github.com/whichpod/whichpod/query"
)

// RowWriter writes exported rows in one format.
type RowWriter interface {
	// Write writes the rows of a batch that keep chooses.
	Write(a query.Attributed, keep func(i int) bool) error
	// Close completes the output. It does not close the writer below.
	Close() error
}

// Formats of rows, as the command line names them.
func Formats() []string { return []string{"parquet", "csv", "jsonl"} }

// NewRowWriter returns a writer of the format to w. mem is what Arrow data is
// allocated from; only Parquet uses it.
func NewRowWriter(w io.Writer, format string, mem memory.Allocator) (RowWriter, error) {
	switch format {
	case "jsonl":
		return newLines(w), nil
	case "csv":
		return newTable(w)
	case "parquet":
		return newParquet(w, mem)
	default:
		return nil, fmt.Errorf("format is %q, want %s", format, strings.Join(Formats(), ", "))
	}
}

// lines writes JSON lines.
type lines struct {
	w    *bufio.Writer
	enc  *json.Encoder
	ends ends
	row  Row
}

func newLines(w io.Writer) *lines {
	b := bufio.NewWriterSize(w, 1<<16)
	enc := json.NewEncoder(b)
	enc.SetEscapeHTML(false)
	return &lines{w: b, enc: enc, ends: make(ends)}
}

func (l *lines) Write(a query.Attributed, keep func(int) bool) error {
	for i := range a.Len() {
		if !keep(i) {
			continue
		}
		l.row.fill(a, i, l.ends)
		if err := l.enc.Encode(&l.row); err != nil {
			return fmt.Errorf("write JSON line: %w", err)
		}
	}
	return nil
}

func (l *lines) Close() error { return l.w.Flush() }

// table writes CSV (RFC 4180) with a header. Candidates are joined by spaces.
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

func (t *table) Write(a query.Attributed, keep func(int) bool) error {
	for i := range a.Len() {
		if !keep(i) {
			continue
		}
		t.row.fill(a, i, t.ends)
		t.fields = t.row.fields(t.fields[:0])
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
