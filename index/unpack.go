package index

import (
	"fmt"
	"io"
	"os"

	"github.com/klauspost/compress/zstd"
)

// unpacker reads and decodes parts of segment files. Its buffers are used anew by
// each read.
type unpacker struct {
	zstd   *zstd.Decoder
	raw    []byte
	flat   []byte // what a frame becomes
	blocks blockScratch
}

func newUnpacker() (*unpacker, error) {
	z, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxMemory(maxPart),
		zstd.WithDecodeAllCapLimit(true)) // a frame must not decide how much is allocated
	if err != nil {
		return nil, err
	}
	return &unpacker{zstd: z}, nil
}

func (u *unpacker) close() { u.zstd.Close() }

// read returns a part of the file once its checksum was compared. The bytes are
// valid until the next call, and packPad more follow them.
func (u *unpacker) read(f *os.File, p part) ([]byte, error) {
	if int64(cap(u.raw)) < p.length+packPad {
		u.raw = make([]byte, p.length+p.length/4+packPad)
	}
	b := u.raw[:p.length]
	if n, err := f.ReadAt(b, p.offset); int64(n) < p.length {
		if err == io.EOF {
			return nil, CorruptError{Path: f.Name(), Offset: p.offset + int64(n), Detail: fmt.Sprintf("file ends here, want %d bytes more", p.length-int64(n))}
		}
		return nil, err
	}
	return b, p.check(f.Name(), b)
}
