package index

import (
	"encoding/binary"

	"github.com/apache/arrow/go/v17/arrow"
	flatbuffers "github.com/google/flatbuffers/go"
)

// This file writes the metadata of an Arrow IPC file, as
// https://arrow.apache.org/docs/format/Columnar.html#serialization-and-interprocess-communication-ipc
// and format/{Schema,Message,File}.fbs there define it. The writer of arrow/go v17 is
// not used for three reasons: its zstd level is fixed at one that takes three times
// as long, it compresses on one core, and its reader starts goroutines for each
// buffer and decodes every column, needed or not. What is written here is read back
// by that reader in a test.

// Values of enumerations in the format's schema.
const (
	metadataV5 = 4

	headerSchema     = 1
	headerDictionary = 2
	headerRecord     = 3

	typeInt             = 2
	typeUtf8            = 5
	typeBool            = 6
	typeTimestamp       = 10
	typeFixedSizeBinary = 15

	unitMillisecond = 1
	codecZstd       = 1

	// arrowMagic begins the file, padded to eight bytes, and ends it.
	arrowMagic = "ARROW1"
	// continuation begins each message; with a length of zero it ends the stream.
	continuation = 0xffffffff
)

// node describes one column of a record batch: its length and how many are null.
type node struct{ length, nulls int64 }

// span is where a buffer lies inside a message's body.
type span struct{ offset, length int64 }

// message frames metadata: continuation marker, length, flatbuffer, padding to 8.
func message(dst, meta []byte) []byte {
	padded := (len(meta) + 7) &^ 7
	dst = binary.LittleEndian.AppendUint32(dst, continuation)
	dst = binary.LittleEndian.AppendUint32(dst, uint32(padded))
	dst = append(dst, meta...)
	return append(dst, make([]byte, padded-len(meta))...)
}

func finishMessage(b *flatbuffers.Builder, kind byte, header flatbuffers.UOffsetT, bodyLength int64) []byte {
	b.StartObject(5)
	b.PrependInt16Slot(0, metadataV5, 0)
	b.PrependByteSlot(1, kind, 0)
	b.PrependUOffsetTSlot(2, header, 0)
	b.PrependInt64Slot(3, bodyLength, 0)
	b.Finish(b.EndObject())
	return b.FinishedBytes()
}

func schemaMessage(s *arrow.Schema) []byte {
	b := flatbuffers.NewBuilder(4096)
	return finishMessage(b, headerSchema, schemaTable(b, s), 0)
}

func recordMessage(b *flatbuffers.Builder, rows int64, nodes []node, spans []span, bodyLength int64) []byte {
	b.Reset()
	return finishMessage(b, headerRecord, recordTable(b, rows, nodes, spans), bodyLength)
}

func dictionaryMessage(b *flatbuffers.Builder, id, rows int64, spans []span, bodyLength int64) []byte {
	b.Reset()
	data := recordTable(b, rows, []node{{length: rows}}, spans)
	b.StartObject(3)
	b.PrependInt64Slot(0, id, 0)
	b.PrependUOffsetTSlot(1, data, 0)
	return finishMessage(b, headerDictionary, b.EndObject(), bodyLength)
}

func recordTable(b *flatbuffers.Builder, rows int64, nodes []node, spans []span) flatbuffers.UOffsetT {
	b.StartObject(2)
	b.PrependInt8Slot(0, codecZstd, 0)
	compression := b.EndObject()
	b.StartVector(16, len(nodes), 8)
	for i := len(nodes) - 1; i >= 0; i-- {
		b.Prep(8, 16)
		b.PrependInt64(nodes[i].nulls)
		b.PrependInt64(nodes[i].length)
	}
	nodesAt := b.EndVector(len(nodes))
	b.StartVector(16, len(spans), 8)
	for i := len(spans) - 1; i >= 0; i-- {
		b.Prep(8, 16)
		b.PrependInt64(spans[i].length)
		b.PrependInt64(spans[i].offset)
	}
	spansAt := b.EndVector(len(spans))
	b.StartObject(5)
	b.PrependInt64Slot(0, rows, 0)
	b.PrependUOffsetTSlot(1, nodesAt, 0)
	b.PrependUOffsetTSlot(2, spansAt, 0)
	b.PrependUOffsetTSlot(3, compression, 0)
	return b.EndObject()
}

// fileBlock is where a message lies in the file: its metadata with the eight bytes
// before it, and its body.
type fileBlock struct {
	offset     int64
	metaLength int32
	bodyLength int64
}

