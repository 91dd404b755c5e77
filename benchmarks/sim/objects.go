package sim

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/whichpod/whichpod/benchmarks/scenario"
)

// The lists of what is not masqueraded, as AKS and a user write them: restated from
// Azure/ip-masq-agent-v2 and the manifests in Azure/azure-container-networking. The
// agent on a node merges both ConfigMaps, and reads them once a minute; the kubelet
// takes up to two more to write a changed one to the agent's files.
const (
	reconciledConfig = "azure-ip-masq-agent-config-reconciled"
	userConfig       = "azure-ip-masq-agent-config"
	slowestAgent     = 170_000 // ms
)

// listChange is what the user's ConfigMap says from a moment on; none: it is not there.
type listChange struct {
	at   int64
	keep []netip.Prefix
}

// listChanges are those of the user's ConfigMap, of which there is none at first. Pod
// subnet has no agent.
func (c *Config) listChanges() []listChange {
	if !c.Faults.ListChanged || c.Mode == PodSubnet {
		return nil
	}
	length := c.endMS() - c.startMS()
	return []listChange{
		{c.startMS() + length*35/100, c.families(scenario.Prefixes("10.100.0.0/16", "fd00:100::/64"))},
		{c.startMS() + length*6/10, c.families(scenario.Prefixes("203.0.113.0/24", "2001:db8:beef::/48"))},
		{c.startMS() + length*8/10, nil},
	}
}

// userKeeps says whether the agent of a node leaves traffic to dst alone, because the
// user's list says so, at a moment.
func (c *Config) userKeeps(node int, dst netip.Addr, at int64) bool {
	var keep []netip.Prefix
	r := stream(c.Seed, "agents", uint64(node))
	for _, change := range c.listChanges() {
		if change.at+between(r, 0, slowestAgent) <= at {
			keep = change.keep
		}
	}
	return slices.ContainsFunc(keep, func(p netip.Prefix) bool { return p.Contains(dst) })
}

// objectVersion is a write to an object that is no pod.
type objectVersion struct {
	at        int64
	eventType string
	rv        uint64
	object    clusterObject
}

type clusterObject struct {
	Kind       string            `json:"kind"`
	APIVersion string            `json:"apiVersion"`
	Metadata   clusterObjectMeta `json:"metadata"`
	Spec       *nodeSpec         `json:"spec,omitempty"`
	Status     *nodeStatus       `json:"status,omitempty"`
	Data       map[string]string `json:"data,omitempty"`
}

type clusterObjectMeta struct {
	objectMeta
	ManagedFields []managedField `json:"managedFields,omitempty"`
}

type managedField struct {
	Manager string `json:"manager"`
	Time    string `json:"time"`
}

type nodeSpec struct {
	PodCIDR  string   `json:"podCIDR,omitempty"`
	PodCIDRs []string `json:"podCIDRs,omitempty"`
}

type nodeStatus struct {
	Addresses []nodeAddress `json:"addresses"`
}

type nodeAddress struct {
	Type    string `json:"type"`
	Address string `json:"address"`
}

// nodeObject is a node, in one of its lives, as AKS labels it
// (https://learn.microsoft.com/azure/aks/use-labels; Azure/karpenter-provider-azure).
func (w *World) nodeObject(i, life int, l Life) clusterObject {
	n := &w.NICs[i]
	created := max(l.From, w.Config.bornMS()-3_600_000)
	o := clusterObject{Kind: "Node", APIVersion: "v1", Spec: &nodeSpec{}, Status: &nodeStatus{}}
	const prefix = "kubernetes.azure.com/"
	labels := map[string]string{prefix + "agentpool": "np1", prefix + "cluster": "MC_sim", "kubernetes.io/os": "linux"}
	switch w.Config.Mode {
	case Overlay:
		labels[prefix+"podnetwork-type"] = "overlay"
	case PodSubnet:
		labels[prefix+"podnetwork-type"], labels[prefix+"podnetwork-subnet"] = "vnet", "pods"
	}
	o.Metadata.objectMeta = objectMeta{Name: l.Name, UID: uuid(stream(w.Config.Seed, "node objects", uint64(life*w.Config.Nodes+i))), CreationTimestamp: second(created), Labels: labels}
	o.Status.Addresses = []nodeAddress{{"InternalIP", n.IP.String()}, {"Hostname", l.Name}}
	if n.IP6.IsValid() {
		o.Status.Addresses = append(o.Status.Addresses, nodeAddress{"InternalIP", n.IP6.String()})
	}
	if w.Config.Mode.PerNode() {
		for _, p := range w.Config.families(scenario.PodCIDRs) {
			a := plus(p, i<<8)
			o.Spec.PodCIDRs = append(o.Spec.PodCIDRs, netip.PrefixFrom(a, a.BitLen()-8).String())
		}
		o.Spec.PodCIDR = o.Spec.PodCIDRs[0]
	}
	return o
}

