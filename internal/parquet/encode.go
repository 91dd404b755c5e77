package parquet

import "encoding/binary"

// The encodings of https://parquet.apache.org/docs/file-format/data-pages/encodings
// that are used here, by their numbers.
const (
	encodingPlain      = 0
	encodingRLE        = 3
	encodingDelta      = 5
	encodingDictionary = 8
)

// packer appends numbers of some bits each, the lowest bit first.
type packer struct {
	out  []byte
	acc  uint64 // fewer than 32 bits are pending
	bits uint
}

// put appends the lowest width bits of v, at most 32; all others MUST be 0.
func (p *packer) put(v uint32, width uint) {
	p.acc |= uint64(v) << p.bits
	if p.bits += width; p.bits >= 32 {
		p.out = binary.LittleEndian.AppendUint32(p.out, uint32(p.acc))
		p.acc >>= 32
		p.bits -= 32
	}
}

// flush appends what is pending, filled up to a whole byte, and returns all.
func (p *packer) flush() []byte {
	for ; p.bits > 0; p.bits -= min(p.bits, 8) {
		p.out = append(p.out, byte(p.acc))
		p.acc >>= 8
	}
	p.acc = 0
	return p.out
}

// appendRuns appends numbers of width bits in the hybrid of runs and packed numbers.
func appendRuns[T uint8 | uint32](out []byte, values []T, width uint) []byte {
	for i := 0; i < len(values); {
		if n := sameFrom(values[i:]); n >= 8 {
			out = appendRun(out, n, uint32(values[i]), width)
			i += n
			continue
		}
		end := i + 8
		for end < len(values) && sameFrom(values[end:min(end+16, len(values))]) < 16 {
			end += 8
		}
		out = appendPacked(out, values[i:min(end, len(values))], width)
		i = end
	}
	return out
}

// appendRun appends n times the same number.
func appendRun(out []byte, n int, value uint32, width uint) []byte {
	out = binary.AppendUvarint(out, uint64(n)<<1)
	for shift := uint(0); shift < width; shift += 8 {
		out = append(out, byte(value>>shift))
	}
	return out
}

// sameFrom is how many values from the first on are equal to it.
func sameFrom[T uint8 | uint32](values []T) int {
	for i, v := range values {
		if v != values[0] {
			return i
		}
	}
	return len(values)
}

// appendPacked appends a packed stretch. Only the last one may not be whole eights.
func appendPacked[T uint8 | uint32](out []byte, values []T, width uint) []byte {
	groups := (len(values) + 7) / 8
	out = binary.AppendUvarint(out, uint64(groups)<<1|1)
	p := packer{out: out}
	for _, v := range values {
		p.put(uint32(v), width)
	}
	for range groups*8 - len(values) {
		p.put(0, width)
	}
	return p.flush()
}

// appendPlain appends numbers of 4 or 8 bytes each.
func appendPlain(out []byte, values []int64, size int) []byte {
	for _, v := range values {
		if size == 4 {
			out = binary.LittleEndian.AppendUint32(out, uint32(v))
		} else {
			out = binary.LittleEndian.AppendUint64(out, uint64(v))
		}
	}
	return out
}
