package sim

import (
	"fmt"
	"io"
	"net/netip"
	"strings"

	"github.com/whichpod/whichpod/benchmarks/scenario"
)

// World is a simulated run.
type World struct {
	Config Config
	NICs   []NIC  // the nodes in order, then the VMs of the VNet
	Pods   []*Pod // in order of creation; those of the warm-up too
	Holds  []Hold // who held which address when, by address and time
	// Incidents are the calls that were planted, in the order of time.
	Incidents []Incident
	// Unlogged counts the flows that never left a node, so no log has them, by class;
	// those of the warm-up too, as Flows does for all others.
	Unlogged, Flows map[Class]int

	versions []version
	lines    []line
	flows    []flowRecord
	rows     []row
	blobs    []blob
}

// Generate runs the simulation. It panics if [Config.Validate] has an error.
func Generate(cfg Config) *World {
	if err := cfg.Validate(); err != nil {
		panic("sim: " + err.Error())
	}
	w := &World{Config: cfg, Unlogged: map[Class]int{}, Flows: map[Class]int{}}
	w.NICs = makeNICs(&w.Config)
	w.Pods = makePods(&w.Config, w.NICs)
	hostAddresses(w.Pods, w.NICs)
	allocate(&w.Config, w.Pods)
	w.Holds = holds(w.Pods)
	w.versions = publishAll(&w.Config, w.Pods, w.NICs)
	w.lines = journal(&w.Config, w.versions)
	w.flows = newOpener(w).open(intents(&w.Config, w.Pods, w.NICs))
	w.rows = expand(w)
	w.hourly()
	return w
}

// Blobs lists the paths of all blobs inside the container, in order.
func (w *World) Blobs() []string {
	out := make([]string, len(w.blobs))
	for i, b := range w.blobs {
		out[i] = b.path
	}
	return out
}

// WriteConfig writes the configuration that describes the cluster to whichpod.
func (w *World) WriteConfig(to io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "clockTolerance: 1s\nclusters:\n  - name: %s\n    network: %s\n", w.Config.Cluster, w.Config.Mode)
	fmt.Fprintf(&b, "    vnetCIDRs: %s\n", cidrs(w.Config.families(scenario.VNet)))
	fmt.Fprintf(&b, "    podCIDRs: %s\n    nics:\n", cidrs(w.Config.podCIDRs()))
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

// cidrs writes a YAML list. IPv6 prefixes need quotes, for their colons.
func cidrs(list []netip.Prefix) string {
	out := make([]string, len(list))
	for i, p := range list {
		out[i] = fmt.Sprintf("%q", p.String())
	}
	return "[" + strings.Join(out, ", ") + "]"
}
