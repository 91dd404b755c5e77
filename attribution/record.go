package attribution

import (
	"encoding/binary"
	"encoding/hex"
	"math/bits"
	"net/netip"
	"strings"
)

// A record is a pod in few bytes: what many pods have in common stands in the archive
// once, times are differences to one another. Its bytes are
// described in docs/format/checkpoint.md.

const (
	recordForced      = 1 << iota // the pod's object was deleted without the kubelet's word
	recordHostNetwork             // it is on the network of its node
)

// recordKey appends what a record begins with and what finds it: UID and cluster.
func (s *store) recordKey(b []byte, cluster, uid string) []byte {
	if raw, ok := parseUUID(uid); ok {
		b = append(append(b, 0), raw[:]...)
	} else {
		b = append(binary.AppendUvarint(b, uint64(len(uid))+1), uid...)
	}
	return binary.AppendUvarint(b, uint64(s.words.id([]byte(cluster))))
}

// parseUUID reads a UID in the form that Kubernetes gives it: lower case, with dashes.
func parseUUID(uid string) (raw [16]byte, ok bool) {
	if len(uid) != 36 || uid[8] != '-' || uid[13] != '-' || uid[18] != '-' || uid[23] != '-' {
		return raw, false
	}
	var digits [32]byte
	n := 0
	for i := range len(uid) {
		switch c := uid[i]; {
		case c == '-' && (i == 8 || i == 13 || i == 18 || i == 23):
		case '0' <= c && c <= '9', 'a' <= c && c <= 'f':
			digits[n] = c
			n++
		default:
			return raw, false
		}
	}
	_, err := hex.Decode(raw[:], digits[:])
	return raw, err == nil
}

func formatUUID(raw []byte) string {
	var b [36]byte
	hex.Encode(b[:8], raw[:4])
	hex.Encode(b[9:13], raw[4:6])
	hex.Encode(b[14:18], raw[6:8])
	hex.Encode(b[19:23], raw[8:10])
	hex.Encode(b[24:], raw[10:16])
	b[8], b[13], b[18], b[23] = '-', '-', '-', '-'
	return string(b[:])
}

// record appends a pod.
func (s *store) record(b []byte, p *pod) []byte {
	e := recordEncoder{store: s, b: s.recordKey(b, p.cluster, p.uid)}
	e.pod(p, nil)
	return e.b
}

// forced: its object was deleted without the kubelet's word that it stopped.
func (p *pod) forced() bool { return p.deleted.At != 0 && p.presence.stopped() == 0 }

// splitName parts what pods of one controller have in common from the rest.
func splitName(name string) (prefix, suffix string) {
	i := strings.LastIndexByte(name, '-') + 1
	return name[:i], name[i:]
}

// kind is the word for what the pods of one controller have in common.
func (s *store) kind(id *Identity, prefix string) uint32 {
	b := s.scratch[:0]
	for _, t := range []string{id.Namespace, id.Owner, prefix} {
		b = binary.AppendUvarint(b, uint64(s.word(t)))
	}
	for _, l := range id.Labels {
		b = binary.AppendUvarint(b, uint64(s.word(l)))
	}
	s.scratch = b
	return s.words.id(b)
}

func (s *store) word(t string) uint32 { return s.words.id([]byte(t)) }

// place is the number of the place where a pod runs: its node with the addresses that
// it reported, apart for pods on the node's network.
func (s *store) place(p *pod) uint32 {
	b := s.scratch[:0]
	var host byte
	if p.id.HostNetwork {
		host = 1
	}
	b = append(b, host)
	b = binary.AppendUvarint(b, uint64(s.word(p.cluster)))
	b = binary.AppendUvarint(b, uint64(s.word(p.id.Node)))
	e := encoder{b}
	for _, a := range p.id.HostAddresses {
		e.address(a)
	}
	s.scratch = e.b
	n := s.places.id(s.words.id(e.b))
	if int(n) == len(s.known) {
		s.known = append(s.known, s.readPlace(n))
	}
	return n
}

// readPlace reads what place wrote.
func (a *archive) readPlace(n uint32) place {
	d := recordDecoder{b: a.words.get(a.places.keys[n])}
	p := place{hostNetwork: d.byte() != 0, cluster: a.words.text(uint32(d.uint())), node: a.words.text(uint32(d.uint()))}
	for len(d.b) > 0 {
		addr, _ := netip.AddrFromSlice(d.take(uint64(d.byte())))
		p.addresses = append(p.addresses, addr)
	}
	return p
}

// address is the number of an address, its family in the lowest bit.
func (s *store) address(a netip.Addr) uint32 {
	if a.Is4() {
		return s.v4.id(v4Key(a)) << 1
	}
	return s.v6.id(a.As16())<<1 | 1
}

func v4Key(a netip.Addr) uint32 { b := a.As4(); return binary.BigEndian.Uint32(b[:]) }

// recordEncoder writes times as differences to the time before them, and versions
// likewise. The differences wrap, so that no value is out of range.
type recordEncoder struct {
	*store
	b       []byte
	at      int64
	counter uint64
}

