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
	writers  []*blockWriter
	postings postings
}

// maxWriters bounds the cores that one segment is encoded on.
const maxWriters = 8

func newSealer(fsys disk.FS) (*sealer, error) {
	z, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1), zstd.WithEncoderCRC(false), zstd.WithLowerEncoderMem(true))
	if err != nil {
		return nil, err
	}
	s := &sealer{fs: fsys, zstd: z}
	for range min(runtime.GOMAXPROCS(0), maxWriters) {
		s.writers = append(s.writers, &blockWriter{})
	}
	return s, nil
}

// sealing is a segment's rows in order, as they go to disk.
type sealing struct {
	*columns
	order []uint32 // places of rows
}

// seal writes the rows to a file of that name, makes it durable, and says what the
// manifest has to know about it. There MUST be rows; their order and their address
// codes are changed. After an error the file is gone, or could not be removed.
func (s *sealer) seal(name string, id uint64, c *columns) (*segment, error) {
	f, err := s.fs.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return nil, err
	}
	w := &segmentWriter{f: f, seg: &segment{id: id, rows: c.len()}}
	s.write(w, &sealing{c, s.sorter.sort(c)})
	w.flush()
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

func (s *sealer) write(w *segmentWriter, c *sealing) {
	seg := w.seg
	seg.addresses = len(c.addresses)
	seg.low, seg.high = c.addresses[0], c.addresses[len(c.addresses)-1]
	seg.ordinals = slices.Clone(c.ordinals)
	seg.sightings = encodeSightings(c.sightings())
	c.fitGroups()
	w.put([]byte(segmentMagic))
	d := directory{rows: len(c.order), addresses: len(c.addresses)}
	s.postings.reset(len(c.addresses))
	for from := 0; from < len(c.order) && w.err == nil; {
		from = s.writeBlocks(w, &d, c, from)
	}
	if w.err != nil {
		return
	}
	seg.first, seg.last = d.blocks[0].first, d.blocks[0].last
	for _, b := range d.blocks {
		seg.first, seg.last = min(seg.first, b.first), max(seg.last, b.last)
	}
	lists := s.postings.lists()
	for from := 0; from < len(c.addresses); from += pageAddresses {
		to := min(from+pageAddresses, len(c.addresses))
		s.writers[0].out = s.writers[0].appendPage(s.writers[0].out[:0], c.addresses[from:to], lists[from:to])
		d.pages = append(d.pages, pageMeta{w.part(s.writers[0].out), c.addresses[from]})
	}
	t := c.tables()
	d.tables = w.part(t.encode(s.zstd))
	seg.directory = w.part(d.encode())
	seg.size = w.at
}

// writeBlocks encodes many blocks at once, on all writers, and writes them in order. It
// returns the first row that is left.
func (s *sealer) writeBlocks(w *segmentWriter, d *directory, c *sealing, from int) int {
	var wg sync.WaitGroup
	type made struct {
		bytes []byte
		meta  blockMeta
	}
	blocks := make([]made, 0, len(s.writers))
	for _, bw := range s.writers {
		if from == len(c.order) {
			break
		}
		to := min(from+blockRows, len(c.order))
		blocks = append(blocks, made{})
		m, mine := &blocks[len(blocks)-1], c.order[from:to]
		wg.Go(func() { m.bytes, m.meta = bw.block(c, mine) })
		from = to
	}
	wg.Wait()
	for i, m := range blocks {
		for _, dst := range s.writers[i].dst {
			s.postings.add(dst, uint32(len(d.blocks)))
		}
		m.meta.offset = w.at
		d.blocks = append(d.blocks, m.meta)
		w.put(m.bytes)
	}
	return from
}

// segmentWriter counts what goes into the file. After the first error it writes
// nothing more.
type segmentWriter struct {
	f   disk.File
	seg *segment
	buf []byte
	at  int64
	err error
}

// writeSize is how much is put together before it is written, in bytes.
const writeSize = 256 << 10

func (w *segmentWriter) put(b []byte) {
	w.buf = append(w.buf, b...)
	w.at += int64(len(b))
	if len(w.buf) >= writeSize {
		w.flush()
	}
}

func (w *segmentWriter) flush() {
	if w.err == nil && len(w.buf) > 0 {
		_, w.err = w.f.Write(w.buf)
	}
	w.buf = w.buf[:0]
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
