package nat

import (
	"bufio"
	"cmp"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
	"net/netip"
	"os"
	"slices"

	"github.com/whichpod/whichpod/internal/journal"
	"github.com/whichpod/whichpod/internal/journal/disk"
)

const (
	segmentVersion = 1
	headerSize     = 8
	trailerSize    = 20 // offset, length and checksum of the contents, magic

	// blockFlows is how many records share a block: what one lookup reads and decodes.
	blockFlows = 512
	// maxContents bounds what a reader allocates for a segment's contents, in bytes:
	// about ten times that of a segment with 10^8 records.
	maxContents = 256 << 20
	// maxBlock is longer than any block can be, in bytes.
	maxBlock = blockFlows * 256
)

var (
	segmentMagic = [4]byte{'w', 'p', 'n', 's'}
	endMagic     = [4]byte{'w', 'p', 'n', 'e'}
	castagnoli   = crc32.MakeTable(crc32.Castagnoli)
)

// blockRef is where a block stands, and with what it begins.
type blockRef struct {
	first  Key
	from   int64 // FromLatest of the first record
	offset int64
	length uint32
	flows  uint32
	check  uint32 // CRC-32C
}

// Source counts what a node translated for one of its pods' addresses: what can be
// held against the ledger without reading every record. What was redirected does not
// count, since a node forwards for others too.
type Source struct {
	Cluster, Node string
	Address       netip.Addr // before the translation
	Flows         int64
	First, Last   int64 // the earliest and the latest time at which one is certain to have been open
}

type sourceKey struct {
	node    string
	address netip.Addr
}

// contents is what a segment says of itself.
type contents struct {
	cluster     string
	flows       int64
	first, last int64 // as in Source; last counts one without an end as open when it was seen last
	openEnds    bool
	nodes       []string
	addresses   []netip.Addr
	senders     []netip.Addr // the nodes' addresses: Src of all keys, sorted
	sources     []Source
	blocks      []blockRef
}

// segmentWriter writes records, which MUST come in order, to one segment.
type segmentWriter struct {
	f       disk.File
	w       *bufio.Writer
	offset  int64
	block   blockEncoder
	first   Flow // of the block
	last    Flow // of all
	dict    *dictionary
	sources map[sourceKey]*Source
	c       contents
}

func newSegmentWriter(fsys disk.FS, path, cluster string) (*segmentWriter, error) {
	f, err := fsys.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, err
	}
	w := &segmentWriter{f: f, w: bufio.NewWriterSize(f, 1<<16), dict: newDictionary(), sources: make(map[sourceKey]*Source)}
	w.c.cluster, w.block.dict = cluster, w.dict
	header := append([]byte(nil), segmentMagic[:]...)
	header = append(binary.LittleEndian.AppendUint16(header, segmentVersion), 0, 0)
	return w, w.write(header)
}

func (w *segmentWriter) write(b []byte) error {
	n, err := w.w.Write(b)
	w.offset += int64(n)
	return err
}

// add writes a record, unless it says just what the one before it said, of the same import.
func (w *segmentWriter) add(f *Flow) error {
	if w.c.flows > 0 {
		same := w.last.Key == f.Key && w.last.FromLatest == f.FromLatest && w.last.compareContent(f) == 0
		if same {
			return nil // the earlier import told it
		}
	}
	if w.block.n == 0 {
		w.first = *f
	}
	if w.c.flows == 0 || f.FromLatest < w.c.first {
		w.c.first = f.FromLatest
	}
	w.c.last = max(w.c.last, f.ToEarliest)
	w.c.openEnds = w.c.openEnds || f.ToLatest == NoEnd
	if n := len(w.c.senders); n == 0 || w.c.senders[n-1] != f.Src {
		w.c.senders = append(w.c.senders, f.Src)
	}
	w.count(f)
	w.last = *f
	w.c.flows++
	w.block.add(f)
	if w.block.n == blockFlows {
		return w.cut()
	}
	return nil
}

func (w *segmentWriter) count(f *Flow) {
	if !f.Translated() || f.Redirected() {
		return
	}
	k := sourceKey{f.Node, f.Original.Src}
	s := w.sources[k]
	if s == nil {
		s = &Source{Cluster: w.c.cluster, Node: f.Node, Address: f.Original.Src, First: f.FromLatest}
		w.sources[k] = s
	}
	s.Flows++
	s.First, s.Last = min(s.First, f.FromLatest), max(s.Last, f.ToEarliest)
}

