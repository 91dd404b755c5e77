package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"runtime/debug"
	"strings"
	"time"

	"github.com/whichpod/whichpod/index"
	"github.com/whichpod/whichpod/ingest"
)

// openAhead is how many blobs are on their way while one is decoded: enough to hide the
// network, and at most 4 MiB.
const openAhead = 16

// follow reads the sources into the index as they grow, until it is told to stop.
func (a *app) follow(ctx context.Context, sources []string, opt ingest.Options, every time.Duration, address string) error {
	defer debug.SetMemoryLimit(debug.SetMemoryLimit(steadyMemory))
	opt.Ahead = openAhead
	f := ingest.Follower{Options: opt, Every: every, Open: a.openWriter}
	for _, s := range sources {
		src, err := a.source(s)
		if err != nil {
			return err
		}
		f.Sources = append(f.Sources, ingest.Followed{Name: redacted(s), Source: src})
	}
	st := newFollowing(f.Sources)
	w := newFollowWriter(a.stderr)
	translated := natSummary{Rejected: []skipped{}}
	f.Report = func(p ingest.Pass) {
		st.add(p)
		w.pass(p)
		a.followNAT(ctx, f.Sources, p, &translated)
	}
	if address != "" {
		stop, err := a.serveMetrics(address, st)
		if err != nil {
			return err
		}
		defer stop()
	}
	err := f.Run(ctx)
	w.done()
	return errors.Join(err, a.printFollowed(st, translated))
}

// openWriter opens the index for a while of following.
func (a *app) openWriter() (ingest.Sink, func() error, error) {
	store, err := index.Open(a.data, index.Options{})
	if err != nil {
		return nil, nil, err
	}
	w, err := store.Writer()
	if err != nil {
		return nil, nil, errors.Join(err, store.Close())
	}
	return w, func() error { return errors.Join(w.Close(), store.Close()) }, nil
}

func (a *app) printFollowed(st *following, translated natSummary) error {
	total := st.total()
	if a.output == "json" {
		return a.json(ingestReport{total.Listed, total.Read, total.Unchanged, total.Rewritten, total.Rows, total.Bytes, total.Rejected, skips(nil), translated})
	}
	fmt.Fprintf(a.stdout, "%s from %s\n", count(total.Rows, "row"), count(int64(total.Read), "changed blob"))
	a.printIngestNAT(&translated)
	return nil
}

// serveMetrics answers on an address until stop is called. One without a host is on
// loopback.
func (a *app) serveMetrics(address string, st *following) (stop func(), err error) {
	if !strings.Contains(address, ":") {
		address = ":" + address
	}
	if strings.HasPrefix(address, ":") {
		address = "127.0.0.1" + address
	}
	l, err := net.Listen("tcp", address)
	if err != nil {
		return nil, hinted{fmt.Errorf("serve metrics: %w", err), "--metrics takes PORT, which is on loopback, or HOST:PORT"}
	}
	fmt.Fprintf(a.stderr, "whichpod: metrics are at http://%s/metrics\n", l.Addr())
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", st)
	srv := &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = srv.Serve(l) // it ends with Close
	}()
	return func() {
		srv.Close()
		<-done
	}, nil
}
