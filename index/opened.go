package index

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"sort"
	"sync/atomic"
)

// opened is a segment's file with what was read of it so far. Any number of scans share
// it; the last one to release it closes the file.
type opened struct {
	seg       *segment
	file      *os.File
	users     atomic.Int32
	used      uint64 // when it was last asked for: the cache's
	directory []byte
	blocks    int
	pages     []atomic.Pointer[addressPage] // those that were asked for first; without postings where only rows refer to one
	kept      atomic.Int32                  // of pages
	tables    atomic.Pointer[tables]
}

// keptPages bounds the pages that are kept for the next scan, of about 4 KB each: those
// of the addresses that one question or a few are about.
const keptPages = 8

// open reads a segment's directory. The caller MUST release what it returns.
func (s *Store) open(seg *segment, u *unpacker) (*opened, error) {
	file, err := s.openFile(seg)
	if err != nil {
		return nil, err
	}
	o := &opened{seg: seg, file: file}
	o.users.Store(1)
	raw, err := u.read(file, seg.directory)
	if err == nil {
		if err = o.readDirectory(raw); err != nil {
			err = CorruptError{Path: file.Name(), Offset: seg.directory.offset, Detail: err.Error()}
		}
	}
	if err != nil {
		o.release()
		return nil, err
	}
	return o, nil
}

// retain says that another scan uses it. It returns false where it was closed already.
func (o *opened) retain() bool {
	for {
		n := o.users.Load()
		if n == 0 {
			return false
		}
		if o.users.CompareAndSwap(n, n+1) {
			return true
		}
	}
}

func (o *opened) release() {
	if o.users.Add(-1) == 0 {
		_ = o.file.Close() // it was only read
	}
}

// bytes is about what it can come to hold in memory.
func (o *opened) bytes() int64 {
	t := o.tablesPart()
	return int64(len(o.directory)) + 4096*int64(min(len(o.pages), keptPages)) + 8*t.length
}

func (o *opened) word(at int) uint32 { return binary.LittleEndian.Uint32(o.directory[at:]) }

// readDirectory keeps a copy of the directory and checks what it says.
func (o *opened) readDirectory(raw []byte) error {
	if len(raw) < directoryHead {
		return fmt.Errorf("directory has %d bytes", len(raw))
	}
	o.directory = slices.Clone(raw)
	o.blocks = int(o.word(4))
	pages := (o.seg.addresses + pageAddresses - 1) / pageAddresses
	if int(o.word(0)) != o.seg.rows || int(o.word(8)) != o.seg.addresses {
		return fmt.Errorf("directory is of %d rows and %d addresses, want %d and %d", o.word(0), o.word(8), o.seg.rows, o.seg.addresses)
	}
	if want := directoryHead + directoryBlock*o.blocks + directoryPage*pages; o.blocks < 1 || o.blocks > o.seg.rows || len(raw) != want {
		return fmt.Errorf("directory has %d bytes for %d blocks and %d pages", len(raw), o.blocks, pages)
	}
	o.pages = make([]atomic.Pointer[addressPage], pages)
	err := o.within(o.tablesPart())
	for i := 0; i < o.blocks && err == nil; i++ {
		err = o.within(o.blockPart(i))
	}
	for i := 0; i < pages && err == nil; i++ {
		err = o.within(o.pagePart(i))
	}
	return err
}

// within says whether a part lies before the directory.
func (o *opened) within(p part) error {
	if p.offset < int64(len(segmentMagic)) || p.end() > o.seg.directory.offset {
		return fmt.Errorf("directory names bytes %d to %d of %d", p.offset, p.end(), o.seg.directory.offset)
	}
	return nil
}

func (o *opened) partAt(at int) part {
	return part{offset: int64(o.word(at)), length: int64(o.word(at + 4)), crc: o.word(at + 8)}
}

func (o *opened) tablesPart() part     { return o.partAt(12) }
func (o *opened) blockAt(i int) int    { return directoryHead + directoryBlock*i }
func (o *opened) blockPart(i int) part { return o.partAt(o.blockAt(i)) }
func (o *opened) pageAt(i int) int     { return directoryHead + directoryBlock*o.blocks + directoryPage*i }
func (o *opened) pagePart(i int) part  { return o.partAt(o.pageAt(i)) }
func (o *opened) lowSrc(i int) uint32  { return o.word(o.blockAt(i) + 12) }
func (o *opened) highSrc(i int) uint32 { return o.word(o.blockAt(i) + 16) }
func (o *opened) times(i int) (first, last int64) {
	at := o.blockAt(i) + 20
	return int64(binary.LittleEndian.Uint64(o.directory[at:])), int64(binary.LittleEndian.Uint64(o.directory[at+8:]))
}

func (o *opened) firstOf(page int) netip.Addr {
	at := o.pageAt(page) + 12
	return netip.AddrFrom16([16]byte(o.directory[at : at+16])).Unmap()
}

