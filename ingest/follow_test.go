package ingest_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/whichpod/whichpod/ingest"
	"github.com/whichpod/whichpod/ingest/sourcetest"
)

// follow runs a Follower until done says so of a pass, and returns all passes.
func follow(t *testing.T, f *ingest.Follower, sink *sourcetest.Sink, done func(ingest.Pass) bool) []ingest.Pass {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var passes []ingest.Pass
	f.Report = func(p ingest.Pass) {
		passes = append(passes, p)
		if done(p) {
			cancel()
		}
	}
	if f.Open == nil {
		f.Open = func() (ingest.Sink, func() error, error) { return sink, func() error { return nil }, nil }
	}
	if err := f.Run(ctx); err != nil {
		t.Fatal(err)
	}
	return passes
}

func sources(src ingest.Source) []ingest.Followed {
	return []ingest.Followed{{Name: "logs", Source: src}}
}

// A blob that grows by a record a minute, is rewritten, and grows again: each change
// is read with one Open, and the rows are those of a single run.
func TestFollow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src, sink := newMemSource(blobOf(0, 1), blobOf(100, 1)), sourcetest.NewSink(t)
		minute, changes := 1, 2
		passes := follow(t, &ingest.Follower{Sources: sources(src), Every: time.Minute}, sink, func(p ingest.Pass) bool {
			if p.Err != nil || p.Summary.Changed > 0 || p.Behind != 0 {
				t.Errorf("pass %+v", p)
			}
			minute++
			changes++
			switch text := blobOf(0, minute); {
			case minute == 20:
				text = strings.ReplaceAll(text, ",NX,", ",XN,") // written anew, longer
				fallthrough
			case minute < 20:
				src.content[sourcetest.Name(0)] = text
			default:
				src.content[sourcetest.Name(0)] = strings.ReplaceAll(text, ",NX,", ",XN,")
			}
			return minute == 40
		})
		if len(passes) != 39 || passes[38].Start.Sub(passes[0].Start) != 38*time.Minute {
			t.Errorf("%d passes, the last %v after the first", len(passes), passes[len(passes)-1].Start.Sub(passes[0].Start))
		}
		if n := len(sink.Rows(sourcetest.Name(0))); n != 390 {
			t.Errorf("got %d rows, want 390", n)
		}
		opened := src.opened[sourcetest.Name(0)] + src.opened[sourcetest.Name(1)]
		if want := changes - 1 + 1; opened != want { // the last change is not read; what was written anew is opened twice
			t.Errorf("%d reads of %d changes", opened, want)
		}
	})
}

// A source that is away for an hour is tried again each minute, and then everything
// goes on.
func TestFollowWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src, sink := newMemSource(blobOf(0, 1)), sourcetest.NewSink(t)
		start := time.Now()
		var waits []time.Duration
		passes := follow(t, &ingest.Follower{Sources: sources(src), Every: time.Minute}, sink, func(p ingest.Pass) bool {
			away := time.Since(start)
			src.listErr = nil
			if away < time.Hour {
				src.listErr = errBroken
			}
			if p.Err != nil {
				waits = append(waits, time.Until(p.Next))
				if !errors.Is(p.Err, errBroken) || p.Since != start.Add(time.Minute) {
					t.Errorf("got error %v, since %v", p.Err, p.Since)
				}
			}
			src.content[sourcetest.Name(0)] = blobOf(0, int(1+away/time.Minute))
			return away > time.Hour+5*time.Minute && p.Err == nil
		})
		want := []time.Duration{time.Second, 2 * time.Second, 4 * time.Second, 8 * time.Second, 16 * time.Second, 32 * time.Second, time.Minute, time.Minute}
		if diff := cmp.Diff(want, waits[:8]); diff != "" || len(waits) > 70 {
			t.Errorf("%d waits (-want +got):\n%s", len(waits), diff)
		}
		if n := len(sink.Rows(sourcetest.Name(0))); n < 650 || len(passes) > 80 {
			t.Errorf("got %d rows after %d passes", n, len(passes))
		}
	})
}

