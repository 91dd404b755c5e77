package nat

import (
	"encoding/binary"
	"errors"
	"net/netip"
)

// What a record's flags say; docs/format/nat.md has them as a table.
const (
	flagTranslated = 1 << iota // an original source address follows
	flagSamePort               // the source port was kept
	flagSameDst                // the destination was not translated
	flagFromExact              // it was seen to begin
	flagFromOpen               // when it began at the earliest is not known
	flagToExact                // it was seen to end
	flagToOpen                 // it had not ended when it was seen last
)

// maxKey is the longest encoded key, in bytes: two addresses with their lengths, the
// protocol, two ports.
const maxKey = 2*17 + 1 + 4

// appendKey writes a key so that keys which share their first fields share their
// first bytes.
func appendKey(b []byte, k *Key) []byte {
	b = appendAddr(b, k.Src)
	b = appendAddr(b, k.Dst)
	b = append(b, k.Protocol)
	b = binary.BigEndian.AppendUint16(b, k.SrcPort)
	return binary.BigEndian.AppendUint16(b, k.DstPort)
}

func appendAddr(b []byte, a netip.Addr) []byte {
	if a.Is4() {
		four := a.As4()
		return append(append(b, 4), four[:]...)
	}
	sixteen := a.As16()
	return append(append(b, 16), sixteen[:]...)
}

// dictionary numbers the addresses and nodes of a segment.
type dictionary struct {
	addresses []netip.Addr
	nodes     []string
	address   map[netip.Addr]uint64
	node      map[string]uint64
}

func newDictionary() *dictionary {
	return &dictionary{address: make(map[netip.Addr]uint64), node: make(map[string]uint64)}
}

func (d *dictionary) addressCode(a netip.Addr) uint64 {
	code, ok := d.address[a]
	if !ok {
		code = uint64(len(d.addresses))
		d.address[a], d.addresses = code, append(d.addresses, a)
	}
	return code
}

func (d *dictionary) nodeCode(n string) uint64 {
	code, ok := d.node[n]
	if !ok {
		code = uint64(len(d.nodes))
		d.node[n], d.nodes = code, append(d.nodes, n)
	}
	return code
}

// blockEncoder puts records, in order, into one block.
type blockEncoder struct {
	dict *dictionary
	buf  []byte
	key  []byte // of the record before
	next []byte
	from int64 // FromLatest of the record before
	n    int
}

func (e *blockEncoder) reset() { e.buf, e.key, e.from, e.n = e.buf[:0], e.key[:0], 0, 0 }

func (e *blockEncoder) add(f *Flow) {
	e.next = appendKey(e.next[:0], &f.Key)
	shared := 0
	for shared < len(e.key) && shared < len(e.next) && e.key[shared] == e.next[shared] {
		shared++
	}
	b := append(e.buf, byte(shared), byte(len(e.next)-shared))
	b = append(b, e.next[shared:]...)
	flags := f.flags()
	b = append(b, flags)
	b = binary.AppendVarint(b, f.FromLatest-e.from)
	if flags&(flagFromExact|flagFromOpen) == 0 {
		b = binary.AppendUvarint(b, uint64(f.FromLatest-f.FromEarliest))
	}
	b = binary.AppendUvarint(b, uint64(f.ToEarliest-f.FromLatest))
	if flags&(flagToExact|flagToOpen) == 0 {
		b = binary.AppendUvarint(b, uint64(f.ToLatest-f.ToEarliest))
	}
	b = binary.AppendUvarint(b, e.dict.nodeCode(f.Node))
	if flags&flagTranslated != 0 {
		b = binary.AppendUvarint(b, e.dict.addressCode(f.Original.Src))
		if flags&flagSamePort == 0 {
			b = binary.BigEndian.AppendUint16(b, f.Original.SrcPort)
		}
		if flags&flagSameDst == 0 {
			b = binary.AppendUvarint(b, e.dict.addressCode(f.Original.Dst))
			b = binary.BigEndian.AppendUint16(b, f.Original.DstPort)
		}
	}
	b = binary.AppendUvarint(b, uint64(f.Import))
	e.buf = binary.AppendUvarint(b, f.Place)
	e.key, e.next = e.next, e.key
	e.from = f.FromLatest
	e.n++
}

func (f *Flow) flags() byte {
	var flags byte
	set := func(on bool, bit byte) {
		if on {
			flags |= bit
		}
	}
	set(f.Translated(), flagTranslated)
	set(f.Translated() && f.Original.SrcPort == f.SrcPort, flagSamePort)
	set(f.Translated() && f.Original.Dst == f.Dst && f.Original.DstPort == f.DstPort, flagSameDst)
	set(f.FromEarliest == f.FromLatest, flagFromExact)
	set(f.FromEarliest == 0 && f.FromLatest != 0, flagFromOpen)
	set(f.ToEarliest == f.ToLatest, flagToExact)
	set(f.ToLatest == NoEnd, flagToOpen)
	return flags
}

