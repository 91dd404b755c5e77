package journal

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
)

// MaxPayload bounds a frame's payload, in bytes, so that a reader never allocates
// more than this for one frame, whatever the file says.
const MaxPayload = 64 << 20

const (
	headerSize = 8  // of the file: magic, version, two zero bytes
	frameSize  = 17 // of a frame's head: sync, length, flags, two checksums

	lastOfGroup = 1 // flag: the group is whole with this frame

	// writeSize is how much of a group is put together before it is written.
	writeSize = 1 << 20
)

// sync stands before each frame and lets a reader find the next one after damage.
// No UTF-8 text contains it.
const sync4 = "\xf5wp\xfe"

var (
	le         = binary.LittleEndian
	castagnoli = crc32.MakeTable(crc32.Castagnoli)
)

func headerOf(magic [4]byte, version uint16) (h [headerSize]byte) {
	copy(h[:], magic[:])
	le.PutUint16(h[4:], version)
	return h
}

// head is a frame's head, decoded.
type head struct {
	length uint32
	flags  byte
	crc    uint32 // of the payload
}

// appendHead writes the head of a frame that starts at offset in the file. Its own
// checksum covers the offset: a frame that is found elsewhere, such as the copy of a
// journal inside a payload, is not taken for one.
func appendHead(b []byte, offset int64, h head) []byte {
	start := len(b)
	b = append(b, sync4...)
	b = le.AppendUint32(b, h.length)
	b = append(b, h.flags)
	b = le.AppendUint32(b, h.crc)
	return le.AppendUint32(b, headCheck(offset, b[start:]))
}

func headCheck(offset int64, b []byte) uint32 {
	var at [8]byte
	le.PutUint64(at[:], uint64(offset))
	return crc32.Update(crc32.Checksum(at[:], castagnoli), castagnoli, b[:frameSize-4])
}

// parseHead returns false where b, of frameSize bytes, is no head of a frame at offset.
func parseHead(b []byte, offset int64) (head, bool) {
	if string(b[:4]) != sync4 || le.Uint32(b[13:]) != headCheck(offset, b) {
		return head{}, false
	}
	h := head{length: le.Uint32(b[4:]), flags: b[8], crc: le.Uint32(b[9:])}
	return h, h.length <= MaxPayload
}

// writeGroup writes the payloads as one group at offset and returns where it ends.
func writeGroup(w io.WriterAt, offset int64, payloads [][]byte) (end int64, err error) {
	size := 0
	for _, p := range payloads {
		size += frameSize + len(p)
	}
	buf := make([]byte, 0, min(size, 2*writeSize))
	at := offset // of buf's first byte
	flush := func() error {
		n, err := w.WriteAt(buf, at)
		at += int64(n)
		buf = buf[:0]
		return err
	}
	for i, p := range payloads {
		if len(p) > MaxPayload {
			return 0, fmt.Errorf("payload %d has %d bytes, at most %d are allowed", i, len(p), MaxPayload)
		}
		h := head{length: uint32(len(p)), crc: crc32.Checksum(p, castagnoli)}
		if i == len(payloads)-1 {
			h.flags = lastOfGroup
		}
		buf = appendHead(buf, at+int64(len(buf)), h)
		buf = append(buf, p...)
		if len(buf) >= writeSize {
			if err := flush(); err != nil {
				return 0, err
			}
		}
	}
	if len(buf) > 0 {
		if err := flush(); err != nil {
			return 0, err
		}
	}
	return at, nil
}
