package bundle

import (
	"context"
	"fmt"
	"maps"
	"math"
	"slices"
	"time"

	"github.com/whichpod/whichpod/index"
)

// Schedule writes a bundle for each window of time, once its logs are in. What was
// written before is all that it remembers: the last bundle's end is where it goes on.
type Schedule struct {
	To       Destination
	Window   time.Duration    // length of a window; they begin at multiples of it
	Deadline time.Duration    // how long after its end a window waits for logs
	Since    int64            // begin of the first window, Unix milliseconds; 0 is that of the first row
	Until    int64            // no window ends after it; 0 is no end
	Now      func() time.Time // what the newest row shows to be past is past, too
}

// settled is how long after its end a window is left alone in any case, in
// milliseconds: a record is written up to a minute late, and published a minute later.
const settled = 2 * 60 * 1000

// Run writes all bundles that are due, and amendments of those that would have other
// rows now: flow logs, pods or NAT evidence came late. The caller MUST hold the lock of
// the destination. Each bundle that it returns is durable, whatever the error.
func (s *Schedule) Run(ctx context.Context, in Input, key Signer) ([]Summary, error) {
	now := max(s.Now().UnixMilli(), in.Index.Stats().Last)
	chain, err := s.To.Chain(ctx)
	if err != nil {
		return nil, err
	}
	ended := [2]int64{now - amendable, math.MaxInt64}
	if s.Until != 0 {
		ended = [2]int64{min(now, s.Until) - amendable, s.Until}
	}
	out, err := s.amend(ctx, in, key, chain, ended)
	if err != nil {
		return out, err
	}
	length := s.Window.Milliseconds()
	for next := s.next(in.Index, chain); next != 0 && next+length+settled <= now && (s.Until == 0 || next+length <= s.Until); next += length {
		late, err := Late(ctx, in.Index, next, next+length)
		if err != nil {
			return out, err
		}
		if len(late) > 0 && now < next+length+s.Deadline.Milliseconds() {
			break
		}
		one := in
		one.Since, one.Until = next, next+length
		sum, err := Write(ctx, s.To, one, key)
		if err != nil {
			return out, err
		}
		out = append(out, sum)
	}
	return out, nil
}

// next is where the next window begins, or 0 where nothing is known of when to begin.
func (s *Schedule) next(store *index.Store, chain []Link) int64 {
	next := int64(0)
	for i := range chain {
		if chain[i].Since != 0 && chain[i].Amends == nil {
			next = max(next, chain[i].Until)
		}
	}
	if next != 0 {
		return next
	}
	if next = s.Since; next == 0 {
		next = store.Stats().First
	}
	return next / s.Window.Milliseconds() * s.Window.Milliseconds()
}

// Late says in sentences which interfaces, of those that logged in a window or the hour
// before it, have logged nothing since its end: their logs may not be in.
func Late(ctx context.Context, store *index.Store, since, until int64) ([]string, error) {
	last := make(map[string]int64)
	for s, err := range store.NICs(ctx) {
		if err != nil {
			return nil, fmt.Errorf("look for late logs: %w", err)
		}
		if !s.Capped && s.Last >= since-hour {
			last[s.NIC] = max(last[s.NIC], s.Last)
		}
	}
	out := []string{}
	for _, nic := range slices.Sorted(maps.Keys(last)) {
		if last[nic] < until {
			out = append(out, fmt.Sprintf("interface %s logged no row after %s: what it had to log until the end may be missing", nic, time.UnixMilli(last[nic]).UTC().Format(time.RFC3339)))
		}
	}
	if len(last) == 0 {
		out = append(out, "no interface logged a row")
	}
	return out, nil
}
