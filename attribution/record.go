package attribution

import (
	"encoding/binary"
	"encoding/hex"
	"net/netip"
)

// A record is a pod in few bytes: what many pods have in common stands in the archive
// once, times are differences to one another. Its bytes are
// described in docs/format/checkpoint.md.

const (
	recordForced      = 1 << iota // the pod's object was deleted without the kubelet's word
	recordHostNetwork             // it is on the network of its node
)

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

// forced: its object was deleted without the kubelet's word that it stopped.
func (p *pod) forced() bool { return p.deleted.At != 0 && p.presence.stopped() == 0 }

func v4Key(a netip.Addr) uint32 { b := a.As4(); return binary.BigEndian.Uint32(b[:]) }

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
