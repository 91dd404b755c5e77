package query

import (
	"cmp"
	"net/netip"
	"slices"

	"github.com/whichpod/whichpod/attribution"
	"github.com/whichpod/whichpod/flow"
)

// peers gathers rows by who was at the other end.
type peers map[peerKey]*tally

type peerKey struct {
	address   netip.Addr
	port      uint16
	protocol  uint8
	direction string
	verdict   attribution.Verdict
	denied    bool
}

func newPeers() peers { return make(peers) }

func (p peers) add(a Attributed, i int, other netip.Addr, direction string, v attribution.Verdict) {
	k := peerKey{other, a.DstPort[i], a.Protocol[i], direction, v, a.State[i] == flow.Denied}
	t := p[k]
	if t == nil {
		t = &tally{}
		p[k] = t
	}
	t.add(a.Batch, i)
}

// list is sorted by the peers' first rows.
func (p peers) list() []Peer {
	out := make([]Peer, 0, len(p))
	for k, t := range p {
		out = append(out, Peer{k.address.String(), k.port, k.protocol, k.direction, Word(k.verdict), k.denied, t.flows()})
	}
	slices.SortFunc(out, func(a, b Peer) int {
		return cmp.Or(cmp.Compare(a.Flows.First, b.Flows.First), cmp.Compare(a.Address, b.Address), cmp.Compare(a.Port, b.Port), cmp.Compare(a.Direction, b.Direction))
	})
	return out
}
