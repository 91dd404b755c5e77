package index

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"

	"github.com/whichpod/whichpod/flow"
)

// batchRows is how many rows a batch of a scan has at most.
const batchRows = 8192

// firstRows is how many rows the first batch has at most: most questions have few, and
// need not take the memory of many. Each one after it may have four times as many.
const firstRows = 1024

// Scanner returns the rows of a filter. It sees what was committed when it was made.
// It is for one goroutine; its batches are not.
type Scanner struct {
	ctx       context.Context
	store     *Store
	manifest  *manifest
	unpack    *unpacker
	addresses *scanAddresses
	contest   contest
	out       *output
	err       error // what Next returns from now on
}

// Scan starts a scan. The caller MUST Close the Scanner. Next fails when ctx ends.
// The error may be a [CorruptError].
func (s *Store) Scan(ctx context.Context, f Filter) (*Scanner, error) {
	for {
		m := s.manifest()
		sc, err := s.scan(ctx, m, f)
		var damage CorruptError
		if !errors.As(err, &damage) || s.manifest() == m {
			return sc, err
		}
	}
}

// scan opens all files that the scan will read, so that a merge cannot take one from
// under it later.
func (s *Store) scan(ctx context.Context, m *manifest, f Filter) (*Scanner, error) {
	u, err := newUnpacker()
	if err != nil {
		return nil, fmt.Errorf("scan index: %w", err)
	}
	sc := s.newScanner(ctx, m, u)
	p := newPlan(f, m.live)
	wanted := slices.DeleteFunc(slices.Clone(m.segments), func(seg *segment) bool { return !p.wants(seg) })
	p.share(len(wanted))
	if p.whole() {
		sc.reserve(wanted)
	}
	for _, seg := range wanted {
		if err := errors.Join(ctx.Err(), sc.add(seg, p)); err != nil {
			return nil, errors.Join(fmt.Errorf("scan index: %w", err), sc.Close())
		}
	}
	return sc, nil
}

func (s *Store) newScanner(ctx context.Context, m *manifest, u *unpacker) *Scanner {
	addresses := newScanAddresses(s.mem)
	return &Scanner{ctx: ctx, store: s, manifest: m, unpack: u, addresses: addresses, out: newOutput(s.mem, addresses)}
}

// reserve makes room for the addresses of segments, most of which have the same ones.
func (sc *Scanner) reserve(segments []*segment) {
	n := 0
	for _, seg := range segments {
		n += seg.addresses
	}
	sc.addresses.reserve(n)
}

// add opens a segment and puts a cursor at its first match, if it has any.
func (sc *Scanner) add(seg *segment, p *plan) error {
	c, err := sc.store.newCursor(seg, p, sc.unpack, sc.addresses)
	var damage CorruptError
	if errors.As(err, &damage) {
		if overtaken, rerr := sc.store.overtaken(sc.manifest, seg); overtaken || rerr != nil {
			return errors.Join(err, rerr)
		}
	}
	if err != nil {
		return sc.tolerate(err)
	}
	if c != nil {
		sc.contest.cursors = append(sc.contest.cursors, c)
	}
	return nil
}

// tolerate passes damage to the caller who chose to be told about it and go on.
func (sc *Scanner) tolerate(err error) error {
	var damage CorruptError
	if sc.store.onDamage != nil && errors.As(err, &damage) {
		sc.store.onDamage(damage)
		return nil
	}
	return err
}

// Next returns the next batch in flow order, of at most 8,192 rows, the first ones of
// fewer, or io.EOF. The caller MUST Release it; it stays valid after Close. After an
// error the Scanner returns that error again: what came before it was right, what follows is unknown.
func (sc *Scanner) Next() (*flow.Batch, error) {
	if sc.err == nil {
		sc.err = sc.ctx.Err()
	}
	sc.contest.settle()
	if sc.err == nil && sc.contest.first() == nil {
		sc.err = io.EOF
	}
	if sc.err != nil {
		return nil, sc.err
	}
	b, err := sc.fill()
	if err != nil {
		sc.err = fmt.Errorf("scan index: %w", err)
		return nil, sc.err
	}
	return b, nil
}

func (sc *Scanner) fill() (*flow.Batch, error) {
	cursors := sc.contest.cursors
	if sc.addresses.full() {
		sc.addresses.renew(cursors)
	}
	sc.out.begin()
	for sc.out.room() > 0 {
		c := sc.contest.first()
		if c == nil {
			break
		}
		sc.out.place(c, min(sc.contest.stretch(c), sc.out.room()))
		if c.at < c.len() {
			sc.contest.moved(c)
			continue
		}
		if err := sc.advance(c); err != nil {
			sc.out.abort()
			return nil, err
		}
	}
	for _, c := range cursors {
		if c != nil {
			sc.out.copy(c)
		}
	}
	return sc.out.finish(), nil
}

// advance goes on once all rows of the first cursor were placed.
func (sc *Scanner) advance(c *cursor) error {
	sc.out.copy(c)
	ok, err := c.next()
	if err := sc.tolerate(err); err != nil {
		return err
	}
	if ok {
		sc.contest.moved(c)
		return nil
	}
	sc.contest.ended()
	return c.source.close()
}

// Close ends the scan. Batches that were returned stay valid.
func (sc *Scanner) Close() error {
	var errs []error
	for _, c := range sc.contest.cursors {
		if c != nil {
			errs = append(errs, c.source.close())
		}
	}
	sc.contest = contest{}
	sc.out.close()
	sc.addresses.release()
	if sc.unpack != nil {
		sc.unpack.close()
		sc.unpack = nil
	}
	if sc.err == nil {
		sc.err = os.ErrClosed
	}
	return errors.Join(errs...)
}
