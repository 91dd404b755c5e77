package nat

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
)

// maxSegments is how many segments a cluster has before some are merged: each lookup
// searches all of them.
const maxSegments = 8

// merge merges the smallest segments of a cluster into one where there are too many.
func (s *Store) merge(clusterName string) error {
	c := s.clusters[clusterName]
	if len(c.segments) <= maxSegments || c.damaged.Load() {
		return nil
	}
	list := slices.Clone(c.segments)
	slices.SortStableFunc(list, func(a, b *segment) int { return int(min(max(a.flows-b.flows, -1), 1)) })
	n, sum := 0, int64(0)
	for n < len(list) && (n < 2 || n <= len(list)-maxSegments || list[n].flows <= 2*sum) {
		sum += list[n].flows
		n++
	}
	return s.mergeInto(clusterName, c, list[:n])
}

// mergeInto writes one segment for several, makes it count in their place, and removes them.
func (s *Store) mergeInto(clusterName string, c *cluster, list []*segment) error {
	name := segmentName{File: fmt.Sprintf("m%08d-%06d%s", s.next-1, s.files, segmentSuffix), Cluster: clusterName}
	if err := s.writeMerged(&name, list); err != nil {
		return fmt.Errorf("merge NAT evidence: %w", err)
	}
	line := commit{Segments: []segmentName{name}}
	for _, seg := range list {
		line.Removed = append(line.Removed, filepath.Base(seg.path))
	}
	if err := s.commit(&line); err != nil {
		return fmt.Errorf("merge NAT evidence: %w", err)
	}
	c.segments = slices.DeleteFunc(c.segments, func(seg *segment) bool { return slices.Contains(list, seg) })
	var all error
	for _, seg := range list {
		all = errors.Join(all, seg.f.Close(), s.opt.FS.Remove(seg.path))
	}
	if _, err := s.open(name); err != nil {
		all = errors.Join(all, err)
	}
	if all != nil {
		return fmt.Errorf("merge NAT evidence: %w", all)
	}
	return nil
}

func (s *Store) writeMerged(name *segmentName, list []*segment) (err error) {
	path := filepath.Join(s.dir, name.File)
	w, err := newSegmentWriter(s.opt.FS, path, name.Cluster)
	if err != nil {
		return err
	}
	defer func() {
		if err = errors.Join(err, w.f.Close()); err != nil {
			err = errors.Join(err, s.opt.FS.Remove(path))
		}
	}()
	if err := eachMerged(list, w.add); err != nil {
		return err
	}
	name.Flows = w.c.flows
	return w.finish()
}

// cursor reads a segment in order.
type cursor struct {
	seg   *segment
	block int // the next one to read
	flows []Flow
	at    int
}

func (c *cursor) next() (bool, error) {
	c.at++
	for c.at >= len(c.flows) {
		if c.block == len(c.seg.blocks) {
			return false, nil
		}
		var err error
		if c.flows, err = c.seg.block(c.block); err != nil {
			return false, err
		}
		c.block++
		c.at = 0
	}
	return true, nil
}

type cursors []*cursor

func (h cursors) Len() int           { return len(h) }
func (h cursors) Less(i, j int) bool { return h[i].flows[h[i].at].compare(&h[j].flows[h[j].at]) < 0 }
func (h cursors) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *cursors) Push(x any)        { *h = append(*h, x.(*cursor)) }
func (h *cursors) Pop() any {
	old := *h
	last := old[len(old)-1]
	*h = old[:len(old)-1]
	return last
}
