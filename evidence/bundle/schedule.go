package bundle

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"path/filepath"
	"slices"
	"time"

	"github.com/whichpod/whichpod/index"
)

// Schedule writes a bundle for each window of time, once its logs are in. What was
// written before is all that it remembers: the last bundle's end is where it goes on.
type Schedule struct {
	Out      string
	Window   time.Duration    // length of a window; they begin at multiples of it
	Deadline time.Duration    // how long after its end a window waits for logs
	Since    int64            // begin of the first window, Unix milliseconds; 0 is that of the first row
	Until    int64            // no window ends after it; 0 is no end
	Now      func() time.Time // what the newest row shows to be past is past, too
}

// settled is how long after its end a window is left alone in any case, in
// milliseconds: a record is written up to a minute late, and published a minute later.
const settled = 2 * 60 * 1000

// amendable is how long windows are looked at again for rows that came late, in
// milliseconds.
const amendable = 7 * 24 * hour

// Run writes all bundles that are due, and amendments of those for which rows came
// late. The caller MUST hold the [Lock]. Each bundle that it returns is durable, whatever
// the error.
func (s *Schedule) Run(ctx context.Context, in Input, key Signer) ([]Summary, error) {
	now := max(s.Now().UnixMilli(), in.Index.Stats().Last)
	chain, err := Chain(s.Out)
	if err != nil {
		return nil, err
	}
	out, err := s.amend(ctx, in, key, chain, now)
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
		one.Since, one.Until, one.Missing = next, next+length, late
		sum, err := Write(ctx, s.Out, one, key)
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

// amend writes anew the windows of which the index has other rows now than the last
// bundle about them.
func (s *Schedule) amend(ctx context.Context, in Input, key Signer, chain []Link, now int64) (out []Summary, err error) {
	latest := make(map[[2]int64]*Link)
	for i := range chain {
		if l := &chain[i]; l.Since != 0 && l.Until != 0 {
			latest[[2]int64{l.Since, l.Until}] = l
		}
	}
	for i := range chain {
		l := &chain[i]
		if latest[[2]int64{l.Since, l.Until}] != l || l.Until < now-amendable {
			continue
		}
		changed, err := s.changed(ctx, in.Index, l)
		if err != nil {
			return out, err
		}
		if !changed {
			continue
		}
		sum, err := s.Amend(ctx, in, key, l)
		if err != nil {
			return out, err
		}
		out = append(out, sum)
	}
	return out, nil
}

// Amend writes the bundle of a window anew, with what is known now.
func (s *Schedule) Amend(ctx context.Context, in Input, key Signer, l *Link) (Summary, error) {
	late, err := Late(ctx, in.Index, l.Since, l.Until)
	if err != nil {
		return Summary{}, err
	}
	in.Since, in.Until, in.Amends, in.Missing = l.Since, l.Until, &l.Ref, late
	return Write(ctx, s.Out, in, key)
}

// changed says whether the index has other rows of a window than its bundle. Only the
// rows of windows are counted of which a log was read further.
func (s *Schedule) changed(ctx context.Context, store *index.Store, l *Link) (bool, error) {
	var c Completeness
	data, err := files(filepath.Join(s.Out, l.Name)).read(completenessFile)
	if err == nil {
		err = json.Unmarshal(data, &c)
	}
	if err != nil {
		return false, fmt.Errorf("look for late rows of %q: %w", l.Name, err)
	}
	taken := make(map[string]int64)
	for i := range c.Blobs {
		taken[c.Blobs[i].Name] = c.Blobs[i].Taken
	}
	same := true
	for _, b := range store.Blobs() {
		if b.Rows > 0 && b.First < l.Until && b.Last >= l.Since {
			same = same && taken[b.Blob] == b.Offset
		}
	}
	if same {
		return false, nil
	}
	rows, err := countRows(ctx, store, l.Since, l.Until)
	return rows != c.Verdicts.Rows, err
}

func countRows(ctx context.Context, store *index.Store, since, until int64) (rows int64, err error) {
	scan, err := store.Scan(ctx, index.Filter{From: since, To: until})
	if err != nil {
		return 0, err
	}
	for {
		b, err := scan.Next()
		if errors.Is(err, io.EOF) {
			return rows, scan.Close()
		}
		if err != nil {
			return 0, errors.Join(err, scan.Close())
		}
		for i := range b.Len() {
			if at := int64(b.Time[i]); at >= since && at < until {
				rows++
			}
		}
		b.Release()
	}
}
