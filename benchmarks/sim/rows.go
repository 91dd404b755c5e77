package sim

import (
	"cmp"
	"math/rand/v2"
	"slices"

	"github.com/whichpod/whichpod/flow"
)

// row is one tuple, small: everything else is in its flow.
type row struct {
	t, record int64 // ms, in the log's clock
	offset    int64 // of the tuple in its blob
	flow      uint32
	seq       uint32 // keeps an E before a B of the same millisecond
	blob      uint32
	nic       uint16
	direction byte
	state     byte
	rule      uint8
	counters  [4]uint32 // packets, bytes sent; packets, bytes received
}

// continueEvery is how often an open flow has a C row: "Statistics are provided at
// five-minute intervals" (https://learn.microsoft.com/azure/network-watcher/vnet-flow-logs-overview).
const continueEvery = 300_000

// A record is written at least tupleAge and at most a minute more after its tuples'
// times: 3.6 to 62.4 s in public samples.
const tupleAge = 3000

// rule is what a tuple is grouped under.
type rule struct{ acl, name string }

// The rules of the cluster's network security group, and the platform's own. Tuples of
// one ACL stand together.
const (
	vnetOut = iota
	internetOut
	vnetIn
	denyIn
	nodePortsIn
	denySMTP
	platformRule
)

const nsg = "6b1a2c3d-4e5f-4a6b-8c7d-9e0f1a2b3c4d"

var ruleTable = []rule{
	vnetOut:      {nsg, "DefaultRule_AllowVnetOutBound"},
	internetOut:  {nsg, "DefaultRule_AllowInternetOutBound"},
	vnetIn:       {nsg, "DefaultRule_AllowVnetInBound"},
	denyIn:       {nsg, "DefaultRule_DenyAllInBound"},
	nodePortsIn:  {nsg, "UserRule_allow-node-ports"},
	denySMTP:     {nsg, "UserRule_deny-smtp"},
	platformRule: {"00000000-0000-0000-0000-000000000000", "PlatformRule"},
}

// rules says under which rule the two NICs log a flow.
func rules(f *flowRecord) (source, destination uint8) {
	source, destination = vnetOut, vnetIn
	switch f.class {
	case ToInternet:
		source = internetOut
		if f.denied {
			source = denySMTP
		}
	case FromNode:
		if f.dst == apiServer {
			source = internetOut
		}
	case ToPlatform:
		source = platformRule
	case Scan:
		destination = nodePortsIn
		if f.denied {
			destination = denyIn
		}
	}
	return source, destination
}

// expander turns flows into rows.
type expander struct {
	world    *World
	from, to int64
	rows     []row
}

// expand writes down what each NIC logs of each flow, in the order of the blobs.
func expand(w *World) []row {
	e := &expander{world: w, from: w.Config.startMS(), to: w.Config.endMS()}
	e.rows = make([]row, 0, 3*len(w.flows))
	for i := range w.flows {
		e.flow(uint32(i), &w.flows[i])
	}
	for i := range e.rows {
		e.rows[i].seq = uint32(i)
		e.rows[i].record = w.NICs[e.rows[i].nic].recordTime(e.rows[i].t)
	}
	slices.SortFunc(e.rows, func(a, b row) int {
		return cmp.Or(cmp.Compare(a.nic, b.nic), cmp.Compare(a.record, b.record), cmp.Compare(a.rule, b.rule),
			cmp.Compare(a.t, b.t), cmp.Compare(a.seq, b.seq))
	})
	return e.rows
}

// recordTime is the time of the record that holds a tuple of time t.
func (n *NIC) recordTime(t int64) int64 {
	since := t + tupleAge - n.recordPhase
	return (since+59_999)/60_000*60_000 + n.recordPhase
}

// side is one NIC's view of a flow.
type side struct {
	flow      uint32
	nic       int32
	direction byte
	rule      uint8
	late      int64 // from true time to this log's time
}

func (e *expander) flow(i uint32, f *flowRecord) {
	r := rand.New(rand.NewPCG(f.salt, 3))
	if f.denied {
		e.denied(r, i, f)
		return
	}
	if f.srcNIC >= 0 {
		e.side(r, f, side{i, f.srcNIC, flow.Outbound, f.rule, e.world.NICs[f.srcNIC].Skew})
	}
	if f.dstNIC >= 0 {
		e.side(r, f, e.world.receiver(i))
	}
}

// receiver is the destination's view: a little later, by its own host's clock.
func (w *World) receiver(i uint32) side {
	f := &w.flows[i]
	return side{i, f.dstNIC, flow.Inbound, f.dstRule, w.NICs[f.dstNIC].Skew + int64(f.salt>>32%3)}
}

// side logs a flow at one NIC: begin, continued every five minutes, end.
func (e *expander) side(r *rand.Rand, f *flowRecord, s side) {
	e.add(s, f.begin, flow.Begin, [4]uint32{})
	var carried [4]uint32
	if f.again > 0 {
		// Programmed anew: an E and a B at once, and the next E counts from the true
		// begin again. Seen in NIC-level logs, not documented.
		carried = counters(r)
		e.add(s, f.again, flow.End, carried)
		e.add(s, f.again, flow.Begin, [4]uint32{})
	}
	previous := f.begin
	for at := f.begin + continueEvery; at < f.end; at += continueEvery {
		e.add(s, at, flow.Continue, since(r, previous, f.last))
		previous = at
	}
	if f.noE {
		return
	}
	c := since(r, previous, f.last)
	for k := range c {
		c[k] += carried[k]
	}
	e.add(s, f.end, flow.End, c)
}

// denied logs an attempt and its retries, a second and then two apart as TCP makes
// them; now and then a row comes up to three times in its millisecond.
func (e *expander) denied(r *rand.Rand, i uint32, f *flowRecord) {
	s := side{i, f.srcNIC, flow.Outbound, f.rule, 0}
	if f.class == Scan {
		s = e.world.receiver(i)
	} else {
		s.late = e.world.NICs[f.srcNIC].Skew
	}
	attempts, at := between(r, 1, 4), f.begin
	for n := range attempts {
		copies := int64(1)
		if chance(r, 0.15) {
			copies = between(r, 2, 3)
		}
		if n == 0 || at < f.gone {
			for range copies {
				e.add(s, at, flow.Denied, [4]uint32{})
			}
		}
		at += 1000 << n
	}
}

// add appends a row, unless nobody logged at that time.
func (e *expander) add(s side, at int64, state byte, c [4]uint32) {
	t := at + s.late
	if t < e.from || t >= e.to {
		return
	}
	if e.world.NICs[s.nic].away(e.world.flows[s.flow].begin, at) {
		return
	}
	if e.world.flows[s.flow].silent {
		c[2], c[3] = 0, 0
	}
	e.rows = append(e.rows, row{t: t, flow: s.flow, nic: uint16(s.nic), direction: s.direction,
		state: state, rule: s.rule, counters: c})
}

// since draws the counters of a row that covers the time from previous on; nothing
// moved if the last packet was before.
func since(r *rand.Rand, previous, last int64) [4]uint32 {
	c := counters(r)
	if last < previous {
		return [4]uint32{}
	}
	return c
}

func counters(r *rand.Rand) [4]uint32 {
	sent, received := 1+r.Uint32N(20), 1+r.Uint32N(30)
	return [4]uint32{sent, sent*54 + r.Uint32N(4000), received, received*54 + r.Uint32N(30000)}
}
