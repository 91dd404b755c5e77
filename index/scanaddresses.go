package index

import (
	"math"
	"net/netip"
	"slices"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/memory"

	"github.com/whichpod/whichpod/flow"
)

// scanAddresses is the dictionary of a scan's batches. It grows from one to the next, so
// that an address is looked up once for each segment that has it, and has one code
// wherever a row goes.
type scanAddresses struct {
	table      addressTable // its list is shared with batches: entries never change
	short      []uint32     // by code, as shorten gives them
	dictionary *flow.Dictionary
	limit      int // with more addresses than that, another dictionary begins

	mem    memory.Allocator
	values *memory.Buffer // the list as 16 bytes each, and room for more; nil until a batch has it
	valued int            // how many of the list are in values

	unknown []uint32 // of a column: codes of a segment without one of the scan
	touched uint64   // what was read ahead: that it is kept makes it read
}

func newScanAddresses(mem memory.Allocator) *scanAddresses {
	return &scanAddresses{mem: mem, table: newAddressTable(), dictionary: new(flow.Dictionary), limit: flow.DictionaryAddresses}
}

// list is the addresses by code.
func (s *scanAddresses) list() []netip.Addr { return slices.Clip(s.table.list) }

// reserve makes room for so many addresses, which are expected: so nothing is copied when
// they come.
func (s *scanAddresses) reserve(n int) {
	n = min(n, s.limit)
	s.table.reserve(n)
	s.short = slices.Grow(s.short, n)
}

// code is that of an address, which it has from now on.
func (s *scanAddresses) code(a netip.Addr) uint32 {
	code := s.table.lookUp(a)
	if int(code) == len(s.short) {
		s.short = append(s.short, shorten(a))
	}
	return code
}

// fours puts the codes of IPv4 addresses in their places. All slots are read before the first
// is used: see learn.
func (s *scanAddresses) fours(list []uint32) {
	touched := uint64(0)
	for _, a := range list {
		touched |= s.table.nearFour(a)
	}
	s.touched = touched
	for i, a := range list {
		code := s.table.lookUpFour(a)
		if int(code) == len(s.short) {
			s.short = append(s.short, a)
		}
		list[i] = code
	}
}

// array returns the addresses as a batch has them. The caller MUST Release it.
func (s *scanAddresses) array() arrow.Array {
	list := s.table.list
	if s.values == nil || s.values.Len() < 16*len(list) {
		s.grow(2 * len(list))
	}
	for ; s.valued < len(list); s.valued++ {
		v := list[s.valued].As16()
		copy(s.values.Bytes()[16*s.valued:], v[:])
	}
	data := array.NewData(flow.Schema.Field(flow.ColSrc).Type.(*arrow.DictionaryType).ValueType, len(list), []*memory.Buffer{nil, s.values}, nil, 0, 0)
	defer data.Release()
	return array.MakeFromData(data)
}

// grow makes room for so many values. Batches keep the memory that they know.
func (s *scanAddresses) grow(addresses int) {
	buf := memory.NewResizableBuffer(s.mem)
	buf.Resize(16 * addresses)
	if s.values != nil {
		copy(buf.Bytes(), s.values.Bytes())
	}
	s.release()
	s.values = buf
}

// release lets go of the memory that batches share. They keep theirs.
func (s *scanAddresses) release() {
	if s.values != nil {
		s.values.Release()
		s.values = nil
	}
}

// full says that another dictionary should begin.
func (s *scanAddresses) full() bool { return len(s.table.list) > s.limit }

// renew begins another dictionary, to which the cursors under way take what they still
// need: that may be much, and then it may become larger.
func (s *scanAddresses) renew(cursors []*cursor) {
	old := s.table.list
	s.release()
	s.table.list = nil
	s.table.reset()
	s.short, s.valued, s.dictionary = s.short[:0], 0, new(flow.Dictionary)
	for _, c := range cursors {
		if c != nil {
			c.recode(old)
		}
	}
	s.limit = max(flow.DictionaryAddresses, 2*len(s.table.list))
}

// recode gives what is left of the decoded rows the codes of a new dictionary.
func (c *cursor) recode(old []netip.Addr) {
	c.addresses.forget(old)
	for i := c.on; i < len(c.runs); i++ {
		r := &c.runs[i]
		r.src, r.dst = c.addresses.scan.code(old[r.src]), c.addresses.scan.code(old[r.dst])
	}
}

// addressCoder gives the codes of a segment's addresses in the dictionary of the scan. It
// reads a page of addresses when a row refers to one, and keeps it as long as there is
// room.
type addressCoder struct {
	scan  *scanAddresses
	read  func(page int) (addressList, error)
	pages []*codePage // by number, those that are here
	room  int         // in bytes
	brief []uint32    // pages that are here for one block only
	whole bool        // all rows are read
}

// codePage is a page of addresses, each of which has its code once a row refers to it.
type codePage struct {
	codes []uint32                   // or, until they are known, IPv4 addresses; nil where they are narrow
	known [pageAddresses / 64]uint64 // a bit each
	all   []netip.Addr               // where any is IPv6

	// All codes, where narrowBits are enough: in a scan of many segments, each with pages of
	// its own, codes take more room than anything else.
	low  []uint16
	high [pageAddresses / 64]uint64 // the bit above
}

// narrowBits is how many bits low and high have: enough for [flow.DictionaryAddresses].
const narrowBits = 17

func newAddressCoder(s *scanAddresses, pages, room int, read func(page int) (addressList, error)) *addressCoder {
	return &addressCoder{scan: s, read: read, pages: make([]*codePage, pages), room: room}
}

