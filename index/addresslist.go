package index

import "net/netip"

// addressList is addresses in little memory: four bytes each where all are IPv4. It is
// not written to once it is made.
type addressList struct {
	v4  []uint32
	all []netip.Addr // where any is IPv6
}

// mappedIPv4 is the upper half of the low 8 bytes of an IPv4 address mapped into IPv6.
const mappedIPv4 = 0xffff

func newAddressList(n int) addressList { return addressList{v4: make([]uint32, 0, n)} }

// add appends an address by its two halves.
func (l *addressList) add(high, low uint64) {
	if l.all == nil {
		if high == 0 && low>>32 == mappedIPv4 {
			l.v4 = append(l.v4, uint32(low))
			return
		}
		l.all = make([]netip.Addr, 0, cap(l.v4))
		for i := range l.v4 {
			l.all = append(l.all, l.ipv4(i))
		}
		l.v4 = nil
	}
	l.all = append(l.all, fromHalves(high, low))
}

func (l *addressList) ipv4(i int) netip.Addr {
	a := l.v4[i]
	return netip.AddrFrom4([4]byte{byte(a >> 24), byte(a >> 16), byte(a >> 8), byte(a)})
}

func (l *addressList) at(i int) netip.Addr {
	if l.all != nil {
		return l.all[i]
	}
	return l.ipv4(i)
}

func (l *addressList) len() int { return len(l.v4) + len(l.all) }

// bytes is about what it takes in memory.
func (l *addressList) bytes() int { return 96 + 4*cap(l.v4) + 24*cap(l.all) }

// addressReader gives a cursor the addresses of its segment's codes. It reads a page
// when a row refers to it, and keeps it as long as there is room.
type addressReader struct {
	opened *opened
	pages  []*addressList // by number, those that are here
	room   int            // in bytes
	brief  []uint32       // pages that are here for one block only

	touched uint32 // what was read ahead: that it is kept makes it read
}

func newAddressReader(o *opened, room int) *addressReader {
	return &addressReader{opened: o, pages: make([]*addressList, len(o.pages)), room: room}
}

// at is the address of a code.
func (r *addressReader) at(code uint32, u *unpacker) (netip.Addr, error) {
	n := code / pageAddresses
	l := r.pages[n]
	if l == nil {
		page, err := r.opened.page(int(n), u)
		if err != nil {
			return netip.Addr{}, err
		}
		list := page.addresses // without what else is in the page
		l = &list
		r.keep(n, l)
	}
	return l.at(int(code % pageAddresses)), nil
}

func (r *addressReader) keep(n uint32, l *addressList) {
	r.pages[n] = l
	if r.room < l.bytes() {
		r.brief = append(r.brief, n)
		return
	}
	r.room -= l.bytes()
}

// number gives numbers, from 0, to the addresses that columns of codes refer to, puts
// them in the places of the codes, and appends the addresses to list.
func (r *addressReader) number(list []netip.Addr, u *unpacker, columns ...[]uint32) ([]netip.Addr, error) {
	defer r.pass()
	known := &u.known
	round := known.begin(len(r.pages))
	for _, column := range columns {
		r.touch(known, column)
		for i, code := range column {
			n := known.at(code)
			if *n&^0xffffffff != round {
				a, err := r.at(code, u)
				if err != nil {
					return list, err
				}
				*n = round | uint64(len(list))
				list = append(list, a)
			}
			column[i] = uint32(*n)
		}
	}
	return list, nil
}

// touch reads what number will about codes. It is far away in memory, and number can not
// go on before it has it; here nothing hangs on it, so that many reads are under way.
func (r *addressReader) touch(known *numbers, codes []uint32) {
	touched := uint32(0)
	for _, code := range codes {
		touched |= uint32(*known.at(code))
	}
	for _, code := range codes {
		if l := r.pages[code/pageAddresses]; l != nil && int(code%pageAddresses) < len(l.v4) {
			touched |= l.v4[code%pageAddresses]
		}
	}
	r.touched = touched
}

// pass lets go of the pages for which there was no room.
func (r *addressReader) pass() {
	for _, n := range r.brief {
		r.pages[n] = nil
	}
	r.brief = r.brief[:0]
}

// numbers says which number a code has in the block under way: the round in the high
// half, the number in the low one. A page of it is made when a code of it comes.
type numbers struct {
	pages []*[pageAddresses]uint64
	round uint32
}

// begin starts a block of a segment with so many pages.
func (n *numbers) begin(pages int) (round uint64) {
	if n.round++; n.round == 0 {
		*n = numbers{round: 1}
	}
	for len(n.pages) < pages {
		n.pages = append(n.pages, nil)
	}
	return uint64(n.round) << 32
}

func (n *numbers) at(code uint32) *uint64 {
	p := n.pages[code/pageAddresses]
	if p == nil {
		p = new([pageAddresses]uint64)
		n.pages[code/pageAddresses] = p
	}
	return &p[code%pageAddresses]
}