// page reads a page, or returns the one that is kept.
func (o *opened) page(i int, u *unpacker) (*addressPage, error) {
	had := o.pages[i].Load()
	if had != nil && had.starts != nil {
		return had, nil
	}
	p := new(addressPage)
	err := o.readPage(p, i, u)
	if err == nil {
		o.keep(i, had, p)
	}
	return p, err
}

// list returns a page's addresses. Where it has to read them it keeps no postings, which are
// most of a page.
func (o *opened) list(i int, u *unpacker) (addressList, error) {
	if p := o.pages[i].Load(); p != nil {
		return p.addresses, nil
	}
	p, read := new(addressPage), &u.blocks.page
	err := o.readPage(read, i, u)
	if err == nil {
		p.addresses = read.addresses.clone()
		o.keep(i, nil, p)
	}
	return p.addresses, err
}

// keep keeps a page for the next scan in the place of what it had, if there is room.
func (o *opened) keep(i int, had, p *addressPage) {
	if had != nil {
		o.pages[i].CompareAndSwap(had, p)
	} else if o.kept.Load() < keptPages && o.pages[i].CompareAndSwap(nil, p) {
		o.kept.Add(1)
	}
}

// readPage reads a page into the memory of p.
func (o *opened) readPage(p *addressPage, i int, u *unpacker) error {
	part := o.pagePart(i)
	raw, err := u.read(o.file, part)
	if err != nil {
		return err
	}
	want := min(pageAddresses, o.seg.addresses-i*pageAddresses)
	if err := p.parse(raw, o.firstOf(i), want, o.blocks); err != nil {
		return CorruptError{Path: o.file.Name(), Offset: part.offset, Detail: err.Error()}
	}
	return nil
}

// readTables decodes the tables, once.
func (o *opened) readTables(u *unpacker) (*tables, error) {
	if t := o.tables.Load(); t != nil {
		return t, nil
	}
	part := o.tablesPart()
	raw, err := u.read(o.file, part)
	if err != nil {
		return nil, err
	}
	t, err := u.decodeTables(raw)
	if err == nil && !slices.Equal(t.ordinals, o.seg.ordinals) {
		err = fmt.Errorf("ordinals are not those of the manifest")
	}
	if err != nil {
		return nil, CorruptError{Path: o.file.Name(), Offset: part.offset, Detail: err.Error()}
	}
	t.findOrigins()
	o.tables.Store(t)
	return t, nil
}

// below is how many addresses of the segment are less than a, or, with orEqual, not
// greater.
func (o *opened) below(a netip.Addr, orEqual bool, u *unpacker) (int, error) {
	most := 0
	if orEqual {
		most = 1
	}
	low := sort.Search(len(o.pages), func(i int) bool { return o.firstOf(i).Compare(a) >= most })
	if low == 0 {
		return 0, nil
	}
	p, err := o.page(low-1, u)
	if err != nil {
		return 0, err
	}
	n := sort.Search(p.addresses.len(), func(i int) bool { return p.addresses.at(i).Compare(a) >= most })
	return (low-1)*pageAddresses + n, nil
}

// find is the code of an address, if the segment has it. Most have not: it costs one
// page.
func (o *opened) find(a netip.Addr, u *unpacker) (code int, ok bool, err error) {
	at := sort.Search(len(o.pages), func(i int) bool { return o.firstOf(i).Compare(a) > 0 }) - 1
	if at < 0 {
		return 0, false, nil
	}
	p, err := o.page(at, u)
	if err != nil {
		return 0, false, err
	}
	n := sort.Search(p.addresses.len(), func(i int) bool { return p.addresses.at(i).Compare(a) >= 0 })
	return at*pageAddresses + n, n < p.addresses.len() && p.addresses.at(n) == a, nil
}

// codesOf is the addresses inside the prefixes; nil without prefixes.
func (o *opened) codesOf(list []netip.Prefix, u *unpacker) (codeRanges, error) {
	if len(list) == 0 {
		return nil, nil
	}
	codes := codeRanges{}
	for _, p := range list {
		if p.IsSingleIP() {
			code, ok, err := o.find(p.Addr(), u)
			if err != nil {
				return nil, err
			}
			if ok {
				codes = codes.add(code, code+1)
			}
			continue
		}
		low, err := o.below(p.Addr(), false, u)
		if err != nil {
			return nil, err
		}
		high, err := o.below(lastOf(p), true, u)
		if err != nil {
			return nil, err
		}
		codes = codes.add(low, high)
	}
	return codes, nil
}

// lastOf is the last address of a prefix.
func lastOf(p netip.Prefix) netip.Addr {
	b := p.Addr().AsSlice()
	for i := p.Bits(); i < 8*len(b); i++ {
		b[i/8] |= 1 << (7 - i%8)
	}
	a, _ := netip.AddrFromSlice(b)
	return a
}