// cut ends a block.
func (w *segmentWriter) cut() error {
	if w.block.n == 0 {
		return nil
	}
	w.c.blocks = append(w.c.blocks, blockRef{first: w.first.Key, from: w.first.FromLatest, offset: w.offset,
		length: uint32(len(w.block.buf)), flows: uint32(w.block.n), check: crc32.Checksum(w.block.buf, castagnoli)})
	err := w.write(w.block.buf)
	w.block.reset()
	return err
}

// finish completes the file and makes it durable under its own name; its folder is
// the caller's to sync.
func (w *segmentWriter) finish() error {
	if err := w.cut(); err != nil {
		return err
	}
	w.c.nodes, w.c.addresses = w.dict.nodes, w.dict.addresses
	for _, s := range w.sources {
		w.c.sources = append(w.c.sources, *s)
	}
	slices.SortFunc(w.c.sources, func(a, b Source) int { return cmp.Or(cmp.Compare(a.Node, b.Node), a.Address.Compare(b.Address)) })
	at, b := w.offset, w.c.encode()
	trailer := binary.LittleEndian.AppendUint64(nil, uint64(at))
	trailer = binary.LittleEndian.AppendUint32(trailer, uint32(len(b)))
	trailer = binary.LittleEndian.AppendUint32(trailer, crc32.Checksum(b, castagnoli))
	for _, piece := range [][]byte{b, append(trailer, endMagic[:]...)} {
		if err := w.write(piece); err != nil {
			return err
		}
	}
	if err := w.w.Flush(); err != nil {
		return err
	}
	return w.f.Sync()
}

func (c *contents) encode() []byte {
	text := func(b []byte, s string) []byte { return append(binary.AppendUvarint(b, uint64(len(s))), s...) }
	b := text(nil, c.cluster)
	b = binary.AppendUvarint(b, uint64(c.flows))
	b = binary.AppendVarint(b, c.first)
	b = binary.AppendVarint(b, c.last)
	b = append(b, flagOf(c.openEnds))
	b = binary.AppendUvarint(b, uint64(len(c.nodes)))
	for _, n := range c.nodes {
		b = text(b, n)
	}
	for _, list := range [][]netip.Addr{c.addresses, c.senders} {
		b = binary.AppendUvarint(b, uint64(len(list)))
		for _, a := range list {
			b = appendAddr(b, a)
		}
	}
	b = binary.AppendUvarint(b, uint64(len(c.sources)))
	for _, s := range c.sources {
		b = text(b, s.Node)
		b = appendAddr(b, s.Address)
		b = binary.AppendUvarint(b, uint64(s.Flows))
		b = binary.AppendVarint(b, s.First)
		b = binary.AppendVarint(b, s.Last)
	}
	b = binary.AppendUvarint(b, uint64(len(c.blocks)))
	for i := range c.blocks {
		r := &c.blocks[i]
		b = appendKey(b, &r.first)
		b = binary.AppendVarint(b, r.from)
		b = binary.AppendUvarint(b, uint64(r.length))
		b = binary.AppendUvarint(b, uint64(r.flows))
		b = binary.LittleEndian.AppendUint32(b, r.check)
	}
	return b
}

func flagOf(on bool) byte {
	if on {
		return 1
	}
	return 0
}

