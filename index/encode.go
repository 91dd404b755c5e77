package index

import (
	"encoding/binary"
	"hash/crc32"

	"github.com/apache/arrow/go/v17/arrow"
	flatbuffers "github.com/google/flatbuffers/go"
	"github.com/klauspost/compress/zstd"

	"github.com/whichpod/whichpod/flow"
)

// packer turns rows into the record batches of a segment. One goroutine uses it at a
// time; a writer has one for each core.
type packer struct {
	zstd   *zstd.Encoder
	stride strider
	fb     *flatbuffers.Builder
	raw    []byte // one column, uncompressed
	body   []byte
	out    []byte // the message; valid until the next call

	nodes []node
	spans []span
}

func newPacker() (*packer, error) {
	z, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1),
		zstd.WithEncoderCRC(false), zstd.WithWindowSize(batchRows*8), zstd.WithLowerEncoderMem(true))
	if err != nil {
		return nil, err
	}
	return &packer{zstd: z, fb: flatbuffers.NewBuilder(4096)}, nil
}

func (p *packer) begin() { p.nodes, p.spans, p.body = p.nodes[:0], p.spans[:0], p.body[:0] }

// buffer adds one to the body: the length of the raw bytes, then the bytes as one
// zstd frame; or a length of -1 and the bytes as they are where that is shorter.
// Nothing stays nothing.
// Stride says that a strider should try first.
func (p *packer) buffer(raw []byte, stride bool) {
	start := len(p.body)
	if len(raw) > 0 {
		p.body = binary.LittleEndian.AppendUint64(p.body, uint64(len(raw)))
		var ok bool
		if stride {
			p.body, ok = p.stride.encode(p.body, raw)
		}
		if !ok {
			p.body = p.zstd.EncodeAll(raw, p.body)
		}
		if len(p.body)-start-8 >= len(raw) {
			p.body = binary.LittleEndian.AppendUint64(p.body[:start], ^uint64(0))
			p.body = append(p.body, raw...)
		}
	}
	p.spans = append(p.spans, span{int64(start), int64(len(p.body) - start)})
	p.body = append(p.body, make([]byte, -len(p.body)&7)...)
}

func (p *packer) finish(meta []byte) (out []byte, at fileBlock) {
	p.out = message(p.out[:0], meta)
	at = fileBlock{metaLength: int32(len(p.out)), bodyLength: int64(len(p.body))}
	p.out = append(p.out, p.body...)
	return p.out, at
}

// dictionary makes the message of one dictionary from its columns' buffers, of which
// the first is the empty validity.
func (p *packer) dictionary(id, entries int, buffers ...[]byte) ([]byte, fileBlock) {
	p.begin()
	p.buffer(nil, false)
	for _, b := range buffers {
		p.buffer(b, false)
	}
	return p.finish(dictionaryMessage(p.fb, int64(id), int64(entries), p.spans, int64(len(p.body))))
}

// sealedBatch is a record batch as the file and the manifest need it.
type sealedBatch struct {
	bytes []byte
	block fileBlock
	meta  segmentBatch
}

// batch makes the message of the given rows.
func (p *packer) batch(c *sealing, rows []uint32) sealedBatch {
	p.begin()
	for col := range numColumns {
		nulls := c.nulls(col, rows)
		if nulls > 0 {
			p.buffer(c.validity(p.grow((len(rows)+7)/8), col, rows), false)
		} else {
			p.buffer(nil, false)
		}
		p.nodes = append(p.nodes, node{int64(len(rows)), int64(nulls)})
		p.buffer(c.gather(p.grow(dataSize(col, len(rows))), col, rows), strided(col))
	}
	out, at := p.finish(recordMessage(p.fb, int64(len(rows)), p.nodes, p.spans, int64(len(p.body))))
	b := sealedBatch{bytes: out, block: at, meta: segmentBatch{rows: len(rows), lowSrc: c.src[rows[0]], highSrc: c.src[rows[len(rows)-1]]}}
	b.meta.length = int64(len(out))
	b.meta.crc = crc32.Checksum(out, castagnoli)
	b.meta.first, b.meta.last = c.time[rows[0]], c.time[rows[0]]
	for _, r := range rows {
		b.meta.first, b.meta.last = min(b.meta.first, c.time[r]), max(b.meta.last, c.time[r])
	}
	return b
}