func (w *World) configMap(name, key string, created int64, list []netip.Prefix) clusterObject {
	texts := make([]string, len(list))
	for i, p := range list {
		texts[i] = fmt.Sprintf("%q", p)
	}
	o := clusterObject{Kind: "ConfigMap", APIVersion: "v1", Data: map[string]string{key: "NonMasqueradeCIDRs: [" + strings.Join(texts, ", ") + "]\nMasqLinkLocal: true\n"}}
	o.Metadata.objectMeta = objectMeta{Name: name, Namespace: "kube-system", UID: uuid(stream(w.Config.Seed, name, uint64(created))), CreationTimestamp: second(created)}
	return o
}

// objectVersions are all writes to nodes and ConfigMaps, in order.
func (w *World) objectVersions() []objectVersion {
	cfg := &w.Config
	old := cfg.bornMS() - 3_600_000
	var out []objectVersion
	for i := range cfg.Nodes {
		for life, l := range w.NICs[i].Lives() {
			o := w.nodeObject(i, life, l)
			out = append(out, objectVersion{at: max(l.From, old), eventType: "ADDED", object: o})
			for at := max(cfg.startMS(), l.From) + int64(i)*7919; at < min(cfg.endMS(), l.To); at += 300_000 {
				out = append(out, objectVersion{at: at, eventType: "MODIFIED", object: o}) // a heartbeat
			}
			if l.To < cfg.endMS() {
				out = append(out, objectVersion{at: l.To, eventType: "DELETED", object: o})
			}
		}
	}
	switch cfg.Mode {
	case NodeSubnet:
		out = append(out, objectVersion{at: old, eventType: "ADDED", object: w.configMap(reconciledConfig, "ip-masq-agent-reconciled", old, cfg.families(scenario.VNet))})
	case Kubenet, Overlay:
		out = append(out, objectVersion{at: old, eventType: "ADDED", object: w.configMap(reconciledConfig, "ip-masq-agent-reconciled", old, cfg.families(scenario.PodCIDRs))})
	}
	eventType, first := "ADDED", int64(0)
	for _, c := range cfg.listChanges() {
		if first == 0 {
			first = c.at
		}
		if len(c.keep) == 0 {
			eventType = "DELETED"
		}
		out = append(out, objectVersion{at: c.at, eventType: eventType, object: w.configMap(userConfig, "ip-masq-agent", first, c.keep)})
		eventType = "MODIFIED"
	}
	slices.SortStableFunc(out, func(a, b objectVersion) int { return int(a.at - b.at) })
	for i := range out {
		v := &out[i]
		v.rv = 1000 + 3*uint64(i)
		v.object.Metadata.ResourceVersion = decimal(v.rv)
		if cfg.Seed%2 == 0 { // kubectl leaves them out
			v.object.Metadata.ManagedFields = []managedField{{"sim", second(v.at)}}
		}
	}
	return out
}

