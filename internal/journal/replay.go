package journal

import (
	"bytes"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
)

// scanner walks the frames of a file of which the header was checked.
type scanner struct {
	path   string
	from   int64 // where to begin; 0 is the first frame
	window window
	replay func(offset int64, payload []byte) error

	damage  []CorruptError
	pending []frame // of a group whose last frame was not seen yet
}

type frame struct {
	offset int64
	head
}

func (f frame) payload() int64 { return f.offset + frameSize }
func (f frame) end() int64     { return f.payload() + int64(f.length) }

// run returns where the whole groups end: what follows is an unfinished group.
func (s *scanner) run() (end int64, err error) {
	off := max(headerSize, s.from)
	if off > s.window.size {
		return 0, fmt.Errorf("journal %q has %d bytes, want at least %d", s.path, s.window.size, off)
	}
	for off < s.window.size {
		f, state, err := s.frameAt(off)
		if err != nil {
			return 0, err
		}
		switch state {
		case torn:
			return s.tornAt(off), nil
		case intact:
			off = f.end()
			s.pending = append(s.pending, f)
			if f.flags&lastOfGroup != 0 {
				err = s.deliver()
			}
		case badPayload: // the head checks, so its length can be trusted
			err = s.damaged(off, fmt.Sprintf("checksum mismatch in a payload of %d bytes", f.length))
			off = f.end()
		case badHead:
			var detail string
			at := off
			off, detail, err = s.resync(off)
			if err == nil {
				err = s.damaged(at, detail)
			}
		}
		if err != nil {
			return 0, err
		}
	}
	return s.tornAt(off), nil
}

// tornAt is the start of the unfinished group that ends with the file, or off where
// there is none.
func (s *scanner) tornAt(off int64) int64 {
	if len(s.pending) > 0 {
		return s.pending[0].offset
	}
	return off
}

type state int

const (
	intact     state = iota
	torn             // the file ends inside the frame: a crash
	badHead          // no frame can be seen here
	badPayload       // the head is good and the payload is all there, but not as written
)

func (s *scanner) frameAt(off int64) (frame, state, error) {
	left := s.window.size - off
	if left < frameSize {
		b, err := s.window.bytes(off, int(left))
		if err != nil {
			return frame{}, 0, err
		}
		n := min(len(b), len(sync4))
		if string(b[:n]) == sync4[:n] || allZero(b) {
			return frame{}, torn, nil
		}
		return frame{}, badHead, nil
	}
	b, err := s.window.bytes(off, frameSize)
	if err != nil {
		return frame{}, 0, err
	}
	h, ok := parseHead(b, off)
	f := frame{off, h}
	switch {
	case !ok:
		zero, err := s.zeroFrom(off)
		if zero {
			return f, torn, err
		}
		return f, badHead, err
	case f.end() > s.window.size:
		return f, torn, nil
	}
	p, err := s.window.bytes(f.payload(), int(f.length))
	if err != nil {
		return f, 0, err
	}
	if crc32.Checksum(p, castagnoli) != f.crc {
		return f, badPayload, nil
	}
	return f, intact, nil
}

// zeroFrom says whether the rest of the file is zero: some file systems lengthen a
// file before they write it, so a crash can leave that too.
func (s *scanner) zeroFrom(off int64) (bool, error) {
	for off < s.window.size {
		b, err := s.window.bytes(off, int(min(s.window.size-off, 4096)))
		if err != nil {
			return false, err
		}
		if !allZero(b) {
			return false, nil
		}
		off += int64(len(b))
	}
	return true, nil
}

func allZero(b []byte) bool {
	for _, c := range b {
		if c != 0 {
			return false
		}
	}
	return true
}

// resync looks for the next head after off that checks, or the end of the file.
func (s *scanner) resync(off int64) (next int64, detail string, err error) {
	detail = "no frame starts here, though one must"
	at := off + 1
	for s.window.size-at >= frameSize {
		b, err := s.window.bytes(at, int(min(s.window.size-at, windowSize)))
		if err != nil {
			return 0, "", err
		}
		for k := 0; k+frameSize <= len(b); k++ {
			i := bytes.Index(b[k:], []byte(sync4))
			if i < 0 || k+i+frameSize > len(b) {
				break
			}
			k += i
			if _, ok := parseHead(b[k:k+frameSize], at+int64(k)); ok {
				return at + int64(k), detail, nil
			}
		}
		at += int64(len(b) - frameSize + 1)
	}
	return s.window.size, detail, nil
}

// damaged notes the damage and lets go what stood before it in the same group: a
// group that is followed by anything was whole once.
func (s *scanner) damaged(off int64, detail string) error {
	s.damage = append(s.damage, CorruptError{Path: s.path, Offset: off, Detail: detail})
	return s.deliver()
}

// deliver replays the pending frames. Their payloads are read again rather than
// kept, so that memory is bounded by one frame and not by one group.
func (s *scanner) deliver() error {
	for _, f := range s.pending {
		p, err := s.window.bytes(f.payload(), int(f.length))
		if err != nil {
			return err
		}
		if s.replay == nil {
			continue
		}
		if err := s.replay(f.offset, p); err != nil {
			return fmt.Errorf("replay frame at byte %d of %q: %w", f.offset, s.path, err)
		}
	}
	s.pending = s.pending[:0]
	return nil
}

// windowSize is how much is read ahead, in bytes.
const windowSize = 256 << 10

// window reads a file through one buffer.
type window struct {
	r    io.ReaderAt
	size int64

	buf   []byte
	start int64 // of buf in the file
}

// bytes returns n bytes at off, which MUST lie inside the file. They are valid until
// the next call.
func (w *window) bytes(off int64, n int) ([]byte, error) {
	if at := off - w.start; at >= 0 && at+int64(n) <= int64(len(w.buf)) {
		return w.buf[at : at+int64(n)], nil
	}
	want := int(min(w.size-off, int64(max(n, windowSize))))
	if cap(w.buf) < want {
		w.buf = make([]byte, want)
	}
	w.buf, w.start = w.buf[:want], off
	got, err := w.r.ReadAt(w.buf, off)
	if got < n {
		w.buf = w.buf[:0]
		if err == nil || errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return nil, err
	}
	w.buf = w.buf[:got]
	return w.buf[:n], nil
}
