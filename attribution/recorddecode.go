package attribution

import (
	"encoding/binary"
	"math/bits"
	"net/netip"
)

// readPlace reads what place wrote.
func (a *archive) readPlace(n uint32) place {
	d := recordDecoder{b: a.words.get(a.places.keys[n])}
	p := place{hostNetwork: d.byte() != 0, cluster: a.words.text(uint32(d.uint())), node: a.words.text(uint32(d.uint()))}
	for d.more() {
		addr, _ := netip.AddrFromSlice(d.take(uint64(d.byte())))
		p.addresses = append(p.addresses, addr)
	}
	return p
}

// recordDecoder reads what recordEncoder wrote. An archive holds nothing else: a
// checkpoint is read only where its checksums say so. It counts where it is in place of
// cutting off what was read: a pointer that is written is told to the garbage collector.
type recordDecoder struct {
	b       []byte
	next    int // byte to be read
	at      int64
	counter uint64
}

func (d *recordDecoder) more() bool { return d.next < len(d.b) }

func (d *recordDecoder) uint() uint64 {
	if v := d.b[d.next]; v < 0x80 {
		d.next++
		return uint64(v)
	}
	v, n := binary.Uvarint(d.b[d.next:])
	d.next += n
	return v
}

func (d *recordDecoder) int() int64 {
	v := d.uint()
	return int64(v>>1) ^ -int64(v&1)
}

func (d *recordDecoder) byte() byte {
	v := d.b[d.next]
	d.next++
	return v
}

func (d *recordDecoder) take(n uint64) []byte {
	from := d.next
	d.next += int(n)
	return d.b[from:d.next:d.next]
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
	d.evidence(p, whole)
	if n := int(d.uint()); n > 0 {
		p.holdings = make([]Holding, n)
	}
	for i := range p.holdings {
		p.holdings[i].Address = a.addressOf(uint32(d.uint()))
		d.boundsLike(&p.holdings[i].Bounds, &p.presence)
	}
}

// evidence reads what is known of the pod's times on its node.
func (d *recordDecoder) evidence(p, whole *pod) {
	p.knownAt, p.id.Version = d.time(), d.version()
	if whole == nil {
		d.fields(&p.presence, d.uint())
	} else {
		d.boundsLike(&p.presence, &whole.presence)
	}
	d.removals(p)
}

// skim reads what is known of a pod's times, and not who it is. What it returns reads on
// with the pod's addresses.
func (a *archive) skim(n uint32, p *pod) recordDecoder {
	p.presence, p.deleted, p.missing, p.listed = Bounds{}, Removal{}, Removal{}, 0
	d := recordDecoder{b: a.recordOf(n)}
	d.key()
	d.take(2) // flags, sources
	d.uint()  // kind
	d.uint()  // place
	d.take(d.uint())
	d.evidence(p, nil)
	return d
}

func (a *archive) decodeKind(word uint32, id *Identity) (prefix string) {
	d := recordDecoder{b: a.words.get(word)}
	id.Namespace, id.Owner = a.words.text(uint32(d.uint())), a.words.text(uint32(d.uint()))
	prefix = a.words.text(uint32(d.uint()))
	if !d.more() {
		return prefix
	}
	labels := make([]string, 0, len(d.b)-d.next)
	for d.more() {
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
