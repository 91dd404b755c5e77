// Package sourcetest checks that a source of flow logs keeps the contract of
// [ingest.Source]: one suite for every implementation.
//
// In: a [Store] that the suite can fill, with the source over it. Out: failures of
// the test. The package also has what tests of ingestion share: fixture blobs, and a
// [Sink] in memory that fails on calls in an order that [ingest.Sink] rules out.
package sourcetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/whichpod/whichpod/ingest"
)

// Store is a place with blobs, empty at first.
type Store interface {
	// Put writes a blob under its full name, anew or in place of what was there.
	Put(t *testing.T, name string, content []byte)
	// Remove deletes a blob.
	Remove(t *testing.T, name string)
	// Source reads the store.
	Source(t *testing.T) ingest.Source
}

// Test runs the suite. newStore is called once per case.
func Test(t *testing.T, newStore func(t *testing.T) Store) {
	for name, test := range map[string]func(*testing.T, Store){
		"no blob at all":          testEmpty,
		"listing":                 testList,
		"errors of the callback":  testCallback,
		"reading from any offset": testOffsets,
		"blob that grew":          testGrown,
		"blob that shrank":        testShrunk,
		"blob that is gone":       testGone,
		"cancelled context":       testCancel,
		"rows and resuming":       testRows,
		"cut blob made whole":     testCut,
	} {
		t.Run(name, func(t *testing.T) { test(t, newStore(t)) })
	}
}

// list returns the blobs of a source by name.
func list(t *testing.T, src ingest.Source) []ingest.Blob {
	t.Helper()
	var all []ingest.Blob
	if err := src.List(context.Background(), ingest.Hours{}, func(b ingest.Blob) error { all = append(all, b); return nil }); err != nil {
		t.Fatal(err)
	}
	return all
}

// one returns the only blob of a source.
func one(t *testing.T, src ingest.Source) ingest.Blob {
	t.Helper()
	all := list(t, src)
	if len(all) != 1 {
		t.Fatalf("got %d blobs, want 1: %v", len(all), all)
	}
	return all[0]
}

func read(src ingest.Source, b ingest.Blob, offset int64) ([]byte, error) {
	r, err := src.Open(context.Background(), b, offset)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return io.ReadAll(r)
}

func testEmpty(t *testing.T, s Store) {
	if all := list(t, s.Source(t)); len(all) != 0 {
		t.Errorf("got %v, want none", all)
	}
}

