// Package podwatch fills the ledger from a live cluster. It is the only importer of
// client-go.
//
// In: the API server's list and watch of pods. Out: facts to a ledger: each event
// with the time at which it came, lists as snapshots, and when the pods were watched
// without a break. List and watch are used directly, not through informers: an
// informer hides when an event came, and whether a list was needed.
//
// What counts as watched rests on resource versions. A watch that goes on from the
// version at which it broke off misses nothing, however long it was away; where the
// API server does not know that version any more (410 Gone), a list follows, and the
// time between stays unwatched. The same holds for our own restart: the version is
// kept beside the ledger.
//
// Nothing is acknowledged before it is on disk. A Watcher is run once, by one
// goroutine.
package podwatch

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"k8s.io/client-go/rest"

	"github.com/whichpod/whichpod/attribution"
	"github.com/whichpod/whichpod/attribution/podlog"
)

// Config says which cluster is watched, and how.
type Config struct {
	Cluster string
	API     *rest.Config
	// Bookmark is a file that keeps how far the watch came, so that a restart goes on
	// from there. Empty keeps nothing.
	Bookmark string

	// PageSize is how many pods a page of a list has.
	PageSize int
	// Stall is how long a watch may say nothing before it is broken off and asked
	// anew. The API server sends a bookmark about once a minute.
	Stall time.Duration
	// FlushEvery is how long a fact may wait to be written, with others.
	FlushEvery time.Duration
	// MaxRetry is the longest wait between two attempts to reach the API server.
	MaxRetry time.Duration
	// Refused is how long the API server may say that a right is missing before that
	// is believed: one that was just started refuses everybody until it knows its rules.
	Refused time.Duration
	// Report is told what happens, in a sentence; nil for nobody.
	Report func(string)
}

// DefaultConfig has everything but the cluster.
func DefaultConfig() Config {
	return Config{PageSize: 500, Stall: 90 * time.Second, FlushEvery: time.Second, MaxRetry: 30 * time.Second, Refused: 10 * time.Second}
}

// Ledger is what a Watcher writes to.
type Ledger interface {
	Append(facts ...attribution.Fact) (int, error)
	Existing(cluster string, yield func(uid string, version uint64, seen int64))
	WatchedUntil(cluster string, before int64) int64
}

// Watcher watches the pods of one cluster.
type Watcher struct {
	cfg    Config
	client *http.Client
	base   string
	ledger Ledger
	record *podlog.Recorder
	now    func() time.Time

	version string // the watch goes on from here; empty: a list is needed
	alive   int64  // all that changed until then was seen; 0: unknown
	current bool   // the watch has caught up with the present
	saved   int64  // alive, as of the last flush
	flushed time.Time
	refused time.Time // since when a right is missing; zero: none is
}

// New returns a watcher. It sends nothing.
func New(cfg Config, ledger Ledger) (*Watcher, error) {
	if cfg.Cluster == "" {
		return nil, errors.New("watch pods: the cluster has no name")
	}
	client, err := rest.HTTPClientFor(cfg.API)
	if err != nil {
		return nil, fmt.Errorf("watch pods of cluster %q: %w", cfg.Cluster, err)
	}
	base, _, err := rest.DefaultServerUrlFor(cfg.API)
	if err != nil {
		return nil, fmt.Errorf("watch pods of cluster %q: %w", cfg.Cluster, err)
	}
	w := &Watcher{cfg: cfg, client: client, base: base.String(), ledger: ledger, now: time.Now}
	w.record = podlog.NewRecorder(cfg.Cluster, func(yield func(string, uint64, int64)) { ledger.Existing(cfg.Cluster, yield) }, func(facts []attribution.Fact) error {
		_, err := ledger.Append(facts...)
		return err
	})
	return w, nil
}

// Run watches until the context ends, and then returns nil once everything seen is on
// disk. It tries again for ever while the API server can not be reached. Other errors
// are for a person: a *ForbiddenError names the right that is missing, and was for
// Config.Refused; a ledger that can not be written ends the watch.
func (w *Watcher) Run(ctx context.Context) error {
	w.resume()
	wait := backoff{max: w.cfg.MaxRetry}
	for ctx.Err() == nil {
		err := w.once(ctx, &wait)
		var forbidden *ForbiddenError
		var broken *ledgerError
		switch {
		case errors.As(err, &forbidden) && w.believed(), errors.As(err, &broken):
			return errors.Join(err, w.flush())
		case errors.Is(err, errGone):
			w.report("the API server does not know version " + w.version + " any more: listing all pods")
			w.version = ""
		case err != nil && ctx.Err() == nil:
			w.report(fmt.Sprintf("%v; trying again", err))
			wait.sleep(ctx)
		}
	}
	return w.flush()
}

// believed notes that a right is missing, and says whether it was for long enough.
func (w *Watcher) believed() bool {
	if w.refused.IsZero() {
		w.refused = w.now()
	}
	return w.now().Sub(w.refused) >= w.cfg.Refused
}

// once lists where that is needed, and watches until the watch ends.
func (w *Watcher) once(ctx context.Context, wait *backoff) error {
	if w.version == "" {
		if err := w.list(ctx); err != nil {
			return err
		}
		wait.reset()
	}
	return w.watch(ctx, wait)
}

// seen notes that all changes up to a time were seen.
func (w *Watcher) seen(at int64) error {
	if w.alive != 0 && at > w.alive {
		if err := w.written(w.record.Watched(w.alive, at)); err != nil {
			return err
		}
	}
	w.alive = max(w.alive, at)
	return w.due()
}

// due flushes where it is time to.
func (w *Watcher) due() error {
	if w.now().Sub(w.flushed) < w.cfg.FlushEvery {
		return nil
	}
	return w.flush()
}

// flush puts everything seen on disk, and then how far that is.
func (w *Watcher) flush() error {
	if err := w.written(w.record.Flush()); err != nil {
		return err
	}
	w.flushed = w.now()
	if w.alive == w.saved {
		return nil
	}
	w.saved = w.alive
	return w.written(w.keep())
}

// ledgerError is an error of the ledger or of a file beside it.
type ledgerError struct{ error }

func (e *ledgerError) Unwrap() error { return e.error }

func (w *Watcher) written(err error) error {
	if err == nil {
		return nil
	}
	return &ledgerError{err}
}

func (w *Watcher) report(s string) {
	if w.cfg.Report != nil {
		w.cfg.Report(s)
	}
}

// stamp is the time now, rounded up to a millisecond.
func (w *Watcher) stamp() int64 { return w.now().Add(time.Millisecond - 1).UnixMilli() }
