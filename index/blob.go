package index

import (
	"maps"
	"slices"

	"github.com/whichpod/whichpod/flow"
)

// keptDetails bounds the rejections that are kept whole for each blob; the counts
// are always exact.
const keptDetails = 8

// Reasons that describe the end of a blob as it is now and not something that was
// left out for good: the next Advance replaces them.
const (
	ReasonTruncated = "truncated"
	ReasonTail      = "tail"
)

func isTail(reason string) bool { return reason == ReasonTruncated || reason == ReasonTail }

// blobState is all that is known of one blob. The manifest holds one frame with the
// whole of it for each commit that changed it; the last one counts.
type blobState struct {
	position    flow.Position
	ordinals    []uint32 // of the rows that count; ascending
	rows        int64
	first, last int64 // event times of these rows, both included; unset without rows
	counts      map[string]int64
	details     []flow.Rejection // the last ones, without tails; Blob is not stored
	tails       []flow.Rejection // of the last Advance
}

func (b *blobState) clone() *blobState {
	c := *b
	c.ordinals = slices.Clone(b.ordinals)
	c.counts = maps.Clone(b.counts)
	c.details = slices.Clone(b.details)
	return &c
}

// reject takes over the rejections of one Advance.
func (b *blobState) reject(rejected []flow.Rejection) {
	b.tails = nil
	for _, r := range rejected {
		if isTail(r.Reason) {
			if len(b.tails) < keptDetails {
				b.tails = append(b.tails, r)
			}
			continue
		}
		if b.counts == nil {
			b.counts = make(map[string]int64)
		}
		b.counts[r.Reason]++
		b.details = append(b.details, r)
	}
	if n := len(b.details) - keptDetails; n > 0 {
		b.details = slices.Delete(b.details, 0, n)
	}
}

// cover widens the span of event times.
func (b *blobState) cover(first, last int64) {
	if b.rows == 0 {
		b.first, b.last = first, last
	}
	b.first, b.last = min(b.first, first), max(b.last, last)
}

func (b *blobState) encode() []byte {
	e := encoder{b: []byte{frameBlob}}
	p := &b.position
	e.text(p.Blob)
	e.text(p.ETag)
	e.int(p.Length)
	e.int(p.Offset)
	e.fixed32(p.Check)
	e.text(p.Tail)
	e.ordinals(b.ordinals)
	e.uint(uint64(b.rows))
	e.int(b.first)
	e.int(b.last)
	e.uint(uint64(len(b.counts)))
	for _, reason := range slices.Sorted(maps.Keys(b.counts)) {
		e.text(reason)
		e.uint(uint64(b.counts[reason]))
	}
	e.rejections(b.details)
	e.rejections(b.tails)
	return e.b
}

func decodeBlob(d *decoder) (*blobState, error) {
	b := &blobState{position: flow.Position{Blob: d.text(), ETag: d.text(), Length: d.int(), Offset: d.int(), Check: d.fixed32(), Tail: d.text()}}
	b.ordinals = d.ordinals()
	b.rows = int64(d.uint())
	b.first, b.last = d.int(), d.int()
	if n := d.count(); n > 0 {
		b.counts = make(map[string]int64, n)
		for range n {
			reason := d.text()
			b.counts[reason] = int64(d.uint())
		}
	}
	b.details = d.rejections(b.position.Blob)
	b.tails = d.rejections(b.position.Blob)
	return b, d.done()
}

func (e *encoder) rejections(list []flow.Rejection) {
	e.uint(uint64(len(list)))
	for _, r := range list {
		e.int(r.Offset)
		e.text(r.Reason)
		e.text(r.Detail)
	}
}

func (d *decoder) rejections(blob string) []flow.Rejection {
	n := d.count()
	if n == 0 {
		return nil
	}
	list := make([]flow.Rejection, n)
	for i := range list {
		list[i] = flow.Rejection{Blob: blob, Offset: d.int(), Reason: d.text(), Detail: d.text()}
	}
	return list
}
