// Package podwatch fills the ledger from a live cluster. It is the only importer of
// client-go.
//
// In: the API server's list and watch of pods, and of what else decides what a row of
// a flow log can mean: nodes, namespaces, kube-system's ConfigMaps, and Azure's
// NodeNetworkConfigs. Out: facts to a ledger: each event with the time at which it
// came, lists as snapshots, and when each kind was watched without a break. List and
// watch are used directly, not through informers: an informer hides when an event
// came, and whether a list was needed.
//
// What counts as watched rests on resource versions. Every few seconds the API server
// is asked at which version it is; once the watch has shown that version, all that
// changed before the question was seen. So an event that is still under way when
// everything ends is no hole that nobody knows of. A watch that goes on from the
// version at which it broke off misses nothing, however long it was away; where the
// API server does not know that version any more (410 Gone), a list follows, and the
// time between stays unwatched. The same holds for our own restart: the version is
// kept beside the ledger.
//
// The watch is for pods. Where a right for another kind is missing, or the kind
// itself, that is said once, the kind stays unwatched in the ledger, and is asked for
// again later.
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
	// Bookmark is a file that keeps how far the watch of the pods came, so that a
	// restart goes on from there; those of other kinds stand beside it. Empty keeps
	// nothing.
	Bookmark string

	// PageSize is how many objects a page of a list has.
	PageSize int
	// Stall is how long a watch may say nothing before it is broken off and asked
	// anew. The API server sends a bookmark about once a minute.
	Stall time.Duration
	// ProveEvery is how often the API server is asked how far it is, to know what the
	// watch has not shown yet.
	ProveEvery time.Duration
	// FlushEvery is how long a fact may wait to be written, with others.
	FlushEvery time.Duration
	// MaxRetry is the longest wait between two attempts to reach the API server.
	MaxRetry time.Duration
	// Refused is how long the API server may say that a right is missing before that
	// is believed: one that was just started refuses everybody until it knows its rules.
	Refused time.Duration
	// AskAgain is how long a kind other than pods is left alone that may not be
	// watched, or that the API server does not have.
	AskAgain time.Duration
	// Report is told what happens, in a sentence; nil for nobody. Several goroutines
	// may call it at once.
	Report func(string)
}

// DefaultConfig has everything but the cluster.
func DefaultConfig() Config {
	return Config{PageSize: 500, Stall: 90 * time.Second, ProveEvery: 2 * time.Second, FlushEvery: time.Second, MaxRetry: 30 * time.Second, Refused: 10 * time.Second, AskAgain: 5 * time.Minute}
}

// Ledger is what a Watcher writes to. Several goroutines call it at once.
type Ledger interface {
	Append(facts ...attribution.Fact) (int, error)
	Existing(cluster string, yield func(uid string, version uint64, seen int64))
	Objects(cluster string, kind attribution.Kind, yield func(attribution.ObjectFact))
	KindWatchedUntil(cluster string, kind attribution.Kind, before int64) int64
}

// Watcher watches one cluster.
type Watcher struct {
	pods   *reflector
	others []*reflector
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
	w := &Watcher{}
	for _, res := range resources {
		r := newReflector(cfg, res, client, base.String(), ledger)
		if res.kind == attribution.Pods {
			w.pods = r
		} else {
			w.others = append(w.others, r)
		}
	}
	return w, nil
}

func newReflector(cfg Config, res resource, client *http.Client, base string, ledger Ledger) *reflector {
	r := &reflector{resource: res, cfg: cfg, client: client, base: base, ledger: ledger, now: time.Now}
	r.cfg.Bookmark = res.bookmark(cfg.Bookmark)
	emit := func(facts []attribution.Fact) error {
		_, err := ledger.Append(facts...)
		return err
	}
	if res.kind == attribution.Pods {
		pods := podlog.NewRecorder(cfg.Cluster, func(yield func(string, uint64, int64)) { ledger.Existing(cfg.Cluster, yield) }, emit)
		r.record, r.setBack = pods, pods.ClockSetBack
	} else {
		r.record = podlog.NewObjectRecorder(cfg.Cluster, res.kind, func(yield func(attribution.ObjectFact)) { ledger.Objects(cfg.Cluster, res.kind, yield) }, emit)
	}
	return r
}

// Run watches until the context ends, and then returns nil once everything seen is on
// disk. It tries again for ever while the API server can not be reached. Other errors
// are for a person: a *ForbiddenError names the right on pods that is missing, and was
// for Config.Refused; a ledger that can not be written ends the watch.
func (w *Watcher) Run(parent context.Context) error {
	ctx, cancel := context.WithCancel(parent)
	defer cancel()
	ended := make(chan error, len(w.others))
	for _, r := range w.others {
		go func() {
			err := r.aside(ctx)
			if err != nil {
				cancel()
			}
			ended <- err
		}()
	}
	w.pods.resume()
	err := w.pods.run(ctx)
	cancel()
	for range w.others {
		err = errors.Join(err, <-ended)
	}
	return err
}