// grow returns n zero bytes, aligned for any column.
func (p *packer) grow(n int) []byte {
	if cap(p.raw) < n {
		p.raw = make([]byte, max(n, 8*batchRows))
	}
	p.raw = p.raw[:n]
	clear(p.raw)
	return p.raw
}

// sealing is a segment's rows with the dictionaries as they go to disk.
type sealing struct {
	*columns
	texts    [numDictionaries][]string // not the addresses
	textCode [numDictionaries][]uint32 // by setting code: nic, encryption, rule, acl
}

func newSealing(c *columns) *sealing {
	s := &sealing{columns: c}
	for dict, of := range map[int]func(setting) string{
		dictNIC:        func(x setting) string { return x.nic },
		dictEncryption: func(x setting) string { return x.encryption },
		dictRule:       func(x setting) string { return x.rule },
		dictACL:        func(x setting) string { return x.acl },
	} {
		code := make(map[string]uint32)
		for _, x := range c.settings {
			t := of(x)
			k, ok := code[t]
			if !ok {
				k = uint32(len(s.texts[dict]))
				code[t] = k
				s.texts[dict] = append(s.texts[dict], t)
			}
			s.textCode[dict] = append(s.textCode[dict], k)
		}
	}
	s.texts[dictBlob] = c.paths
	return s
}

func counterOf(col int) (k int, ok bool) {
	k = col - flow.ColPacketsSent
	return k, k >= 0 && k < 4
}

func (s *sealing) nulls(col int, rows []uint32) (n int) {
	k, ok := counterOf(col)
	if !ok {
		return 0
	}
	for _, r := range rows {
		n += int(s.flags[r] >> k & 1)
	}
	return n
}

func (s *sealing) validity(raw []byte, col int, rows []uint32) []byte {
	k, _ := counterOf(col)
	for i, r := range rows {
		raw[i/8] |= (^s.flags[r] >> k & 1) << (i % 8)
	}
	return raw
}

// gather writes a column's data for the rows to raw, in the byte order of the
// machine, which is little-endian on all that we build for.
func (s *sealing) gather(raw []byte, col int, rows []uint32) []byte {
	switch col {
	case flow.ColTime:
		pick(arrow.Int64Traits.CastFromBytes(raw), s.time, rows)
	case flow.ColRecordTime:
		pick(arrow.Int64Traits.CastFromBytes(raw), s.record, rows)
	case flow.ColOffset:
		pick(arrow.Int64Traits.CastFromBytes(raw), s.offset, rows)
	case flow.ColSrc:
		pick(arrow.Uint32Traits.CastFromBytes(raw), s.src, rows)
	case flow.ColDst:
		pick(arrow.Uint32Traits.CastFromBytes(raw), s.dst, rows)
	case flow.ColBlob:
		pick(arrow.Uint32Traits.CastFromBytes(raw), s.blob, rows)
	case flow.ColSrcPort:
		pick(arrow.Uint16Traits.CastFromBytes(raw), s.srcPort, rows)
	case flow.ColDstPort:
		pick(arrow.Uint16Traits.CastFromBytes(raw), s.dstPort, rows)
	case flow.ColProtocol:
		pick(raw, s.protocol, rows)
	case flow.ColDirection:
		pick(raw, s.direction, rows)
	case flow.ColState:
		pick(raw, s.state, rows)
	case flow.ColAllowed:
		for i, r := range rows {
			raw[i/8] |= s.flags[r] / flagAllowed & 1 << (i % 8)
		}
	case flow.ColPacketsSent, flow.ColBytesSent, flow.ColPacketsReceived, flow.ColBytesReceived:
		pick(arrow.Uint64Traits.CastFromBytes(raw), s.counters[col-flow.ColPacketsSent], rows)
	default:
		out, codes := arrow.Uint32Traits.CastFromBytes(raw), s.textCode[dictionaryID(col)]
		for i, r := range rows {
			out[i] = codes[s.setting[r]]
		}
	}
	return raw
}

func pick[T any](dst, src []T, rows []uint32) {
	for i, r := range rows {
		dst[i] = src[r]
	}
}
