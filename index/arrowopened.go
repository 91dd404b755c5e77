package index

import (
	"encoding/binary"
	"fmt"
	"math/bits"
	"net/netip"
	"os"
)

// arrowOpened is the dictionaries and postings of a segment of version 1, decoded.
type arrowOpened struct {
	addresses []netip.Addr              // ascending
	texts     [numDictionaries][]string // not the addresses
	asSource  []uint64                  // by address code: the batches it occurs in
	asDest    []uint64
}

// buffer decodes buffer i of a message to dst, which has the length that is expected.
func (u *unpacker) buffer(dst []byte, m *recordBatch, i int) error {
	if i >= len(m.spans) {
		return fmt.Errorf("buffer %d is missing", i)
	}
	got, err := u.decode(dst[:0], m, i, int64(len(dst)))
	if err != nil {
		return err
	}
	if len(got) != len(dst) {
		return fmt.Errorf("buffer %d has %d bytes, want %d", i, len(got), len(dst))
	}
	copy(dst, got) // onto itself, unless the decoder took other memory
	return nil
}

// maxRatio bounds what a buffer can claim to become, and so what is allocated for it.
// A column of 8,192 equal numbers of 64 bits takes 25 bytes.
const maxRatio = 1 << 13

// decode appends buffer i, of at most limit bytes, to dst.
func (u *unpacker) decode(dst []byte, m *recordBatch, i int, limit int64) ([]byte, error) {
	if i >= len(m.spans) {
		return nil, fmt.Errorf("buffer %d is missing", i)
	}
	b := m.body[m.spans[i].offset:][:m.spans[i].length]
	if len(b) == 0 {
		return dst, nil
	}
	if len(b) < 8 {
		return nil, fmt.Errorf("buffer %d has %d bytes, want at least 8", i, len(b))
	}
	n := int64(binary.LittleEndian.Uint64(b))
	if n == -1 {
		n = int64(len(b) - 8)
	}
	limit = min(limit, maxRatio*int64(len(b)))
	if n < 0 || n > limit {
		return nil, fmt.Errorf("buffer %d has %d bytes, at most %d are allowed", i, n, limit)
	}
	if binary.LittleEndian.Uint64(b) == ^uint64(0) {
		return append(dst, b[8:]...), nil
	}
	if int64(cap(dst)) < n {
		dst = make([]byte, 0, n)
	}
	return u.zstd.DecodeAll(b[8:], dst)
}

// openArrow reads what precedes and follows the batches of a segment.
func (u *unpacker) openArrow(f *os.File, s *segment) (*arrowOpened, error) {
	head, err := u.read(f, s.arrow.head)
	if err != nil {
		return nil, err
	}
	o := &arrowOpened{}
	if err := o.readHead(u, head, s); err != nil {
		return nil, CorruptError{Path: f.Name(), Offset: 0, Detail: err.Error()}
	}
	tail, err := u.read(f, s.arrow.postings)
	if err != nil {
		return nil, err
	}
	if err := o.readPostings(u, tail, s); err != nil {
		return nil, CorruptError{Path: f.Name(), Offset: s.arrow.postings.offset, Detail: err.Error()}
	}
	return o, nil
}

func (o *arrowOpened) readHead(u *unpacker, b []byte, s *segment) error {
	if len(b) < 8 {
		return fmt.Errorf("head has %d bytes", len(b))
	}
	b, err := skipMessage(b[8:]) // the schema: that of this version
	if err != nil {
		return err
	}
	for dict := range numDictionaries {
		var m recordBatch
		var id int64
		if m, id, b, err = parseMessage(b, headerDictionary); err != nil {
			return err
		}
		if id != int64(dict) {
			return fmt.Errorf("dictionary %d stands where %d must", id, dict)
		}
		if dict == dictAddress {
			err = o.readAddresses(u, &m, s.addresses)
		} else {
			o.texts[dict], err = o.readTexts(u, &m)
		}
		if err != nil {
			return fmt.Errorf("dictionary %d: %w", dict, err)
		}
	}
	if len(o.texts[dictBlob]) != len(s.ordinals) {
		return fmt.Errorf("blob dictionary has %d entries, want %d", len(o.texts[dictBlob]), len(s.ordinals))
	}
	return nil
}

func (o *arrowOpened) readAddresses(u *unpacker, m *recordBatch, want int) error {
	raw := make([]byte, 16*want)
	if err := u.buffer(raw, m, 1); err != nil {
		return err
	}
	o.addresses = make([]netip.Addr, want)
	for i := range o.addresses {
		o.addresses[i] = netip.AddrFrom16([16]byte(raw[16*i:])).Unmap()
	}
	return nil
}

func (o *arrowOpened) readTexts(u *unpacker, m *recordBatch) ([]string, error) {
	offsets, err := u.decode(nil, m, 1, maxPart)
	if err != nil {
		return nil, err
	}
	raw, err := u.decode(nil, m, 2, maxPart)
	if err != nil {
		return nil, err
	}
	if m.rows < 0 || m.rows > maxPart || int64(len(offsets)) != 4*(m.rows+1) {
		return nil, fmt.Errorf("%d texts have %d bytes of offsets", m.rows, len(offsets))
	}
	list := make([]string, m.rows)
	for i := range list {
		from, to := binary.LittleEndian.Uint32(offsets[4*i:]), binary.LittleEndian.Uint32(offsets[4*i+4:])
		if from > to || int(to) > len(raw) {
			return nil, fmt.Errorf("text %d is outside its buffer", i)
		}
		list[i] = string(raw[from:to])
	}
	return list, nil
}

func (o *arrowOpened) readPostings(u *unpacker, b []byte, s *segment) error {
	if len(b) < 16 || binary.LittleEndian.Uint64(b[8:]) > uint64(len(b)-16) {
		return fmt.Errorf("postings have %d bytes", len(b))
	}
	frame := b[16:][:binary.LittleEndian.Uint64(b[8:])] // behind the end-of-stream marker
	n := s.addresses
	raw, err := u.zstd.DecodeAll(frame, make([]byte, 0, 16*n))
	if err != nil {
		return fmt.Errorf("postings: %w", err)
	}
	if len(raw) != 16*n {
		return fmt.Errorf("postings have %d bytes, want %d", len(raw), 16*n)
	}
	words := make([]uint64, 2*n)
	used := uint64(0)
	for i := range words {
		words[i] = binary.LittleEndian.Uint64(raw[8*i:])
		used |= words[i]
	}
	if bits.Len64(used) > len(s.arrow.batches) {
		return fmt.Errorf("postings name batch %d of %d", bits.Len64(used), len(s.arrow.batches))
	}
	o.asSource, o.asDest = words[:n], words[n:]
	return nil
}
