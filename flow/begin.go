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

// Span is a closed range of times, Unix milliseconds. From MUST NOT be after To.
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
	odd   []int32 // scratch: rows of flows that are not plain
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
	n := b.Len()
	into = slices.Grow(into, n)[:len(into)+n]
	spans, same := into[len(into)-n:], b.Follows()
	if !t.begun || b.keyOf(0) != t.last {
		t.open = openFlows{}
	}
	t.begun, t.last = true, b.keyOf(n-1)
	first := t.flow(b, spans, 0) // which may have begun in the batch before
	if first < n {
		t.odd = b.plain(spans, first, t.odd)
		t.oddFlows(b, spans)
		last := n - 1
		for same[last] {
			last--
		}
		t.open = openFlows{}
		t.flow(b, spans, last) // which may go on in the next one
	}
	widen(b, spans)
	return into
}

// flow sets the spans of the rows of a flow from the given one on, and returns where the
// next flow begins.
func (t *Begins) flow(b *Batch, spans []Span, from int) int {
	same, i := b.Follows(), from
	for ; i == from || i < len(spans) && same[i]; i++ {
		spans[i] = t.open.next(int64(b.Time[i]), b.State[i])
	}
	return i
}

// oddFlows sets the spans of all flows that have an odd row.
func (t *Begins) oddFlows(b *Batch, spans []Span) {
	same, end := b.Follows(), 0
	for _, row := range t.odd {
		from := int(row)
		if from < end {
			continue // its flow was set for another row
		}
		for same[from] {
			from--
		}
		t.open = openFlows{}
		end = t.flow(b, spans, from)
	}
}

// widen takes in what the times of some rows leave open.
func widen(b *Batch, spans []Span) {
	for i := range spans {
		if s := &spans[i]; s.To%second == 0 {
			s.To += second - 1
		}
	}
	nics, codes := b.NICs()
	if !slices.Contains(nics, "") {
		return
	}
	for i := range spans {
		if nics[codes[i]] == "" {
			spans[i].From -= MaxDelay
		}
	}
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
	n := b.Len()
	into = slices.Grow(into, n)[:len(into)+n]
	out, packets, states, same := into[len(into)-n:], b.packetsReceived()[:n], b.State[:n], b.Follows()[:n]
	last := n - 1
	for i := range last { // whether a row is a begin nobody could foresee, so that is no jump
		begin := bit(states[i] == Begin)
		on := begin & bit(same[i+1]) & bit(states[i+1] != Begin)
		out[i] = (1-begin+on)&bit(packets[i+int(on)] > 0) != 0
	}
	out[last] = states[last] != Begin && packets[last] > 0
	if next != nil && b.State[last] == Begin && b.keyOf(last) == next.keyOf(0) && next.State[0] != Begin {
		out[last] = next.counters[2].IsValid(0) && next.counters[2].Value(0) > 0
	}
	return into
}

// packetsReceived has 0 where none are told.
func (b *Batch) packetsReceived() []uint64 {
	received := b.counters[2]
	if received.NullN() == 0 {
		return received.Uint64Values()
	}
	packets := make([]uint64, b.Len())
	for i := range packets {
		if received.IsValid(i) {
			packets[i] = received.Value(i)
		}
	}
	return packets
}

func (b *Batch) keyOf(i int) key {
	return key{
		src: b.Addresses[b.Src[i]], dst: b.Addresses[b.Dst[i]], srcPort: b.SrcPort[i], dstPort: b.DstPort[i],
		protocol: b.Protocol[i], direction: b.Direction[i], nic: b.NIC(i),
	}
}
