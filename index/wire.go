package index

import (
	"encoding/binary"
	"fmt"
)

// encoder puts together a manifest frame.
type encoder struct{ b []byte }

func (e *encoder) uint(v uint64)      { e.b = binary.AppendUvarint(e.b, v) }
func (e *encoder) int(v int64)        { e.b = binary.AppendVarint(e.b, v) }
func (e *encoder) fixed32(v uint32)   { e.b = binary.LittleEndian.AppendUint32(e.b, v) }
func (e *encoder) address(v [16]byte) { e.b = append(e.b, v[:]...) }

func (e *encoder) text(s string) {
	e.uint(uint64(len(s)))
	e.b = append(e.b, s...)
}

// decoder reads one back. The first thing that does not fit sets err, and everything
// after it reads as zero. It counts where it is in place of cutting off what was read: a
// pointer that is written is told to the garbage collector.
type decoder struct {
	b    []byte
	next int // byte to be read
	err  error
}

func (d *decoder) fail(what string) {
	if d.err == nil {
		d.err = fmt.Errorf("frame ends or overflows inside %s", what)
	}
	d.next = len(d.b)
}

// left is how many bytes are.
func (d *decoder) left() int { return len(d.b) - d.next }

// rest takes off all that is left.
func (d *decoder) rest() []byte { return d.take(uint64(d.left()), "the rest") }

func (d *decoder) take(n uint64, what string) []byte {
	if uint64(d.left()) < n {
		d.fail(what)
		return nil
	}
	v := d.b[d.next : d.next+int(n)]
	d.next += int(n)
	return v
}

func (d *decoder) byte() byte {
	if v := d.take(1, "a byte"); v != nil {
		return v[0]
	}
	return 0
}

func (d *decoder) uint() uint64 {
	if d.next < len(d.b) && d.b[d.next] < 0x80 { // most are short
		d.next++
		return uint64(d.b[d.next-1])
	}
	v, n := binary.Uvarint(d.b[d.next:])
	if n <= 0 {
		d.fail("a number")
		return 0
	}
	d.next += n
	return v
}

// skip passes over n numbers.
func (d *decoder) skip(n int) {
	for n > 0 && d.next < len(d.b) {
		n -= int(^d.b[d.next] >> 7) // the last byte of one
		d.next++
	}
	if n > 0 {
		d.fail("a number")
	}
}

func (d *decoder) int() int64 { return unzigzag(d.uint()) }

func (d *decoder) fixed32() uint32 {
	if v := d.take(4, "a checksum"); v != nil {
		return binary.LittleEndian.Uint32(v)
	}
	return 0
}

func (d *decoder) address() (a [16]byte) {
	copy(a[:], d.take(16, "an address"))
	return a
}

func (d *decoder) text() string { return string(d.take(d.uint(), "a text")) }

// count reads the number of elements of at least one byte each that follow, so that
// a damaged number never makes a large allocation.
func (d *decoder) count() int {
	n := d.uint()
	if n > uint64(d.left()) {
		d.fail("a list")
		return 0
	}
	return int(n)
}

// done says whether the frame was read whole and held nothing more.
func (d *decoder) done() error {
	if d.err == nil && d.left() > 0 {
		d.err = fmt.Errorf("frame has %d bytes too many", d.left())
	}
	return d.err
}
