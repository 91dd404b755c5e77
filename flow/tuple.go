package flow

import (
	"encoding/binary"
	"net/netip"
)

// Tuples is room for rows of a [Builder], to be filled with what tuples of a flow log
// say: in its codes, and without the columns of their [Group]. All columns have the
// same length.
type Tuples struct {
	Time, Offset               []int64
	Src, Dst, Encryption       []uint32 // from AddressCode and EncryptionCode
	SrcPort, DstPort           []uint16
	Protocol, Direction, State []uint8
	Null                       []Nulls
	Counters                   [4][]uint64 // in the order of Nulls; 0 where null
}

// Group is what the rows have in common that a flow log puts under one rule.
type Group struct {
	NIC, Rule, ACL, Blob string
	RecordTime           int64
}

// Dictionary is that of the addresses. A code holds for one dictionary: it MUST be asked
// for again where that is another one, as it may be after NewBatch.
func (b *Builder) Dictionary() *Dictionary { return b.addresses.dictionary }

// AddressCode returns the code of an address.
func (b *Builder) AddressCode(a netip.Addr) uint32 { return b.addresses.code(a) }

// AddressCount is how many addresses the dictionary has.
func (b *Builder) AddressCount() int { return len(b.addresses.list) }

// AddAddress returns the code of an address that MUST NOT have one yet, nor be mapped,
// nor have a zone.
func (b *Builder) AddAddress(a netip.Addr) uint32 { return b.addresses.add(a) }

// EncryptionCode returns the code of a value of that column, until the next NewBatch.
func (b *Builder) EncryptionCode(s string) uint32 { return b.encryption.of(s) }

// SetGroup says what the tuples from here on have in common. The builder keeps the
// strings until the next call.
func (b *Builder) SetGroup(g Group) {
	b.fill()
	b.group = g
}

// Room returns room for up to n rows of the group that was set last, at least for one. It
// is valid until rows are added or taken.
func (b *Builder) Room(n int) Tuples {
	if b.n == b.capacity {
		b.grow()
	}
	from, to := b.n, min(b.n+n, b.capacity)
	t := Tuples{
		Time: b.time[from:to], Offset: b.offset[from:to], Src: b.src[from:to], Dst: b.dst[from:to], Encryption: b.encryption.codes[from:to],
		SrcPort: b.srcPort[from:to], DstPort: b.dstPort[from:to],
		Protocol: b.protocol[from:to], Direction: b.direction[from:to], State: b.state[from:to], Null: b.nulls[from:to],
	}
	for k := range t.Counters {
		t.Counters[k] = b.counters[k][from:to]
	}
	return t
}

// Took adds the first n rows of the room that was returned last, which MUST be filled.
func (b *Builder) Took(n int) { b.n += n }

// Truncate drops the rows behind the first n, which MUST be at most Len. Dictionaries
// may keep entries that no row has.
func (b *Builder) Truncate(n int) {
	b.fill()
	for i := n; i < b.n; i++ {
		b.allowed[i/8] &^= 1 << (i % 8)
	}
	b.n, b.filled, b.anyNull = n, n, 0
	for _, null := range b.nulls[:n] {
		b.anyNull |= null
	}
}

// fill writes the group's columns of the tuples that were appended, and what follows from
// theirs.
func (b *Builder) fill() {
	from, to := b.filled, b.n
	if from == to {
		return
	}
	b.filled = to
	g := &b.group
	fill(b.recordTime[from:to], g.RecordTime)
	fill(b.nic.codes[from:to], b.nic.of(g.NIC))
	fill(b.rule.codes[from:to], b.rule.of(g.Rule))
	fill(b.acl.codes[from:to], b.acl.of(g.ACL))
	fill(b.blob.codes[from:to], b.blob.of(g.Blob))
	b.allow(from, to)
	for _, null := range b.nulls[from:to] {
		b.anyNull |= null
	}
}

func fill[T any](s []T, v T) {
	const few = 16
	for i := range s[:min(len(s), few)] {
		s[i] = v
	}
	for n := few; n < len(s); n *= 2 {
		copy(s[n:], s[:n])
	}
}

// allow sets which of the rows [from, to) were allowed: those that were not denied. It
// takes eight at a time where they share a byte.
func (b *Builder) allow(from, to int) {
	const ones, sevens = 0x0101010101010101, 0x7f7f7f7f7f7f7f7f
	for i := from; i < to; {
		if i%8 == 0 && to-i >= 8 {
			x := binary.LittleEndian.Uint64(b.state[i:]) ^ uint64(Denied)*ones
			other := (x&sevens + sevens | x) >> 7 & ones // a bit for each byte that is not 0
			b.allowed[i/8] = byte(other * 0x0102040810204080 >> 56)
			i += 8
			continue
		}
		if b.state[i] != Denied {
			b.allowed[i/8] |= 1 << (i % 8)
		}
		i++
	}
}