// A sink that fails is opened anew; what it had not committed is read again.
func TestFollowOpensTheSinkAnew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src, sink := newMemSource(blobOf(0, 3), blobOf(0, 1)), sourcetest.NewSink(t)
		full := errors.New("disk is full")
		sink.Fail = func(call string) error {
			if call == "Advance" {
				return full
			}
			return nil
		}
		opened, closed := 0, 0
		f := &ingest.Follower{Sources: sources(src), Every: time.Minute, Open: func() (ingest.Sink, func() error, error) {
			opened++
			if opened == 2 {
				return nil, nil, full
			}
			sink.Crash()
			return sink, func() error { closed++; return nil }, nil
		}}
		passes := follow(t, f, sink, func(p ingest.Pass) bool {
			if opened == 2 {
				sink.Fail = nil
			}
			return p.Err == nil
		})
		if len(passes) != 3 || passes[0].Source != "index" || !errors.Is(passes[1].Err, full) || opened != 3 || closed != 2 {
			t.Errorf("passes %+v, opened %d, closed %d", passes, opened, closed)
		}
		if len(sink.Rows(sourcetest.Name(0))) != 30 || len(sink.Rows(sourcetest.Name(1))) != 10 {
			t.Errorf("got %d and %d rows", len(sink.Rows(sourcetest.Name(0))), len(sink.Rows(sourcetest.Name(1))))
		}
	})
}

// A source that is away does not keep another one waiting, and a sink is not used for
// ever.
func TestFollowSeveral(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		good, bad, sink := newMemSource(blobOf(0, 1)), newMemSource(), sourcetest.NewSink(t)
		bad.listErr = errBroken
		opened, passes := 0, map[string]int{}
		f := &ingest.Follower{Sources: []ingest.Followed{{Name: "bad", Source: bad}, {Name: "good", Source: good}}, Every: time.Minute, Open: func() (ingest.Sink, func() error, error) {
			opened++
			return sink, func() error { return nil }, nil
		}}
		follow(t, f, sink, func(p ingest.Pass) bool {
			passes[p.Source]++
			return passes["good"] == 300
		})
		if passes["bad"] < 300 || passes["bad"] > 310 || opened < 2 || opened > 4 {
			t.Errorf("passes %v, sinks %d", passes, opened)
		}
	})
}

// Most listings are of the last hours only; one an hour is of all.
func TestFollowHours(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := &hoursSource{memSource: newMemSource()}
		since := time.Now().Add(-48 * time.Hour)
		passes := 0
		follow(t, &ingest.Follower{Sources: sources(src), Every: 10 * time.Minute, Options: ingest.Options{Since: since}}, sourcetest.NewSink(t), func(p ingest.Pass) bool {
			first := src.hours[len(src.hours)-1].First
			want := p.Start.UTC().Add(-3 * time.Hour).Truncate(time.Hour)
			if full := passes%6 == 0; full != p.Full || full && first != since.UTC().Truncate(time.Hour) || !full && first != want {
				t.Errorf("pass %d lists from %v on, full is %v", passes, first, p.Full)
			}
			passes++
			return passes == 20
		})
	})
}

type hoursSource struct {
	*memSource
	hours []ingest.Hours
}

func (s *hoursSource) List(ctx context.Context, h ingest.Hours, fn func(ingest.Blob) error) error {
	s.hours = append(s.hours, h)
	return s.memSource.List(ctx, h, fn)
}