func (c *contents) decode(b []byte) bool {
	r := reader{b: b}
	text := func() string { return string(r.take(int(min(r.uvarint(), 1<<20)))) }
	c.cluster = text()
	c.flows, c.first, c.last, c.openEnds = int64(r.uvarint()), r.varint(), r.varint(), r.byte() != 0
	for range r.count() {
		c.nodes = append(c.nodes, text())
	}
	for _, list := range []*[]netip.Addr{&c.addresses, &c.senders} {
		for range r.count() {
			*list = append(*list, r.addr())
		}
	}
	for range r.count() {
		c.sources = append(c.sources, Source{c.cluster, text(), r.addr(), int64(r.uvarint()), r.varint(), r.varint()})
	}
	offset := int64(headerSize)
	for range r.count() {
		ref := blockRef{offset: offset}
		ref.first.Src, ref.first.Dst = r.addr(), r.addr()
		ref.first.Protocol, ref.first.SrcPort, ref.first.DstPort = r.byte(), r.uint16(), r.uint16()
		ref.from, ref.length, ref.flows = r.varint(), uint32(r.uvarint()), uint32(r.uvarint())
		if sum := r.take(4); sum != nil {
			ref.check = binary.LittleEndian.Uint32(sum)
		}
		if ref.length > maxBlock || ref.flows > blockFlows || r.failed {
			return false
		}
		offset += int64(ref.length)
		c.blocks = append(c.blocks, ref)
	}
	return !r.failed && len(r.b) == 0
}

// count is the length of a list whose entries have at least one byte each.
func (r *reader) count() int {
	n := r.uvarint()
	if n > uint64(len(r.b)) {
		r.failed, r.b = true, nil
		return 0
	}
	return int(n)
}

// segment is an open one.
type segment struct {
	contents
	path string
	id   int // unique in the process
	f    disk.File
}

// openSegment reads the contents of a segment. Its errors are of type
// [journal.CorruptError] where the bytes are wrong.
func openSegment(fsys disk.FS, path string) (*segment, error) {
	f, err := fsys.OpenFile(path, os.O_RDONLY, 0)
	if err != nil {
		return nil, err
	}
	s := &segment{path: path, f: f}
	if err := s.load(); err != nil {
		f.Close()
		return nil, err
	}
	return s, nil
}

func (s *segment) load() error {
	info, err := s.f.Stat()
	if err != nil {
		return err
	}
	size := info.Size()
	var head [headerSize]byte
	var tail [trailerSize]byte
	if size < headerSize+trailerSize {
		return s.corrupt(0, fmt.Sprintf("%d bytes are too few for a segment", size))
	}
	if _, err := s.f.ReadAt(head[:], 0); err != nil {
		return err
	}
	if [4]byte(head[:4]) != segmentMagic {
		return s.corrupt(0, "it does not begin like a segment of NAT evidence")
	}
	if v := binary.LittleEndian.Uint16(head[4:]); v != segmentVersion {
		return s.corrupt(4, fmt.Sprintf("version %d, this program reads %d", v, segmentVersion))
	}
	if head[6] != 0 || head[7] != 0 {
		return s.corrupt(6, fmt.Sprintf("reserved bytes are %x, want 0000", head[6:]))
	}
	if _, err := s.f.ReadAt(tail[:], size-trailerSize); err != nil {
		return err
	}
	at, n := int64(binary.LittleEndian.Uint64(tail[:])), int64(binary.LittleEndian.Uint32(tail[8:]))
	if [4]byte(tail[16:]) != endMagic || at < headerSize || n > maxContents || at+n != size-trailerSize {
		return s.corrupt(size-trailerSize, "it does not end like a segment of NAT evidence")
	}
	b := make([]byte, n)
	if _, err := s.f.ReadAt(b, at); err != nil && err != io.EOF {
		return err
	}
	if crc32.Checksum(b, castagnoli) != binary.LittleEndian.Uint32(tail[12:]) || !s.decode(b) {
		return s.corrupt(at, "the checksum of its contents is wrong")
	}
	return nil
}

func (s *segment) corrupt(offset int64, detail string) error {
	return journal.CorruptError{Path: s.path, Offset: offset, Detail: detail}
}

// block decodes block i.
func (s *segment) block(i int) ([]Flow, error) {
	ref := &s.blocks[i]
	b := make([]byte, ref.length)
	if _, err := s.f.ReadAt(b, ref.offset); err != nil {
		return nil, fmt.Errorf("read NAT evidence %q: %w", s.path, err)
	}
	if crc32.Checksum(b, castagnoli) != ref.check {
		return nil, s.corrupt(ref.offset, "checksum mismatch")
	}
	flows, err := decodeBlock(b, int(ref.flows), s.addresses, s.nodes, make([]Flow, 0, ref.flows))
	if err != nil {
		return nil, s.corrupt(ref.offset, err.Error())
	}
	return flows, nil
}
