package ingest_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/apache/arrow/go/v17/arrow/memory"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"go.uber.org/goleak"

	"github.com/whichpod/whichpod/flow"
	"github.com/whichpod/whichpod/ingest"
	"github.com/whichpod/whichpod/ingest/sourcetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// memSource is a source whose blobs change when a test says so.
type memSource struct {
	names   []string
	content map[string]string
	opened  map[string]int
	onOpen  func(name string) // before a blob is opened
	onRead  func(name string) // before each read of a blob
	fail    error             // of Open
	listErr error             // at the end of List

	mu   sync.Mutex
	open int // readers that were not closed
}

func newMemSource(blobs ...string) *memSource {
	s := &memSource{content: map[string]string{}, opened: map[string]int{}}
	for i, text := range blobs {
		s.names = append(s.names, sourcetest.Name(i))
		s.content[sourcetest.Name(i)] = text
	}
	return s
}

func etag(text string) string { return fmt.Sprintf("%d-%x", len(text), text[max(0, len(text)-8):]) }

func (s *memSource) List(ctx context.Context, _ ingest.Hours, fn func(ingest.Blob) error) error {
	for _, n := range s.names {
		if text, ok := s.content[n]; ok {
			if err := fn(ingest.Blob{Name: n, Path: n, ETag: etag(text), Length: int64(len(text)), Modified: time.Now()}); err != nil {
				return err
			}
		}
	}
	return errors.Join(ctx.Err(), s.listErr)
}

func (s *memSource) Open(_ context.Context, b ingest.Blob, offset int64) (io.ReadCloser, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.opened[b.Name]++
	if s.onOpen != nil {
		s.onOpen(b.Name)
	}
	if s.fail != nil {
		return nil, s.fail
	}
	if b.ETag != etag(s.content[b.Name]) {
		return nil, ingest.ErrChanged
	}
	s.open++
	return &memReader{s, b, strings.NewReader(s.content[b.Name][offset:])}, nil
}

type memReader struct {
	s *memSource
	b ingest.Blob
	r io.Reader
}

func (r *memReader) Read(p []byte) (int, error) {
	if r.s.onRead != nil {
		r.s.onRead(r.b.Name)
	}
	if r.b.ETag != etag(r.s.content[r.b.Name]) {
		return 0, ingest.ErrChanged
	}
	return r.r.Read(p[:min(len(p), 1000)])
}

func (r *memReader) Close() error {
	r.s.mu.Lock()
	defer r.s.mu.Unlock()
	r.s.open--
	return nil
}

func blobOf(first, records int) string {
	var all []string
	for i := range records {
		all = append(all, sourcetest.Record(first+i*10, 10))
	}
	return sourcetest.Blob(all...)
}

func TestRunSkipsUnchanged(t *testing.T) {
	src, sink := newMemSource(blobOf(0, 3), blobOf(0, 1)), sourcetest.NewSink(t)
	if sum := sourcetest.Run(t, src, sink); sum.Read != 2 || sum.Rows != 40 || sum.Bytes == 0 {
		t.Errorf("first run: %+v", sum)
	}
	if sum := sourcetest.Run(t, src, sink); sum.Unchanged != 2 || sum.Rows != 0 || sum.Read != 0 {
		t.Errorf("second run: %+v", sum)
	}
	if n := src.opened[sourcetest.Name(0)]; n != 1 {
		t.Errorf("an unchanged blob was opened %d times", n)
	}
}

func TestRunRewritten(t *testing.T) {
	for name, after := range map[string]string{
		"longer":  strings.ReplaceAll(blobOf(0, 5), "203.0.113.66", "203.0.113.67"),
		"shorter": blobOf(50, 2),
		"empty":   sourcetest.Blob(),
	} {
		src, sink := newMemSource(blobOf(0, 3)), sourcetest.NewSink(t)
		sourcetest.Run(t, src, sink)
		src.content[sourcetest.Name(0)] = after
		sum := sourcetest.Run(t, src, sink)
		fresh := sourcetest.NewSink(t)
		sourcetest.Run(t, src, fresh)
		if sum.Rewritten != 1 || sum.Resumed != 0 {
			t.Errorf("%s: %+v", name, sum)
		}
		if diff := cmp.Diff(fresh.Rows(sourcetest.Name(0)), sink.Rows(sourcetest.Name(0)), cmpopts.EquateComparable(flow.Row{})); diff != "" {
			t.Errorf("%s: rows (-read once +got):\n%s", name, diff)
		}
	}
}

