package index

import (
	"bytes"
	"math/rand/v2"
	"net/netip"
	"os"
	"testing"
	"time"
)

// TestMutatedMessages is FuzzMessage at a desk: a few thousand parts of a segment with
// some bytes changed, as if their checksum had been made to fit. No panic, and none
// takes long.
func TestMutatedMessages(t *testing.T) {
	dir := t.TempDir()
	must(t, ingest(Options{}, dir, twoBlobs()))
	s := mustStore(t, dir, Options{ReadOnly: true})
	seg := s.current.segments[0]
	file, err := os.ReadFile(segmentName(s.segments, seg.id))
	must(t, err)
	u, err := newUnpacker()
	must(t, err)
	defer u.close()
	last := seg.batches[len(seg.batches)-1]
	r := rand.New(rand.NewPCG(1, 2))
	for n := range 20000 {
		p := []part{last.part, seg.head, seg.postings}[n%3]
		b := bytes.Clone(file[p.offset:p.end()])
		for range 1 + r.IntN(4) {
			b[r.IntN(len(b))] = byte(r.Uint32())
		}
		start := time.Now()
		readAnything(u, seg, last.rows, b)
		if d := time.Since(start); d > 5*time.Second {
			t.Fatalf("round %d took %v", n, d)
		}
	}
}

// readAnything gives bytes to each reader of a part of a segment.
func readAnything(u *unpacker, seg *segment, rows int, b []byte) {
	o := &opened{}
	_ = o.readHead(u, b, seg)
	_ = o.readPostings(u, b, seg)
	o.addresses = make([]netip.Addr, 1)
	c := &cursor{seg: seg, opened: o, plan: &segmentPlan{plan: newPlan(Filter{}, nil)}, unpack: u}
	_ = c.decodeBatch(b, &segmentBatch{rows: rows})
}
