package ingest

import (
	"context"
	"fmt"
	"hash/crc32"
	"io"

	"github.com/whichpod/whichpod/flow"
)

const (
	// MaxRecordBytes bounds one record, and with it the memory of a Decoder. Azure
	// writes a record a minute and interface, of some kilobytes in the samples; a
	// minute with 800,000 tuples still fits. A longer record is a rejection.
	MaxRecordBytes = 64 << 20

	// CheckBytes is how many bytes before a position its Check covers: more than one
	// record of the samples, so that a blob written anew is noticed.
	CheckBytes = 4096

	startBytes = 256 << 10 // first size of the buffer: larger than most records
	spareBytes = 64 << 10  // free space before a read, so that reads stay large
	maxBuffer  = MaxRecordBytes + CheckBytes + startBytes
	idleBytes  = 4 << 20 // a larger buffer is given up after its blob
	emptyReads = 100     // reads without a byte or an error before io.ErrNoProgress
)

// ResumeAt is the offset from which a blob has to be opened to go on at p: the
// bytes that p.Check covers are read again and compared.
func ResumeAt(p flow.Position) int64 { return max(0, p.Offset-CheckBytes) }

// window is the part of a blob in memory: the bytes that are still needed and the
// CheckBytes before them. Offsets are those of the blob.
type window struct {
	ctx   context.Context
	r     io.Reader
	buf   []byte
	base  int64 // offset of buf[0]
	eof   bool
	err   error  // of r: it is not read again
	whole int64  // offset after the last whole record
	check uint32 // of the bytes before whole, where checked
	valid bool   // check is of whole
	table *crc32.Table
}

// start begins a blob at position from, whose check it compares.
func (w *window) start(ctx context.Context, r io.Reader, from flow.Position) error {
	if w.table == nil {
		w.table = crc32.MakeTable(crc32.Castagnoli)
	}
	if cap(w.buf) == 0 || cap(w.buf) > idleBytes {
		w.buf = make([]byte, 0, startBytes)
	}
	w.ctx, w.r, w.buf, w.base, w.eof, w.err = ctx, r, w.buf[:0], ResumeAt(from), false, nil
	w.whole, w.valid = from.Offset, false
	n := int(from.Offset - w.base)
	w.buf = w.buf[:n]
	if got, err := io.ReadFull(r, w.buf); err == io.EOF || err == io.ErrUnexpectedEOF {
		return fmt.Errorf("resume blob %q at %d: %w: it ends at byte %d", from.Blob, from.Offset, ErrRewritten, w.base+int64(got))
	} else if err != nil {
		return fmt.Errorf("resume blob %q at %d: %w", from.Blob, from.Offset, err)
	}
	if sum := w.sum(); sum != from.Check {
		return fmt.Errorf("resume blob %q at %d: %w: check of the %d bytes before is %08x, was %08x", from.Blob, from.Offset, ErrRewritten, n, sum, from.Check)
	}
	return nil
}

// from returns the bytes in memory from offset on.
func (w *window) from(offset int64) []byte { return w.buf[offset-w.base:] }

// end is the offset after the last byte in memory.
func (w *window) end() int64 { return w.base + int64(len(w.buf)) }

// fill reads more bytes and may forget those before keep, but for CheckBytes. It
// reports whether there were any.
func (w *window) fill(keep int64) (bool, error) {
	if w.eof || w.err != nil {
		return false, w.err
	}
	if cap(w.buf)-len(w.buf) < spareBytes {
		w.makeRoom(keep)
	}
	for range emptyReads {
		if err := w.ctx.Err(); err != nil {
			return false, err
		}
		n, err := w.r.Read(w.buf[len(w.buf):cap(w.buf)])
		w.buf = w.buf[:len(w.buf)+n]
		if err == io.EOF {
			w.eof = true
			return n > 0, nil
		}
		if w.err = err; n > 0 || err != nil {
			return n > 0, err
		}
	}
	return false, io.ErrNoProgress
}

// makeRoom moves the kept bytes to the front, into a larger buffer where they fill
// more than half of this one and there is a larger one: so each byte is moved a
// bounded number of times. The largest buffer holds the longest record and then some.
func (w *window) makeRoom(keep int64) {
	w.settle()
	kept := w.buf[max(0, keep-CheckBytes-w.base):]
	w.base = w.end() - int64(len(kept))
	to := w.buf[:0]
	if len(kept) > cap(w.buf)/2 && cap(w.buf) < maxBuffer {
		to = make([]byte, 0, min(2*cap(w.buf), maxBuffer))
	}
	w.buf = append(to, kept...)
}

// took says that a whole record ended at offset.
func (w *window) took(offset int64) { w.whole, w.valid = offset, false }

// settle computes the check of whole, as long as the bytes before it are there.
func (w *window) settle() {
	if !w.valid {
		w.check, w.valid = w.sum(), true
	}
}

func (w *window) sum() uint32 {
	hi := w.whole - w.base
	return crc32.Checksum(w.buf[max(0, hi-CheckBytes):hi], w.table)
}