// The rows of a blob that was rewritten stay until it can be read again.
func TestRunRewrittenAndAway(t *testing.T) {
	for name, after := range map[string]string{"longer": strings.ReplaceAll(blobOf(0, 5), "203.0.113.66", "203.0.113.67"), "shorter": blobOf(50, 2)} {
		src, sink := newMemSource(blobOf(0, 3)), sourcetest.NewSink(t)
		sourcetest.Run(t, src, sink)
		src.content[sourcetest.Name(0)] = after
		opens := 0
		src.onOpen = func(string) {
			if opens++; name == "shorter" || opens == 2 { // what grew is opened to be resumed first
				src.fail = errBroken
			}
		}
		if sum := sourcetest.Run(t, src, sink); len(sum.Skipped) != 1 || sum.Rewritten != 0 || len(sink.Rows(sourcetest.Name(0))) != 30 {
			t.Errorf("%s: %d rows after %+v", name, len(sink.Rows(sourcetest.Name(0))), sum)
		}
		src.onOpen, src.fail = nil, nil
		if sum := sourcetest.Run(t, src, sink); sum.Rewritten != 1 || len(sink.Rows(sourcetest.Name(0))) != strings.Count(after, ",NX,") {
			t.Errorf("%s, then: %+v", name, sum)
		}
	}
}

// A blob that changes once under way is read again in the same run, one that keeps
// changing is left for the next; neither leaves rows of two versions.
func TestRunChangingBlob(t *testing.T) {
	for _, tc := range []struct {
		name  string
		when  func(s *memSource, hook func(string))
		times int
		skips int
	}{
		{"once before it is opened", func(s *memSource, h func(string)) { s.onOpen = h }, 1, 0},
		{"once while it is read", func(s *memSource, h func(string)) { s.onRead = h }, 1, 0},
		{"always", func(s *memSource, h func(string)) { s.onOpen = h }, 99, 1},
		{"always while it is read", func(s *memSource, h func(string)) { s.onRead = h }, 99, 1},
	} {
		t.Run(tc.name, func(t *testing.T) {
			src, sink := newMemSource(blobOf(0, 400), blobOf(0, 1)), sourcetest.NewSink(t)
			reads, changes := 0, 0
			tc.when(src, func(name string) {
				reads++
				if name == sourcetest.Name(0) && changes < tc.times && (src.onOpen != nil || reads%150 == 149) {
					changes++
					src.content[name] = blobOf(0, 400+changes)
				}
			})
			sum := sourcetest.Run(t, src, sink)
			if len(sum.Skipped) != tc.skips || changes == 0 || sum.Read != 2-tc.skips {
				t.Errorf("after %d changes: %+v", changes, sum)
			}
			if n := len(sink.Rows(sourcetest.Name(0))); tc.skips == 0 && n != 4010 || tc.skips == 1 && n != 0 {
				t.Errorf("got %d rows", n)
			}
			src.onOpen, src.onRead = nil, nil
			sourcetest.Run(t, src, sink)
			if n := len(sink.Rows(sourcetest.Name(0))); n != 4000+10*changes {
				t.Errorf("in the next run: got %d rows, want %d", n, 4000+10*changes)
			}
		})
	}
}

func TestRunReadFailure(t *testing.T) {
	src, sink := newMemSource(blobOf(0, 400), blobOf(0, 1)), sourcetest.NewSink(t)
	broken := &breaking{memSource: src, after: 50_000}
	sum, err := ingest.Run(context.Background(), broken, sink, ingest.Options{})
	if err != nil || len(sum.Skipped) != 1 || sum.Read != 1 {
		t.Fatalf("%+v, error %v", sum, err)
	}
	if n := len(sink.Rows(sourcetest.Name(0))); n == 0 || n == 4000 {
		t.Errorf("got %d rows before the failure, want some", n)
	}
	sum = sourcetest.Run(t, src, sink)
	if n := len(sink.Rows(sourcetest.Name(0))); n != 4000 || sum.Resumed != 1 {
		t.Errorf("got %d rows after the failure, %+v", n, sum)
	}
}

