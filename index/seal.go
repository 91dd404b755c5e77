package index

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"os"
	"runtime"
	"sync"

	"github.com/whichpod/whichpod/flow"
	"github.com/whichpod/whichpod/internal/journal/disk"
)

const (
	segmentSuffix = ".arrow"
	tempSuffix    = ".tmp" // behind segmentSuffix, until the segment is whole
)

// sealer writes segments. Its memory is kept from one to the next.
type sealer struct {
	fs      disk.FS
	sorter  sorter
	packers []*packer
}

// maxPackers bounds the cores that one segment is packed on, because each packer
// holds about 2 MB.
const maxPackers = 8

func newSealer(fsys disk.FS) (*sealer, error) {
	s := &sealer{fs: fsys}
	for range min(runtime.GOMAXPROCS(0), maxPackers) {
		p, err := newPacker()
		if err != nil {
			return nil, err
		}
		s.packers = append(s.packers, p)
	}
	return s, nil
}

// seal writes the rows to a file of that name, makes it durable, and says what the
// manifest has to know about it. There MUST be rows; their order and their address
// codes are changed. After an error the file is gone, or could not be removed.
func (s *sealer) seal(name string, id uint64, c *columns) (*segment, error) {
	f, err := s.fs.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return nil, err
	}
	rows := s.sorter.sort(c)
	w := &segmentWriter{f: f, seg: &segment{id: id, rows: len(rows), addresses: len(c.addresses)}}
	s.write(w, newSealing(c), rows)
	if w.err == nil {
		w.err = f.Sync()
	}
	if err := f.Close(); w.err == nil {
		w.err = err
	}
	if w.err != nil {
		return nil, errors.Join(w.err, s.fs.Remove(name))
	}
	return w.seg, nil
}

func (s *sealer) write(w *segmentWriter, c *sealing, rows []uint32) {
	seg := w.seg
	seg.low, seg.high = c.addresses[0], c.addresses[len(c.addresses)-1]
	seg.ordinals = append([]uint32(nil), c.ordinals...)
	seg.sightings = encodeSightings(c.sightings())
	w.head(s.packers[0], c)
	seg.head = w.part(0)
	for from := 0; from < len(rows) && w.err == nil; {
		from = s.writeBatches(w, c, rows, from)
	}
	if w.err != nil {
		return
	}
	seg.first, seg.last = seg.batches[0].first, seg.batches[0].last
	for _, b := range seg.batches {
		seg.first, seg.last = min(seg.first, b.first), max(seg.last, b.last)
	}
	start := w.at
	w.put(binary.LittleEndian.AppendUint64(nil, continuation)) // the marker, then a length of 0
	w.put(s.packers[0].postings(c, rows))
	seg.postings = w.part(start)
	start = w.at
	w.put(footerBytes(flow.Schema, w.dictionaries, w.records))
	seg.footer = w.part(start)
	seg.size = w.at
}

// writeBatches packs as many batches at once as there are packers and writes them in
// order. It returns the first row that is left.
func (s *sealer) writeBatches(w *segmentWriter, c *sealing, rows []uint32, from int) int {
	var wg sync.WaitGroup
	sealed := make([]sealedBatch, 0, len(s.packers))
	for _, p := range s.packers {
		if from == len(rows) {
			break
		}
		to := min(from+batchRows, len(rows))
		sealed = append(sealed, sealedBatch{})
		b, mine := &sealed[len(sealed)-1], rows[from:to]
		wg.Go(func() { *b = p.batch(c, mine) })
		from = to
	}
	wg.Wait()
	for _, b := range sealed {
		b.block.offset, b.meta.offset = w.at, w.at
		w.records = append(w.records, b.block)
		w.seg.batches = append(w.seg.batches, b.meta)
		w.put(b.bytes)
		w.crc = 0
	}
	return from
}

// segmentWriter counts and checks what goes into the file. After the first error it
// writes nothing more.
type segmentWriter struct {
	f   disk.File
	seg *segment
	at  int64
	crc uint32 // since the last part
	err error

	dictionaries, records []fileBlock
}

func (w *segmentWriter) put(b []byte) {
	if w.err != nil {
		return
	}
	var n int
	n, w.err = w.f.Write(b)
	w.at += int64(n)
	w.crc = crc32.Update(w.crc, castagnoli, b)
}

// part is what was written since start, which is where the last part ended.
func (w *segmentWriter) part(start int64) part {
	p := part{offset: start, length: w.at - start, crc: w.crc}
	w.crc = 0
	return p
}

// head writes all that precedes the record batches.
func (w *segmentWriter) head(p *packer, c *sealing) {
	w.put([]byte(arrowMagic + "\x00\x00"))
	w.put(message(nil, schemaMessage(flow.Schema)))
	for dict := range numDictionaries {
		var out []byte
		var at fileBlock
		if dict == dictAddress {
			raw := make([]byte, 0, 16*len(c.addresses))
			for _, a := range c.addresses {
				v := a.As16()
				raw = append(raw, v[:]...)
			}
			out, at = p.dictionary(dict, len(c.addresses), raw)
		} else {
			offsets, text := packTexts(c.texts[dict])
			out, at = p.dictionary(dict, len(c.texts[dict]), offsets, text)
		}
		at.offset = w.at
		w.dictionaries = append(w.dictionaries, at)
		w.put(out)
	}
}

// packTexts lays texts out as a column of utf8: where each begins, and one more.
func packTexts(list []string) (offsets, text []byte) {
	offsets = binary.LittleEndian.AppendUint32(nil, 0)
	for _, t := range list {
		text = append(text, t...)
		offsets = binary.LittleEndian.AppendUint32(offsets, uint32(len(text)))
	}
	return offsets, text
}

// postings says for each address in which batches it occurs: first for all of them
// as source, then as destination, one bit a batch in 64-bit words. The words are one
// zstd frame, its length before it and zeros up to a multiple of eight behind it.
func (p *packer) postings(c *sealing, rows []uint32) []byte {
	n := len(c.addresses)
	words := make([]uint64, 2*n)
	for i, r := range rows {
		bit := uint64(1) << (i / batchRows)
		words[c.src[r]] |= bit
		words[n+int(c.dst[r])] |= bit
	}
	raw := make([]byte, 0, 8*len(words))
	for _, w := range words {
		raw = binary.LittleEndian.AppendUint64(raw, w)
	}
	out := p.zstd.EncodeAll(raw, make([]byte, 8))
	binary.LittleEndian.PutUint64(out, uint64(len(out)-8))
	return append(out, make([]byte, -len(out)&7)...)
}
