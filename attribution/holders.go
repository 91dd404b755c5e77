package attribution

import (
	"net/netip"
	"slices"
	"strings"
)

// What a view reads from the archive. Pods are decoded when they are asked for, and
// come in the order of their UIDs, so that no answer hangs on the order in which the
// ledger learnt of them. For the oracle, all are decoded, and looked through each time.

// podsAt are the cluster's pods that ever had an address.
func (c *clusterView) podsAt(a netip.Addr) []*pod {
	if c.everyone != nil {
		return those(c.everyone, func(p *pod) bool { return p.has(a) })
	}
	var out []*pod
	c.pods.eachAt(a, func(n uint32) bool {
		if c.has(n) {
			out = append(out, c.pods.pod(n))
		}
		return true
	})
	return byUID(out)
}

// holds says whether there are any.
func (c *clusterView) holds(a netip.Addr) bool {
	if c.everyone != nil {
		return slices.ContainsFunc(c.everyone, func(p *pod) bool { return p.has(a) })
	}
	found := false
	c.pods.eachAt(a, func(n uint32) bool {
		found = c.has(n)
		return !found
	})
	return found
}

// has says whether a pod is the cluster's.
func (c *clusterView) has(n uint32) bool {
	return c.total.pods == int(c.pods.pods) || (c.total.pods > 0 && c.pods.clusterOf(n) == c.Name)
}

// podsIn are the pods of a place, but for those that were found to be elsewhere.
func (c *clusterView) podsIn(place uint32) []*pod {
	if c.everyone != nil {
		return those(c.everyone, func(p *pod) bool { return p.at == place })
	}
	var out []*pod
	c.pods.places.each(place, func(n uint32) bool {
		if p := c.pods.pod(n); p.at == place {
			out = append(out, p)
		}
		return true
	})
	out = byUID(out)
	return slices.CompactFunc(out, func(a, b *pod) bool { return a.filed == b.filed })
}

// podsOn are the pods on a node: all, or only those on its network.
func (c *clusterView) podsOn(node string, host bool) []*pod {
	if c.everyone != nil {
		return those(c.everyone, func(p *pod) bool { return p.id.Node == node && (!host || p.id.HostNetwork) })
	}
	var out []*pod
	for _, n := range c.nodes[node] {
		if !host || c.pods.known[n].hostNetwork {
			out = append(out, c.podsIn(n)...)
		}
	}
	return byUID(out)
}

// reported says whether a pod on the node reported the address as the node's.
func (c *clusterView) reported(a netip.Addr, node string) bool {
	return slices.ContainsFunc(c.spellsOf(a), func(s spell) bool { return s.node == node })
}

// podsOf is the pod with a UID, or without one all pods.
func (c *clusterView) podsOf(uid string) []*pod {
	var out []*pod
	for n := range c.pods.pods {
		if c.has(n) && (uid == "" || c.pods.uidIs(n, uid)) {
			out = append(out, c.pods.pod(n))
		}
	}
	return byUID(out)
}

func byUID(pods []*pod) []*pod {
	slices.SortFunc(pods, func(a, b *pod) int { return strings.Compare(a.uid, b.uid) })
	return pods
}

func those(pods []*pod, are func(*pod) bool) (out []*pod) {
	for _, p := range pods {
		if are(p) {
			out = append(out, p)
		}
	}
	return out
}

// countAddresses is how many addresses the cluster's pods had.
func (c *clusterView) countAddresses() int {
	total := 0
	c.pods.eachAddress(func(a netip.Addr) {
		if c.holds(a) {
			total++
		}
	})
	return total
}

// countNodes is how many nodes are on record, or are known to have had pods.
func (c *clusterView) countNodes() int {
	total := len(c.machines)
	for node, places := range c.nodes {
		if len(c.machines[node]) == 0 && slices.ContainsFunc(places, func(n uint32) bool { return len(c.podsIn(n)) > 0 }) {
			total++
		}
	}
	return total
}
