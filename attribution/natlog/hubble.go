package natlog

import (
	"cmp"
	"encoding/json"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/whichpod/whichpod/attribution/nat"
)

// hubbleParser reads flows as Hubble and Retina give them, one JSON object a line: what
// "hubble observe -o json" prints, {"flow":{…},"node_name":…,"time":…}, or the flow
// alone. The fields are those of Cilium's api/v1/flow/flow.proto, by their names there.
//
// A flow is one packet that was seen at one place, not a connection. Where the packet's
// source was translated before, IP.source_xlated is the address in its header, IP.source
// the one that it had before, and the ports are the header's too: translated
// (pkg/hubble/parser/threefour/parser.go). The port that it had before is nowhere
// (cilium/cilium#31307). So a record has the key of the connection where it shows a
// packet on its way to the network, by who opened the connection, and only then.
type hubbleParser struct {
	sum  *Summary
	node string // empty: all
	sink Sink

	told   map[sample]int64 // when it was handed on last
	unused map[string]int
}

// sample is what a packet tells.
type sample struct {
	key      nat.Key
	node     string
	original nat.Tuple
}

// maxTold bounds what is remembered in order not to hand on each packet: 20 MB.
const maxTold = 1 << 16

type hubbleRecord struct {
	hubbleFlow
	Flow *hubbleFlow     `json:"flow"`
	Lost json.RawMessage `json:"lost_events"`

	NodeStatus  json.RawMessage `json:"node_status"`
	AgentEvent  json.RawMessage `json:"agent_event"`
	DebugEvent  json.RawMessage `json:"debug_event"`
	AgentEvents json.RawMessage `json:"agent_events"`
}

type hubbleFlow struct {
	Time    string `json:"time"`
	Verdict string `json:"verdict"`
	Node    string `json:"node_name"` // CLUSTER/NODE, or the node's name alone
	Point   string `json:"trace_observation_point"`
	IsReply *bool  `json:"is_reply"` // null: not known
	IP      *struct {
		Source      string `json:"source"`
		Translated  string `json:"source_xlated"`
		Destination string `json:"destination"`
	} `json:"IP"`
	L4 *struct {
		TCP, UDP, SCTP *hubblePorts
	} `json:"l4"`
}

type hubblePorts struct {
	Source      uint16 `json:"source_port"`
	Destination uint16 `json:"destination_port"`
}

// Why a record is of no use, though it can be read.
const (
	unusedOther     = "it tells of no packet"
	unusedPlain     = "it has no IP.source_xlated: it does not show that the source was translated"
	unusedPort      = "it has no ports in l4, so no translated one"
	unusedPlace     = "its trace_observation_point is not TO_NETWORK: the packet was not on its way out of the node"
	unusedVerdict   = "its verdict is not FORWARDED"
	unusedDirection = "is_reply is not false: who opened the connection is not known, or it is the other end"
	unusedNode      = "its node_name is not the node given, or missing"
)

var errNoFlow = errors.New("it is no flow of Hubble's: it has neither \"flow\" nor \"IP\"")

func (p *hubbleParser) line(b []byte) error {
	var r hubbleRecord
	if err := json.Unmarshal(b, &r); err != nil {
		p.sum.reject(p.sum.Lines, "it is no JSON object of a flow: %v", err)
		return nil
	}
	f := r.Flow
	if f == nil && r.IP != nil {
		f = &r.hubbleFlow
	}
	switch {
	case r.Lost != nil:
		p.sum.Losses++
		return nil
	case f == nil && (r.NodeStatus != nil || r.AgentEvent != nil || r.AgentEvents != nil || r.DebugEvent != nil):
		p.sum.Events++
		p.unused[unusedOther]++
		return nil
	case f == nil:
		p.sum.reject(p.sum.Lines, "%v", errNoFlow)
		return nil
	}
	s, at, unused, err := p.sample(f)
	switch {
	case err != nil:
		p.sum.reject(p.sum.Lines, "%v", err)
		return nil
	case unused != "":
		p.sum.Events++
		p.unused[unused]++
		return nil
	}
	p.sum.Events++
	return p.tell(s, at)
}

// sample is what a flow tells, and when, Unix milliseconds; or why it is of no use.
func (p *hubbleParser) sample(f *hubbleFlow) (s sample, at int64, unused string, err error) {
	switch {
	case f.IP == nil:
		return s, 0, unusedOther, nil
	case f.IP.Translated == "":
		return s, 0, unusedPlain, nil
	}
	protocol, ports := f.ports()
	_, name, found := strings.Cut(f.Node, "/")
	if !found {
		name = f.Node
	}
	switch {
	case ports == nil || ports.Source == 0 || ports.Destination == 0:
		return s, 0, unusedPort, nil
	case f.Point != "TO_NETWORK":
		return s, 0, unusedPlace, nil
	case f.Verdict != "FORWARDED":
		return s, 0, unusedVerdict, nil
	case f.IsReply == nil || *f.IsReply:
		return s, 0, unusedDirection, nil
	case name == "" || (p.node != "" && name != p.node):
		return s, 0, unusedNode, nil
	}
	t, err := time.Parse(time.RFC3339Nano, f.Time)
	if err != nil || t.Unix() <= 0 || t.Unix() > maxSeconds {
		return s, 0, "", errors.New("its time is no time as RFC 3339 has it")
	}
	var before, after, to netip.Addr
	for text, into := range map[*string]*netip.Addr{&f.IP.Source: &before, &f.IP.Translated: &after, &f.IP.Destination: &to} {
		if *into, err = address([]byte(*text)); err != nil {
			return s, 0, "", errors.New("it has an address that is none")
		}
	}
	if before.Is4() != after.Is4() || after.Is4() != to.Is4() {
		return s, 0, "", errors.New("its addresses are of several families")
	}
	s.key = nat.Key{Src: after, SrcPort: ports.Source, Dst: to, DstPort: ports.Destination, Protocol: protocol}
	s.node = name
	s.original = nat.Tuple{Src: before, Dst: to, DstPort: ports.Destination}
	return s, milliCeil(t.UnixMicro()), "", nil
}

func (f *hubbleFlow) ports() (protocol uint8, p *hubblePorts) {
	switch {
	case f.L4 == nil:
		return 0, nil
	case f.L4.TCP != nil:
		return 6, f.L4.TCP
	case f.L4.UDP != nil:
		return 17, f.L4.UDP
	default:
		return 132, f.L4.SCTP
	}
}

// tell hands a sample on, unless the same one was handed on within nat.Beside: another
// packet of the same tells nothing more.
func (p *hubbleParser) tell(s sample, at int64) error {
	if last, ok := p.told[s]; ok && at >= last && at-last < nat.Beside {
		return nil
	}
	if len(p.told) >= maxTold {
		clear(p.told)
	}
	p.told[s] = at
	p.sum.Flows++
	return p.sink.Add(nat.Flow{Key: s.key, Node: s.node, Original: s.original, FromLatest: at, ToEarliest: at, ToLatest: nat.NoEnd, Place: uint64(p.sum.Lines)})
}

func (p *hubbleParser) end() error {
	for reason, n := range p.unused {
		p.sum.Unusable = append(p.sum.Unusable, Unusable{reason, n})
	}
	slices.SortFunc(p.sum.Unusable, func(a, b Unusable) int {
		return cmp.Or(cmp.Compare(b.Records, a.Records), cmp.Compare(a.Reason, b.Reason))
	})
	return nil
}

// unread implements parser: no time is covered that a line could be missing from.
func (p *hubbleParser) unread() {}
