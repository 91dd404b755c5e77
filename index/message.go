package index

import (
	"encoding/binary"
	"fmt"

	flatbuffers "github.com/google/flatbuffers/go"
)

// recordBatch is a message that was read: where its buffers lie.
type recordBatch struct {
	rows  int64
	nodes []node
	spans []span
	body  []byte
}

// parseMessage reads one message with its body, of the kind that is expected. The
// bytes were checked against their checksum, so what does not fit here is our own
// mistake or another program's; it is an error all the same and never a panic.
func parseMessage(b []byte, kind byte) (batch recordBatch, id int64, rest []byte, err error) {
	defer func() {
		if r := recover(); r != nil { // flatbuffers has no other way to say so
			err = fmt.Errorf("message metadata: %v", r)
		}
	}()
	if len(b) < 8 || binary.LittleEndian.Uint32(b) != continuation {
		return batch, 0, nil, fmt.Errorf("no message begins here")
	}
	length := int64(binary.LittleEndian.Uint32(b[4:]))
	if length > int64(len(b)-8) {
		return batch, 0, nil, fmt.Errorf("metadata has %d bytes, %d are left", length, len(b)-8)
	}
	meta, after := b[8:8+length], b[8+length:]
	msg := root(meta)
	if got := msg.byteAt(1); got != kind {
		return batch, 0, nil, fmt.Errorf("message is of kind %d, want %d", got, kind)
	}
	bodyLength := msg.int64At(3)
	if bodyLength < 0 || bodyLength > int64(len(after)) {
		return batch, 0, nil, fmt.Errorf("body has %d bytes, %d are left", bodyLength, len(after))
	}
	header := msg.tableAt(2)
	if kind == headerDictionary {
		id = header.int64At(0)
		header = header.tableAt(1)
	}
	batch = recordBatch{rows: header.int64At(0), body: after[:bodyLength]}
	batch.nodes = pairs(header, 1, func(a, b int64) node { return node{a, b} })
	batch.spans = pairs(header, 2, func(a, b int64) span { return span{a, b} })
	for i, s := range batch.spans {
		if s.offset < 0 || s.length < 0 || s.offset > bodyLength || s.length > bodyLength-s.offset {
			return batch, 0, nil, fmt.Errorf("buffer %d is outside the body", i)
		}
	}
	return batch, id, after[bodyLength:], nil
}

// skipMessage returns what follows a message without a body.
func skipMessage(b []byte) ([]byte, error) {
	if len(b) < 8 || binary.LittleEndian.Uint32(b) != continuation {
		return nil, fmt.Errorf("no message begins here")
	}
	n := int64(binary.LittleEndian.Uint32(b[4:]))
	if n > int64(len(b)-8) {
		return nil, fmt.Errorf("metadata has %d bytes, %d are left", n, len(b)-8)
	}
	return b[8+n:], nil
}

// table reads a flatbuffer's fields by their number in the schema.
type table struct{ flatbuffers.Table }

func root(b []byte) table {
	return table{flatbuffers.Table{Bytes: b, Pos: flatbuffers.GetUOffsetT(b)}}
}

func (t *table) at(field int) flatbuffers.UOffsetT {
	return flatbuffers.UOffsetT(t.Offset(flatbuffers.VOffsetT(4 + 2*field)))
}

func (t *table) byteAt(field int) byte {
	if o := t.at(field); o != 0 {
		return t.GetByte(o + t.Pos)
	}
	return 0
}

func (t *table) int64At(field int) int64 {
	if o := t.at(field); o != 0 {
		return t.GetInt64(o + t.Pos)
	}
	return 0
}

func (t *table) tableAt(field int) table {
	o := t.at(field)
	if o == 0 {
		panic(fmt.Sprintf("field %d is missing", field))
	}
	return table{flatbuffers.Table{Bytes: t.Bytes, Pos: t.Indirect(o + t.Pos)}}
}

// pairs reads a vector of structs of two int64.
func pairs[T any](t table, field int, make2 func(a, b int64) T) []T {
	o := t.at(field)
	if o == 0 {
		return nil
	}
	n := t.VectorLen(o)
	if n > 1024 {
		panic(fmt.Sprintf("field %d has %d entries", field, n))
	}
	at := t.Vector(o)
	list := make([]T, n)
	for i := range list {
		p := at + flatbuffers.UOffsetT(16*i)
		list[i] = make2(t.GetInt64(p), t.GetInt64(p+8))
	}
	return list
}
