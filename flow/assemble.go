package flow

import (
	"net/netip"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
)

// Dictionaries are those of a batch's columns, each entry once. The addresses are those
// of both ends, unmapped.
type Dictionaries struct {
	Addresses                        []netip.Addr
	Growing                          *Dictionary // which one Addresses are, or nil
	NIC, Encryption, Rule, ACL, Blob []string
}

// Assemble wraps a record whose columns the caller has just made, and looks at none of
// their rows. The record MUST be one that [NewBatch] takes, its two address columns
// MUST share their dictionary, and the dictionaries MUST be its own; they are taken
// over. follows is what [Batch.Follows] will return; nil where the caller does not know.
// Like NewBatch it takes a reference of its own.
func Assemble(rec arrow.Record, d Dictionaries, follows []bool) *Batch {
	codes := func(col int) []uint32 {
		return rec.Column(col).(*array.Dictionary).Indices().(*array.Uint32).Uint32Values()
	}
	b := &Batch{
		record: rec, Src: codes(ColSrc), Dst: codes(ColDst), Addresses: d.Addresses, Dictionary: d.Growing,
		nic:        textColumn{d.NIC, codes(ColNIC)},
		encryption: textColumn{d.Encryption, codes(ColEncryption)},
		rule:       textColumn{d.Rule, codes(ColRule)},
		acl:        textColumn{d.ACL, codes(ColACL)},
		blob:       textColumn{d.Blob, codes(ColBlob)},
	}
	b.view()
	if follows != nil {
		b.follow = func() []bool { return follows }
	}
	rec.Retain()
	return b
}