// WriteObjects writes the watch journal of nodes and of kube-system's ConfigMaps, in
// the form of WriteWatch. It has the same faults of lateness, and its own lost watch.
func (w *World) WriteObjects(to io.Writer) error {
	out := bufio.NewWriterSize(to, 1<<20)
	versions := w.objectVersions()
	for _, kind := range []string{"Node", "ConfigMap"} {
		own := slices.Clone(versions)
		own = slices.DeleteFunc(own, func(v objectVersion) bool { return v.object.Kind != kind })
		if err := w.writeKind(out, kind, own); err != nil {
			return fmt.Errorf("write watch journal of objects: %w", err)
		}
	}
	if err := out.Flush(); err != nil {
		return fmt.Errorf("write watch journal of objects: %w", err)
	}
	return nil
}

func (w *World) writeKind(to io.Writer, kind string, versions []objectVersion) error {
	enc := json.NewEncoder(to)
	enc.SetEscapeHTML(false)
	stalls, holes := stalls(&w.Config), lostWatches(&w.Config)
	var err error
	put := func(at int64, typ string, object any) {
		if err == nil {
			err = enc.Encode(watchLine{typ, time.UnixMicro(at).UTC().Format("2006-01-02T15:04:05.000000Z"), object})
		}
	}
	list := func(at int64) { put(at*1000, "SNAPSHOT", objectList(kind, versions, at)) }
	list(w.Config.startMS())
	next, i := w.Config.startMS()+60_000, 0
	for i < len(versions) && versions[i].at < w.Config.startMS() {
		i++
	}
	for _, h := range append(holes, hole{w.Config.endMS(), w.Config.endMS()}) {
		for ; next <= h.from; next += 60_000 {
			for ; i < len(versions) && versions[i].at < next; i++ {
				if at := held(stalls, versions[i].at*1000+90_000); at/1000 < h.from {
					put(at, versions[i].eventType, versions[i].object)
				}
			}
			if at := held(stalls, next*1000+95_000); at/1000 < h.from {
				put(at, "BOOKMARK", clusterObject{Kind: kind, APIVersion: "v1", Metadata: clusterObjectMeta{objectMeta: objectMeta{ResourceVersion: decimal(rvAt(versions, next))}}})
			}
		}
		if h.from == w.Config.endMS() {
			break
		}
		list(h.to)
		for ; i < len(versions) && versions[i].at < h.to; i++ {
		}
		next = h.to + 60_000
	}
	return err
}

// rvAt is the version of what was written before a moment.
func rvAt(versions []objectVersion, at int64) uint64 {
	rv := uint64(999)
	for _, v := range versions {
		if v.at < at {
			rv = v.rv
		}
	}
	return rv
}

type clusterObjectList struct {
	Kind       string          `json:"kind"`
	APIVersion string          `json:"apiVersion"`
	Metadata   objectMeta      `json:"metadata"`
	Items      []clusterObject `json:"items"`
}

// objectList is what a list showed.
func objectList(kind string, versions []objectVersion, at int64) clusterObjectList {
	out := clusterObjectList{Kind: kind + "List", APIVersion: "v1", Metadata: objectMeta{ResourceVersion: decimal(rvAt(versions, at) + 1)}, Items: []clusterObject{}}
	for _, v := range versions {
		if v.at >= at {
			break
		}
		out.Items = slices.DeleteFunc(out.Items, func(o clusterObject) bool { return o.Metadata.Name == v.object.Metadata.Name })
		if v.eventType != "DELETED" {
			out.Items = append(out.Items, v.object)
		}
	}
	return out
}

// WriteAutoConfig writes a configuration that says nothing of the network: that is to
// be read from what WriteObjects writes.
func (w *World) WriteAutoConfig(to io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "clockTolerance: 1s\nclusters:\n  - name: %s\n    network: auto\n    nics:\n", w.Config.Cluster)
	for _, n := range w.NICs {
		for _, l := range n.Lives() {
			if n.Node {
				fmt.Fprintf(&b, "      %q: %s\n", l.MAC, l.Name)
			}
		}
	}
	if _, err := io.WriteString(to, b.String()); err != nil {
		return fmt.Errorf("write configuration: %w", err)
	}
	return nil
}