var errRecord = errors.New("a record does not fit the block")

// decodeBlock appends the n records of a block to into.
func decodeBlock(b []byte, n int, addresses []netip.Addr, nodes []string, into []Flow) ([]Flow, error) {
	d := blockDecoder{reader: reader{b: b}, addresses: addresses, nodes: nodes}
	for range n {
		var f Flow
		d.record(&f)
		if d.failed {
			return into, errRecord
		}
		into = append(into, f)
	}
	if len(d.b) != 0 {
		return into, errRecord
	}
	return into, nil
}

type blockDecoder struct {
	reader
	addresses []netip.Addr
	nodes     []string
	key       [maxKey]byte
	keyLen    int
	from      int64
}

func (d *blockDecoder) record(f *Flow) {
	shared, rest := int(d.byte()), int(d.byte())
	if shared > d.keyLen || shared+rest > maxKey {
		d.failed = true
		return
	}
	copy(d.key[shared:], d.take(rest))
	d.keyLen = shared + rest
	d.parseKey(&f.Key)
	flags := d.byte()
	f.FromLatest = d.from + d.varint()
	d.from = f.FromLatest
	f.FromEarliest = f.FromLatest
	switch {
	case flags&flagFromExact != 0:
	case flags&flagFromOpen != 0:
		f.FromEarliest = 0
	default:
		f.FromEarliest -= int64(d.uvarint())
	}
	f.ToEarliest = f.FromLatest + int64(d.uvarint())
	f.ToLatest = f.ToEarliest
	switch {
	case flags&flagToExact != 0:
	case flags&flagToOpen != 0:
		f.ToLatest = NoEnd
	default:
		f.ToLatest += int64(d.uvarint())
	}
	if node := d.uvarint(); node < uint64(len(d.nodes)) {
		f.Node = d.nodes[node]
	} else {
		d.failed = true
	}
	if flags&flagTranslated != 0 {
		d.original(f, flags)
	}
	f.Import = uint32(d.uvarint())
	f.Place = d.uvarint()
	d.failed = d.failed || f.FromEarliest < 0 || f.FromEarliest > f.FromLatest || f.ToEarliest < f.FromLatest || f.ToLatest < f.ToEarliest
}

func (d *blockDecoder) original(f *Flow, flags byte) {
	f.Original = Tuple{Src: d.address(), SrcPort: f.SrcPort, Dst: f.Dst, DstPort: f.DstPort}
	if flags&flagSamePort == 0 {
		f.Original.SrcPort = d.uint16()
	}
	if flags&flagSameDst == 0 {
		f.Original.Dst = d.address()
		f.Original.DstPort = d.uint16()
	}
}

func (d *blockDecoder) address() netip.Addr {
	code := d.uvarint()
	if code >= uint64(len(d.addresses)) {
		d.failed = true
		return netip.Addr{}
	}
	return d.addresses[code]
}

func (d *blockDecoder) parseKey(k *Key) {
	r := reader{b: d.key[:d.keyLen]}
	k.Src, k.Dst = r.addr(), r.addr()
	k.Protocol, k.SrcPort, k.DstPort = r.byte(), r.uint16(), r.uint16()
	d.failed = d.failed || r.failed || len(r.b) != 0
}

// reader takes primitives off the front of b. After the first that is not there,
// failed is set, and everything is zero.
type reader struct {
	b      []byte
	failed bool
}

func (r *reader) take(n int) []byte {
	if n > len(r.b) {
		r.failed, r.b = true, nil
		return nil
	}
	out := r.b[:n]
	r.b = r.b[n:]
	return out
}

func (r *reader) byte() byte {
	if b := r.take(1); b != nil {
		return b[0]
	}
	return 0
}

func (r *reader) uint16() uint16 {
	if b := r.take(2); b != nil {
		return binary.BigEndian.Uint16(b)
	}
	return 0
}

func (r *reader) uvarint() uint64 {
	v, n := binary.Uvarint(r.b)
	if n <= 0 {
		r.failed, r.b = true, nil
		return 0
	}
	r.b = r.b[n:]
	return v
}

func (r *reader) varint() int64 {
	v, n := binary.Varint(r.b)
	if n <= 0 {
		r.failed, r.b = true, nil
		return 0
	}
	r.b = r.b[n:]
	return v
}

func (r *reader) addr() netip.Addr {
	n := int(r.byte())
	if n != 4 && n != 16 {
		r.failed = true
		return netip.Addr{}
	}
	a, ok := netip.AddrFromSlice(r.take(n))
	r.failed = r.failed || !ok
	return a
}