// pod writes all but the key. What one source says is written by what it has unlike
// all of them: whole.
func (e *recordEncoder) pod(p, whole *pod) {
	var flags byte
	if p.forced() {
		flags |= recordForced
	}
	if p.id.HostNetwork {
		flags |= recordHostNetwork
	}
	e.b = append(e.b, flags, byte(p.sources))
	prefix, suffix := splitName(p.id.Name)
	e.uint(uint64(e.kind(&p.id, prefix)))
	e.uint(uint64(e.place(p)))
	e.uint(uint64(len(suffix)))
	e.b = append(e.b, suffix...)
	e.time(p.knownAt)
	e.version(p.id.Version)
	if whole == nil {
		e.fields(&p.presence, p.presence.set())
	} else {
		e.boundsLike(&p.presence, &whole.presence)
	}
	e.removals(p)
	e.uint(uint64(len(p.holdings)))
	for i := range p.holdings {
		h := &p.holdings[i]
		e.uint(uint64(e.address(h.Address)))
		e.boundsLike(&h.Bounds, &p.presence)
	}
	e.uint(uint64(len(p.voices)))
	for _, own := range p.voices {
		e.pod(own, p)
	}
}

func (e *recordEncoder) uint(v uint64) { e.b = binary.AppendUvarint(e.b, v) }

func (e *recordEncoder) time(t int64) {
	e.b = binary.AppendVarint(e.b, t-e.at)
	e.at = t
}

func (e *recordEncoder) version(v uint64) {
	e.b = binary.AppendVarint(e.b, int64(v-e.counter))
	e.counter = v
}

func (b *Bounds) times() [7]*int64 {
	return [7]*int64{&b.NotBefore, &b.SeenBy, &b.SeenLast, &b.RunningBy, &b.AliveAt, &b.StoppedFirst, &b.StoppedLast}
}

// set has a bit for each field of bounds that is not 0: the times, then the versions.
func (b *Bounds) set() uint64 { return b.unlike(&Bounds{}) }

// unlike has a bit for each field that differs.
func (b *Bounds) unlike(o *Bounds) uint64 {
	var mask uint64
	theirs := o.times()
	for i, t := range b.times() {
		if *t != *theirs[i] {
			mask |= 1 << i
		}
	}
	if b.FirstVersion != o.FirstVersion {
		mask |= 1 << 7
	}
	if b.LastVersion != o.LastVersion {
		mask |= 1 << 8
	}
	return mask
}

// fields writes a mask and what it has a bit for.
func (e *recordEncoder) fields(b *Bounds, mask uint64) {
	e.uint(mask)
	for i, t := range b.times() {
		if mask&(1<<i) != 0 {
			e.time(*t)
		}
	}
	if mask&(1<<7) != 0 {
		e.version(b.FirstVersion)
	}
	if mask&(1<<8) != 0 {
		e.version(b.LastVersion)
	}
}

// boundsLike writes what differs from the pod's stay on its node: mostly nothing. Of
// those fields, a second mask says which are not 0.
func (e *recordEncoder) boundsLike(b, presence *Bounds) {
	unlike := b.unlike(presence)
	e.uint(unlike)
	if unlike != 0 {
		e.fields(b, b.set()&unlike)
	}
}

// removals writes a mask and what is not 0 of: deleted, missing, listed.
func (e *recordEncoder) removals(p *pod) {
	times := [5]int64{p.deleted.At, p.deleted.After, p.missing.At, p.missing.After, p.listed}
	versions := [2]uint64{p.deleted.Version, p.missing.Version}
	var mask byte
	for i, t := range times {
		if t != 0 {
			mask |= 1 << i
		}
	}
	for i, v := range versions {
		if v != 0 {
			mask |= 1 << (5 + i)
		}
	}
	e.b = append(e.b, mask)
	for i, t := range times {
		if mask&(1<<i) != 0 {
			e.time(t)
		}
	}
	for i, v := range versions {
		if mask&(1<<(5+i)) != 0 {
			e.version(v)
		}
	}
}

// recordDecoder reads what recordEncoder wrote. An archive holds nothing else: a
// checkpoint is read only where its checksums say so.
type recordDecoder struct {
	b       []byte
	at      int64
	counter uint64
}

func (d *recordDecoder) uint() uint64 {
	if len(d.b) > 0 && d.b[0] < 0x80 {
		v := d.b[0]
		d.b = d.b[1:]
		return uint64(v)
	}
	v, n := binary.Uvarint(d.b)
	d.b = d.b[n:]
	return v
}

func (d *recordDecoder) int() int64 {
	v := d.uint()
	return int64(v>>1) ^ -int64(v&1)
}

func (d *recordDecoder) byte() byte {
	v := d.b[0]
	d.b = d.b[1:]
	return v
}

func (d *recordDecoder) take(n uint64) []byte {
	out := d.b[:n:n]
	d.b = d.b[n:]
	return out
}

func (d *recordDecoder) time() int64 {
	d.at += d.int()
	return d.at
}

func (d *recordDecoder) version() uint64 {
	d.counter += uint64(d.int())
	return d.counter
}

