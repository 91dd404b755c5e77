package index

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/klauspost/compress/zstd"

	"github.com/whichpod/whichpod/internal/journal/disk"
)

const (
	segmentSuffix = ".seg"
	tempSuffix    = ".tmp" // behind segmentSuffix, until the segment is whole

	// segmentMagic begins the file: four letters and the version of the format.
	segmentMagic = "wpsg\x02\x00\x00\x00"
)

// sealer writes segments. Its memory is kept from one to the next.
type sealer struct {
	fs       disk.FS
	zstd     *zstd.Encoder
	sorter   sorter
	chunks   []chunk // one a core
	postings postings
	page     blockWriter
	buf      []byte // of the file under way

	// hurry says that somebody waits for rows to be encoded: on all cores then. Else on one,
	// as who makes rows needs another one.
	hurry atomic.Bool
}

const (
	// maxChunks bounds the cores that one segment is encoded on.
	maxChunks = 8
	// chunkRows is how many rows a core encodes at once: so many that cores rarely wait
	// for each other.
	chunkRows = 16 * blockRows
)

func newSealer(fsys disk.FS) (*sealer, error) {
	z, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1), zstd.WithEncoderCRC(false), zstd.WithLowerEncoderMem(true))
	if err != nil {
		return nil, err
	}
	return &sealer{fs: fsys, zstd: z, chunks: make([]chunk, min(runtime.GOMAXPROCS(0), maxChunks))}, nil
}

// seal writes the rows to a file of that name. There MUST be rows; their address codes are
// changed. It calls encoded, if that is not nil, when it needs the rows themselves no more,
// and may not get there after an error. The caller MUST finish the file.
func (s *sealer) seal(name string, id uint64, c *columns, encoded func()) *segmentWriter {
	w := &segmentWriter{fs: s.fs, name: name, seg: &segment{id: id, rows: c.len()}, buf: s.buf}
	if w.f, w.err = s.fs.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600); w.err != nil {
		return w
	}
	s.sorter.sort(c)
	s.write(w, c, encoded)
	w.flush()
	s.buf, w.buf = w.buf, nil
	return w
}

func (s *sealer) write(w *segmentWriter, c *columns, encoded func()) {
	seg, addresses := w.seg, c.addresses.list
	seg.addresses = len(addresses)
	seg.low, seg.high = addresses[0], addresses[len(addresses)-1]
	seg.ordinals = slices.Clone(c.ordinals)
	seg.sightings = encodeSightings(c.sightings())
	c.fitGroups()
	w.put([]byte(segmentMagic))
	d := directory{rows: c.len(), addresses: len(addresses)}
	s.postings.reset(len(addresses))
	settled := 0 // up to where rows are in order already
	for from := 0; from < c.len() && w.err == nil; {
		from, settled = s.writeChunks(w, &d, c, from, settled)
	}
	if w.err != nil {
		return
	}
	if encoded != nil {
		encoded()
	}
	seg.first, seg.last = d.blocks[0].first, d.blocks[0].last
	for _, b := range d.blocks {
		seg.first, seg.last = min(seg.first, b.first), max(seg.last, b.last)
	}
	s.postings.list()
	for from := 0; from < len(addresses); from += pageAddresses {
		to := min(from+pageAddresses, len(addresses))
		s.page.out = s.page.appendPage(s.page.out[:0], addresses[from:to], from, &s.postings)
		d.pages = append(d.pages, pageMeta{w.part(s.page.out), addresses[from]})
	}
	t := c.tables()
	d.tables = w.part(t.encode(s.zstd))
	seg.directory = w.part(d.encode())
	seg.size = w.at
}

// writeChunks encodes many blocks at once, in a hurry on all cores, and writes them in order.
// It returns the first row that is left, and up to where rows were settled already.
func (s *sealer) writeChunks(w *segmentWriter, d *directory, c *columns, from, settled int) (int, int) {
	var wg sync.WaitGroup
	made, most := s.chunks[:0], 1
	if s.hurry.Load() {
		most = len(s.chunks)
	}
	for from < c.len() && len(made) < most {
		made = made[:len(made)+1]
		to := min(from+chunkRows, c.len())
		if to > settled && to < c.len() {
			settled = s.sorter.settleAt(c, to, 0, c.len())
		}
		start, chunk := from, &made[len(made)-1]
		wg.Go(func() { chunk.encode(&s.sorter, c, start, to) })
		from = to
	}
	wg.Wait()
	for i := range made {
		for k, m := range made[i].blocks {
			s.postings.add(made[i].dst[k], uint32(len(d.blocks)))
			m.offset += w.at
			d.blocks = append(d.blocks, m)
		}
		w.put(made[i].writer.out)
	}
	return from, settled
}

// chunk is the blocks that one core makes at once.
type chunk struct {
	writer  blockWriter
	rows    [blockRows]row // of one block
	ends    [blockRows]ends
	touched uint32      // what was read ahead: that it is kept makes it read
	blocks  []blockMeta // offsets are those in what the writer made
	dst     [][]uint32  // by block: the runs' destinations
}

