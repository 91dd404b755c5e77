package podwatch

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/whichpod/whichpod/attribution"
)

// reflector brings one kind's objects into the ledger. It is used by one goroutine.
type reflector struct {
	resource
	cfg    Config
	client *http.Client
	base   string
	ledger Ledger
	record recorder
	// stamped is the latest stamp, and setBack is told by how much the clock went back;
	// nil for nobody.
	stamped int64
	setBack func(by int64)
	now     func() time.Time

	version string // the watch goes on from here; empty: a list is needed
	alive   int64  // all that changed until then was seen; 0: unknown
	seen    int64  // the same, but for a list: what it shows can be as old as the question
	told    int64  // alive, as far as the recorder was told
	saved   int64  // alive, as of the last flush
	flushed time.Time
	refused time.Time // since when a right, or the kind, is missing; zero: it is not
}

// recorder makes facts of what is seen: [podlog.Recorder], [podlog.ObjectRecorder].
type recorder interface {
	Event(object []byte, at, seen int64, deleted bool) error
	BeginList(at, after int64, version string)
	ListPage(list []byte) error
	EndList() error
	Watched(from, to int64) error
	Flush() error
}

// run watches until the context ends, and returns nil once everything seen is on
// disk. A *ForbiddenError or *MissingError that was for Config.Refused, and an error of
// the ledger, end it early.
func (r *reflector) run(ctx context.Context) error {
	wait := backoff{max: r.cfg.MaxRetry}
	for ctx.Err() == nil {
		err := r.once(ctx, &wait)
		var forbidden *ForbiddenError
		var missing *MissingError
		var broken *ledgerError
		switch {
		case (errors.As(err, &forbidden) || errors.As(err, &missing)) && r.believed(), errors.As(err, &broken):
			return errors.Join(err, r.flush())
		case errors.Is(err, errGone):
			r.report(fmt.Sprintf("the API server does not know version %s of %s any more: listing all %s", r.version, r, r))
			r.version = ""
		case err != nil && ctx.Err() == nil:
			if r.kind == attribution.Pods || (forbidden == nil && missing == nil) { // else said once it is believed
				r.report(fmt.Sprintf("%v; trying again", err))
			}
			wait.sleep(ctx)
		}
	}
	return r.flush()
}

// aside runs beside the watch of the pods. What may not be watched, or is not there,
// is said once, and asked for again and again. Only an error of the ledger ends it
// before the context does.
func (r *reflector) aside(ctx context.Context) error {
	r.resume()
	for said := ""; ; {
		err := r.run(ctx)
		var missing *MissingError
		var broken *ledgerError
		if err == nil || errors.As(err, &broken) {
			return err
		}
		if errors.As(err, &missing) {
			r.version = "" // when the kind comes, what it was before says nothing
		}
		if text := err.Error(); text != said {
			said = text
			r.report(fmt.Sprintf("%v; %s stay unwatched, and are asked for again every %v", err, r, r.cfg.AskAgain))
		}
		t := time.NewTimer(r.cfg.AskAgain)
		select {
		case <-ctx.Done():
			t.Stop()
			return r.flush()
		case <-t.C:
		}
	}
}

// believed notes that a right, or the kind, is missing, and says whether it was for long enough.
func (r *reflector) believed() bool {
	if r.refused.IsZero() {
		r.refused = r.now()
	}
	return r.now().Sub(r.refused) >= r.cfg.Refused
}

// once lists where that is needed, and watches until the watch ends.
func (r *reflector) once(ctx context.Context, wait *backoff) error {
	if r.version == "" {
		if err := r.list(ctx); err != nil {
			return err
		}
		wait.reset()
	}
	return r.watch(ctx, wait)
}

// tell records how long all was watched.
func (r *reflector) tell() error {
	if r.told == 0 || r.alive <= r.told {
		return nil
	}
	from := r.told
	r.told = r.alive
	return r.written(r.record.Watched(from, r.alive))
}

// due flushes where it is time to.
func (r *reflector) due() error {
	if r.now().Sub(r.flushed) < r.cfg.FlushEvery {
		return nil
	}
	return r.flush()
}

// flush puts everything seen on disk, and then how far that is.
func (r *reflector) flush() error {
	if err := r.tell(); err != nil {
		return err
	}
	if err := r.written(r.record.Flush()); err != nil {
		return err
	}
	r.flushed = r.now()
	if r.alive == r.saved {
		return nil
	}
	r.saved = r.alive
	return r.written(r.keep())
}

// ledgerError is an error of the ledger or of a file beside it.
type ledgerError struct{ error }

func (e *ledgerError) Unwrap() error { return e.error }

func (r *reflector) written(err error) error {
	if err == nil {
		return nil
	}
	return &ledgerError{err}
}

func (r *reflector) report(s string) {
	if r.cfg.Report != nil {
		r.cfg.Report(s)
	}
}

// slewed is by how much the clock may go back unnoticed, in milliseconds: NTP slews
// clocks that are off by less, and sets them otherwise.
const slewed = 1000

// stamp is the time now, rounded up to a millisecond. Where the clock was set back, no
// event was missed, but what was stamped before and after can not be compared.
func (r *reflector) stamp() int64 {
	at := r.now().Add(time.Millisecond - 1).UnixMilli()
	if back := r.stamped - at; back > slewed {
		r.report(fmt.Sprintf("the clock went back by %d ms: that much near the ends of what was watched is not certain any more", back))
		if r.setBack != nil {
			r.setBack(back)
		}
		r.stamped = at
	}
	r.stamped = max(r.stamped, at)
	return at
}