func testList(t *testing.T, s Store) {
	a, b := Name(1), Name(2)
	for name, content := range map[string]string{
		b:                      "{}",
		"mirror/of/it/" + a:    `{"records":[]}`,
		"mirror/of/it/log.txt": "no flow log",
		"mirror/of/it/json":    "no flow log",
	} {
		s.Put(t, name, []byte(content))
	}
	src := s.Source(t)
	got := map[string]int64{}
	for _, b := range list(t, src) {
		if b.Modified.IsZero() || b.Path == "" {
			t.Errorf("blob %v has no time or path", b)
		}
		got[b.Name] = b.Length
	}
	if diff := cmp.Diff(map[string]int64{a: 14, b: 2}, got); diff != "" {
		t.Errorf("names and lengths (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(list(t, src), list(t, src)); diff != "" {
		t.Errorf("two listings differ:\n%s", diff)
	}
}

func testCallback(t *testing.T, s Store) {
	s.Put(t, Name(1), []byte("{}"))
	s.Put(t, Name(2), []byte("{}"))
	want, calls := errors.New("stop"), 0
	err := s.Source(t).List(context.Background(), ingest.Hours{}, func(ingest.Blob) error { calls++; return want })
	if err != want || calls != 1 {
		t.Errorf("got error %v after %d calls, want %v after 1", err, calls, want)
	}
}

func testOffsets(t *testing.T, s Store) {
	content := []byte(Blob(Record(0, 20), Record(20, 20)))
	s.Put(t, Name(1), content)
	src := s.Source(t)
	b := one(t, src)
	for _, offset := range []int64{0, 1, 12, b.Length / 2, b.Length - 1, b.Length} {
		got, err := read(src, b, offset)
		if err != nil || !bytes.Equal(got, content[offset:]) {
			t.Errorf("from %d: got %d bytes and error %v, want %d", offset, len(got), err, len(content[offset:]))
		}
	}
	s.Put(t, Name(1), nil)
	if got, err := read(src, one(t, src), 0); err != nil || len(got) != 0 {
		t.Errorf("empty blob: got %q and error %v", got, err)
	}
}

func testGrown(t *testing.T, s Store) {
	s.Put(t, Name(1), []byte(Blob(Record(0, 1))))
	src := s.Source(t)
	b := one(t, src)
	s.Put(t, Name(1), []byte(Blob(Record(0, 1), Record(1, 1))))
	wantChanged(t, src, b)
	if now := one(t, src); now.Length <= b.Length {
		t.Errorf("second listing has length %d, first %d", now.Length, b.Length)
	}
}

func testShrunk(t *testing.T, s Store) {
	s.Put(t, Name(1), []byte(Blob(Record(0, 1))))
	src := s.Source(t)
	b := one(t, src)
	s.Put(t, Name(1), []byte(Blob()))
	wantChanged(t, src, b)
}

func testGone(t *testing.T, s Store) {
	s.Put(t, Name(1), []byte(Blob()))
	src := s.Source(t)
	b := one(t, src)
	s.Remove(t, Name(1))
	wantChanged(t, src, b)
}

// wantChanged reads from the start, the middle and the end.
func wantChanged(t *testing.T, src ingest.Source, b ingest.Blob) {
	t.Helper()
	for _, offset := range []int64{0, b.Length / 2, b.Length} {
		if got, err := read(src, b, offset); !errors.Is(err, ingest.ErrChanged) {
			t.Errorf("from %d: got %d bytes and error %v, want ErrChanged", offset, len(got), err)
		}
	}
}

func testCancel(t *testing.T, s Store) {
	s.Put(t, Name(1), []byte("{}"))
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := s.Source(t).List(ctx, ingest.Hours{}, func(ingest.Blob) error { return nil }); !errors.Is(err, context.Canceled) {
		t.Errorf("got error %v, want that of the context", err)
	}
}

func testRows(t *testing.T, s Store) {
	sink := NewSink(t)
	records := []string{}
	for i := range 4 {
		records = append(records, Record(i*50, 50))
		s.Put(t, Name(1), []byte(Blob(records...)))
		if i == 0 {
			s.Put(t, "else/where/"+Name(2), []byte(Blob(records[0])))
		}
		sum := Run(t, s.Source(t), sink)
		want := 2
		if i > 0 {
			want = 1
		}
		if sum.Read+sum.Unchanged != 2 || sum.Read < want || len(sum.Skipped) > 0 {
			t.Errorf("round %d: got %+v, want %d or more read of 2", i, sum, want)
		}
		if i > 0 && sum.Rows != 50 {
			t.Errorf("round %d: got %d new rows, want 50", i, sum.Rows)
		}
	}
	if got := len(sink.Rows(Name(1))); got != 200 {
		t.Errorf("got %d rows, want 200", got)
	}
	for i, row := range sink.Rows(Name(1)) {
		text := Tuple(i)
		blob := Blob(records...)
		if got := blob[row.Offset : row.Offset+int64(len(text))]; got != text {
			t.Fatalf("row %d stands at %d: %q, want %q", i, row.Offset, got, text)
		}
	}
	// Written anew with as many bytes: read again, and the old rows go.
	old := Blob(records...)
	rewritten := strings.Replace(old, ",NX,", ",YZ,", 1)
	s.Put(t, Name(1), []byte(rewritten))
	sum := Run(t, s.Source(t), sink)
	if rows := sink.Rows(Name(1)); rewritten == old || sum.Rewritten != 1 || len(rows) != 200 || rows[0].Encryption != "YZ" {
		t.Errorf("rewritten with the same length: got %+v and %d rows, want 200 rows read again", sum, len(rows))
	}
}

func testCut(t *testing.T, s Store) {
	whole := Blob(Record(0, 30), Record(30, 30))
	sink := NewSink(t)
	s.Put(t, Name(1), []byte(whole[:len(whole)-200]))
	sum := Run(t, s.Source(t), sink)
	if sum.Rows != 30 || sum.Rejected[ingest.ReasonTruncated] != 1 {
		t.Errorf("cut: got %+v, want 30 rows and one blob cut", sum)
	}
	s.Put(t, Name(1), []byte(whole))
	sum = Run(t, s.Source(t), sink)
	if sum.Rows != 30 || sum.Resumed != 1 || len(sum.Rejected) != 0 {
		t.Errorf("whole: got %+v, want 30 rows more", sum)
	}
}

// Run ingests a source into a sink and fails on an error.
func Run(t *testing.T, src ingest.Source, sink *Sink) ingest.Summary {
	t.Helper()
	sum, err := ingest.Run(context.Background(), src, sink, ingest.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return sum
}

// Name is the name of fixture blob i, as Azure names it: each i is another NIC.
func Name(i int) string {
	return fmt.Sprintf("flowLogResourceID=/SUB_NETWORKWATCHERRG/NETWORKWATCHER_EASTUS_VNET-FLOWLOG/y=2026/m=08/d=20/h=14/m=00/macAddress=000D3A1B2C%02X/PT1H.json", i)
}

// Tuple is the text of fixture tuple i.
func Tuple(i int) string {
	return fmt.Sprintf("%d,10.224.0.%d,203.0.113.66,%d,8443,6,O,B,NX,0,0,0,0", 1787236800000+int64(i), i%250+1, 1024+i%60000)
}

// Record is a record with n tuples, numbered from first on.
func Record(first, n int) string {
	var b bytes.Buffer
	fmt.Fprintf(&b, `{"time":"2026-08-20T14:%02d:52.2837112Z","flowLogVersion":4,"macAddress":"000D3A1B2C3D","category":"FlowLogFlowEvent",`+
		`"flowRecords":{"flows":[{"aclID":"acl-1","flowGroups":[{"rule":"DefaultRule_AllowInternetOutBound","flowTuples":[`, first%60)
	for i := range n {
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, "%q", Tuple(first+i))
	}
	b.WriteString(`]}]}]}}`)
	return b.String()
}

// Blob is a whole blob of records.
func Blob(records ...string) string {
	var b bytes.Buffer
	for _, block := range Blocks(records...) {
		b.WriteString(block)
	}
	return b.String()
}

// Blocks are the blocks of the same blob as Azure commits them (flow-logs-read): an
// opener of 12 bytes, a block per record, a closer of 2 bytes.
func Blocks(records ...string) []string {
	blocks := []string{`{"records":[`}
	for i, r := range records {
		if i > 0 {
			r = "," + r
		}
		blocks = append(blocks, r)
	}
	return append(blocks, "]}")
}