// footerBytes is all that follows the last message: footer, its length, magic.
func footerBytes(s *arrow.Schema, dictionaries, records []fileBlock) []byte {
	b := flatbuffers.NewBuilder(8192)
	schema := schemaTable(b, s)
	blocks := func(list []fileBlock) flatbuffers.UOffsetT {
		b.StartVector(24, len(list), 8)
		for i := len(list) - 1; i >= 0; i-- {
			b.Prep(8, 24)
			b.PrependInt64(list[i].bodyLength)
			b.Pad(4)
			b.PrependInt32(list[i].metaLength)
			b.PrependInt64(list[i].offset)
		}
		return b.EndVector(len(list))
	}
	dictionariesAt := blocks(dictionaries)
	recordsAt := blocks(records)
	b.StartObject(5)
	b.PrependInt16Slot(0, metadataV5, 0)
	b.PrependUOffsetTSlot(1, schema, 0)
	b.PrependUOffsetTSlot(2, dictionariesAt, 0)
	b.PrependUOffsetTSlot(3, recordsAt, 0)
	b.Finish(b.EndObject())
	f := b.FinishedBytes()
	return append(binary.LittleEndian.AppendUint32(f, uint32(len(f))), arrowMagic...)
}

func schemaTable(b *flatbuffers.Builder, s *arrow.Schema) flatbuffers.UOffsetT {
	fields := make([]flatbuffers.UOffsetT, s.NumFields())
	for i := range fields {
		fields[i] = fieldTable(b, s.Field(i), dictionaryID(i))
	}
	b.StartVector(4, len(fields), 4)
	for i := len(fields) - 1; i >= 0; i-- {
		b.PrependUOffsetT(fields[i])
	}
	list := b.EndVector(len(fields))
	b.StartObject(4)
	b.PrependUOffsetTSlot(1, list, 0) // slot 0, endianness, is little by default
	return b.EndObject()
}

func fieldTable(b *flatbuffers.Builder, f arrow.Field, id int64) flatbuffers.UOffsetT {
	name := b.CreateString(f.Name)
	b.StartVector(4, 0, 4)
	children := b.EndVector(0)
	t := f.Type
	var dictionary flatbuffers.UOffsetT
	if d, ok := t.(*arrow.DictionaryType); ok {
		index := intTable(b, d.IndexType.(arrow.FixedWidthDataType))
		b.StartObject(4)
		b.PrependInt64Slot(0, id, 0)
		b.PrependUOffsetTSlot(1, index, 0)
		dictionary = b.EndObject()
		t = d.ValueType
	}
	kind, table := typeTable(b, t)
	b.StartObject(7)
	b.PrependUOffsetTSlot(0, name, 0)
	b.PrependBoolSlot(1, f.Nullable, false)
	b.PrependByteSlot(2, kind, 0)
	b.PrependUOffsetTSlot(3, table, 0)
	if dictionary != 0 {
		b.PrependUOffsetTSlot(4, dictionary, 0)
	}
	b.PrependUOffsetTSlot(5, children, 0)
	return b.EndObject()
}

// typeTable knows the types of flow.Schema and no others.
func typeTable(b *flatbuffers.Builder, t arrow.DataType) (kind byte, table flatbuffers.UOffsetT) {
	switch t := t.(type) {
	case *arrow.TimestampType:
		zone := b.CreateString(t.TimeZone)
		b.StartObject(2)
		b.PrependInt16Slot(0, unitMillisecond, 0)
		b.PrependUOffsetTSlot(1, zone, 0)
		return typeTimestamp, b.EndObject()
	case *arrow.StringType:
		b.StartObject(0)
		return typeUtf8, b.EndObject()
	case *arrow.BooleanType:
		b.StartObject(0)
		return typeBool, b.EndObject()
	case *arrow.FixedSizeBinaryType:
		b.StartObject(1)
		b.PrependInt32Slot(0, int32(t.ByteWidth), 0)
		return typeFixedSizeBinary, b.EndObject()
	default:
		return typeInt, intTable(b, t.(arrow.FixedWidthDataType))
	}
}

func intTable(b *flatbuffers.Builder, t arrow.FixedWidthDataType) flatbuffers.UOffsetT {
	b.StartObject(2)
	b.PrependInt32Slot(0, int32(t.BitWidth()), 0)
	b.PrependBoolSlot(1, t.ID() == arrow.INT64, false)
	return b.EndObject()
}