// breaking breaks the connection to the first blob.
type breaking struct {
	*memSource
	after int64
}

func (s *breaking) Open(ctx context.Context, b ingest.Blob, offset int64) (io.ReadCloser, error) {
	r, err := s.memSource.Open(ctx, b, offset)
	if err != nil || b.Name != sourcetest.Name(0) {
		return r, err
	}
	return struct {
		io.Reader
		io.Closer
	}{io.MultiReader(io.LimitReader(r, s.after), failing{}), r}, nil
}

type failing struct{}

var errBroken = errors.New("connection is broken")

func (failing) Read([]byte) (int, error) { return 0, errBroken }

func TestRunGivesUp(t *testing.T) {
	var blobs []string
	for range 30 {
		blobs = append(blobs, blobOf(0, 1))
	}
	src := newMemSource(blobs...)
	src.fail = errBroken
	sum, err := ingest.Run(context.Background(), src, sourcetest.NewSink(t), ingest.Options{})
	if !errors.Is(err, errBroken) || len(sum.Skipped) != 10 {
		t.Errorf("got error %v after %d blobs, want it after 10", err, len(sum.Skipped))
	}
}

func TestRunSinkErrors(t *testing.T) {
	full := errors.New("disk is full")
	for _, call := range []string{"Append", "Advance", "Commit", "Restart"} {
		src, sink := newMemSource(blobOf(0, 3)), sourcetest.NewSink(t)
		sourcetest.Run(t, src, sink)
		src.content[sourcetest.Name(0)] = blobOf(70, 3)
		sink.Fail = func(c string) error {
			if c == call {
				return full
			}
			return nil
		}
		if _, err := ingest.Run(context.Background(), src, sink, ingest.Options{}); !errors.Is(err, full) {
			t.Errorf("%s: got error %v, want %v", call, err, full)
		}
	}
}

// Cancelled in the middle of a blob, a run commits its whole records so far, and the
// next one goes on behind them.
func TestRunCancel(t *testing.T) {
	for _, ahead := range []int{0, 4} {
		mem := memory.NewCheckedAllocator(memory.NewGoAllocator())
		defer mem.AssertSize(t, 0)
		src, sink := newMemSource(blobOf(0, 2), blobOf(0, 4000), blobOf(0, 3)), sourcetest.NewSink(t)
		ctx, cancel := context.WithCancel(context.Background())
		sum, err := ingest.Run(ctx, src, sink, ingest.Options{Ahead: ahead, Memory: mem, Progress: func(s ingest.Summary) {
			if s.Rows > 20_000 {
				cancel()
			}
		}})
		if !errors.Is(err, context.Canceled) {
			t.Errorf("got error %v, want that of the context", err)
		}
		n := len(sink.Rows(sourcetest.Name(1)))
		if n < 20_000 || n >= 40_000 || sum.Rows != int64(20+n) || sink.Blobs() != 2 {
			t.Errorf("got %d rows of the blob under way, %d blobs, %+v", n, sink.Blobs(), sum)
		}
		sink.Crash()
		if sum := sourcetest.Run(t, src, sink); sum.Rows != int64(40_050-20-n) {
			t.Errorf("then %+v, want the other %d rows", sum, 40_050-20-n)
		}
	}
}

