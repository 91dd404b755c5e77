package ingest

import (
	"context"
	"errors"
	"fmt"
	"time"
)

const (
	// recentHours is how many hours back most listings go. Blobs are written during
	// their hour; a listing of everything, each fullEvery, finds those that came late.
	recentHours = 3
	fullEvery   = time.Hour

	// firstWait doubles with each failure, up to the interval or longestWait.
	firstWait   = time.Second
	longestWait = time.Minute

	// sinkPasses is how often a sink is used before it is opened anew, so that what it
	// only tidies when it is opened stays small.
	sinkPasses = 240

	// followCommitBlobs lets a pass over thousands of blobs that each grew a little end
	// in a commit or two.
	followCommitBlobs = 4096
)

// Followed is a source with a name for messages.
type Followed struct {
	Name   string
	Source Source
}

// Follower keeps a sink up to date with sources that grow, until it is stopped. Its
// fields are not to be changed while it runs.
//
// A pass lists a source and reads of each blob that changed what is new, with one
// Open. What changes while it is read waits for the next pass. Nothing ends a Follower
// but its context: an error of a source or of the sink is reported, and tried again
// after a wait that grows to a minute. Rows and read positions are committed
// together, so nothing is lost or doubled whenever it ends.
type Follower struct {
	Sources []Followed
	Open    func() (Sink, func() error, error) // a sink, and what closes it
	Options Options                            // Until, Ahead, Patient and CommitBlobs are set by the Follower
	Every   time.Duration                      // from the start of a pass to that of the next
	Report  func(Pass)                         // after each pass and each failure; nil for none
}

// Pass is what a Follower reports of one pass over one source.
type Pass struct {
	Source  string
	Summary Summary
	Start   time.Time
	Took    time.Duration
	Full    bool // all hours were listed

	// Err is why the pass did not end well; the next begins at Next, and Since is when
	// the first of the failures in a row was. That of the context means that there is
	// no next.
	Err         error
	Since, Next time.Time

	// Newest is the latest time at which a listed blob was modified, in any pass.
	// Behind is how much older than that is what can be answered; zero where a pass
	// read all that it listed.
	Newest time.Time
	Behind time.Duration
	Silent []Silent
}

// followed is the state of one source.
type followed struct {
	Followed
	census
	due      time.Time
	full     time.Time // of the last listing of everything that ended well
	failures int
	since    time.Time // of the first failure in a row
	reached  time.Time // Newest of the last pass that read all
}

// Run follows until ctx is done, and returns nil then: the commit in hand is finished.
func (f *Follower) Run(ctx context.Context) error {
	var all []*followed
	for _, s := range f.Sources {
		all = append(all, &followed{Followed: s, census: newCensus()})
	}
	if _, err := newSelection(f.Options); err != nil {
		return err
	}
	for failures := 0; ctx.Err() == nil; {
		start := time.Now()
		switch err := f.session(ctx, all); {
		case ctx.Err() != nil:
			return f.closing(err)
		case err != nil:
			failures++
			wait := f.wait(failures)
			f.report(Pass{Source: "index", Start: start, Took: time.Since(start), Err: err, Since: start, Next: time.Now().Add(wait)})
			sleep(ctx, wait)
		default:
			failures = 0
		}
	}
	return nil
}

// closing is the error of a session that was stopped: that of the sink, if any.
func (f *Follower) closing(err error) error {
	var broken *SinkError
	if errors.As(err, &broken) {
		return err
	}
	return nil
}

// session opens the sink, makes passes and closes it. The error is of the sink.
func (f *Follower) session(ctx context.Context, all []*followed) (err error) {
	sink, closeSink, err := f.Open()
	if err != nil {
		return err
	}
	defer func() {
		if closeErr := closeSink(); closeErr != nil {
			err = errors.Join(err, &SinkError{closeErr})
		}
	}()
	for range sinkPasses {
		next := time.Time{}
		for _, s := range all {
			if now := time.Now(); !now.Before(s.due) {
				if err := f.pass(ctx, s, sink); err != nil {
					return err
				}
			}
			if next.IsZero() || s.due.Before(next) {
				next = s.due
			}
		}
		sleep(ctx, time.Until(next))
		if ctx.Err() != nil {
			return nil
		}
	}
	return nil
}

// pass makes one pass over a source and notes when the next is due. The error is of
// the sink.
func (f *Follower) pass(ctx context.Context, s *followed, sink Sink) error {
	start := time.Now()
	opts := f.Options
	opts.Ahead, opts.Patient, opts.CommitBlobs = max(1, opts.Ahead), true, followCommitBlobs
	full := start.Sub(s.full) >= fullEvery
	if recent := start.Add(-recentHours * time.Hour); !full && recent.After(opts.Since) {
		opts.Since = recent
	}
	s.listing = s.Source
	sum, err := Run(ctx, &s.census, sink, opts)
	var broken *SinkError
	if errors.As(err, &broken) {
		return err
	}
	if ctx.Err() != nil {
		f.report(Pass{Source: s.Name, Summary: sum, Start: start, Took: time.Since(start), Full: full, Err: ctx.Err(), Since: start, Newest: s.newest})
		return nil
	}
	if err == nil && len(sum.Skipped) > 0 {
		err = fmt.Errorf("%d blobs could not be read to their end: blob %q: %s", len(sum.Skipped), sum.Skipped[0].Blob, sum.Skipped[0].Reason)
	}
	p := Pass{Source: s.Name, Summary: sum, Start: start, Full: full, Err: err, Newest: s.newest}
	s.due = start.Add(f.Every)
	if err != nil {
		if s.failures++; s.failures == 1 {
			s.since = start
		}
		s.due = time.Now().Add(f.wait(s.failures))
	} else {
		s.failures = 0
		if full {
			s.full = start
		}
		if sum.Changed == 0 {
			s.reached = s.newest
		}
		p.Silent = s.silent(start)
	}
	if !s.reached.IsZero() {
		p.Behind = s.newest.Sub(s.reached)
	}
	p.Since, p.Next, p.Took = s.since, s.due, time.Since(start)
	f.report(p)
	return nil
}

// wait is how long to wait after so many failures in a row.
func (f *Follower) wait(failures int) time.Duration {
	wait := firstWait << min(failures-1, 10)
	return min(wait, max(f.Every, firstWait), longestWait)
}

func (f *Follower) report(p Pass) {
	if f.Report != nil {
		f.Report(p)
	}
}

// sleep waits, or until ctx is done.
func sleep(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}
