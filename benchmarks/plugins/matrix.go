// Package plugins measures what each network mode of AKS lets a flow log show: by kind
// of destination, how many flows are logged, and how many senders can be named.
//
// In: simulated clusters, the same pods and traffic under every mode. Out: a [Result] a
// run, and beside it the [Matrix] of what is publicly known of the modes.
package plugins

import (
	"github.com/whichpod/whichpod/attribution"
	"github.com/whichpod/whichpod/benchmarks/sim"
)

// Known is what is publicly known to stand in the sender's row.
type Known struct {
	Class attribution.Class
	// Shows has the source for kubenet, overlay, node subnet and pod subnet.
	Shows  [4]attribution.Appears
	Source string
	// Unproven marks the modes for which no public row shows it: it is concluded.
	Unproven [4]bool
}

const (
	pod  = attribution.ShowsPod
	node = attribution.ShowsNode
	none = attribution.ShowsNothing
)

// Matrix is whose address stands as the source in the row that the sender's node logs,
// by destination and mode, from public sources; it shares nothing with the simulator's
// rules nor with those that verdicts rest on.
var Matrix = []Known{
	{attribution.SameNode, [4]attribution.Appears{none, none, none, none},
		"https://learn.microsoft.com/azure/network-watcher/vnet-flow-logs-aks-scenarios (all modes)", [4]bool{}},
	{attribution.OtherNode, [4]attribution.Appears{pod, pod, pod, pod},
		"the same; https://learn.microsoft.com/azure/aks/concepts-network-azure-cni-overlay (not encapsulated)", [4]bool{true, true, false, false}},
	{attribution.NodeOwn, [4]attribution.Appears{node, node, pod, pod},
		"https://learn.microsoft.com/azure/aks/concepts-network-azure-cni-overlay, AKS issue 4402 (kubenet)", [4]bool{}},
	{attribution.InVNet, [4]attribution.Appears{node, node, pod, pod},
		"https://learn.microsoft.com/azure/aks/concepts-network-azure-cni-overlay, https://learn.microsoft.com/azure/aks/concepts-network-legacy-cni", [4]bool{}},
	{attribution.Beyond, [4]attribution.Appears{node, node, node, pod},
		"https://learn.microsoft.com/azure/aks/concepts-network-legacy-cni", [4]bool{}},
	{attribution.Internet, [4]attribution.Appears{node, node, node, pod},
		"the same; public translation comes after this interface", [4]bool{}},
	{attribution.Platform, [4]attribution.Appears{node, node, node, node},
		"Azure/azure-container-networking, cns/restserver/internalapi_linux.go; whether such flows are logged is not known", [4]bool{true, true, true, true}},
}

// classOf is the kind of destination of a pod's flow; false is for flows of others, and
// for those to addresses that nobody may have.
func classOf(c sim.Class) (attribution.Class, bool) {
	switch c {
	case sim.ToSameNode:
		return attribution.SameNode, true
	case sim.ToOtherNode:
		return attribution.OtherNode, true
	case sim.ToNodeAddress:
		return attribution.NodeOwn, true
	case sim.ToVM:
		return attribution.InVNet, true
	case sim.ToPeered, sim.ToOnPrem:
		return attribution.Beyond, true
	case sim.ToInternet:
		return attribution.Internet, true
	case sim.ToPlatform:
		return attribution.Platform, true
	}
	return "", false
}
