package nat

import (
	"container/heap"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"

	"github.com/whichpod/whichpod/internal/journal"
)

// sliceMargin is how far beyond a slice's times connections are kept, in milliseconds.
const sliceMargin = 24 * 60 * 60 * 1000

// Slice writes the evidence of the connections that may have been open from one time
// to another, Unix milliseconds, or within a day of them, into a store in the folder
// to, which MUST be empty. Without a connection it writes what was covered all the
// same. What is written does not depend on how segments were merged. Of a store that
// is damaged there is no slice.
func (s *Store) Slice(to string, from, until int64) (err error) {
	if len(s.damage) > 0 {
		return fmt.Errorf("slice NAT evidence: %w", s.damage[0])
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	var lines [][]byte
	_, err = journal.Read(filepath.Join(s.dir, journalName), journalMagic, journalVersion, func(_ int64, payload []byte) error {
		var c commit
		if err := json.Unmarshal(payload, &c); err != nil {
			return err
		}
		if c.Import == nil || s.hidden[c.Import.Number] || int(c.Import.Number) >= len(s.imports) {
			return nil
		}
		line, err := json.Marshal(commit{Import: c.Import})
		lines = append(lines, line)
		return err
	})
	if err != nil {
		return fmt.Errorf("slice NAT evidence: %w", err)
	}
	var last commit
	for number, name := range slices.Sorted(maps.Keys(s.clusters)) {
		seg := segmentName{File: fmt.Sprintf("m%08d-%06d%s", 0, number, segmentSuffix), Cluster: name}
		if err := s.writeSlice(to, &seg, s.clusters[name].segments, from, until); err != nil {
			return fmt.Errorf("slice NAT evidence: %w", err)
		}
		last.Segments = append(last.Segments, seg)
	}
	if line, err := json.Marshal(&last); err != nil {
		return fmt.Errorf("slice NAT evidence: %w", err)
	} else if len(last.Segments) > 0 {
		lines = append(lines, line)
	}
	out, err := journal.Open(filepath.Join(to, journalName), journalMagic, journalVersion, func(int64, []byte) error { return nil })
	if err != nil {
		return fmt.Errorf("slice NAT evidence: %w", err)
	}
	if len(lines) > 0 {
		err = out.Append(lines...)
	}
	if err = errors.Join(err, out.Close()); err != nil {
		return fmt.Errorf("slice NAT evidence: %w", err)
	}
	return nil
}

func (s *Store) writeSlice(to string, name *segmentName, list []*segment, from, until int64) (err error) {
	w, err := newSegmentWriter(s.opt.FS, filepath.Join(to, name.File), name.Cluster)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.f.Close()) }()
	err = eachMerged(list, func(f *Flow) error {
		if s.hidden[f.Import] || f.ToLatest < from-sliceMargin || (until != 0 && f.FromEarliest > until+sliceMargin) {
			return nil
		}
		return w.add(f)
	})
	if err != nil {
		return err
	}
	name.Flows = w.c.flows
	return w.finish()
}

// eachMerged calls fn with the records of sorted segments, in order.
func eachMerged(list []*segment, fn func(*Flow) error) error {
	var h cursors
	for _, seg := range list {
		cur := &cursor{seg: seg}
		ok, err := cur.next()
		if err != nil {
			return err
		}
		if ok {
			h = append(h, cur)
		}
	}
	heap.Init(&h)
	for len(h) > 0 {
		cur := h[0]
		if err := fn(&cur.flows[cur.at]); err != nil {
			return err
		}
		ok, err := cur.next()
		if err != nil {
			return err
		}
		if ok {
			heap.Fix(&h, 0)
		} else {
			heap.Pop(&h)
		}
	}
	return nil
}
