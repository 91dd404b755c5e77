package attribution

import (
	"net/netip"

	"github.com/whichpod/whichpod/flow"
)

var external = &Resolution{Verdict: External}

// Question asks who sent, or received, a flow at one of its ends.
type Question struct {
	Address netip.Addr
	Begin   flow.Span // when the flow began
	// NIC is the interface that logged the row, and Near says whether the address is
	// behind it: the source of an outbound row, the destination of an inbound one.
	// Without a NIC, all clusters count.
	NIC  string
	Near bool
	// Sent is set for the flow's source. Only then can the address be a node's in
	// place of a pod's, depending on where the flow went.
	Sent            bool
	Destination     netip.Addr // with Sent; invalid is unknown
	DestinationPort uint16
	// With Sent: what NAT evidence is found by. Protocol 0 is unknown.
	SourcePort uint16
	Protocol   uint8
	// Answered is set for the other end where it sent packets back: then somebody
	// had the address.
	Answered bool
}

// end is a role in a flow.
type end uint8

const (
	sender   end = iota // it sent, so it had its address
	answerer            // it was called, and sent something back
	called              // it was called

	numEnds = 3
)

func (q *Question) end() end {
	switch {
	case q.Sent:
		return sender
	case q.Answered:
		return answerer
	default:
		return called
	}
}
