package ingest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/apache/arrow/go/v17/arrow/memory"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/whichpod/whichpod/flow"
)

var compareRows = cmpopts.EquateComparable(flow.Row{})

// rejections shows rejections as "offset reason".
func rejections(res result) []string {
	var all []string
	for _, r := range res.rejected {
		all = append(all, fmt.Sprintf("%d %s", r.Offset, r.Reason))
	}
	return all
}

// tuplesOf finds the numbers of the fixture tuples that became rows, and checks that
// each row stands where it says.
func tuplesOf(t *testing.T, text string, res result) []int {
	t.Helper()
	var all []int
	for _, r := range res.rows {
		n := int(r.Time - 1787236800000)
		if want := tupleText(n); !strings.HasPrefix(text[r.Offset:], want) {
			t.Errorf("row of tuple %d says offset %d, where there is %.60q", n, r.Offset, text[r.Offset:])
		}
		all = append(all, n)
	}
	return all
}

// seq is first, first+1, … of n numbers.
func seq(first, n int) []int {
	var all []int
	for i := range n {
		all = append(all, first+i)
	}
	return all
}

func TestDecodeWhole(t *testing.T) {
	a, b := recordText(0, 3), recordText(3, 2)
	for _, tc := range []struct {
		name, text string
		want       int // tuples
		offset     int // after the last whole record
		rejected   []string
	}{
		{"blob", `{"records":[` + a + "," + b + "]}", 5, 12 + len(a) + 1 + len(b), nil},
		{"blob without a record", `{"records":[]}`, 0, 0, nil},
		{"space and a byte order mark", "\ufeff {\n\"records\" : [ " + a + " ,\r\n" + b + "\t] }\n", 5, 3 + 18 + len(a) + 4 + len(b) - 1, nil},
		{"bare record", a, 3, len(a), nil},
		{"bare records, as in a data block", a + "," + b, 5, len(a) + 1 + len(b), nil},
		{"bare records, one a line", a + "\n" + b + "\n", 5, len(a) + 1 + len(b), nil},
		{"later data block", "," + b, 2, 1 + len(b), nil},
		{"later data block with the closer", "," + b + "]}", 2, 1 + len(b), nil},
		{"wrapper with another key first", `{"x":1,"records":[` + a + "," + b + "]}", 5, 18 + len(a) + 1 + len(b), []string{"0 unsupported"}},
		{"no tuples", `{"records":[` + recordText(0, 0) + "]}", 0, 12 + len(recordText(0, 0)), nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			res := decodeText(t, tc.text)
			if res.err != nil {
				t.Fatal(res.err)
			}
			if diff := cmp.Diff(seq(0, tc.want), tuplesOf(t, tc.text, res)); diff != "" && tc.want == 5 {
				t.Errorf("tuples (-want +got):\n%s", diff)
			}
			if len(res.rows) != tc.want {
				t.Errorf("got %d rows, want %d", len(res.rows), tc.want)
			}
			if diff := cmp.Diff(tc.rejected, rejections(res)); diff != "" {
				t.Errorf("rejections (-want +got):\n%s%v", diff, res.rejected)
			}
			if res.pos.Offset != int64(tc.offset) || res.pos.Length != int64(len(tc.text)) || res.pos.Tail != "" {
				t.Errorf("got %+v, want offset %d, length %d", res.pos, tc.offset, len(tc.text))
			}
		})
	}
}

