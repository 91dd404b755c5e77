// Package podlog reads what was recorded of a cluster's pods, and of the nodes and
// ConfigMaps beside them, and makes facts of it for the ledger.
//
// In: a watch journal (JSON lines of Kubernetes watch events, each with the time at
// which it came), what "kubectl get pods -A -w --output-watch-events -o json" prints,
// a PodList, the API server's audit log, or a pod inventory. Out: facts, in batches, to
// a callback. A document that can not be read is counted with its offset, and the rest
// is kept.
//
// Order, repetition and lateness of the lines do not matter. A Reader is used by one
// goroutine; it holds one document at a time, the UIDs of the last snapshot, and of an
// inventory the pods of the samples that are not settled.
package podlog

import (
	"errors"
	"io"

	"github.com/whichpod/whichpod/attribution"
)

// Format names what a file holds.
type Format string

const (
	Auto  Format = "auto" // found by content
	Watch Format = "watch"
	List  Format = "list"
)

// Formats lists them as the command line does.
func Formats() []string {
	return []string{string(Auto), string(Watch), string(List), string(KubeAudit), string(PodInventory)}
}

// Options say what is read.
type Options struct {
	Cluster string
	Format  Format
	// ResourceID is the Azure resource whose lines and rows are taken, where a file
	// has those of several clusters; empty: see [SeveralError]. Case does not matter.
	ResourceID string
	// ReadBy is a time, Unix milliseconds, by which the file was written: an upper
	// bound for what bears no time of its own.
	ReadBy int64
	// Known lists pods that the ledger takes for existing: those that a snapshot does
	// not show any more are marked as missing. May be nil.
	Known func(yield func(uid string, version uint64, seen int64))
	// Objects lists the last states that the ledger knows of objects of another kind.
	// May be nil.
	Objects func(kind attribution.Kind, yield func(attribution.ObjectFact))
	// WatchedUntil is when the ledger knows the cluster was watched last before a
	// time, or 0. May be nil.
	WatchedUntil func(before int64) int64
}

// Summary counts what was read.
type Summary struct {
	Documents  int
	Pods       int // observations of pods
	Objects    int // observations of other objects
	Rejected   []Rejection
	Rejections int   // all of them; Rejected keeps the first hundred
	From, To   int64 // the span of the times at which lines came, Unix milliseconds; 0 where none bears one
	Undated    int   // lines without such a time
	Format     Format
	Foreign    map[string]int // rows and lines of other clusters, by what they call it
	Jumps      []Jump         // of the clock that stamped the lines
	// Watched is when the lines show that the pods were watched, sorted, apart.
	// Partial: all changes were seen, but not what was there before and did not change.
	Watched []attribution.Range
	Partial bool
}

// Rejection is a document that was left out.
type Rejection struct {
	File   string // as the caller named it
	Offset int64
	Line   int // of a CSV file, from 1; 0: not counted
	Reason string
}

const keepRejections = 100

// Read reads r to its end and hands facts to emit in batches, one after the other and
// beside the reading: what a batch costs to keep is not waited for, and what opt asks
// the ledger may be asked meanwhile. All was handed on when it returns nil.
func Read(r io.Reader, opt Options, emit func([]attribution.Fact) error) (Summary, error) {
	batches, failed := make(chan []attribution.Fact), make(chan error, 1)
	go func() {
		defer close(failed)
		for batch := range batches {
			if err := emit(batch); err != nil {
				failed <- err
				return
			}
		}
	}()
	rd := NewReader(opt, func(batch []attribution.Fact) error {
		select {
		case batches <- batch:
			return nil
		case err := <-failed:
			return err
		}
	})
	err := rd.Read("", r)
	if err == nil {
		err = rd.Close()
	}
	close(batches)
	return rd.Summary(), errors.Join(err, <-failed)
}

func (s *Summary) extend(at int64) {
	if s.From == 0 || at < s.From {
		s.From = at
	}
	s.To = max(s.To, at)
}

// watched joins a range in. Ranges come in order, and the last one again.
func (s *Summary) watched(w attribution.Range) {
	if n := len(s.Watched); n > 0 && w.From <= s.Watched[n-1].To {
		last := &s.Watched[n-1]
		last.From, last.To = min(last.From, w.From), max(last.To, w.To)
		return
	}
	s.Watched = append(s.Watched, w)
}
