package podlog

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/whichpod/whichpod/attribution"
)

// clusterObject holds the fields that are used of an object that is no pod; what else
// it has is dropped on arrival. Sources: kubernetes/api core/v1/types.go;
// Azure/azure-container-networking crd/nodenetworkconfig/api/v1alpha.
type clusterObject struct {
	Kind     string         `json:"kind"`
	Metadata objectMetadata `json:"metadata"`
	Spec     struct {
		PodCIDR    string   `json:"podCIDR"`
		PodCIDRs   []string `json:"podCIDRs"`
		ProviderID string   `json:"providerID"`
	} `json:"spec"`
	Status struct {
		Addresses []struct {
			Type    string `json:"type"`
			Address string `json:"address"`
		} `json:"addresses"`
		NetworkContainers []networkContainer `json:"networkContainers"`
	} `json:"status"`
	Data  map[string]string `json:"data"`
	Items []clusterObject   `json:"items"` // of a list
}

type networkContainer struct {
	Type               string `json:"type"`
	AssignmentMode     string `json:"assignmentMode"`
	SubnetName         string `json:"subnetName"`
	SubnetAddressSpace string `json:"subnetAddressSpace"`
	PrimaryIP          string `json:"primaryIP"`
	NodeIP             string `json:"nodeIP"`
}

type objectMetadata struct {
	Name              string            `json:"name"`
	Namespace         string            `json:"namespace"`
	UID               string            `json:"uid"`
	ResourceVersion   string            `json:"resourceVersion"`
	CreationTimestamp time.Time         `json:"creationTimestamp"`
	Labels            map[string]string `json:"labels"`
	ManagedFields     []struct {
		Time time.Time `json:"time"`
	} `json:"managedFields"`
}

// kindNames are the kinds as objects bear them. A list's kind has "List" after it.
var kindNames = map[string]attribution.Kind{
	"Node": attribution.Nodes, "Namespace": attribution.Namespaces, "ConfigMap": attribution.ConfigMaps, "NodeNetworkConfig": attribution.NodeNetworks,
}

// kindOf is the kind of an object or list by its name, or false where it is not kept.
func kindOf(name string) (attribution.Kind, bool) {
	kind, ok := kindNames[strings.TrimSuffix(name, "List")]
	return kind, ok
}

func (o *clusterObject) version() uint64 {
	v, _ := strconv.ParseUint(o.Metadata.ResourceVersion, 10, 64)
	return v
}

// written is when the object got its present state, by whoever wrote last: each
// writer's entry in managedFields bears the time of its last change
// (https://kubernetes.io/docs/reference/using-api/server-side-apply/#field-management).
// 0 where the object does not show it.
func (o *clusterObject) written() int64 {
	var last int64
	for _, m := range o.Metadata.ManagedFields {
		if !m.Time.IsZero() {
			last = max(last, m.Time.UnixMilli())
		}
	}
	return last
}

// state trims the object to what is kept, or nil for one that is not kept at all.
func (o *clusterObject) state(kind attribution.Kind) *attribution.State {
	var fields []attribution.Field
	add := func(key, value string) {
		if value != "" {
			fields = append(fields, attribution.Field{Key: key, Value: value})
		}
	}
	switch kind {
	case attribution.Nodes:
		o.node(add)
	case attribution.Namespaces:
		for name, value := range o.Metadata.Labels {
			fields = append(fields, attribution.Field{Key: "label/" + name, Value: value})
		}
	case attribution.ConfigMaps:
		keep, ok := keptConfigMaps[o.Metadata.Name]
		if !ok || o.Metadata.Namespace != systemNamespace {
			return nil
		}
		for key, value := range o.Data {
			if keep == nil || slices.Contains(keep, key) {
				fields = append(fields, attribution.Field{Key: "data/" + key, Value: value})
			}
		}
	case attribution.NodeNetworks:
		for _, c := range o.Status.NetworkContainers {
			add("type", c.Type)
			add("assignmentMode", c.AssignmentMode)
			add("subnetName", c.SubnetName)
			add("subnetAddressSpace", c.SubnetAddressSpace)
			add("primaryIP", c.PrimaryIP)
			add("nodeIP", c.NodeIP)
		}
	}
	created := int64(0)
	if t := o.Metadata.CreationTimestamp; !t.IsZero() {
		created = t.UnixMilli()
	}
	return attribution.NewState(o.Metadata.UID, created, fields)
}

