package attribution

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
	"math"
)

// The content of a checkpoint stands in blocks, each with a checksum, so that nothing
// is read that is not as it was written: docs/format/checkpoint.md.

const (
	blockSize  = 64 << 10 // bytes of content in a block that is written: what is read at a time stays in a cache
	blockLimit = 1 << 20  // and in one that is read
	lastBlock  = 1 << 31  // added to the length of the last one
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// blockWriter writes blocks with checksums. The first error stays.
type blockWriter struct {
	w     io.Writer
	block []byte
	count uint64
	err   error
}

func blockSum(count uint64, length uint32, data []byte) uint32 {
	var b [12]byte
	binary.LittleEndian.PutUint64(b[:], count)
	binary.LittleEndian.PutUint32(b[8:], length)
	return crc32.Update(crc32.Checksum(b[:], castagnoli), castagnoli, data)
}

// flush writes the block so far.
func (w *blockWriter) flush(last uint32) {
	if w.err != nil {
		return
	}
	var head [8]byte
	length := uint32(len(w.block)) | last
	binary.LittleEndian.PutUint32(head[:], length)
	binary.LittleEndian.PutUint32(head[4:], blockSum(w.count, length, w.block))
	if _, w.err = w.w.Write(head[:]); w.err == nil {
		_, w.err = w.w.Write(w.block)
	}
	w.block = w.block[:0]
	w.count++
}

func (w *blockWriter) raw(b []byte) {
	for len(b) > 0 && w.err == nil {
		n := min(len(b), blockSize-len(w.block))
		w.block = append(w.block, b[:n]...)
		if b = b[n:]; len(w.block) == blockSize {
			w.flush(0)
		}
	}
}

func (w *blockWriter) uint(v uint64) {
	var b [binary.MaxVarintLen64]byte
	w.raw(b[:binary.PutUvarint(b[:], v)])
}

func (w *blockWriter) bytes(b []byte) {
	w.uint(uint64(len(b)))
	w.raw(b)
}

func (w *blockWriter) numbers(list []uint32) {
	w.uint(uint64(len(list)))
	var b [4]byte
	for _, v := range list {
		binary.LittleEndian.PutUint32(b[:], v)
		w.raw(b[:])
	}
}

// blockReader hands out what stands in blocks of which the checksum was right. After
// the first thing that does not fit, err is set and all that follows is zero.
type blockReader struct {
	r     io.Reader
	block []byte // what is left of it
	space []byte
	count uint64
	last  bool
	err   error
}

var errImage = errors.New("it is not as it was written")

func (r *blockReader) fail(err error) {
	if r.err == nil {
		r.err = err
	}
	r.block = nil
}

func (r *blockReader) next() {
	if r.last || r.err != nil {
		r.fail(errImage)
		return
	}
	var head [8]byte
	if _, err := io.ReadFull(r.r, head[:]); err != nil {
		r.fail(err)
		return
	}
	length := binary.LittleEndian.Uint32(head[:])
	size := length &^ lastBlock
	if size > blockLimit {
		r.fail(errImage)
		return
	}
	if r.space == nil || int(size) > len(r.space) {
		r.space = make([]byte, max(size, blockSize))
	}
	if _, err := io.ReadFull(r.r, r.space[:size]); err != nil {
		r.fail(err)
		return
	}
	if blockSum(r.count, length, r.space[:size]) != binary.LittleEndian.Uint32(head[4:]) {
		r.fail(errImage)
		return
	}
	r.block, r.last = r.space[:size], length&lastBlock != 0
	r.count++
}

// ReadByte makes it an [io.ByteReader].
func (r *blockReader) ReadByte() (byte, error) {
	for len(r.block) == 0 {
		if r.next(); r.err != nil {
			return 0, r.err
		}
	}
	b := r.block[0]
	r.block = r.block[1:]
	return b, nil
}

func (r *blockReader) uint() uint64 {
	v, err := binary.ReadUvarint(r)
	if err != nil {
		r.fail(err)
		return 0
	}
	return v
}

// length is a number of things that can be in memory.
func (r *blockReader) length() int {
	n := r.uint()
	if n > math.MaxUint32 {
		r.fail(errImage)
		return 0
	}
	return int(n)
}

func (r *blockReader) bytes() []byte {
	n := r.length()
	out := make([]byte, 0, n)
	for len(out) < n && r.err == nil {
		if len(r.block) == 0 {
			r.next()
			continue
		}
		k := min(n-len(out), len(r.block))
		out = append(out, r.block[:k]...)
		r.block = r.block[k:]
	}
	return out
}

// raw reads n bytes.
func (r *blockReader) raw(n int) []byte {
	out := make([]byte, n)
	for i := range out {
		out[i], _ = r.ReadByte()
	}
	return out
}

func (r *blockReader) numbers() []uint32 {
	n := r.length()
	out := make([]uint32, 0, n)
	r.each(n, func(v uint32) { out = append(out, v) })
	return out
}

// each calls yield with n numbers, or with fewer where there is an error; the last one then
// means nothing.
func (r *blockReader) each(n int, yield func(uint32)) {
	var b [4]byte
	for n > 0 && r.err == nil {
		whole := min(n, len(r.block)/4)
		for i := range whole {
			yield(binary.LittleEndian.Uint32(r.block[4*i:]))
		}
		r.block, n = r.block[4*whole:], n-whole
		if n > 0 { // the next one goes on in the next block
			for i := range b {
				b[i], _ = r.ReadByte()
			}
			yield(binary.LittleEndian.Uint32(b[:]))
			n--
		}
	}
}