// Many blobs are opened before their turn, and come in their turn.
func TestRunAhead(t *testing.T) {
	var blobs []string
	for i := range 40 {
		blobs = append(blobs, blobOf(i, 1+i%3*40))
	}
	src := newMemSource(blobs...)
	one, sink := sourcetest.NewSink(t), sourcetest.NewSink(t)
	sourcetest.Run(t, src, one)
	for range 2 { // the second time nothing is new
		if sum, err := ingest.Run(context.Background(), src, sink, ingest.Options{Ahead: 7}); err != nil || sum.Read+sum.Unchanged != 40 {
			t.Fatalf("%+v, error %v", sum, err)
		}
	}
	for i := range blobs {
		if diff := cmp.Diff(one.Rows(sourcetest.Name(i)), sink.Rows(sourcetest.Name(i)), cmpopts.EquateComparable(flow.Row{})); diff != "" {
			t.Errorf("blob %d (-one by one +ahead):\n%s", i, diff)
		}
	}
}

// The blobs that were opened ahead of an error are closed, and what came before it is
// committed.
func TestRunAheadOfAnError(t *testing.T) {
	src, sink := newMemSource(blobOf(0, 1), blobOf(0, 1), blobOf(0, 1)), sourcetest.NewSink(t)
	src.listErr = errBroken
	sum, err := ingest.Run(context.Background(), src, sink, ingest.Options{Ahead: 1})
	if !errors.Is(err, errBroken) || sink.Blobs() != 2 || src.open != 0 || sum.Read != 2 {
		t.Errorf("got error %v, %+v, %d blobs, %d left open", err, sum, sink.Blobs(), src.open)
	}
}

// A patient run leaves a blob that changes to the next.
func TestRunPatient(t *testing.T) {
	src, sink := newMemSource(blobOf(0, 1), blobOf(0, 2)), sourcetest.NewSink(t)
	src.onOpen = func(name string) { src.content[sourcetest.Name(0)] = blobOf(0, 3) }
	sum, err := ingest.Run(context.Background(), src, sink, ingest.Options{Patient: true})
	if err != nil || sum.Changed != 1 || sum.Read != 1 || len(sum.Skipped) != 0 || src.opened[sourcetest.Name(0)] != 1 {
		t.Errorf("%+v, error %v", sum, err)
	}
}

func TestRunCommits(t *testing.T) {
	var blobs []string
	for range 10 {
		blobs = append(blobs, blobOf(0, 2))
	}
	for _, tc := range []struct {
		opts ingest.Options
		want int
	}{
		{ingest.Options{}, 1},
		{ingest.Options{CommitBlobs: 4}, 3},
		{ingest.Options{CommitRows: 50}, 4}, // three blobs of 20 rows each
		{ingest.Options{CommitBlobs: 1}, 11},
	} {
		sink := sourcetest.NewSink(t)
		if _, err := ingest.Run(context.Background(), newMemSource(blobs...), sink, tc.opts); err != nil {
			t.Fatal(err)
		}
		if sink.Commits != tc.want || sink.Blobs() != 10 {
			t.Errorf("%+v: got %d commits of %d blobs, want %d", tc.opts, sink.Commits, sink.Blobs(), tc.want)
		}
	}
}

// A flood of rejections reaches the sink as a bounded list whose last entry counts
// the rest, and the summary counts all.
func TestRunFlood(t *testing.T) {
	record := strings.Replace(sourcetest.Record(0, 1), `"flowTuples":[`, `"flowTuples":[`+strings.Repeat(`"x",`, 5000), 1)
	src, sink := newMemSource(sourcetest.Blob(record)), sourcetest.NewSink(t)
	sum := sourcetest.Run(t, src, sink)
	got := sink.Rejected(sourcetest.Name(0))
	if sum.Rejected[ingest.ReasonTuple] != 5000 || len(got) != 1001 || sum.Rows != 1 {
		t.Fatalf("got %d rejections, %+v", len(got), sum)
	}
	if last := got[1000]; last.Reason != ingest.ReasonFlood || last.Detail != "4000 more rejections from here on" {
		t.Errorf("last is %+v", last)
	}
}

