package trial

import (
	"bytes"
	"context"
	"io"
	"sync/atomic"
	"time"

	"github.com/whichpod/whichpod/attribution"
	"github.com/whichpod/whichpod/attribution/podlog"
	"github.com/whichpod/whichpod/benchmarks/sim"
	"github.com/whichpod/whichpod/ingest"
)

// Watch puts on record what the API servers told before a time, Unix milliseconds, since
// the last call. The Trial MUST be Live.
func (t *Trial) Watch(until int64) error {
	for _, w := range t.Worlds {
		if err := t.watch(w, until); err != nil {
			return err
		}
	}
	t.watched = until
	return nil
}

func (t *Trial) watch(w *sim.World, until int64) error {
	var journal bytes.Buffer
	if err := w.WriteWatchBetween(&journal, t.watched, until); err != nil || journal.Len() == 0 {
		return err
	}
	cluster := w.Config.Cluster
	opt := podlog.Options{
		Cluster: cluster, Format: podlog.Watch, ReadBy: until,
		Known: func(yield func(string, uint64, int64)) { t.ledger.Existing(cluster, yield) },
		Objects: func(kind attribution.Kind, yield func(attribution.ObjectFact)) {
			t.ledger.Objects(cluster, kind, yield)
		},
		WatchedUntil: func(before int64) int64 { return t.ledger.WatchedUntil(cluster, before) },
	}
	_, err := podlog.Read(&journal, opt, func(facts []attribution.Fact) error {
		_, err := t.ledger.Append(facts...)
		return err
	})
	return err
}

// Took is how long a pass over the flow logs took: with the source (listing, opening
// and reading blobs), and with all else (decoding, sorting, writing, syncing).
type Took struct {
	Fetching, Indexing time.Duration
	Rows               int64 // that were new
}

// Pass publishes all records up to a time, Unix milliseconds, and reads what is new, as
// "ingest --follow" does in each of its passes.
func (t *Trial) Pass(ctx context.Context, published int64) (Took, error) {
	for _, w := range t.Worlds {
		if err := w.WriteBlobsUntil(t.Blobs(), published); err != nil {
			return Took{}, err
		}
	}
	folder, err := ingest.OpenFolder(t.Blobs())
	if err != nil {
		return Took{}, err
	}
	src, start := &timed{Source: folder}, time.Now()
	rows, err := t.ingest(ctx, src, ingest.Options{Patient: true})
	if err != nil {
		return Took{}, err
	}
	all, fetching := time.Since(start), time.Duration(src.spent.Load())
	return Took{Fetching: fetching, Indexing: all - min(fetching, all), Rows: rows}, nil
}

// timed is a source that adds up the time spent in it.
type timed struct {
	ingest.Source
	spent atomic.Int64 // nanoseconds
}

func (s *timed) List(ctx context.Context, hours ingest.Hours, fn func(ingest.Blob) error) error {
	since := time.Now()
	err := s.Source.List(ctx, hours, func(b ingest.Blob) error {
		s.add(since)
		defer func() { since = time.Now() }()
		return fn(b)
	})
	s.add(since)
	return err
}

func (s *timed) Open(ctx context.Context, b ingest.Blob, offset int64) (io.ReadCloser, error) {
	defer s.add(time.Now())
	r, err := s.Source.Open(ctx, b, offset)
	if err != nil {
		return nil, err
	}
	return &timedReader{r, s}, nil
}

func (s *timed) add(since time.Time) { s.spent.Add(int64(time.Since(since))) }

type timedReader struct {
	io.ReadCloser
	of *timed
}

func (r *timedReader) Read(p []byte) (int, error) {
	defer r.of.add(time.Now())
	return r.ReadCloser.Read(p)
}
