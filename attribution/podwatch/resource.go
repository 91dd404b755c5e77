package podwatch

import (
	"strings"

	"github.com/whichpod/whichpod/attribution"
)

// resource is what one reflector lists and watches.
type resource struct {
	kind      attribution.Kind
	path      string // of the API, without the server
	namespace string // empty: all
	group     string // of the API; empty for the core
}

// resources are pods, which the watch is for, and what else decides what a row can
// mean. AKS keeps its ConfigMaps and NodeNetworkConfigs in kube-system.
var resources = []resource{
	{kind: attribution.Pods, path: "/api/v1/pods"},
	{kind: attribution.Nodes, path: "/api/v1/nodes"},
	{kind: attribution.Namespaces, path: "/api/v1/namespaces"},
	{kind: attribution.ConfigMaps, path: "/api/v1/namespaces/kube-system/configmaps", namespace: "kube-system"},
	{kind: attribution.NodeNetworks, path: "/apis/acn.azure.com/v1alpha/nodenetworkconfigs", group: "acn.azure.com"},
}

// String is the resource as messages call it.
func (r *resource) String() string { return r.kind.String() }

// bookmark is the file in which a resource's watch keeps how far it came, beside that
// of the pods: "watch.json" makes "watch.nodes.json".
func (r *resource) bookmark(pods string) string {
	if pods == "" || r.kind == attribution.Pods {
		return pods
	}
	return strings.TrimSuffix(pods, ".json") + "." + r.kind.String() + ".json"
}
