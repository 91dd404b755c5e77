package index

import (
	"github.com/whichpod/whichpod/flow"
)

// Dictionaries of a segment. The two address columns share theirs.
const (
	dictNIC = iota
	dictAddress
	dictEncryption
	dictRule
	dictACL
	dictBlob
	numDictionaries
)

// dictionaryID of a column of flow.Schema, or 0 where it has none.
func dictionaryID(col int) int64 {
	switch col {
	case flow.ColNIC:
		return dictNIC
	case flow.ColSrc, flow.ColDst:
		return dictAddress
	case flow.ColEncryption:
		return dictEncryption
	case flow.ColRule:
		return dictRule
	case flow.ColACL:
		return dictACL
	case flow.ColBlob:
		return dictBlob
	}
	return 0
}

const numColumns = flow.ColOffset + 1

// width is the number of bytes that one value of a column takes in a record batch;
// 0 stands for one bit.
func width(col int) int {
	switch col {
	case flow.ColTime, flow.ColRecordTime, flow.ColOffset,
		flow.ColPacketsSent, flow.ColBytesSent, flow.ColPacketsReceived, flow.ColBytesReceived:
		return 8
	case flow.ColNIC, flow.ColSrc, flow.ColDst, flow.ColEncryption, flow.ColRule, flow.ColACL, flow.ColBlob:
		return 4
	case flow.ColSrcPort, flow.ColDstPort:
		return 2
	case flow.ColAllowed:
		return 0
	default:
		return 1
	}
}

// dataSize is the length of a column's data buffer, in bytes.
func dataSize(col, rows int) int {
	if w := width(col); w > 0 {
		return w * rows
	}
	return (rows + 7) / 8
}

// counterOf says which of the four counters a column is.
func counterOf(col int) (k int, ok bool) {
	k = col - flow.ColPacketsSent
	return k, k >= 0 && k < 4
}