func (o *clusterObject) node(add func(key, value string)) {
	for _, a := range o.Status.Addresses {
		if addr, err := netip.ParseAddr(a.Address); err == nil && a.Type == "InternalIP" {
			add("address", addr.Unmap().String())
		}
	}
	cidrs := o.Spec.PodCIDRs
	if len(cidrs) == 0 {
		cidrs = []string{o.Spec.PodCIDR}
	}
	for _, c := range cidrs {
		add("podCIDR", c)
	}
	add("providerID", o.Spec.ProviderID)
	for name, value := range o.Metadata.Labels {
		if keptLabel(name) {
			add("label/"+name, value)
		}
	}
}

const systemNamespace = "kube-system"

// keptConfigMaps are those that decide what is masqueraded, and which of their keys
// are kept: nil is all, an empty list none.
var keptConfigMaps = map[string][]string{
	"azure-ip-masq-agent-config":            nil,
	"azure-ip-masq-agent-config-reconciled": nil,
	"azure-ip-masq-agent-user":              nil,
	"azure-dns-imds-ip-masq-agent-config":   nil,
	"ip-masq-agent":                         nil,
	"overlay-upgrade-data":                  {},
	"cilium-config": {
		"enable-remote-node-masquerade", "enable-ip-masq-agent", "enable-bpf-masquerade", "enable-ipv4-masquerade", "enable-ipv6-masquerade",
		"ipv4-native-routing-cidr", "ipv6-native-routing-cidr", "routing-mode", "tunnel", "tunnel-protocol", "ipam",
	},
}

// labelPrefix is that of AKS's own labels
// (https://learn.microsoft.com/azure/aks/use-labels#reserved-system-labels).
const labelPrefix = "kubernetes.azure.com/"

// keptLabel says whether a node's label tells of its network or its pool.
func keptLabel(name string) bool {
	switch name {
	case "agentpool", "kubernetes.io/os":
		return true
	}
	own, ok := strings.CutPrefix(name, labelPrefix)
	if !ok {
		return false
	}
	switch own {
	case "agentpool", "azure-cni-overlay", "cluster", "ebpf-dataplane", "ebpf-host-routing", "mode":
		return true
	}
	return strings.HasPrefix(own, "network-") || strings.HasPrefix(own, "nodenetwork-") || strings.HasPrefix(own, "podnetwork-")
}

// ObjectRecorder makes facts of what is seen of one kind of objects that are no pods,
// as a [Recorder] does of pods. It is used by one goroutine.
type ObjectRecorder struct {
	cluster string
	kind    attribution.Kind
	emit    func([]attribution.Fact) error
	facts   []attribution.Fact
	last    map[objectName]*latest
	listing *objectList
	late    int64
}

type objectName struct{ namespace, name string }

// latest is what was seen last of an object: by version, not by receipt.
type latest struct {
	attribution.ObjectFact
	emitted bool
}

type objectList struct {
	at      int64
	version uint64
	names   map[objectName]bool
}

// NewObjectRecorder returns a recorder that hands facts to emit in batches. known
// lists the last state of each object that the ledger knows; nil is none.
func NewObjectRecorder(cluster string, kind attribution.Kind, known func(yield func(attribution.ObjectFact)), emit func([]attribution.Fact) error) *ObjectRecorder {
	r := &ObjectRecorder{cluster: cluster, kind: kind, emit: emit, last: make(map[objectName]*latest)}
	if known != nil {
		known(func(f attribution.ObjectFact) { r.last[objectName{f.Namespace, f.Name}] = &latest{f, true} })
	}
	return r
}

// Event records an object as a watch showed it, in JSON, and when it came (Unix
// milliseconds, rounded up). Of seen, see [Recorder.Event], nothing is made here.
func (r *ObjectRecorder) Event(data []byte, at, seen int64, deleted bool) error {
	var o clusterObject
	if err := json.Unmarshal(data, &o); err != nil {
		return fmt.Errorf("read object of %v: %w", r.kind, err)
	}
	return r.object(&o, at, deleted, attribution.Watch)
}

