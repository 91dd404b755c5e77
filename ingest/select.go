package ingest

import (
	"fmt"
	"hash/fnv"
	"time"
)

// lateRecords is how long after the end of an hour rows of that hour may still be
// logged, which puts them into the next hour's blob. In the samples a tuple is up to
// 62.4 s older than its record, and records are a minute apart.
const lateRecords = 2 * time.Minute

// Shard is a part of all blobs: those of the NICs whose hash falls on Index of
// Count, as a Kubernetes Indexed Job numbers its pods, from 0. The zero value is all.
type Shard struct{ Index, Count int }

// selection says which blobs to read.
type selection struct {
	hours Hours
	shard Shard
}

func newSelection(o Options) (selection, error) {
	s := selection{shard: o.Shard}
	if s.shard == (Shard{}) {
		s.shard.Count = 1
	}
	if s.shard.Count < 1 || s.shard.Index < 0 || s.shard.Index >= s.shard.Count {
		return s, fmt.Errorf("select blobs: shard is %d of %d, want one of 0 to count-1", o.Shard.Index, o.Shard.Count)
	}
	if !o.Since.IsZero() && !o.Until.IsZero() && !o.Since.Before(o.Until) {
		return s, fmt.Errorf("select blobs: since %s is not before until %s", o.Since.UTC().Format(time.RFC3339), o.Until.UTC().Format(time.RFC3339))
	}
	if !o.Since.IsZero() {
		s.hours.First = o.Since.UTC().Truncate(time.Hour)
	}
	if !o.Until.IsZero() {
		s.hours.Last = o.Until.UTC().Add(lateRecords).Truncate(time.Hour)
	}
	return s, nil
}

// has says whether a blob is selected. One without an hour in its name always is,
// whatever the time; one without a MAC is in the shard of its name.
func (s *selection) has(name string) bool {
	if s.shard.Count > 1 {
		key := pathMAC(name)
		if key == "" {
			key = name
		}
		h := fnv.New32a()
		h.Write([]byte(key))
		if h.Sum32()%uint32(s.shard.Count) != uint32(s.shard.Index) {
			return false
		}
	}
	return s.hours.Cover(name)
}
