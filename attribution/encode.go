package attribution

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
)

// The journal's payloads, byte by byte, are described in docs/format/ledger.md.
const (
	payloadPod     = 1
	payloadWatched = 2
	payloadPartial = 3
)

// encode appends a fact's payload.
func (f *Fact) encode(b []byte) []byte {
	e := encoder{b}
	if f.aboutObjects() {
		f.encodeObject(&e)
		return e.b
	}
	if f.Watched != nil {
		kind := byte(payloadWatched)
		if f.Partial {
			kind = payloadPartial
		}
		e.byte(kind)
		e.int(f.KnownAt)
		e.text(f.Cluster)
		e.int(f.Watched.From)
		e.int(f.Watched.To)
		e.int(f.Late)
		return e.b
	}
	e.byte(payloadPod)
	e.int(f.KnownAt)
	e.text(f.Cluster)
	p := &f.Pod
	e.text(p.UID)
	e.byte(byte(p.Source))
	e.bool(p.Identity != nil)
	if p.Identity != nil {
		e.identity(p.Identity)
	}
	e.bounds(&p.Presence)
	e.removal(&p.Deleted)
	e.removal(&p.Missing)
	e.int(p.Listed)
	e.uint(uint64(len(p.Holdings)))
	for i := range p.Holdings {
		e.address(p.Holdings[i].Address)
		e.bounds(&p.Holdings[i].Bounds)
	}
	return e.b
}

type encoder struct{ b []byte }

func (e *encoder) byte(v byte)   { e.b = append(e.b, v) }
func (e *encoder) int(v int64)   { e.b = binary.AppendVarint(e.b, v) }
func (e *encoder) uint(v uint64) { e.b = binary.AppendUvarint(e.b, v) }

func (e *encoder) bool(v bool) {
	if v {
		e.byte(1)
	} else {
		e.byte(0)
	}
}

func (e *encoder) text(s string) {
	e.uint(uint64(len(s)))
	e.b = append(e.b, s...)
}

func (e *encoder) address(a netip.Addr) {
	raw := a.AsSlice()
	e.byte(byte(len(raw)))
	e.b = append(e.b, raw...)
}

func (e *encoder) identity(id *Identity) {
	e.text(id.Namespace)
	e.text(id.Name)
	e.text(id.Node)
	e.text(id.Owner)
	e.bool(id.HostNetwork)
	e.uint(id.Version)
	e.uint(uint64(len(id.Labels)))
	for _, l := range id.Labels {
		e.text(l)
	}
	e.uint(uint64(len(id.HostAddresses)))
	for _, a := range id.HostAddresses {
		e.address(a)
	}
}

func (e *encoder) bounds(b *Bounds) {
	for _, v := range []int64{b.NotBefore, b.SeenBy, b.SeenLast, b.RunningBy, b.AliveAt, b.StoppedFirst, b.StoppedLast} {
		e.int(v)
	}
	e.uint(b.FirstVersion)
	e.uint(b.LastVersion)
}

func (e *encoder) removal(r *Removal) {
	e.int(r.At)
	e.int(r.After)
	e.uint(r.Version)
}

// decodeFact reads a payload. It copies what it keeps.
func decodeFact(b []byte, interned map[string]string) (Fact, error) {
	d := decoder{b: b, interned: interned}
	kind := d.byte()
	f := Fact{KnownAt: d.int(), Cluster: d.text()}
	switch kind {
	case payloadWatched, payloadPartial:
		f.Partial = kind == payloadPartial
		f.Watched = &Range{From: d.int(), To: d.int()}
		f.Late = d.int()
	case payloadPod:
		f.Pod = d.pod()
	case payloadObject, payloadObjectWatched:
		d.object(&f, kind)
	default:
		return Fact{}, fmt.Errorf("read ledger payload: kind is %d, want %d to %d, %d or %d", kind, payloadPod, payloadPartial, payloadObject, payloadObjectWatched)
	}
	if d.bad || len(d.b) != 0 {
		return Fact{}, errors.New("read ledger payload: its fields do not fill it")
	}
	return f, nil
}

// decoder reads what encoder wrote. After the first thing that does not fit, bad is
// set and all that follows is zero.
type decoder struct {
	b        []byte
	bad      bool
	interned map[string]string
}

func (d *decoder) take(n uint64) []byte {
	if d.bad || n > uint64(len(d.b)) {
		d.bad, d.b = true, nil
		return nil
	}
	out := d.b[:n]
	d.b = d.b[n:]
	return out
}

func (d *decoder) byte() byte {
	if b := d.take(1); b != nil {
		return b[0]
	}
	return 0
}

func (d *decoder) bool() bool { return d.byte() != 0 }

func (d *decoder) int() int64 {
	v, n := binary.Varint(d.b)
	if d.take(uint64(max(n, 0))); n <= 0 {
		d.bad = true
	}
	return v
}

func (d *decoder) uint() uint64 {
	v, n := binary.Uvarint(d.b)
	if d.take(uint64(max(n, 0))); n <= 0 {
		d.bad = true
	}
	return v
}

// count reads a number of things of at least one byte each.
func (d *decoder) count() int {
	n := d.uint()
	if n > uint64(len(d.b)) {
		d.bad = true
		return 0
	}
	return int(n)
}

func (d *decoder) text() string {
	raw := d.take(d.uint())
	if s, ok := d.interned[string(raw)]; ok {
		return s
	}
	s := string(raw)
	if d.interned != nil {
		d.interned[s] = s
	}
	return s
}

func (d *decoder) address() netip.Addr {
	a, ok := netip.AddrFromSlice(d.take(uint64(d.byte())))
	d.bad = d.bad || !ok
	return a
}

func (d *decoder) pod() PodFact {
	p := PodFact{UID: string(d.take(d.uint())), Source: Source(d.byte())}
	if p.Source >= numSources {
		d.bad = true
	}
	if d.bool() {
		p.Identity = d.identity()
	}
	p.Presence, p.Deleted, p.Missing, p.Listed = d.bounds(), d.removal(), d.removal(), d.int()
	for n := d.count(); n > 0 && !d.bad; n-- {
		p.Holdings = append(p.Holdings, Holding{Address: d.address(), Bounds: d.bounds()})
	}
	return p
}

func (d *decoder) identity() *Identity {
	id := &Identity{Namespace: d.text(), Name: d.text(), Node: d.text(), Owner: d.text(), HostNetwork: d.bool(), Version: d.uint()}
	for n := d.count(); n > 0 && !d.bad; n-- {
		id.Labels = append(id.Labels, d.text())
	}
	for n := d.count(); n > 0 && !d.bad; n-- {
		id.HostAddresses = append(id.HostAddresses, d.address())
	}
	return id
}

func (d *decoder) bounds() Bounds {
	return Bounds{NotBefore: d.int(), SeenBy: d.int(), SeenLast: d.int(), RunningBy: d.int(), AliveAt: d.int(), StoppedFirst: d.int(), StoppedLast: d.int(),
		FirstVersion: d.uint(), LastVersion: d.uint()}
}

func (d *decoder) removal() Removal {
	return Removal{At: d.int(), After: d.int(), Version: d.uint()}
}