// TestDecodeBad has what goes wrong with blobs. Each case states every rejection with
// its offset, and the tuples that must be kept.
func TestDecodeBad(t *testing.T) {
	a, b, c := recordText(0, 2), recordText(2, 2), recordText(4, 2)
	open := `{"records":[`
	at := len(open)           // of the first record
	second := at + len(a) + 1 // of the second
	broken := func(old, new string) string { return strings.Replace(b, old, new, 1) }
	short := strings.Replace(b, ",0,0,0,0", ",0,0,0", 1) // its first tuple has 12 fields
	inB := strings.Index(b, tupleText(2))
	for _, tc := range []struct {
		name, text string
		rejected   []string
		kept       []int
		whole      int // after the last whole record
		tail       string
	}{
		{"empty", "", []string{"0 empty"}, nil, 0, "empty at byte 0"},
		{"only space", " \n", []string{"0 empty"}, nil, 0, "empty at byte 0"},
		{"only the opener", open, []string{"12 truncated"}, nil, 0, "truncated at byte 12"},
		{"half an opener", `{"reco`, []string{"0 truncated"}, nil, 0, "truncated at byte 0"},
		{"cut inside a tuple", open + a + "," + b[:inB+20], []string{fmt.Sprintf("%d truncated", second)}, seq(0, 2), second - 1, fmt.Sprintf("truncated at byte %d", second)},
		{"cut inside a key", open + a + "," + b[:4], []string{fmt.Sprintf("%d truncated", second)}, seq(0, 2), second - 1, fmt.Sprintf("truncated at byte %d", second)},
		{"cut after a comma", open + a + ",", []string{fmt.Sprintf("%d truncated", second)}, seq(0, 2), second - 1, fmt.Sprintf("truncated at byte %d", second)},
		{"cut after a record", open + a, []string{fmt.Sprintf("%d truncated", second-1)}, seq(0, 2), second - 1, fmt.Sprintf("truncated at byte %d", second-1)},
		{"cut inside the closer", open + a + "]", []string{fmt.Sprintf("%d truncated", second-1)}, seq(0, 2), second - 1, fmt.Sprintf("truncated at byte %d", second-1)},
		{"tuple with too few fields", open + a + "," + short + "," + c + "]}", []string{fmt.Sprintf("%d tuple", second+inB)}, []int{0, 1, 3, 4, 5}, second + len(short) + 1 + len(c), ""},
		{"lone bracket between records", open + a + "]," + b + "," + c + "]}", []string{fmt.Sprintf("%d stray", second-1)}, seq(0, 6), second + 1 + len(b) + 1 + len(c), ""},
		{"lone bracket instead of a comma", open + a + "]" + b + "]}", []string{fmt.Sprintf("%d stray", second-1)}, seq(0, 4), second + len(b), ""},
		{"no comma", open + a + b + "]}", []string{fmt.Sprintf("%d stray", second-1)}, seq(0, 4), second - 1 + len(b), ""},
		{"two commas", open + a + ",," + b + "]}", []string{fmt.Sprintf("%d stray", second)}, seq(0, 4), second + 1 + len(b), ""},
		{"comma before the closer", open + a + ",]}", []string{fmt.Sprintf("%d stray", second)}, seq(0, 2), second - 1, fmt.Sprintf("stray at byte %d", second)},
		{"first data block lost", open + "," + b + "]}", []string{"12 stray"}, seq(2, 2), 13 + len(b), ""},
		{"garbage between records", open + a + ",\x00\x01garbage" + "," + b + "]}", []string{fmt.Sprintf("%d stray", second)}, seq(0, 4), second + 10 + len(b), ""},
		{"garbage before the opener", "xx" + open + a + "]}", []string{"0 stray"}, seq(0, 2), 2 + second - 1, ""},
		{"two blobs in one", open + a + "]}" + open + b + "]}", []string{fmt.Sprintf("%d stray", second+1)}, seq(0, 4), second + 1 + 12 + len(b), ""},
		{"record behind the closer", open + a + "]}" + b, []string{fmt.Sprintf("%d stray", second+1)}, seq(0, 4), second + 1 + len(b), ""},
		{"quote lost", open + a + "," + broken(`0",`, `0,`) + "," + c + "]}", []string{fmt.Sprintf("%d record", second)}, []int{0, 1, 4, 5}, second + len(b) - 1 + 1 + len(c), ""},
		{"brace lost", open + a + "," + broken(`}]}]}}`, `}]}]}`) + "," + c + "]}", []string{fmt.Sprintf("%d record", second)}, []int{0, 1, 4, 5}, second + len(b) - 1 + 1 + len(c), ""},
		{"zeros in a tuple", open + a + "," + broken(`203.0`, "\x00\x00\x00\x00\x00") + "," + c + "]}", []string{fmt.Sprintf("%d record", second)}, []int{0, 1, 4, 5}, second + len(b) + 1 + len(c), ""},
		{"block lost in a tuple", open + a + "," + b[:inB+20] + "," + c + "]}", []string{fmt.Sprintf("%d record", second)}, []int{0, 1, 4, 5}, second + inB + 20 + 1 + len(c), ""},
		{"block lost between tuples", open + a + "," + b[:inB-1] + c + "]}", []string{fmt.Sprintf("%d record", second)}, []int{0, 1, 4, 5}, second + inB - 1 + len(c), ""},
		{"broken record last", open + a + "," + broken(`"flows":[`, `"flows":[[`) + "]}", []string{fmt.Sprintf("%d record", second)}, seq(0, 2), second - 1, fmt.Sprintf("record at byte %d", second)},
		{"broken record first", open + "," + broken(`"flows":[`, `"flows"[`) + "," + c + "]}", []string{"12 stray", "13 record"}, seq(4, 2), 13 + len(b) - 1 + 1 + len(c), ""},
		{"two broken records", open + broken(`"time":`, `"time"`) + "," + broken(`"time":"`, `"time":`) + "," + c + "]}", []string{"12 record", fmt.Sprintf("%d record", at+len(b))}, seq(4, 2), at + len(b) - 1 + 1 + len(b) - 1 + 1 + len(c), ""},
		{"deep nesting", open + a + "," + broken(`"flowLogGUID":"g"`, `"x":`+strings.Repeat("[", 40)+strings.Repeat("]", 40)) + "," + c + "]}", []string{fmt.Sprintf("%d record", second)}, []int{0, 1, 4, 5}, second + len(b) + 80 - 13 + 1 + len(c), ""},
		{"another version", open + a + "," + broken(`"flowLogVersion":4`, `"flowLogVersion":5`) + "," + c + "]}", []string{fmt.Sprintf("%d unsupported", second)}, []int{0, 1, 4, 5}, second + len(b) + 1 + len(c), ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			res := decodeText(t, tc.text)
			if res.err != nil {
				t.Fatal(res.err)
			}
			if diff := cmp.Diff(tc.rejected, rejections(res)); diff != "" {
				t.Errorf("rejections (-want +got):\n%s%v", diff, res.rejected)
			}
			if diff := cmp.Diff(tc.kept, tuplesOf(t, tc.text, res)); diff != "" {
				t.Errorf("kept (-want +got):\n%s", diff)
			}
			if res.pos.Offset != int64(tc.whole) || res.pos.Tail != tc.tail {
				t.Errorf("got offset %d, tail %q, want %d, %q", res.pos.Offset, res.pos.Tail, tc.whole, tc.tail)
			}
			checkPrintable(t, res)
		})
	}
}

