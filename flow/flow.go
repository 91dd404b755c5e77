// Package flow defines what a flow log row is: its Arrow schema, the batches that
// carry it through the pipeline, the order of the rows of one flow, and which rows
// belong to the same flow.
//
// In: single rows, appended to a [Builder] by a parser or a segment reader. Out:
// [Batch], an immutable set of typed Arrow columns with dictionary-encoded
// addresses. The package is a leaf: it does no I/O and imports nothing of ours.
//
// Nothing here is safe for concurrent use, except that any number of goroutines
// may read one Batch.
package flow

import (
	"cmp"
	"net/netip"
	"strconv"
	"strings"
)

// Direction of a tuple relative to the NIC that logged it.
const (
	Inbound  = byte('I')
	Outbound = byte('O')
)

// State of the flow at the time of the row, as VNet flow logs write it
// (https://learn.microsoft.com/azure/network-watcher/vnet-flow-logs-overview).
const (
	Begin    = byte('B') // first packet; no counters
	Continue = byte('C') // every five minutes; counters since the last row
	End      = byte('E') // the flow ended or timed out; counters since the last row
	Denied   = byte('D') // the attempt was denied; no flow was made
)

// Unknown stands for a destination of which a log gives no address: a firewall's rule
// for names logs the name only. No destination has it.
var Unknown = netip.IPv6Unspecified()

// Row is one tuple of a flow log. Source and destination are those of the flow's
// initiator, whatever the direction of a packet. The zero value is not a valid row.
type Row struct {
	Time       int64      // event time, Unix milliseconds, UTC
	NIC        string     // MAC of the interface that logged the row, 12 upper-case hex digits; empty for a firewall's
	Direction  byte       // Inbound or Outbound, relative to NIC; 0 without one
	State      byte       // Begin, Continue, End or Denied
	Src, Dst   netip.Addr // unmapped, without a zone
	SrcPort    uint16
	DstPort    uint16
	Protocol   uint8 // IANA number: 6 TCP, 17 UDP
	Encryption string
	Allowed    bool
	Rule       string
	ACL        string
	Counters   Counters
	RecordTime int64  // the enclosing record's own time, Unix milliseconds: when it was logged
	Blob       string // path of the blob inside its container
	Offset     int64  // byte offset in the blob of the tuple's first character
}

// Counters are deltas since the flow's previous row, and estimates: see
// docs/flow-logs.md. A counter that the log left empty is null, not zero.
type Counters struct {
	PacketsSent, BytesSent         uint64 // source to destination
	PacketsReceived, BytesReceived uint64 // destination to source
	Null                           Nulls  // which of the four are null
}

// Nulls is a set of counters.
type Nulls uint8

// The four counters, in the order of a tuple's fields 10 to 13.
const (
	NullPacketsSent Nulls = 1 << iota
	NullBytesSent
	NullPacketsReceived
	NullBytesReceived

	NullAll = NullPacketsSent | NullBytesSent | NullPacketsReceived | NullBytesReceived
)

// compareKey orders two rows by the flow that they belong to, without time: source
// and destination address, protocol, ports, NIC and direction. Rows for which it
// returns 0 show the same five-tuple at the same interface.
func compareKey(a, b *Row) int {
	if c := a.Src.Compare(b.Src); c != 0 {
		return c
	}
	if c := a.Dst.Compare(b.Dst); c != 0 {
		return c
	}
	return cmp.Or(
		cmp.Compare(a.Protocol, b.Protocol),
		cmp.Compare(a.SrcPort, b.SrcPort),
		cmp.Compare(a.DstPort, b.DstPort),
		strings.Compare(a.NIC, b.NIC),
		cmp.Compare(a.Direction, b.Direction),
	)
}

// Compare is the order of rows in segments, scans and exports, "flow order": by
// source and destination address, protocol, ports, NIC and direction, then time, then
// state ([StateRank]), then provenance. It is total for rows of distinct provenance, so
// equal input gives equal output.
func Compare(a, b *Row) int {
	if c := compareKey(a, b); c != 0 {
		return c
	}
	return cmp.Or(
		cmp.Compare(a.Time, b.Time),
		cmp.Compare(StateRank(a.State), StateRank(b.State)),
		strings.Compare(a.Blob, b.Blob),
		cmp.Compare(a.Offset, b.Offset),
	)
}

// StateRank orders the rows of one flow that bear the same millisecond: an end
// before a begin, because a flow that Azure programs anew logs both at once and goes
// on (see [Begins]).
func StateRank(state byte) uint8 {
	switch state {
	case Continue:
		return 0
	case End:
		return 1
	case Begin:
		return 2
	default:
		return 3
	}
}

// Position says how far a blob was read. Rows and positions become durable together.
type Position struct {
	Blob   string // path inside the container
	ETag   string // of the version that was read; empty for a plain file
	Length int64  // of that version, in bytes
	Offset int64  // all whole records before it were taken
	Check  uint32 // CRC-32C of the bytes just before Offset: see docs/format/index.md
	Tail   string // why the bytes from Offset to Length are no record; empty where that is normal
}

// Rejection is input that was counted and left out: never lost without a word.
type Rejection struct {
	Blob   string
	Offset int64  // where in the blob it stands
	Reason string // one of a small set, for counting: "tuple", "record", …
	Detail string // what was got and what was allowed
}

// Tuple renders the row as the tuple of a VNet flow log: 13 fields, the time in
// milliseconds, addresses in their canonical text; what the log does not give is empty.
func (r *Row) Tuple() string {
	b := make([]byte, 0, 96)
	b = strconv.AppendInt(b, r.Time, 10)
	b = append(r.Src.AppendTo(append(b, ',')), ',')
	if r.Dst != Unknown {
		b = r.Dst.AppendTo(b)
	}
	b = append(b, ',')
	for _, n := range []uint64{uint64(r.SrcPort), uint64(r.DstPort), uint64(r.Protocol)} {
		b = append(strconv.AppendUint(b, n, 10), ',')
	}
	if r.Direction != 0 {
		b = append(b, r.Direction)
	}
	b = append(b, ',', r.State, ',')
	b = append(b, r.Encryption...)
	c := &r.Counters
	for i, n := range []uint64{c.PacketsSent, c.BytesSent, c.PacketsReceived, c.BytesReceived} {
		b = append(b, ',')
		if c.Null&(1<<i) == 0 {
			b = strconv.AppendUint(b, n, 10)
		}
	}
	return string(b)
}