// What a cut blob's tail was rejected for is not counted again while it stays cut.
func TestRunCountsATailOnce(t *testing.T) {
	whole := blobOf(0, 3)
	src, sink := newMemSource(whole[:len(whole)-400]), sourcetest.NewSink(t)
	sourcetest.Run(t, src, sink)
	src.content[sourcetest.Name(0)] = whole[:len(whole)-100]
	sum := sourcetest.Run(t, src, sink)
	if n := len(sink.Rejected(sourcetest.Name(0))); n != 1 || len(sum.Rejected) != 0 || sum.Rows != 0 {
		t.Errorf("got %d rejections, %+v", n, sum)
	}
	src.content[sourcetest.Name(0)] = whole
	if sum := sourcetest.Run(t, src, sink); sum.Rows != 10 || len(sum.Rejected) != 0 {
		t.Errorf("made whole: %+v", sum)
	}
}

func TestRunSameNameTwice(t *testing.T) {
	dir := t.TempDir()
	blob := sourcetest.Name(1)
	write(t, dir+"/a/"+blob, blobOf(0, 1))
	write(t, dir+"/b/"+blob, blobOf(10, 2))
	sink := sourcetest.NewSink(t)
	sum := sourcetest.Run(t, openFolder(t, dir), sink)
	if len(sum.Skipped) != 1 || !strings.Contains(sum.Skipped[0].Reason, dir+"/b/") || len(sink.Rows(blob)) != 10 {
		t.Errorf("%+v", sum)
	}
}

// A survey counts what a run would read, and reads nothing.
func TestSurvey(t *testing.T) {
	src, sink := newMemSource(blobOf(0, 3), blobOf(0, 1), blobOf(0, 2)), sourcetest.NewSink(t)
	survey := func(opts ingest.Options) (int, int64) {
		t.Helper()
		blobs, bytes, err := ingest.Survey(context.Background(), src, sink, opts)
		if err != nil {
			t.Fatal(err)
		}
		return blobs, bytes
	}
	all := int64(len(blobOf(0, 3)) + len(blobOf(0, 1)) + len(blobOf(0, 2)))
	if n, bytes := survey(ingest.Options{}); n != 3 || bytes != all || len(src.opened) > 0 {
		t.Errorf("nothing read yet: %d blobs, %d bytes, want 3 and %d", n, bytes, all)
	}
	if n, _ := survey(ingest.Options{Since: time.Date(2026, 8, 20, 15, 0, 0, 0, time.UTC)}); n != 0 {
		t.Errorf("of a later hour: %d blobs", n)
	}
	sourcetest.Run(t, src, sink)
	src.content[sourcetest.Name(1)] = blobOf(0, 2)
	sum := sourcetest.Run(t, src, sourcetest.NewSink(t))
	if n, bytes := survey(ingest.Options{}); n != 1 || bytes >= int64(len(blobOf(0, 2))) || bytes <= 0 || sum.Read != 3 {
		t.Errorf("one blob grew: %d blobs, %d bytes", n, bytes)
	}
	if _, _, err := ingest.Survey(context.Background(), src, sink, ingest.Options{Shard: ingest.Shard{Index: 2, Count: 1}}); err == nil {
		t.Error("shard 2 of 1 is taken")
	}
}

func TestRunSelects(t *testing.T) {
	src := newMemSource(blobOf(0, 1), blobOf(0, 1), blobOf(0, 1), blobOf(0, 1))
	total := 0
	for i := range 2 {
		sum, err := ingest.Run(context.Background(), src, sourcetest.NewSink(t), ingest.Options{Shard: ingest.Shard{Index: i, Count: 2}})
		if err != nil {
			t.Fatal(err)
		}
		total += sum.Read
	}
	if total != 4 {
		t.Errorf("two shards read %d blobs, want 4", total)
	}
	sum, err := ingest.Run(context.Background(), src, sourcetest.NewSink(t), ingest.Options{Since: time.Date(2026, 8, 20, 15, 0, 0, 0, time.UTC)})
	if err != nil || sum.Listed != 4 || sum.Selected != 0 {
		t.Errorf("a later hour: %+v, error %v", sum, err)
	}
	if _, err := ingest.Run(context.Background(), src, sourcetest.NewSink(t), ingest.Options{Shard: ingest.Shard{Index: 2, Count: 2}}); err == nil {
		t.Error("shard 2 of 2 is taken")
	}
}
