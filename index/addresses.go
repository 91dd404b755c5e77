package index

import (
	"encoding/binary"
	"fmt"
	"math"
	"math/bits"
	"net/netip"
	"slices"
)

// A page holds pageAddresses addresses of a segment, ascending, and for each the
// blocks in which it is a destination. The blocks in which it is a source need no
// list: rows are sorted by it. The directory has the first address of each page, so
// that to look one up costs one page.
const pageAddresses = 256

// addressPage is one that was read.
type addressPage struct {
	addresses addressList
	starts    []uint32 // of each address's blocks in the list, and one more
	blocks    []byte   // the list, in width bits each
	width     int
}

// halves are an address's 16 bytes as two numbers.
func halves(a netip.Addr) (high, low uint64) {
	b := a.As16()
	return binary.BigEndian.Uint64(b[:8]), binary.BigEndian.Uint64(b[8:])
}

func fromHalves(high, low uint64) netip.Addr {
	var b [16]byte
	binary.BigEndian.PutUint64(b[:8], high)
	binary.BigEndian.PutUint64(b[8:], low)
	return netip.AddrFrom16(b).Unmap()
}

// appendPage writes a page: number of addresses, 16 bits; lengths of the next three
// columns, 16 bits each; the addresses' high and low halves, each by its distance from
// the one before, which wraps; how many blocks each has; the width of a block's number,
// one byte; the numbers. first is the code of the first address, of which there MUST be 1 to
// pageAddresses.
func (w *blockWriter) appendPage(dst []byte, addresses []netip.Addr, first int, p *postings) []byte {
	head := len(dst)
	dst = binary.LittleEndian.AppendUint16(dst, uint16(len(addresses)))
	dst = append(dst, make([]byte, 6)...)
	highs, lows, counts := w.values[0][:len(addresses)], w.values[1][:len(addresses)], w.values[2][:len(addresses)]
	high, low := halves(addresses[0]) // the directory has them
	for i, a := range addresses {
		h, l := halves(a)
		highs[i], lows[i] = h-high, l-low
		high, low = h, l
	}
	w.numbers = w.numbers[:0]
	most := uint64(0)
	for i := range counts {
		list := p.of(first + i)
		counts[i] = uint64(len(list))
		for _, b := range list {
			w.numbers = append(w.numbers, uint64(b))
			most = max(most, uint64(b))
		}
	}
	for i, column := range [][]uint64{highs, lows, counts} {
		from := len(dst)
		dst = w.packer.frame(dst, column, least(column))
		binary.LittleEndian.PutUint16(dst[head+2+2*i:], uint16(len(dst)-from))
	}
	width := bits.Len64(most)
	dst = append(dst, byte(width))
	return appendBits(dst, w.numbers, 0, width)
}

// parse reads a page of which the first address is known, into the memory of the one
// before. raw MUST have packPad bytes behind its length; the page keeps a copy of what it
// needs.
func (p *addressPage) parse(raw []byte, first netip.Addr, want, blocks int) error {
	const head = 8
	if len(raw) < head {
		return fmt.Errorf("page has %d bytes", len(raw))
	}
	n := int(binary.LittleEndian.Uint16(raw))
	if n != want || n > pageAddresses {
		return fmt.Errorf("page has %d addresses, want %d", n, want)
	}
	at := head
	var columns [3][]uint64
	var scratch [3][pageAddresses]uint64
	for i := range columns {
		size := int(binary.LittleEndian.Uint16(raw[2+2*i:]))
		if size > len(raw)-at {
			return fmt.Errorf("column %d of a page has %d bytes, %d are left", i, size, len(raw)-at)
		}
		c, err := parseColumn(raw[at:at+size], n)
		if err != nil {
			return err
		}
		columns[i] = c.all(scratch[i][:0])
		at += size
	}
	p.addresses.reset(n)
	p.starts = slices.Grow(p.starts[:0], n+1)[:n+1]
	high, low := halves(first)
	total := uint64(0)
	for i := range n {
		high, low = high+columns[0][i], low+columns[1][i]
		p.addresses.add(high, low)
		p.starts[i] = uint32(total)
		if columns[2][i] > uint64(blocks) {
			return fmt.Errorf("address %d of a page is in %d blocks of %d", i, columns[2][i], blocks)
		}
		total += columns[2][i]
	}
	p.starts[n] = uint32(total)
	if at >= len(raw) {
		return fmt.Errorf("page has no postings")
	}
	p.width = int(raw[at])
	at++
	if p.width > 32 || len(raw)-at != bitsLen(int(total), p.width) {
		return fmt.Errorf("postings have %d bytes of %d numbers of %d bits", len(raw)-at, total, p.width)
	}
	p.blocks = append(append(slices.Grow(p.blocks[:0], len(raw)-at+packPad), raw[at:]...), make([]byte, packPad)...)
	return nil
}

// appendBlocks appends the blocks in which address i of the page is a destination.
func (p *addressPage) appendBlocks(dst []uint32, i int) []uint32 {
	for k := p.starts[i]; k < p.starts[i+1]; k++ {
		dst = append(dst, uint32(bitsAt(p.blocks, int(k), p.width)))
	}
	return dst
}

// postings collects the blocks of each destination while blocks are made in order.
type postings struct {
	codes   []posted // by code
	entries []posting
	blocks  []uint32 // by code, each one's ascending
}

type posted struct {
	last uint32 // 1 + the block it was last seen in
	end  uint32 // until list: its number of blocks; then, where they end
}

type posting struct{ code, block uint32 }

func (p *postings) reset(addresses int) {
	p.codes = slices.Grow(p.codes[:0], addresses)[:addresses]
	clear(p.codes)
	p.entries = p.entries[:0]
}

// add takes in a block with its destinations, each as often as it comes. Which came before
// nobody could foresee, so that is no jump.
func (p *postings) add(codes []uint32, block uint32) {
	n := len(p.entries)
	p.entries = slices.Grow(p.entries, len(codes))
	entries := p.entries[n : n+len(codes)]
	added := 0
	for _, code := range codes {
		c := &p.codes[code]
		first := uint32((uint64(c.last^(block+1)) + math.MaxUint32) >> 32) // 1, or 0
		c.last = block + 1
		c.end += first
		entries[added] = posting{code, block}
		added += int(first)
	}
	p.entries = p.entries[:n+added]
}

// list puts the blocks in the order of codes, once all were added.
func (p *postings) list() {
	p.blocks = slices.Grow(p.blocks[:0], len(p.entries))[:len(p.entries)]
	at := uint32(0)
	for i := range p.codes {
		c := &p.codes[i]
		at, c.end = at+c.end, at
	}
	for _, e := range p.entries {
		c := &p.codes[e.code]
		p.blocks[c.end] = e.block
		c.end++
	}
}

// of are the blocks of a code.
func (p *postings) of(code int) []uint32 {
	start := uint32(0)
	if code > 0 {
		start = p.codes[code-1].end
	}
	return p.blocks[start:p.codes[code].end]
}
