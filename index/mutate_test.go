package index

import (
	"bytes"
	"math/rand/v2"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/apache/arrow/go/v17/arrow/memory"
)

// parts are a segment's, each as its reader gets it.
type parts struct {
	seg    *segment
	opened *opened
	tables *tables
	unpack *unpacker
	bytes  [][]byte
}

func partsOf(t testing.TB, s *Store, seg *segment) *parts {
	t.Helper()
	file, err := os.ReadFile(seg.name(s.segments))
	must(t, err)
	u, err := newUnpacker()
	must(t, err)
	t.Cleanup(u.close)
	o, err := s.open(seg, u)
	must(t, err)
	t.Cleanup(o.release)
	tables, err := o.readTables(u)
	must(t, err)
	p := &parts{seg, o, tables, u, nil}
	for _, part := range []part{o.blockPart(0), o.pagePart(0), o.tablesPart(), seg.directory} {
		p.bytes = append(p.bytes, file[part.offset:part.end()])
	}
	return p
}

// readAnything gives bytes to each reader, as if their checksum had been made to fit.
func (p *parts) readAnything(b []byte) {
	b = append(slices.Clone(b), make([]byte, packPad)...)[:len(b)]
	_ = (&opened{seg: p.seg}).readDirectory(b)
	_, _ = p.unpack.decodeTables(b)
	_ = new(addressPage).parse(b, p.opened.firstOf(0), min(pageAddresses, p.seg.addresses), p.opened.blocks)
	src := &blockSource{opened: p.opened, unpack: p.unpack, plan: &segmentPlan{plan: newPlan(Filter{}, nil)}, tables: p.tables, blockScratch: &p.unpack.blocks}
	d := newScanAddresses(memory.DefaultAllocator)
	defer d.release()
	_ = src.decode(&cursor{seg: p.seg, addresses: newAddressCoder(d, len(p.opened.pages), 0, src.readAddresses)}, b, true)
}

// TestMutatedParts is FuzzParts at a desk: some thousand parts of a segment with
// some bytes changed. No panic, and none takes long.
func TestMutatedParts(t *testing.T) {
	const longest = 5 * time.Second
	dir := t.TempDir()
	must(t, ingest(Options{}, dir, twoBlobs()))
	s := mustStore(t, dir, Options{ReadOnly: true})
	p := partsOf(t, s, s.current.segments[0])
	r := rand.New(rand.NewPCG(1, 2))
	for n := range 5000 {
		b := bytes.Clone(p.bytes[n%len(p.bytes)])
		for range 1 + r.IntN(4) {
			b[r.IntN(len(b))] = byte(r.Uint32())
		}
		took := func() time.Duration {
			start := time.Now()
			p.readAnything(b)
			return time.Since(start)
		}
		if d := took(); d > longest && took() > longest { // once it can be the machine
			t.Fatalf("round %d took %v", n, d)
		}
	}
}