// encode makes blocks of the rows of places [from, to) in the order.
func (h *chunk) encode(s *sorter, c *columns, from, to int) {
	h.writer.out, h.blocks = h.writer.out[:0], h.blocks[:0]
	settled := from
	for at := from; at < to; at += blockRows {
		end := min(at+blockRows, to)
		if end > settled && end < to {
			settled = s.settleAt(c, end, from, to)
		}
		rows, ends := h.gather(s, c, s.words[at:end])
		s.settle(c, rows, at)
		m, dst := h.writer.block(c, rows, ends)
		k := len(h.blocks)
		if k == len(h.dst) {
			h.dst = append(h.dst, nil)
		}
		h.dst[k] = append(h.dst[k][:0], dst...)
		h.blocks = append(h.blocks, m)
	}
}

// gather brings the rows of a block together: those of a segment are more than fit into a
// core's cache. Before they are copied they are only read, as then many reads are under way.
func (h *chunk) gather(s *sorter, c *columns, words []uint64) ([]row, []ends) {
	rows, ends, from := h.rows[:len(words)], h.ends[:len(words)], c.rows
	number := uint64(1)<<s.rowBits - 1
	touched := uint32(0)
	for _, w := range words {
		touched |= from[w&number].group
	}
	h.touched = touched
	for i, w := range words {
		rows[i] = from[w&number]
	}
	s.keys.ends(ends, words)
	return rows, ends
}

// segmentWriter counts what goes into the file. After the first error it writes
// nothing more.
type segmentWriter struct {
	fs   disk.FS
	name string
	f    disk.File // nil where it could not be created
	seg  *segment
	buf  []byte
	at   int64
	err  error

	begun int64 // bytes that the kernel was told to bring to disk
}

const (
	// writeSize is how much is put together before it is written, in bytes.
	writeSize = 256 << 10
	// writebackSize is how much is begun to be brought to disk at once: less takes more of
	// the processor.
	writebackSize = 1 << 20
)

func (w *segmentWriter) put(b []byte) {
	w.buf = append(w.buf, b...)
	w.at += int64(len(b))
	if len(w.buf) >= writeSize {
		w.flush()
	}
}

// flush writes what was put together. Now and then the kernel is told to begin to bring it to
// disk, so that finish has little to wait for: meanwhile Go keeps a core for it that others
// could use.
func (w *segmentWriter) flush() {
	if w.err == nil && len(w.buf) > 0 {
		_, w.err = w.f.Write(w.buf)
	}
	if w.err == nil && w.at-w.begun >= writebackSize {
		disk.BeginWriteback(w.f, w.begun, w.at-w.begun)
		w.begun = w.at
	}
	w.buf = w.buf[:0]
}

// finish makes the file durable, and says what the manifest has to know about it. After an
// error the file is gone, or could not be removed.
func (w *segmentWriter) finish() (*segment, error) {
	if w.f == nil {
		return nil, w.err
	}
	if w.err == nil {
		w.err = w.f.Sync()
	}
	if err := w.f.Close(); w.err == nil {
		w.err = err
	}
	if w.err != nil {
		return nil, errors.Join(w.err, w.fs.Remove(w.name))
	}
	return w.seg, nil
}

// part writes bytes that are read and checked as one.
func (w *segmentWriter) part(b []byte) part {
	p := part{offset: w.at, length: int64(len(b)), crc: crc32.Checksum(b, castagnoli)}
	w.put(b)
	return p
}

// directory says where everything in a segment is. It is the last part of the file.
type directory struct {
	rows, addresses int
	blocks          []blockMeta
	pages           []pageMeta
	tables          part
}

type pageMeta struct {
	part
	first netip.Addr
}

// Sizes of a directory's pieces, in bytes.
const (
	directoryHead  = 24
	directoryBlock = 36
	directoryPage  = 28
)

func (d *directory) encode() []byte {
	le := binary.LittleEndian
	b := make([]byte, 0, directoryHead+directoryBlock*len(d.blocks)+directoryPage*len(d.pages))
	for _, v := range []int64{int64(d.rows), int64(len(d.blocks)), int64(d.addresses), d.tables.offset, d.tables.length, int64(d.tables.crc)} {
		b = le.AppendUint32(b, uint32(v))
	}
	for i := range d.blocks {
		m := &d.blocks[i]
		for _, v := range []uint32{uint32(m.offset), uint32(m.length), m.crc, m.lowSrc, m.highSrc} {
			b = le.AppendUint32(b, v)
		}
		b = le.AppendUint64(b, uint64(m.first))
		b = le.AppendUint64(b, uint64(m.last))
	}
	for i := range d.pages {
		p := &d.pages[i]
		for _, v := range []uint32{uint32(p.offset), uint32(p.length), p.crc} {
			b = le.AppendUint32(b, v)
		}
		first := p.first.As16()
		b = append(b, first[:]...)
	}
	return b
}
