package main

import (
	"net/http"
	"sync"
	"time"

	"github.com/whichpod/whichpod/ingest"
	"github.com/whichpod/whichpod/ingest/azblob"
	"github.com/whichpod/whichpod/internal/metrics"
)

// following is what "ingest --follow" has done so far, for Prometheus.
type following struct {
	sources []ingest.Followed

	mu sync.Mutex
	by map[string]*followedSource
}

type followedSource struct {
	total    ingest.Summary
	last     ingest.Pass
	good     time.Time // start of the last pass that ended well
	ok, fail int64     // passes
}

func newFollowing(sources []ingest.Followed) *following {
	return &following{sources: sources, by: make(map[string]*followedSource)}
}

func (f *following) add(p ingest.Pass) {
	f.mu.Lock()
	defer f.mu.Unlock()
	s := f.by[p.Source]
	if s == nil {
		s = &followedSource{total: ingest.Summary{Rejected: make(map[string]int64)}}
		f.by[p.Source] = s
	}
	s.total.Listed, s.total.Unchanged = 0, 0 // of the last pass
	p.Summary.Skipped = nil
	addSummary(&s.total, p.Summary)
	s.total.Changed += p.Summary.Changed
	s.last = p
	if p.Err != nil {
		s.fail++
	} else {
		s.ok++
		s.good = p.Start
	}
}

// total is the sum over all sources.
func (f *following) total() ingest.Summary {
	f.mu.Lock()
	defer f.mu.Unlock()
	t := ingest.Summary{Rejected: make(map[string]int64)}
	for _, s := range f.by {
		addSummary(&t, s.total)
	}
	return t
}

// ServeHTTP answers with the metrics; docs/following.md lists them.
func (f *following) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", metrics.ContentType)
	_ = metrics.Write(w, f.families(time.Now())) // a client that left needs no answer
}

func (f *following) families(now time.Time) []metrics.Family {
	f.mu.Lock()
	defer f.mu.Unlock()
	family := func(name, kind, help string) metrics.Family {
		return metrics.Family{Name: "whichpod_ingest_" + name, Type: kind, Help: help}
	}
	rows := family("rows_total", metrics.Counter, "Rows taken into the index.")
	bytes := family("bytes_total", metrics.Counter, "Bytes of blobs that were new.")
	blobs := family("blobs_total", metrics.Counter, "Blobs read to their end, those of them read again from the start, and those that changed while they were read.")
	rejections := family("rejections_total", metrics.Counter, "Pieces of input that were left out, by reason.")
	passes := family("passes_total", metrics.Counter, "Passes over a source, by how they ended.")
	took := family("pass_seconds", metrics.Gauge, "How long the last pass took.")
	newest := family("newest_block_timestamp_seconds", metrics.Gauge, "When the newest listed blob was modified.")
	lag := family("lag_seconds", metrics.Gauge, "How far what can be answered is behind the newest block; while a source cannot be read, the time since it could be.")
	good := family("last_success_timestamp_seconds", metrics.Gauge, "Start of the last pass that ended well.")
	silent := family("silent_nics", metrics.Gauge, "Interfaces that logged steadily and stopped more than ten minutes ago.")
	for name, s := range f.by {
		rows.Add(float64(s.total.Rows), "source", name)
		bytes.Add(float64(s.total.Bytes), "source", name)
		for outcome, n := range map[string]int{"read": s.total.Read, "rewritten": s.total.Rewritten, "changed": s.total.Changed} {
			blobs.Add(float64(n), "source", name, "outcome", outcome)
		}
		for reason, n := range s.total.Rejected {
			rejections.Add(float64(n), "source", name, "reason", reason)
		}
		passes.Add(float64(s.ok), "source", name, "outcome", "ok")
		passes.Add(float64(s.fail), "source", name, "outcome", "failed")
		took.Add(s.last.Took.Seconds(), "source", name)
		silent.Add(float64(len(s.last.Silent)), "source", name)
		behind := s.last.Behind
		if s.last.Err != nil && !s.good.IsZero() {
			behind = max(behind, now.Sub(s.good))
		}
		lag.Add(behind.Seconds(), "source", name)
		if !s.last.Newest.IsZero() {
			newest.Add(float64(s.last.Newest.UnixMilli())/1000, "source", name)
		}
		if !s.good.IsZero() {
			good.Add(float64(s.good.UnixMilli())/1000, "source", name)
		}
	}
	return []metrics.Family{rows, bytes, blobs, rejections, f.requests(), passes, took, newest, lag, good, silent}
}

// requests are those that the sources sent.
func (f *following) requests() metrics.Family {
	out := metrics.Family{Name: "whichpod_ingest_requests_total", Type: metrics.Counter, Help: "Requests sent, by kind and HTTP status; each try counts."}
	for _, s := range f.sources {
		if src, ok := s.Source.(*azblob.Source); ok {
			for r, n := range src.Requests() {
				out.Add(float64(n), "source", s.Name, "kind", r.Kind, "status", r.Outcome)
			}
		}
	}
	return out
}
