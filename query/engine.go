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

	"github.com/whichpod/whichpod/attribution"
	"github.com/whichpod/whichpod/flow"
	"github.com/whichpod/whichpod/index"
)

// Engine joins an index and a view of the ledger.
type Engine struct {
	rows *index.Store
	view *attribution.View

	mu      sync.Mutex
	learned uint64 // the index's generation that the view has learned NICs from, 0: none
	taught  bool   // it learned them from elsewhere
}

// New returns an engine. The caller keeps and closes both.
func New(rows *index.Store, view *attribution.View) *Engine {
	return &Engine{rows: rows, view: view}
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
		for s, broken := range e.rows.NICs(ctx) {
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
	r := &reader{engine: e, fn: fn, joiner: e.view.Joiner()}
	defer r.release()
	for next := range ahead.batches {
		if next.err != nil {
			return next.err
		}
		if err := r.take(next.batch); err != nil {
			return err
		}
	}
	return r.take(nil)
}

// reader attributes a batch once it has the two after it: a begin is looked at together
// with the row that follows it, and the copies of a flow with each other.
type reader struct {
	engine *Engine
	fn     func(Attributed) error
	held   *flow.Batch // the last one read
	ready  *Attributed // the one before it, not yet compared with it
	begins flow.Begins
	joiner *attribution.Joiner
	spare  Attributed // its slices can be used again
}

// take takes next over, and hands on the batch that is two before it. nil is the end.
func (r *reader) take(next *flow.Batch) error {
	b := r.held
	r.held = next
	if b == nil {
		return nil
	}
	a := &Attributed{Batch: b, Begins: r.begins.Of(b, r.spare.Begins[:0]), Answered: flow.Answered(b, next, r.spare.Answered[:0])}
	spare := r.spare.Joined
	r.spare = Attributed{}
	var err error
	if a.Joined, err = r.joiner.Join(b, a.Begins, a.Answered, spare); err != nil {
		b.Release()
		return err
	}
	if err := r.hand(a); err != nil || next != nil {
		return err
	}
	return r.hand(nil)
}

// hand hands on the batch before a; nil is the end.
func (r *reader) hand(a *Attributed) error {
	before := r.ready
	r.ready = a
	if before == nil {
		return nil
	}
	defer before.Batch.Release()
	r.engine.view.Compare(before.rows(), a.rows())
	r.spare = *before
	return r.fn(*before)
}

func (a *Attributed) rows() *attribution.Rows {
	if a == nil {
		return nil
	}
	return &attribution.Rows{Batch: a.Batch, Begins: a.Begins, Joined: &a.Joined}
}

func (r *reader) release() {
	if r.held != nil {
		r.held.Release()
	}
	if r.ready != nil {
		r.ready.Batch.Release()
	}
	r.held, r.ready = nil, nil
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