func checkPrintable(t testing.TB, res result) {
	t.Helper()
	for _, r := range res.rejected {
		if !printable([]byte(r.Detail)) || r.Detail == "" || len(r.Detail) > 400 {
			t.Errorf("detail of %d bytes is not fit to print: %.500q", len(r.Detail), r.Detail)
		}
	}
}

// However the bytes come, the result is the same.
func TestDecodeSplit(t *testing.T) {
	a, b, c := recordText(0, 40), recordText(40, 40), recordText(80, 40)
	blobs := []string{
		`{"records":[` + a + "," + b + "," + c + "]}",
		`{"records":[` + a + "," + b[:700] + "," + c + "]}",
		`{"records":[` + a + "]," + strings.Replace(b, ",NX,", ",N\\u0058,-", 3) + ",," + c[:999],
	}
	rng := rand.New(rand.NewPCG(3, 3))
	for i, blob := range blobs {
		want := decodeText(t, blob)
		readers := map[string]io.Reader{
			"one byte": iotest.OneByteReader(strings.NewReader(blob)),
			"half":     iotest.HalfReader(strings.NewReader(blob)),
			"data+EOF": iotest.DataErrReader(strings.NewReader(blob)),
		}
		for k := range 20 {
			readers[fmt.Sprintf("random %d", k)] = &randomReader{rng: rng, r: strings.NewReader(blob)}
		}
		for name, r := range readers {
			got := decode(t, r, flow.Position{Blob: testBlob})
			if diff := cmp.Diff(want, got, cmp.AllowUnexported(result{}), compareRows); diff != "" {
				t.Fatalf("blob %d, %s (-want +got):\n%s", i, name, diff)
			}
		}
	}
}

