package attribution

import (
	"net/netip"
	"slices"
	"strings"
)

// nodeBoot is how long a machine may run with its address before its kubelet registers
// it as a node, in milliseconds: an estimate, far past the minutes that AKS takes.
const nodeBoot = 10 * 60 * 1000

// incarnation is a node's object and the addresses of its machine: from some minutes
// before it was registered, until it may be gone for good. A node that is made again
// under its name, as a scale set does, is another one.
type incarnation struct {
	node, uid string
	addresses []netip.Addr
	// The brackets are those of the object, with nodeBoot before and Linger after: a
	// machine can go on sending when its object is deleted.
	fromEarliest, fromLatest, toEarliest, toLatest int64
}

// incarnations are the nodes on record of a cluster, by name and time.
func (o *objects) incarnations(cluster string) []incarnation {
	var out []incarnation
	key := coverageKey{cluster, Nodes}
	for name, obj := range o.byKey {
		if name.cluster == cluster && name.kind == Nodes {
			out = append(out, incarnationsOf(name.name, obj.phases(o.watched[key], o.late[key]))...)
		}
	}
	slices.SortFunc(out, func(a, b incarnation) int {
		if c := strings.Compare(a.node, b.node); c != 0 {
			return c
		}
		return int(min(1, max(-1, a.fromEarliest-b.fromEarliest)))
	})
	return out
}

// incarnationsOf are the nodes that had one name, one after the other.
func incarnationsOf(name string, phases []phase) []incarnation {
	var out []incarnation
	for i, p := range phases {
		if p.state == nil {
			continue
		}
		n := len(out) - 1
		if n < 0 || out[n].uid != p.state.UID {
			in := incarnation{node: name, uid: p.state.UID, fromEarliest: max(0, p.from-nodeBoot), fromLatest: Open}
			if i > 0 && phases[i-1].to != Open {
				in.fromLatest = phases[i-1].to // what was before it was no more
			}
			out, n = append(out, in), n+1
		}
		in := &out[n]
		for _, f := range p.state.All("address") {
			if a, err := netip.ParseAddr(f.Value); err == nil && !slices.Contains(in.addresses, a) {
				in.addresses = append(in.addresses, a)
			}
		}
		in.toEarliest, in.toLatest = Open, Open
		if p.to != Open {
			in.toLatest = p.to + Linger
			if i+1 < len(phases) && !phases[i+1].unknown {
				in.toEarliest = phases[i+1].from
			}
		}
	}
	return out
}

// candidate is the node itself with its own processes.
func (in *incarnation) candidate(cluster string, a netip.Addr) Candidate {
	return Candidate{Cluster: cluster, Node: in.node, NodeUID: in.uid, Address: a, IsNode: true,
		FromEarliest: in.fromEarliest, FromLatest: in.fromLatest, ToEarliest: in.toEarliest, ToLatest: in.toLatest}
}

func (in *incarnation) possible(t, tolerance int64) bool {
	return in.fromEarliest-tolerance <= t && (in.toLatest == Open || t < in.toLatest+tolerance)
}
