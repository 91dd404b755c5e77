package flow

import "github.com/apache/arrow/go/v17/arrow"

// Column indexes of [Schema].
const (
	ColTime = iota
	ColNIC
	ColDirection
	ColState
	ColSrc
	ColDst
	ColSrcPort
	ColDstPort
	ColProtocol
	ColEncryption
	ColAllowed
	ColRule
	ColACL
	ColPacketsSent
	ColBytesSent
	ColPacketsReceived
	ColBytesReceived
	ColRecordTime
	ColBlob
	ColOffset
	numColumns
)

var (
	text    = &arrow.DictionaryType{IndexType: arrow.PrimitiveTypes.Uint32, ValueType: arrow.BinaryTypes.String}
	address = &arrow.DictionaryType{IndexType: arrow.PrimitiveTypes.Uint32, ValueType: &arrow.FixedSizeBinaryType{ByteWidth: 16}}
	millis  = &arrow.TimestampType{Unit: arrow.Millisecond, TimeZone: "UTC"}
)

// Schema is one row per tuple. Only the four counters can be null.
//
//	time              timestamp[ms, UTC]            event time
//	nic               dictionary<uint32, utf8>      MAC, 12 upper-case hex digits; empty in a firewall's row
//	direction         uint8                         'I' or 'O'; 0 in a firewall's row
//	state             uint8                         'B', 'C', 'E' or 'D'
//	src_ip, dst_ip    dictionary<uint32, fixed[16]> IPv6, or IPv4 mapped into it (RFC 4291 §2.5.5.2); dst_ip :: is unknown
//	src_port dst_port uint16
//	protocol          uint8                         IANA number
//	encryption        dictionary<uint32, utf8>      X, NX, NX_…
//	allowed           bool                          false for a denied attempt
//	rule, acl         dictionary<uint32, utf8>
//	packets_sent, bytes_sent, packets_received, bytes_received   uint64, nullable, deltas
//	record_time       timestamp[ms, UTC]            the record's own time
//	blob              dictionary<uint32, utf8>      path inside the container
//	offset            int64                         of the tuple's first character in the blob
//
// The two address columns of one batch share one dictionary.
var Schema = arrow.NewSchema([]arrow.Field{
	ColTime:            {Name: "time", Type: millis},
	ColNIC:             {Name: "nic", Type: text},
	ColDirection:       {Name: "direction", Type: arrow.PrimitiveTypes.Uint8},
	ColState:           {Name: "state", Type: arrow.PrimitiveTypes.Uint8},
	ColSrc:             {Name: "src_ip", Type: address},
	ColDst:             {Name: "dst_ip", Type: address},
	ColSrcPort:         {Name: "src_port", Type: arrow.PrimitiveTypes.Uint16},
	ColDstPort:         {Name: "dst_port", Type: arrow.PrimitiveTypes.Uint16},
	ColProtocol:        {Name: "protocol", Type: arrow.PrimitiveTypes.Uint8},
	ColEncryption:      {Name: "encryption", Type: text},
	ColAllowed:         {Name: "allowed", Type: arrow.FixedWidthTypes.Boolean},
	ColRule:            {Name: "rule", Type: text},
	ColACL:             {Name: "acl", Type: text},
	ColPacketsSent:     {Name: "packets_sent", Type: arrow.PrimitiveTypes.Uint64, Nullable: true},
	ColBytesSent:       {Name: "bytes_sent", Type: arrow.PrimitiveTypes.Uint64, Nullable: true},
	ColPacketsReceived: {Name: "packets_received", Type: arrow.PrimitiveTypes.Uint64, Nullable: true},
	ColBytesReceived:   {Name: "bytes_received", Type: arrow.PrimitiveTypes.Uint64, Nullable: true},
	ColRecordTime:      {Name: "record_time", Type: millis},
	ColBlob:            {Name: "blob", Type: text},
	ColOffset:          {Name: "offset", Type: arrow.PrimitiveTypes.Int64},
}, nil)
