package whatif

import (
	"net/netip"
	"slices"

	"github.com/whichpod/whichpod/attribution"
)

const (
	pod  = attribution.ShowsPod
	node = attribution.ShowsNode
)

// Rules are whose address a row would show as its source, by mode and destination: what
// the modes masquerade by default. Sources: docs/verdicts.md and the matrix of
// benchmarks/plugins. Traffic within a node is in no mode's log, so no row is of it.
var Rules = map[attribution.Network]map[attribution.Class]attribution.Appears{
	attribution.Kubenet:    native,
	attribution.Overlay:    native,
	attribution.NodeSubnet: {attribution.OtherNode: pod, attribution.NodeOwn: pod, attribution.InVNet: pod, attribution.Beyond: node, attribution.Internet: node, attribution.Platform: node},
	attribution.PodSubnet:  {attribution.OtherNode: pod, attribution.NodeOwn: pod, attribution.InVNet: pod, attribution.Beyond: pod, attribution.Internet: pod, attribution.Platform: node},
}

// native are the modes whose pods have addresses that only the cluster knows.
var native = map[attribution.Class]attribution.Appears{
	attribution.OtherNode: pod, attribution.NodeOwn: node, attribution.InVNet: node, attribution.Beyond: node, attribution.Internet: node, attribution.Platform: node,
}

// Classes are the kinds of destinations that a row can have, in the order of reports.
var Classes = []attribution.Class{attribution.OtherNode, attribution.NodeOwn, attribution.InVNet, attribution.Beyond, attribution.Internet, attribution.Platform}

// private are the ranges that networks in and around Azure are made of, as a rule
// (RFC 1918, RFC 6598, RFC 4193).
var private = []netip.Prefix{
	netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("172.16.0.0/12"), netip.MustParsePrefix("192.168.0.0/16"),
	netip.MustParsePrefix("100.64.0.0/10"), netip.MustParsePrefix("fc00::/7"),
}

// platform are Azure's own hosts at every machine, whose flows show the node under all
// modes.
var platform = []netip.AddrPort{netip.MustParseAddrPort("168.63.129.16:53"), netip.MustParseAddrPort("169.254.169.254:80")}

// class is what kind of destination an address is for a cluster, of which said is what is
// said of it. certain is false where it may be in the VNet or not.
func (p *replayer) class(cluster string, to netip.Addr, port uint16, said *attribution.Resolution) (c attribution.Class, certain bool) {
	vnet := p.vnets[cluster]
	switch {
	case slices.Contains(platform, netip.AddrPortFrom(to, port)):
		return attribution.Platform, true
	case ofNode(said):
		return attribution.NodeOwn, true
	case said.Verdict != attribution.External && (len(said.Candidates) == 0 || clusterOf(said) == cluster):
		return attribution.OtherNode, true // pods of this cluster have it, or had
	case within(to, vnet):
		return attribution.InVNet, true
	case within(to, private):
		return attribution.Beyond, len(vnet) > 0
	}
	return attribution.Internet, true
}

func within(a netip.Addr, in []netip.Prefix) bool {
	return slices.ContainsFunc(in, func(p netip.Prefix) bool { return p.Contains(a) })
}