func (d *recordDecoder) fields(b *Bounds, mask uint64) {
	times := b.times()
	for m := mask & 0x7f; m != 0; m &= m - 1 {
		*times[bits.TrailingZeros64(m)] = d.time()
	}
	if mask&(1<<7) != 0 {
		b.FirstVersion = d.version()
	}
	if mask&(1<<8) != 0 {
		b.LastVersion = d.version()
	}
}

func (d *recordDecoder) boundsLike(b, presence *Bounds) {
	*b = *presence
	unlike := d.uint()
	if unlike == 0 {
		return
	}
	times := b.times()
	for m := unlike & 0x7f; m != 0; m &= m - 1 {
		*times[bits.TrailingZeros64(m)] = 0
	}
	if unlike&(1<<7) != 0 {
		b.FirstVersion = 0
	}
	if unlike&(1<<8) != 0 {
		b.LastVersion = 0
	}
	d.fields(b, d.uint())
}

func (d *recordDecoder) removals(p *pod) {
	mask := d.byte()
	for i, t := range [5]*int64{&p.deleted.At, &p.deleted.After, &p.missing.At, &p.missing.After, &p.listed} {
		if mask&(1<<i) != 0 {
			*t = d.time()
		}
	}
	for i, v := range [2]*uint64{&p.deleted.Version, &p.missing.Version} {
		if mask&(1<<(5+i)) != 0 {
			*v = d.version()
		}
	}
}

// key takes off what recordKey wrote.
func (d *recordDecoder) key() (cluster uint32, uid []byte, isUUID bool) {
	n := d.uint()
	if isUUID = n == 0; isUUID {
		uid = d.take(16)
	} else {
		uid = d.take(n - 1)
	}
	return uint32(d.uint()), uid, isUUID
}

// pod reads pod number n.
func (a *archive) pod(n uint32) *pod {
	p := &pod{filed: n + 1}
	a.decode(n, p)
	return p
}

func (a *archive) decode(n uint32, p *pod) {
	d := recordDecoder{b: a.recordOf(n)}
	cluster, uid, isUUID := d.key()
	p.cluster = a.words.text(cluster)
	if isUUID {
		p.uid = formatUUID(uid)
	} else {
		p.uid = string(uid)
	}
	a.decodePod(&d, p, nil)
}

func (a *archive) decodePod(d *recordDecoder, p, whole *pod) {
	p.id.HostNetwork = d.byte()&recordHostNetwork != 0
	p.sources = Sources(d.byte())
	prefix := a.decodeKind(uint32(d.uint()), &p.id)
	p.at = uint32(d.uint())
	place := &a.known[p.at]
	p.id.Node, p.id.HostAddresses = place.node, place.addresses
	p.id.Name = prefix + string(d.take(d.uint()))
	a.decodeEvidence(d, p, whole)
	if n := d.uint(); n > 0 {
		p.voices = make([]*pod, n)
		for i := range p.voices {
			p.voices[i] = &pod{cluster: p.cluster, uid: p.uid}
			a.decodePod(d, p.voices[i], p)
		}
	}
}

func (a *archive) decodeEvidence(d *recordDecoder, p, whole *pod) {
	p.knownAt, p.id.Version = d.time(), d.version()
	if whole == nil {
		d.fields(&p.presence, d.uint())
	} else {
		d.boundsLike(&p.presence, &whole.presence)
	}
	d.removals(p)
	if n := int(d.uint()); n > cap(p.holdings) {
		p.holdings = make([]Holding, n)
	} else {
		p.holdings = p.holdings[:n]
	}
	for i := range p.holdings {
		p.holdings[i].Address = a.addressOf(uint32(d.uint()))
		d.boundsLike(&p.holdings[i].Bounds, &p.presence)
	}
}

// skim reads what is known of a pod's times, and not who it is. It uses the memory of
// p.holdings again.
func (a *archive) skim(n uint32, p *pod) {
	*p = pod{holdings: p.holdings[:0]}
	d := recordDecoder{b: a.recordOf(n)}
	d.key()
	d.take(2) // flags, sources
	d.uint()  // kind
	d.uint()  // place
	d.take(d.uint())
	a.decodeEvidence(&d, p, nil)
}

func (a *archive) decodeKind(word uint32, id *Identity) (prefix string) {
	d := recordDecoder{b: a.words.get(word)}
	id.Namespace, id.Owner = a.words.text(uint32(d.uint())), a.words.text(uint32(d.uint()))
	prefix = a.words.text(uint32(d.uint()))
	if len(d.b) == 0 {
		return prefix
	}
	labels := make([]string, 0, len(d.b))
	for len(d.b) > 0 {
		labels = append(labels, a.words.text(uint32(d.uint())))
	}
	id.Labels = labels
	return prefix
}

func (a *archive) addressOf(id uint32) netip.Addr {
	if id&1 == 0 {
		var b [4]byte
		binary.BigEndian.PutUint32(b[:], a.v4.keys[id>>1])
		return netip.AddrFrom4(b)
	}
	return netip.AddrFrom16(a.v6.keys[id>>1])
}