type randomReader struct {
	rng *rand.Rand
	r   io.Reader
}

func (r *randomReader) Read(p []byte) (int, error) {
	return r.r.Read(p[:min(len(p), r.rng.IntN(300))]) // nothing, at times
}

// A blob that grows record by record gives the same rows as one read at once, and a
// check that a decoder of the whole agrees with.
func TestDecodeResume(t *testing.T) {
	var parts []string
	for i := range 30 {
		parts = append(parts, recordText(i*10, 10+i%3*40))
	}
	var res result
	pos := flow.Position{Blob: testBlob}
	for n := 1; n <= len(parts); n++ {
		text := `{"records":[` + strings.Join(parts[:n], ",") + "]}"
		if n%3 == 0 { // and now and then it is cut
			text = text[:len(text)-100]
		}
		got := decode(t, strings.NewReader(text[ResumeAt(pos):]), pos)
		if got.err != nil {
			t.Fatal(got.err)
		}
		res.rows, pos = append(res.rows, got.rows...), got.pos
		want := decodeText(t, text)
		if diff := cmp.Diff(want.rows, res.rows, compareRows); diff != "" {
			t.Fatalf("%d records (-want +got):\n%s", n, diff)
		}
		if diff := cmp.Diff(want.pos, pos); diff != "" {
			t.Fatalf("%d records (-want +got):\n%s", n, diff)
		}
	}
}

func TestDecodeRewritten(t *testing.T) {
	text := `{"records":[` + recordText(0, 50) + "," + recordText(50, 50) + "]}"
	pos := decodeText(t, text).pos
	other := strings.Replace(text, tupleText(90), tupleText(91), 1)
	for name, now := range map[string]string{"changed": other, "shorter": text[:pos.Offset-1]} {
		got := decode(t, strings.NewReader(now[ResumeAt(pos):]), pos)
		if !errors.Is(got.err, ErrRewritten) || len(got.rows) > 0 || len(got.rejected) > 0 {
			t.Errorf("%s: got error %v, %d rows, want ErrRewritten and none", name, got.err, len(got.rows))
		}
	}
}

// A read that fails leaves the position after the last whole record, and reading
// goes on from there.
func TestDecodeReadError(t *testing.T) {
	text := `{"records":[` + recordText(0, 50) + "," + recordText(50, 50) + "]}"
	broken := errors.New("broken")
	first := decode(t, io.MultiReader(strings.NewReader(text[:len(text)-300]), iotest.ErrReader(broken)), flow.Position{Blob: testBlob})
	if !errors.Is(first.err, broken) || len(first.rows) != 50 || len(first.rejected) > 0 || first.pos.Length != first.pos.Offset {
		t.Fatalf("got %d rows, %+v, error %v", len(first.rows), first.pos, first.err)
	}
	second := decode(t, strings.NewReader(text[ResumeAt(first.pos):]), first.pos)
	if second.err != nil || len(second.rows) != 50 {
		t.Fatalf("got %d rows, error %v, want the other 50", len(second.rows), second.err)
	}
	if got := decode(t, &randomReader{rand.New(rand.NewPCG(1, 1)), stuck{}}, flow.Position{}); !errors.Is(got.err, io.ErrNoProgress) {
		t.Errorf("got error %v from a reader that gives nothing", got.err)
	}
}

type stuck struct{}

func (stuck) Read([]byte) (int, error) { return 0, nil }

