package nat

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"net/netip"
)

// Batch is what one run of an agent, its session, has to tell of a stretch of time. It
// is a file of its own, which is written once.
type Batch struct {
	Cluster string  `json:"cluster"`
	Node    string  `json:"node"`
	Session string  `json:"session"`
	Number  uint64  `json:"number"` // from 1, without a hole
	Covered []Range `json:"covered"`
	Lost    uint64  `json:"lost"` // how often the kernel said that it dropped events
	Flows   []Flow  `json:"-"`
}

// batchHead is the part of a batch that is written as JSON.
type batchHead struct {
	*Batch
	Records   int          `json:"records"`
	Addresses []netip.Addr `json:"addresses"`
}

const (
	batchVersion = 1
	// MaxBatchFlows is how many records a batch may have, so that neither side needs
	// more than about 30 MB for one.
	MaxBatchFlows = 1 << 16
	// MaxBatchBytes is longer than any batch.
	MaxBatchBytes = 16 << 20
)

var batchMagic = [4]byte{'w', 'p', 'n', 'b'}

// Encode returns the batch's bytes: docs/format/nat.md. Flows are sorted here.
func (b *Batch) Encode() ([]byte, error) {
	if len(b.Flows) > MaxBatchFlows {
		return nil, fmt.Errorf("encode batch: %d records, at most %d are allowed", len(b.Flows), MaxBatchFlows)
	}
	sortFlows(b.Flows)
	dict := newDictionary()
	dict.nodeCode(b.Node)
	enc := blockEncoder{dict: dict}
	for i := range b.Flows {
		f := b.Flows[i]
		f.Node, f.Import = b.Node, 0
		enc.add(&f)
	}
	head, err := json.Marshal(batchHead{b, len(b.Flows), dict.addresses})
	if err != nil {
		return nil, fmt.Errorf("encode batch: %w", err)
	}
	out := append([]byte(nil), batchMagic[:]...)
	out = append(binary.LittleEndian.AppendUint16(out, batchVersion), 0, 0)
	out = binary.LittleEndian.AppendUint32(out, uint32(len(head)))
	out = append(append(out, head...), enc.buf...)
	return appendCheck(out), nil
}

// appendCheck appends the checksum of all that is there.
func appendCheck(b []byte) []byte {
	return binary.LittleEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
}

// ErrBatch says that bytes are no whole batch.
var ErrBatch = errors.New("no whole batch of an agent")

// DecodeBatch reads a batch's bytes. Its errors match [ErrBatch].
func DecodeBatch(data []byte) (*Batch, error) {
	if len(data) < 16 || [4]byte(data[:4]) != batchMagic {
		return nil, fmt.Errorf("%w: %d bytes, which do not begin like one", ErrBatch, len(data))
	}
	if v := binary.LittleEndian.Uint16(data[4:]); v != batchVersion {
		return nil, fmt.Errorf("%w: version %d, this program reads %d", ErrBatch, v, batchVersion)
	}
	body := data[:len(data)-4]
	if crc32.Checksum(body, castagnoli) != binary.LittleEndian.Uint32(data[len(data)-4:]) {
		return nil, fmt.Errorf("%w: checksum mismatch in %d bytes", ErrBatch, len(data))
	}
	n := int(binary.LittleEndian.Uint32(body[8:]))
	if n > len(body)-12 {
		return nil, fmt.Errorf("%w: its head has %d bytes of %d", ErrBatch, n, len(body))
	}
	b := &Batch{}
	head := batchHead{Batch: b}
	if err := json.Unmarshal(body[12:12+n], &head); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrBatch, err)
	}
	if head.Records < 0 || head.Records > MaxBatchFlows || b.Cluster == "" || b.Node == "" || b.Session == "" || b.Number == 0 || b.Number >= 1<<40 {
		return nil, fmt.Errorf("%w: its head is %s", ErrBatch, body[12:12+min(n, 200)])
	}
	flows, err := decodeBlock(body[12+n:], head.Records, head.Addresses, []string{b.Node}, nil)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrBatch, err)
	}
	b.Flows = flows
	return b, nil
}

// Take adds a batch to an import, unless the store has it already.
func (w *Writer) Take(b *Batch) (known bool, err error) {
	if w.store.Taken(b.Session, b.Number) {
		return true, nil
	}
	place := w.Batch(b.Node, b.Session, b.Number)
	for _, f := range b.Flows {
		f.Place = place
		if err := w.Add(f); err != nil {
			return false, err
		}
	}
	for _, r := range b.Covered {
		w.Cover(b.Node, b.Session, r.From, r.To)
	}
	return false, nil
}
