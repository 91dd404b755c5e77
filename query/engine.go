// Package query answers questions: which pod sent this, who talked to that, where a
// pod went, who held an address.
//
// In: the rows of an index and a view of the ledger. Out: answers, whose JSON form
// is the command line's contract, or attributed batches for an export. The join of
// rows and ledger happens here, when somebody asks, one batch at a time.
//
// An Engine may be used by many goroutines. Its memory is bounded by the number of
// distinct owners in an answer, not by the number of rows.
package query

import (
	"context"
	"errors"
	"iter"
	"slices"
	"sync"
	"time"

	"github.com/whichpod/whichpod/attribution"
	"github.com/whichpod/whichpod/flow"
	"github.com/whichpod/whichpod/index"
)

// Engine joins an index and a view of the ledger.
type Engine struct {
	rows *index.Store
	view *attribution.View
	now  func() time.Time

	mu      sync.Mutex
	learned uint64 // the index's generation that the view has learned NICs from, 0: none
	taught  bool   // it learned them from elsewhere
}

// New returns an engine. The caller keeps and closes both.
func New(rows *index.Store, view *attribution.View) *Engine {
	return &Engine{rows: rows, view: view, now: time.Now}
}

// View is the view of the ledger that the engine answers from.
func (e *Engine) View() *attribution.View { return e.view }

// LearnNICs lets the view learn which NIC is whose from what the index has on them, if
// that changed since it last did. What asks about rows calls it by itself.
func (e *Engine) LearnNICs(ctx context.Context) error { return e.learnNICs(ctx, false) }

// TeachNICs lets the view learn which NIC is whose from these sightings, and from no
// others: who derives rows again knows what they were derived with.
func (e *Engine) TeachNICs(sightings iter.Seq[attribution.NICSighting]) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.view.LearnNICs(sightings, false)
	e.taught = true
}

// NICs is what is known of the interfaces that logged rows, with all contradictions.
func (e *Engine) NICs(ctx context.Context) (attribution.NICSummary, error) {
	e.mu.Lock()
	e.learned = 0
	e.mu.Unlock()
	err := e.learnNICs(ctx, true)
	return e.view.NICs(), err
}

func (e *Engine) learnNICs(ctx context.Context, contradictions bool) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	now := e.rows.Generation()
	if e.learned == now || e.taught {
		return nil
	}
	var err error
	e.view.LearnNICs(func(yield func(attribution.NICSighting) bool) {
		for s, broken := range e.rows.NICsOf(ctx, e.view.Telling(contradictions)) {
			if err = broken; err != nil || !yield(attribution.NICSighting(s)) {
				return
			}
		}
	}, contradictions)
	if err != nil {
		return err
	}
	e.learned = now
	return nil
}

// Attributed is a batch with what can be said of both ends of each row.
type Attributed struct {
	*flow.Batch
	Begins   []flow.Span // when the flow of each row began
	Answered []bool      // whether its destination is known to have sent something back
	attribution.Joined
	few bool // they are all rows there are, and fewer than fewRows
}

// Each calls fn with all rows that pass the filter, in flow order, attributed. The
// batch is released after the call. The filter MUST select whole flows, all rows of
// one five-tuple up to some time: a row's owner hangs on the rows before it.
func (e *Engine) Each(ctx context.Context, f index.Filter, fn func(Attributed) error) (err error) {
	learned, prepared := make(chan error, 1), make(chan struct{})
	go func() { // beside the scan, which need not know any of it
		learned <- e.LearnNICs(ctx)
		e.view.Prepare()
		close(prepared)
	}()
	defer func() { <-prepared }()
	scan, err := e.rows.Scan(ctx, f)
	if err != nil {
		return errors.Join(<-learned, err)
	}
	ahead := readAhead(scan)
	defer func() { err = errors.Join(err, ahead.close()) }()
	if err := <-learned; err != nil {
		return err
	}
	r := &reader{engine: e, fn: fn, joiner: e.view.Joiner(), done: ahead.done}
	defer r.release()
	for s := range ahead.batches {
		if s.err != nil {
			return s.err
		}
		if err := r.take(&s.Attributed); err != nil {
			return err
		}
	}
	return r.hand(nil)
}

// reader attributes a batch, and hands it on once it has the one after it: the copies of a
// flow are looked at together.
type reader struct {
	engine *Engine
	fn     func(Attributed) error
	ready  *Attributed // the last one, not yet compared with the one after it
	joiner *attribution.Joiner
	spare  attribution.Joined // its slices can be used again
	done   func(*Attributed)  // takes batches back
}

// take takes a batch over, and hands on the one before it.
func (r *reader) take(a *Attributed) error {
	spare := r.spare
	r.spare = attribution.Joined{}
	r.joiner.Few = a.few
	var err error
	if a.Joined, err = r.joiner.Join(a.Batch, a.Begins, a.Answered, spare); err != nil {
		a.Release()
		return err
	}
	return r.hand(a)
}

// hand hands on the batch before a; nil is the end.
func (r *reader) hand(a *Attributed) error {
	before := r.ready
	r.ready = a
	if before == nil {
		return nil
	}
	defer r.done(before)
	r.engine.view.Compare(before.rows(), a.rows())
	r.spare = before.Joined
	return r.fn(*before)
}

func (a *Attributed) rows() *attribution.Rows {
	if a == nil {
		return nil
	}
	return &attribution.Rows{Batch: a.Batch, Begins: a.Begins, Joined: &a.Joined}
}

func (r *reader) release() {
	if r.ready != nil {
		r.ready.Batch.Release()
	}
	r.ready = nil
}

// All calls fn with every row whose time is in [since, until), attributed, in flow
// order; 0 is no limit. Rows outside are in the batch all the same: rows says which
// count, ascending. It is valid during the call.
func (e *Engine) All(ctx context.Context, since, until int64, fn func(a Attributed, rows []int32) error) error {
	var rows []int32
	return e.Each(ctx, index.Filter{To: until}, func(a Attributed) error {
		rows = a.Within(since, until, rows)
		return fn(a, rows)
	})
}

// Within lists the rows whose time is in [since, until), ascending, in the memory of
// room; 0 is no limit.
func (a *Attributed) Within(since, until int64, room []int32) []int32 {
	rows, n := slices.Grow(room[:0], a.Len())[:a.Len()], 0
	q := Question{Since: since, Until: until}
	for i, t := range a.Time {
		if q.in(int64(t)) {
			rows[n] = int32(i)
			n++
		}
	}
	return rows[:n]
}