func TestDecodeEmitError(t *testing.T) {
	mem := memory.NewCheckedAllocator(memory.NewGoAllocator())
	defer mem.AssertSize(t, 0)
	full, calls := errors.New("full"), 0
	d := NewDecoder(mem, func(*flow.Batch) error { calls++; return full }, func(flow.Rejection) {})
	defer d.Close()
	_, err := d.Decode(context.Background(), bytes.NewReader(blobText(8<<20, 1)), flow.Position{Blob: testBlob})
	if !errors.Is(err, full) || calls != 1 {
		t.Errorf("got error %v after %d calls, want %v after 1", err, calls, full)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := d.Decode(ctx, strings.NewReader("{}"), flow.Position{Blob: testBlob}); !errors.Is(err, context.Canceled) {
		t.Errorf("got error %v, want that of the context", err)
	}
}

// A record of more than the limit is skipped; the records around it are kept, and
// the buffer stays within its bound.
func TestDecodeTooLarge(t *testing.T) {
	a, b := recordText(0, 2), recordText(2, 2)
	head := `{"records":[` + a + `,{"time":"x","flowRecords":{"flows":[{"flowGroups":[{"flowTuples":[""`
	middle := strings.Repeat(`,"1,2,3,4,5"`, 100)
	tail := `]}]}]}},` + b + "]}"
	n := MaxRecordBytes/len(middle) + 10
	pieces := []io.Reader{strings.NewReader(head)}
	for range n {
		pieces = append(pieces, strings.NewReader(middle))
	}
	d := NewDecoder(memory.DefaultAllocator, func(*flow.Batch) error { return nil }, nil)
	defer d.Close()
	var res result
	d.reject = func(r flow.Rejection) { res.rejected = append(res.rejected, r) }
	rows := 0
	d.emit = func(b *flow.Batch) error { rows += b.Len(); return nil }
	pos, err := d.Decode(context.Background(), io.MultiReader(append(pieces, strings.NewReader(tail))...), flow.Position{Blob: testBlob})
	if err != nil || rows != 4 || pos.Tail != "" {
		t.Errorf("got %d rows, %+v, error %v, want 4", rows, pos, err)
	}
	if diff := cmp.Diff([]string{fmt.Sprintf("%d too-large", 13+len(a))}, rejections(res)); diff != "" {
		t.Errorf("rejections (-want +got):\n%s", diff)
	}
	if cap(d.frames.win.buf) > maxBuffer {
		t.Errorf("buffer has %d bytes, want at most %d", cap(d.frames.win.buf), maxBuffer)
	}
}

// The limit may fall inside an escape, of which the scanner takes nothing until it is
// whole.
func TestDecodeTooLargeInAnEscape(t *testing.T) {
	for before := range 8 {
		head := `{"time":"`
		text := io.MultiReader(strings.NewReader(head), io.LimitReader(letters{}, int64(MaxRecordBytes-len(head)-before)),
			strings.NewReader(`\u0041`), io.LimitReader(letters{}, 2*startBytes), strings.NewReader(`"}`+recordText(0, 2)))
		counts, rows := map[string]int{}, 0
		d := NewDecoder(memory.DefaultAllocator, func(b *flow.Batch) error { rows += b.Len(); return nil }, func(r flow.Rejection) { counts[r.Reason]++ })
		if _, err := d.Decode(context.Background(), text, flow.Position{Blob: testBlob}); err != nil {
			t.Fatal(err)
		}
		if rows != 2 || counts[ReasonTooLarge] != 1 || len(counts) != 1 {
			t.Errorf("%d bytes before the limit: got %d rows and rejections %v, want 2 and one that is too large", before, rows, counts)
		}
		if got := cap(d.frames.win.buf); got > maxBuffer {
			t.Errorf("%d bytes before the limit: buffer has %d bytes, want at most %d", before, got, maxBuffer)
		}
		d.Close()
	}
}

// letters gives the same letter for ever.
type letters struct{}

func (letters) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = 'a'
	}
	return len(p), nil
}

