package index

import (
	"maps"
	"slices"

	"github.com/whichpod/whichpod/flow"
)

// Blob is what a store holds of one blob, as of the last commit.
type Blob struct {
	flow.Position
	Rows        int64
	First, Last int64            // event times of the rows, Unix milliseconds, both included; unset without rows
	Rejections  map[string]int64 // by reason, exact; nil where there are none
}

// Blobs lists the blobs that were read, by name.
func (s *Store) Blobs() []Blob {
	m := s.manifest()
	out := make([]Blob, 0, len(m.blobs))
	for _, name := range slices.Sorted(maps.Keys(m.blobs)) {
		b := m.blobs[name]
		counts := maps.Clone(b.counts)
		for _, r := range b.tails {
			if counts == nil {
				counts = make(map[string]int64)
			}
			counts[r.Reason]++
		}
		out = append(out, Blob{b.position, b.rows, b.first, b.last, counts})
	}
	return out
}
