package attribution

import (
	"encoding/binary"
	"net/netip"
	"strings"
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

// record appends a pod.
func (s *store) record(b []byte, p *pod) []byte {
	e := recordEncoder{store: s, b: s.recordKey(b, p.cluster, p.uid)}
	e.pod(p, nil)
	return e.b
}

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

// address is the number of an address, its family in the lowest bit.
func (s *store) address(a netip.Addr) uint32 {
	if a.Is4() {
		return s.v4.id(v4Key(a)) << 1
	}
	return s.v6.id(a.As16())<<1 | 1
}

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
