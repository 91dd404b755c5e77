package index

import (
	"cmp"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/whichpod/whichpod/flow"
)

// Stats describes what a store holds, as of the last commit.
type Stats struct {
	Blobs       int
	Rows        int64
	Segments    int
	Bytes       int64            // on disk: segments and manifest
	First, Last int64            // event times, Unix milliseconds, both included; 0 without rows
	DeadRows    int64            // in segments, but superseded or never advanced over
	Rejections  map[string]int64 // by reason, exact
	Rejected    []flow.Rejection // the last few of each blob, by blob and offset
	Tails       []flow.Position  // of the blobs that end in bytes that are no record
}

// Stats of the store.
func (s *Store) Stats() Stats {
	m := s.manifest()
	st := Stats{Blobs: len(m.blobs), Segments: len(m.segments), Rejections: make(map[string]int64)}
	if info, err := os.Stat(filepath.Join(s.root, manifestName)); err == nil {
		st.Bytes = info.Size()
	}
	for _, seg := range m.segments {
		st.Bytes += seg.size
		st.DeadRows += int64(seg.rows)
	}
	for _, b := range m.blobs {
		st.add(b)
	}
	slices.SortFunc(st.Rejected, func(a, b flow.Rejection) int {
		return cmp.Or(strings.Compare(a.Blob, b.Blob), cmp.Compare(a.Offset, b.Offset))
	})
	slices.SortFunc(st.Tails, func(a, b flow.Position) int { return strings.Compare(a.Blob, b.Blob) })
	return st
}

func (st *Stats) add(b *blobState) {
	if b.rows > 0 {
		if st.Rows == 0 {
			st.First, st.Last = b.first, b.last
		}
		st.First, st.Last = min(st.First, b.first), max(st.Last, b.last)
		st.Rows += b.rows
		st.DeadRows -= b.rows
	}
	for reason, n := range b.counts {
		st.Rejections[reason] += n
	}
	for _, r := range b.tails {
		st.Rejections[r.Reason]++
	}
	st.Rejected = append(append(st.Rejected, b.details...), b.tails...)
	if b.position.Tail != "" {
		st.Tails = append(st.Tails, b.position)
	}
}