// An interface that logged every minute and stops is named, one that logs now and
// then is not.
func TestFollowSilent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := &timedSource{memSource: newMemSource("{}", "{}", "{}"), at: map[string]time.Time{}}
		pass := 0
		last := time.Time{}
		follow(t, &ingest.Follower{Sources: sources(src), Every: time.Minute}, sourcetest.NewSink(t), func(p ingest.Pass) bool {
			want := ""
			if pass > 30 {
				want = "000D3A1B2C00 " + last.String()
			}
			got := ""
			for _, s := range p.Silent {
				got += s.NIC + " " + s.Last.String()
			}
			if got != want {
				t.Errorf("pass %d: silent is %q, want %q", pass, got, want)
			}
			now := time.Now().Add(time.Minute)
			src.at[sourcetest.Name(1)] = now
			if pass < 20 {
				src.at[sourcetest.Name(0)] = now
				last = now
			}
			if pass%9 == 0 && pass < 20 {
				src.at[sourcetest.Name(2)] = now
			}
			if p.Newest.IsZero() == (pass > 0) {
				t.Errorf("pass %d: newest is %v", pass, p.Newest)
			}
			pass++
			return pass == 45
		})
	})
}

// timedSource says when its blobs were modified.
type timedSource struct {
	*memSource
	at map[string]time.Time
}

func (s *timedSource) List(ctx context.Context, h ingest.Hours, fn func(ingest.Blob) error) error {
	return s.memSource.List(ctx, h, func(b ingest.Blob) error {
		b.Modified = s.at[b.Name]
		return fn(b)
	})
}

// What changes while it is read is behind until the next pass.
func TestFollowBehind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src, sink := newMemSource(blobOf(0, 1)), sourcetest.NewSink(t)
		pass := 0
		follow(t, &ingest.Follower{Sources: sources(src), Every: time.Minute}, sink, func(p ingest.Pass) bool {
			if changed := pass == 1; changed != (p.Behind == time.Minute) || changed != (p.Summary.Changed == 1) || p.Err != nil {
				t.Errorf("pass %d: %+v", pass, p)
			}
			src.content[sourcetest.Name(0)] = blobOf(0, 2+pass)
			src.onOpen = nil
			if pass == 0 {
				src.onOpen = func(name string) { src.content[name] = blobOf(0, 50) }
			}
			pass++
			return pass == 3
		})
		if n := len(sink.Rows(sourcetest.Name(0))); n != 30 {
			t.Errorf("got %d rows, want 30", n)
		}
	})
}

// Stopped in the middle of a pass, it reports what it committed.
func TestFollowStops(t *testing.T) {
	src, sink := newMemSource(blobOf(0, 4000), blobOf(0, 1)), sourcetest.NewSink(t)
	ctx, cancel := context.WithCancel(context.Background())
	var passes []ingest.Pass
	f := &ingest.Follower{Sources: sources(src), Every: time.Minute, Report: func(p ingest.Pass) { passes = append(passes, p) },
		Options: ingest.Options{Progress: func(s ingest.Summary) {
			if s.Rows > 10_000 {
				cancel()
			}
		}}, Open: func() (ingest.Sink, func() error, error) { return sink, func() error { return nil }, nil }}
	if err := f.Run(ctx); err != nil || len(passes) != 1 {
		t.Fatalf("error %v, passes %+v", err, passes)
	}
	if n := int64(len(sink.Rows(sourcetest.Name(0)))); n < 10_000 || n >= 40_000 || passes[0].Summary.Rows != n || !errors.Is(passes[0].Err, context.Canceled) {
		t.Errorf("%d rows are committed, %+v", n, passes[0])
	}
}

// A blob that can not be read is a failure of the pass, and the others are taken.
func TestFollowSkips(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src, sink := newMemSource(blobOf(0, 400), blobOf(0, 1)), sourcetest.NewSink(t)
		passes := follow(t, &ingest.Follower{Sources: sources(&breaking{memSource: src, after: 50_000}), Every: time.Minute}, sink, func(p ingest.Pass) bool { return true })
		if p := passes[0]; p.Err == nil || !strings.Contains(p.Err.Error(), "1 blobs could not be read") || p.Summary.Read != 1 || len(sink.Rows(sourcetest.Name(1))) != 10 {
			t.Errorf("%+v", p)
		}
		if fmt.Sprint(passes[0].Next.Sub(passes[0].Start)) != "1s" {
			t.Errorf("the next pass is at %v", passes[0].Next)
		}
	})
}