// Input made to be slow: record starts inside one another and in strings. The bound
// is on bytes looked at, as a multiple of the input.
func TestDecodeHostileIsLinear(t *testing.T) {
	for name, text := range map[string]string{
		"nested starts":     strings.Repeat(`{"time":`, 200_000),
		"arrays of starts":  strings.Repeat(`{"time":[`, 200_000),
		"starts in strings": strings.Repeat(`{"time":"`, 200_000),
		"open braces":       strings.Repeat(`{`, 2_000_000),
		"spaced braces":     strings.Repeat("{"+strings.Repeat(" ", 900), 2_000),
		"backslashes":       `{"time":"` + strings.Repeat(`\\`, 1_000_000),
		"commas":            strings.Repeat(",", 2_000_000),
		"brackets":          strings.Repeat("]", 2_000_000),
		"far brackets":      strings.Repeat("]"+strings.Repeat(" ", 600_000)+"x", 4),
		"far braces":        strings.Repeat("{"+strings.Repeat(" ", 600_000)+"x", 4),
		"far opener":        strings.Repeat(" ", 900_000) + `{"records"` + strings.Repeat(" ", 900_000) + ":[",
		"far stray":         `{"records":[` + recordText(0, 1) + strings.Repeat(" ", 900_000) + "," + strings.Repeat(" ", 900_000) + "," + strings.Repeat(" ", 900_000),
	} {
		t.Run(name, func(t *testing.T) {
			counts := map[string]int{}
			d := NewDecoder(memory.DefaultAllocator, func(*flow.Batch) error { return nil }, func(r flow.Rejection) { counts[r.Reason]++ })
			defer d.Close()
			if _, err := d.Decode(context.Background(), strings.NewReader(text), flow.Position{Blob: testBlob}); err != nil {
				t.Fatal(err)
			}
			if limit := int64(len(text)) * (maxDepth + 4); d.frames.scanned > limit {
				t.Errorf("scanned %d bytes of %d, want at most %d", d.frames.scanned, len(text), limit)
			}
			if len(counts) == 0 {
				t.Error("nothing was rejected")
			}
		})
	}
}

// samples is the folder of real logs, which is not part of the repository.
func samples(t *testing.T) string {
	t.Helper()
	dir := "../../shared/samples"
	if _, err := os.Stat(dir); err != nil {
		t.Skip("the samples are not here")
	}
	return dir
}

func TestDecodeSamples(t *testing.T) {
	dir := samples(t)
	const real = "blobs/insights-logs-flowlogflowevent/flowLogResourceID=/00000000-0000-0000-0000-00000000ABCD_NETWORKWATCHERRG/NETWORKWATCHER_EASTUS_REAL-VNET-FLOWLOG/y=2026/m=11/d=23/h=13/m=00/macAddress=000D3A00BEEF/PT1H.json"
	for _, tc := range []struct {
		file   string // its origin stands before it
		rows   int
		states map[byte]int
	}{
		// MicrosoftDocs/azure-docs, flow-logs-read.md: what one data block holds
		{"azuredocs_vnet_record.json", 10, map[byte]int{'D': 10}},
		// SumoLogic/sumologic-azure-function, BlockBlobReader/tests: a real blob
		{"sumologic_vnet_blob.json", 166, map[byte]int{'C': 4, 'E': 18, 'D': 134, 'B': 10}},
		// DataDog/azure-log-forwarding-orchestration, forwarder/internal/logs/fixtures: NSG, version 2
		{"datadog_nsg_flow.json", 44, map[byte]int{'B': 12, 'E': 7, 'D': 25}},
		// recordings of a real node, made for this project
		{"real-node-podsubnet/" + real, 7255, nil},
		{"real-node-kubenet/" + real, 8384, nil},
	} {
		t.Run(tc.file, func(t *testing.T) {
			text, err := os.ReadFile(filepath.Join(dir, filepath.FromSlash(tc.file)))
			if err != nil {
				t.Fatal(err)
			}
			res := decode(t, bytes.NewReader(text), flow.Position{Blob: Name(tc.file)})
			if res.err != nil || len(res.rejected) > 0 {
				t.Fatalf("got error %v, rejections %v", res.err, res.rejected)
			}
			states := map[byte]int{}
			for _, r := range res.rows {
				states[r.State]++
				if r.Allowed != (r.State != flow.Denied) {
					t.Errorf("row %+v: allowed is wrong", r)
				}
			}
			if len(res.rows) != tc.rows || tc.states != nil && !cmp.Equal(states, tc.states) {
				t.Errorf("got %d rows %v, want %d %v", len(res.rows), states, tc.rows, tc.states)
			}
			if diff := cmp.Diff(naive(t, text, Name(tc.file)), res.rows, compareRows); diff != "" {
				t.Errorf("encoding/json differs (-want +got):\n%s", diff)
			}
		})
	}
}
