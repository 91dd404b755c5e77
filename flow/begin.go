package flow

import (
	"net/netip"
	"slices"
)

// MaxIdle is the longest that a flow can stay in Azure's tables without a packet,
// in milliseconds: FlowTimeoutInMinutes allows 4 to 30 minutes (Azure virtual
// network resource, property flowTimeoutInMinutes). A row whose flow was not seen to
// begin belongs to somebody who held the address at some time within MaxIdle before
// it: had they all lost it earlier, the flow would have timed out.
const MaxIdle = 30 * 60 * 1000

// MaxDelay is how long before the time in a firewall's log its connection may have
// begun, in milliseconds. No document says which moment that time is of: this is the
// minute in which flow logs gather, not a measurement.
const MaxDelay = 60 * 1000

// Span is a closed range of times, Unix milliseconds.
type Span struct{ From, To int64 }

// Exactly says whether the span is one moment.
func (s Span) Exactly() bool { return s.From == s.To }

// Begins finds when the flow of each row began. A C or E row belongs to whoever
// held the address then, not when the row was written: a flow can end by idle
// timeout minutes after its pod died and the address was reused.
//
// It MUST be given the rows of a scan in flow order, from the first one: what it
// knows of a flow are its earlier rows. The zero value is ready for use.
type Begins struct {
	last  key
	begun bool // last is set
	open  openFlows
}

// openFlows is what the rows of one five-tuple at one NIC have shown so far.
type openFlows struct {
	count  int   // flows begun and not ended
	begins Span  // of the open ones; when none is, of the last that ended
	seen   int64 // time of the last row
	ended  int64 // time of the last E row; meaningful with hasEnd
	hasEnd bool
	any    bool // a row was seen
}

type key struct {
	src, dst         netip.Addr
	srcPort, dstPort uint16
	protocol         uint8
	direction        uint8
	nic              string
}

// Of appends to into, for each row of b, the span in which its flow began: one
// moment where the begin was logged. The span is wider where
//   - no begin was logged: it reaches MaxIdle back from the first row of the flow;
//   - several flows of one five-tuple are open: an end does not say which one ended.
//     So too when Azure programs a flow anew, which logs an E and a B in the same
//     millisecond for a flow that goes on;
//   - the time is a whole second: NSG flow logs have no milliseconds, and give the
//     second in which the flow began;
//   - no interface logged the row but a firewall did: see MaxDelay.
func (t *Begins) Of(b *Batch, into []Span) []Span {
	nics, codes := b.NICs()
	if first := b.keyOf(0); !t.begun || first != t.last {
		t.begun, t.open = true, openFlows{}
	}
	for i, same := range b.Follows() {
		if !same && i > 0 {
			t.open = openFlows{}
		}
		span := t.open.next(int64(b.Time[i]), b.State[i])
		if span.To%second == 0 {
			span.To += second - 1
		}
		if nics[codes[i]] == "" {
			span.From -= MaxDelay
		}
		into = append(into, span)
	}
	t.last = b.keyOf(b.Len() - 1)
	return into
}

const second = 1000 // milliseconds

func (o *openFlows) next(at int64, state byte) Span {
	if state == Denied {
		return Span{at, at} // a denied attempt is no flow
	}
	if o.any && at-o.seen > MaxIdle {
		*o = openFlows{} // whatever was open has timed out since
	}
	var span Span
	switch state {
	case Begin:
		span = o.begin(at)
	case Continue:
		if o.count == 0 {
			o.begins, o.count = o.unseen(at), 1
		}
		span = o.begins
	default:
		span = o.end(at)
	}
	o.seen, o.any = at, true
	return span
}

func (o *openFlows) begin(at int64) Span {
	switch {
	case o.hasEnd && o.ended == at: // perhaps programmed anew: then the flow began long ago
		o.begins.To = at
		o.count++
		return o.begins
	case o.count == 0:
		o.begins, o.count = Span{at, at}, 1
	case o.begins.To != at: // else the same begin, logged twice
		o.begins.To = at
		o.count++
	}
	return Span{at, at}
}

func (o *openFlows) end(at int64) Span {
	if o.count == 0 && !(o.hasEnd && o.ended == at) { // else the same end, logged twice
		o.begins = o.unseen(at)
	}
	o.count = max(o.count-1, 0)
	o.ended, o.hasEnd = at, true
	return o.begins
}

// unseen is the span of a begin that was not logged. After earlier rows it may be
// the flow of those that goes on, or one begun since.
func (o *openFlows) unseen(at int64) Span {
	if o.any {
		return Span{o.begins.From, at}
	}
	return Span{at - MaxIdle, at}
}

// Answered appends to into, for each row of b, whether its flow's destination is
// known to have sent something back: by the row's own counters, or, for a begin,
// which has none, by those of the row that follows it. next is the batch after b in
// flow order, or nil: what is known does not depend on where batches were cut.
func Answered(b, next *Batch, into []bool) []bool {
	n, same, received := b.Len(), b.Follows(), b.counters[2]
	packets := received.Uint64Values()
	into = slices.Grow(into, n)
	for i, state := range b.State {
		at := i
		if state == Begin {
			if at++; at == n || !same[at] || b.State[at] == Begin {
				into = append(into, false)
				continue
			}
		}
		into = append(into, packets[at] > 0 && received.IsValid(at))
	}
	if last := n - 1; next != nil && b.State[last] == Begin && b.keyOf(last) == next.keyOf(0) && next.State[0] != Begin {
		into[len(into)-1] = next.counters[2].IsValid(0) && next.counters[2].Value(0) > 0
	}
	return into
}

func (b *Batch) keyOf(i int) key {
	return key{
		src: b.Addresses[b.Src[i]], dst: b.Addresses[b.Dst[i]], srcPort: b.SrcPort[i], dstPort: b.DstPort[i],
		protocol: b.Protocol[i], direction: b.Direction[i], nic: b.NIC(i),
	}
}
