// Package nat keeps what nodes translated: the evidence that tells which pod a flow
// under a node's address came from.
//
// In: [Flow], connections as a node's kernel tracked them, of an import, with the
// stretches in which that node's translations were all seen. Out: for a connection as
// the network saw it and a time, who can have had it then ([Store.Senders]).
//
// On disk, in one folder: sorted segments, and a journal that says which of them
// count (docs/format/nat.md). An import counts as a whole once Commit returned nil,
// and not before. Nothing is edited: what is known of one connection stands in as
// many records as told of it. Segments are merged into larger ones that hold the same.
//
// One process writes, under the journal's lock; any number read beside it. A Store may
// be used by many goroutines. Its memory does not grow with the number of connections
// but for about 100 bytes for each [blockFlows] of them.
package nat

import (
	"cmp"
	"math"
	"net/netip"
)

// Key is a connection as the network sees it, from the one who opened it.
type Key struct {
	Src, Dst         netip.Addr // unmapped; Src is the node's address
	Protocol         uint8      // IANA number
	SrcPort, DstPort uint16     // of ICMP: the identifier, and 0
}

// Compare orders keys as the rows of flow logs are sorted (flow.Compare), so that
// rows read in their order find their evidence in its.
func (k *Key) Compare(o *Key) int {
	if c := k.Src.Compare(o.Src); c != 0 {
		return c
	}
	if c := k.Dst.Compare(o.Dst); c != 0 {
		return c
	}
	return cmp.Or(cmp.Compare(k.Protocol, o.Protocol), cmp.Compare(k.SrcPort, o.SrcPort), cmp.Compare(k.DstPort, o.DstPort))
}

// Tuple is who called whom before anything was translated.
type Tuple struct {
	Src, Dst         netip.Addr
	SrcPort, DstPort uint16
}

// NoEnd is the end of a connection that has not ended as far as anybody knows.
const NoEnd = int64(math.MaxInt64)

// Flow is a connection that a node tracked, or what one import tells of it. Its four
// times bound it, Unix milliseconds by the node's clock: it is certain to have lasted
// from FromLatest to ToEarliest, both included.
type Flow struct {
	Key
	Node string
	// Original is the connection before the translation. It is the zero Tuple for one
	// that left as it was made: the node's own. Those are kept only where they had a
	// translated one's key shortly before or after it.
	Original Tuple

	FromEarliest, FromLatest int64 // FromEarliest 0 is unknown
	ToEarliest, ToLatest     int64 // ToLatest NoEnd is unknown, or not yet

	Import uint32 // number of the import that tells of it
	Place  uint64 // where in its source: the line, or for an agent's batch the number of the record
}

// Translated says whether the flow has an Original.
func (f *Flow) Translated() bool { return f.Original.Src.IsValid() }

// Redirected says whether the destination was translated too: then others than the
// node's pods may have been forwarded, who called one of its ports or a load balancer.
func (f *Flow) Redirected() bool { return f.Original.Dst != f.Dst || f.Original.DstPort != f.DstPort }

// compare orders records: by key, when they are certain to have begun, and the rest.
func (f *Flow) compare(o *Flow) int {
	if c := f.Key.Compare(&o.Key); c != 0 {
		return c
	}
	if c := cmp.Compare(f.FromLatest, o.FromLatest); c != 0 {
		return c
	}
	if c := f.compareContent(o); c != 0 {
		return c
	}
	return cmp.Or(cmp.Compare(f.Import, o.Import), cmp.Compare(f.Place, o.Place))
}

// compareContent orders records of one key and FromLatest by what they say, without
// who said it.
func (f *Flow) compareContent(o *Flow) int {
	if c := cmp.Or(cmp.Compare(f.FromEarliest, o.FromEarliest), cmp.Compare(f.ToEarliest, o.ToEarliest), cmp.Compare(f.ToLatest, o.ToLatest), cmp.Compare(f.Node, o.Node)); c != 0 {
		return c
	}
	if c := f.Original.Src.Compare(o.Original.Src); c != 0 {
		return c
	}
	if c := f.Original.Dst.Compare(o.Original.Dst); c != 0 {
		return c
	}
	return cmp.Or(cmp.Compare(f.Original.SrcPort, o.Original.SrcPort), cmp.Compare(f.Original.DstPort, o.Original.DstPort))
}