// object records one observation outside of a list.
func (r *ObjectRecorder) object(o *clusterObject, at int64, deleted bool, source attribution.Source) error {
	f, err := r.fact(o, at, source)
	if f == nil || err != nil {
		return err
	}
	if deleted {
		f.State, f.Written = nil, 0
	}
	name := objectName{f.Namespace, f.Name}
	last := r.last[name]
	switch {
	case last == nil || f.Version > last.Version:
		if last != nil && f.Written != 0 && at != 0 {
			r.late = max(r.late, min(at-f.Written, mostLate))
		}
		same := last != nil && f.State.Equal(last.State)
		r.last[name] = &latest{*f, !same}
		if same {
			return nil // as it was: a node's heartbeat
		}
	case f.Version < last.Version && !last.emitted: // this one came late, so the last one tells something
		last.emitted = true
		if err := r.add(last.ObjectFact); err != nil {
			return err
		}
	}
	return r.add(*f)
}

// fact is what an object shows, or nil for one that is not kept.
func (r *ObjectRecorder) fact(o *clusterObject, at int64, source attribution.Source) (*attribution.ObjectFact, error) {
	state := o.state(r.kind)
	switch {
	case o.Metadata.Name == "" || o.Metadata.UID == "":
		return nil, fmt.Errorf("read object of %v: it has no metadata.name or metadata.uid", r.kind)
	case o.version() == 0:
		return nil, fmt.Errorf("read object of %v: its metadata.resourceVersion is %q, want a number", r.kind, o.Metadata.ResourceVersion)
	case state == nil:
		return nil, nil
	}
	return &attribution.ObjectFact{Namespace: o.Metadata.Namespace, Name: o.Metadata.Name, Version: o.version(), State: state, Written: o.written(), SeenBy: at, SeenLast: at, Source: source}, nil
}

// BeginList begins a list that came at a time and shows a state of the API, its
// resource version.
func (r *ObjectRecorder) BeginList(at, _ int64, version string) {
	v, _ := strconv.ParseUint(version, 10, 64)
	r.listing = &objectList{at: at, version: v, names: make(map[objectName]bool)}
}

// ListPage records the objects of a page of the list.
func (r *ObjectRecorder) ListPage(list []byte) error {
	var o clusterObject
	if err := json.Unmarshal(list, &o); err != nil {
		return fmt.Errorf("read list of %v: %w", r.kind, err)
	}
	return r.listed(o.Items, attribution.Watch)
}

func (r *ObjectRecorder) listed(items []clusterObject, source attribution.Source) error {
	for i := range items {
		f, err := r.fact(&items[i], r.listing.at, source)
		if err != nil {
			return err
		}
		if f == nil {
			continue
		}
		name := objectName{f.Namespace, f.Name}
		r.listing.names[name] = true
		if last := r.last[name]; last == nil || f.Version >= last.Version {
			r.last[name] = &latest{*f, true}
		}
		if err := r.add(*f); err != nil {
			return err
		}
	}
	return nil
}

// EndList records which objects the list did not show any more.
func (r *ObjectRecorder) EndList() error {
	l := r.listing
	for _, name := range slices.SortedFunc(maps.Keys(r.last), func(a, b objectName) int { return strings.Compare(a.namespace+"/"+a.name, b.namespace+"/"+b.name) }) {
		last := r.last[name]
		if last.State == nil || l.names[name] || last.Version >= l.version {
			continue
		}
		f := attribution.ObjectFact{Namespace: name.namespace, Name: name.name, Version: l.version, SeenBy: l.at, SeenLast: l.at}
		r.last[name] = &latest{f, true}
		if err := r.add(f); err != nil {
			return err
		}
	}
	return nil
}

// Watched records that all objects of the kind were watched without a break in a
// closed range.
func (r *ObjectRecorder) Watched(from, to int64) error {
	r.facts = append(r.facts, attribution.Fact{Cluster: r.cluster, Kind: r.kind, Watched: &attribution.Range{From: from, To: to}, Late: r.late})
	return r.full()
}

// Flush hands all facts on.
func (r *ObjectRecorder) Flush() error {
	if len(r.facts) == 0 {
		return nil
	}
	facts := r.facts
	r.facts = nil
	return r.emit(facts)
}

func (r *ObjectRecorder) add(f attribution.ObjectFact) error {
	r.facts = append(r.facts, attribution.Fact{Cluster: r.cluster, Kind: r.kind, Object: f})
	return r.full()
}

func (r *ObjectRecorder) full() error {
	if len(r.facts) < batchFacts {
		return nil
	}
	return r.Flush()
}