// encode puts codes of the scan in the places of codes of the segment.
func (c *addressCoder) encode(columns ...[]uint32) error {
	defer c.pass()
	for _, column := range columns {
		column = column[c.translate(column):]
		if len(column) == 0 {
			continue
		}
		if err := c.find(column); err != nil {
			return err
		}
		c.learn()
		c.translate(column)
	}
	return nil
}

// translate puts codes of the scan in the places of the first codes, as far as they are
// known, and returns of how many.
func (c *addressCoder) translate(codes []uint32) int {
	for i, code := range codes {
		p, n := c.pages[code/pageAddresses], code%pageAddresses
		if p == nil || p.known[n/64]>>(n%64)&1 == 0 {
			return i
		}
		codes[i] = p.code(n)
	}
	return len(codes)
}

// find reads the pages of codes, and lists those that are not known.
func (c *addressCoder) find(codes []uint32) error {
	unknown := c.scan.unknown[:0]
	for _, code := range codes {
		p := c.pages[code/pageAddresses]
		if p == nil {
			var err error
			if p, err = c.load(code / pageAddresses); err != nil {
				return err
			}
		}
		if n := code % pageAddresses; p.known[n/64]>>(n%64)&1 == 0 {
			unknown = append(unknown, code)
		}
	}
	c.scan.unknown = unknown
	return nil
}

// learn gives addresses their codes. Where they are looked up is far away in memory, and
// can not be foreseen: so all of it is read before the first of it is used, as then the
// processor waits for it all at once.
func (c *addressCoder) learn() {
	touched := uint64(0)
	for _, code := range c.scan.unknown {
		touched |= c.scan.table.near(c.pages[code/pageAddresses].at(code % pageAddresses))
	}
	c.scan.touched = touched
	for _, code := range c.scan.unknown {
		p, n := c.pages[code/pageAddresses], code%pageAddresses
		if p.known[n/64]>>(n%64)&1 == 0 { // else it was listed twice
			p.codes[n] = c.scan.code(p.at(n))
			p.known[n/64] |= 1 << (n % 64)
		}
	}
}

// learnPage gives all addresses of a page their codes. Addresses that are near each other
// have codes that are, as far as they are new: so what is kept by code is near, too.
func (c *addressCoder) learnPage(p *codePage) {
	if p.all == nil {
		c.scan.fours(p.codes)
	}
	for n, a := range p.all {
		p.codes[n] = c.scan.code(a)
	}
	for i := range p.known {
		p.known[i] = math.MaxUint64
	}
	c.room += p.bytes()
	p.narrow()
	c.room -= p.bytes()
}

func (c *addressCoder) load(n uint32) (*codePage, error) {
	list, err := c.read(int(n))
	if err != nil {
		return nil, err
	}
	p := &codePage{codes: make([]uint32, list.len()), all: list.all} // others may read the list
	copy(p.codes, list.v4)
	c.pages[n] = p
	bytes := p.bytes()
	if c.room < bytes {
		c.brief = append(c.brief, n)
		return p, nil
	}
	c.room -= bytes
	if c.whole && len(c.scan.table.list)+len(p.codes) <= c.scan.limit { // rows will refer to all of it
		c.learnPage(p)
	}
	return p, nil
}

// pass lets go of the pages for which there was no room.
func (c *addressCoder) pass() {
	for _, n := range c.brief {
		c.pages[n] = nil
	}
	c.brief = c.brief[:0]
}

// forget makes all codes unknown. They are those of old. A page that has no room any more is
// read again when a row refers to it.
func (c *addressCoder) forget(old []netip.Addr) {
	for i, p := range c.pages {
		if p == nil {
			continue
		}
		c.room += p.bytes()
		p.widen()
		if c.room < p.bytes() {
			c.pages[i] = nil
			continue
		}
		c.room -= p.bytes()
		for n, code := range p.codes {
			if p.all == nil && p.known[n/64]>>(n%64)&1 != 0 {
				p.codes[n] = fourOf(old[code])
			}
		}
		p.known = [len(p.known)]uint64{}
	}
}

// code is that of an address that has one.
func (p *codePage) code(n uint32) uint32 {
	if p.low != nil {
		return uint32(p.low[n]) | uint32(p.high[n/64]>>(n%64)&1)<<(narrowBits-1)
	}
	return p.codes[n]
}

// narrow keeps codes, of which all are known, in less room, where they are small enough.
func (p *codePage) narrow() {
	all := uint32(0)
	for _, code := range p.codes {
		all |= code
	}
	if all>>narrowBits != 0 {
		return
	}
	p.low, p.high = make([]uint16, len(p.codes)), [len(p.high)]uint64{}
	for n, code := range p.codes {
		p.low[n] = uint16(code)
		p.high[n/64] |= uint64(code>>(narrowBits-1)) << (n % 64)
	}
	p.codes = nil
}

// widen undoes narrow.
func (p *codePage) widen() {
	if p.low == nil {
		return
	}
	p.codes = make([]uint32, len(p.low))
	for n := range p.codes {
		p.codes[n] = p.code(uint32(n))
	}
	p.low = nil
}

// at is the address of one that has no code yet.
func (p *codePage) at(n uint32) netip.Addr {
	if p.all != nil {
		return p.all[n]
	}
	return fromFour(p.codes[n])
}

// bytes is about what it takes in memory.
func (p *codePage) bytes() int { return 192 + 4*len(p.codes) + 2*len(p.low) + 24*len(p.all) }
