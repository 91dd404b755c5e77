// Package sim simulates one Kubernetes cluster on Azure: its pods and their churn,
// their traffic, what the API server and Azure publish of both, and the truth.
//
// In: a [Config] with a seed. Out: a [World], which writes VNet flow log blobs, a
// watch journal, the configuration that belongs to them and a line of truth per
// tuple. The package shares nothing with the code that it judges: it imports the
// row type, and the scenario that it has in common with tests in real kernels. Both it
// and that restate the masquerade rules and formats from their public sources.
//
// The same Config gives the same bytes. The same seed gives the same pods and the
// same traffic under every network mode: each concern draws from its own random
// stream, so that a mode or a fault shifts only what it touches.
//
// A World is not changed after [Generate]; any number of goroutines may read it.
package sim

import (
	"fmt"
	"net/netip"
	"time"

	"github.com/whichpod/whichpod/benchmarks/scenario"
)

// Mode is a network mode of AKS.
type Mode = scenario.Mode

// The modes.
const (
	Kubenet    = scenario.Kubenet
	Overlay    = scenario.Overlay
	NodeSubnet = scenario.NodeSubnet
	PodSubnet  = scenario.PodSubnet
)

// Modes are all modes, in the order of reports.
var Modes = scenario.Modes

// Allocation is the order in which free addresses are handed out.
type Allocation string

const (
	// ByMode is what the mode's plugin does: RoundRobin under kubenet, else AnyOrder.
	ByMode Allocation = ""
	// AnyOrder hands out any free address, one freed this very moment too. Azure's CNS and
	// azure-vnet-ipam range over a Go map and take the first that is free
	// (Azure/azure-container-networking, cns/restserver/ipam.go, ipam/pool.go).
	AnyOrder Allocation = "any-order"
	// RoundRobin hands out the next free one after the last
	// (containernetworking/plugins, plugins/ipam/host-local).
	RoundRobin Allocation = "round-robin"
)

// Config describes a run. Start from [DefaultConfig] or [AllFaults].
type Config struct {
	Seed     uint64
	Start    time.Time     // first moment that is watched and logged; whole seconds, UTC
	Duration time.Duration // how long
	Warmup   time.Duration // how long pods and flows ran before Start, unseen
	Mode     Mode
	Cluster  string

	Nodes            int           // 1 to 200
	NodesFrom        int           // where in the VNet their addresses begin: another cluster of it has its own; 0 to 1000
	PodsPerNode      int           // pods at once, host-network pods aside; 1 to 100
	AddressesPerNode int           // size of the range; it grows (to 250 a node) when more are needed at once
	MeanLifetime     time.Duration // of a pod; jobs live shorter, StatefulSet pods longer
	SlowMounts       float64       // share of pods whose sandbox waits 3 to 60 s for a volume
	Allocation       Allocation
	DualStack        bool // each pod has an IPv6 address too, and uses it
	Replaced         int  // nodes that are drained and deleted, one after another; each time another comes with its addresses; below Nodes
	Incidents        int  // calls of a pod to a place of its own: half are on the internet, half ports of a VM; 0 to 1000

	Traffic Traffic
	Planted []Planted
	Faults  Faults
}

// Planted is a flow that is there besides what chance makes: to a destination outside,
// by a pod that had its address a second before and keeps it for ten. Without such a pod
// there is none.
type Planted struct {
	After     time.Duration // Start
	Namespace string        // of the pod: the oldest one then
	To        netip.AddrPort
}

// Traffic describes what pods, nodes and strangers send. Shares are of flows.
type Traffic struct {
	FlowsPerSecond float64       // per pod
	NodeFlows      float64       // flows per second of each node's own processes
	Scans          float64       // attempts per second and node from the internet
	FromVMs        float64       // flows per second and node from VMs of the VNet to pods
	Mix            Mix           // where pods' flows go
	Long           float64       // share that lasts for minutes, with C rows
	NoFIN          float64       // share whose end nobody sees: they end by IdleTimeout
	LostEnd        float64       // share that never gets an E row
	Denied         float64       // share denied by a rule
	Reprogrammed   float64       // share with an E and a B in one millisecond
	PortReuse      float64       // share that takes a source port lately used from the same node to the same destination
	TimeWait       time.Duration // how long a kernel keeps a closed connection, and its port with it; 0 is Linux's 120 s
	NodeAbroad     float64       // share of the nodes' own flows that go where pods' flows to the internet go
	V6             float64       // share over IPv6, with DualStack
	IdleTimeout    time.Duration // Azure's default is 4 minutes
	LongMean       time.Duration // mean duration of long flows
}

// Mix weighs the classes of destination; the sum need not be 1.
type Mix struct {
	OtherNode, SameNode, NodeAddress, VNetVM, Peered, OnPrem, Internet, Platform, Stale float64
}

// Faults is what goes wrong; the zero value is a cluster where nothing does.
type Faults struct {
	DoubledAddress float64       // share of pods that get an address which a live pod has
	RemadeSandbox  float64       // share of pods that get a new sandbox and address in mid-life
	ForcedDeletion float64       // share of deletions of running pods that are forced
	ForcedFor      time.Duration // how long at most such a pod goes on sending
	Lateness       time.Duration // events are held back up to this long, in bursts
	OutOfOrder     float64       // share of journal lines swapped with one of the next three
	Duplicates     float64       // share of journal lines that come twice
	ClockSkew      time.Duration // each host's and kubelet's clock is off by up to this, either way
	LostWatches    int           // holes in the journal
	LostFor        time.Duration // mean length of a hole; each is 75 % to 125 % of it
	ListChanged    bool          // a user's list of what is not masqueraded comes, changes and goes
}

// DefaultConfig is half an hour of four busy nodes without faults: about 1,200 pods
// and 150,000 tuples.
func DefaultConfig() Config {
	return Config{
		Seed: 1, Start: time.Date(2026, 11, 20, 9, 50, 0, 0, time.UTC),
		Duration: 30 * time.Minute, Warmup: 10 * time.Minute,
		Mode: Overlay, Cluster: "prod",
		Nodes: 4, PodsPerNode: 12, AddressesPerNode: 16,
		MeanLifetime: 90 * time.Second, SlowMounts: 0.08,
		Traffic: Traffic{
			FlowsPerSecond: 0.5, NodeFlows: 0.3, Scans: 0.1, FromVMs: 0.1,
			Mix: Mix{OtherNode: 30, SameNode: 10, NodeAddress: 4, VNetVM: 14, Peered: 7,
				OnPrem: 4, Internet: 24, Platform: 6, Stale: 1},
			Long: 0.05, NoFIN: 0.03, LostEnd: 0.004, Denied: 0.03, Reprogrammed: 0.02,
			PortReuse: 0.1, V6: 0.25, IdleTimeout: 4 * time.Minute, LongMean: 7 * time.Minute,
		},
	}
}

// AllFaults is [DefaultConfig] with dual stack and every fault.
func AllFaults() Config {
	cfg := DefaultConfig()
	cfg.DualStack = true
	cfg.Faults = Faults{
		DoubledAddress: 0.02, RemadeSandbox: 0.05,
		ForcedDeletion: 0.05, ForcedFor: 30 * time.Second,
		Lateness: 20 * time.Second, OutOfOrder: 0.05, Duplicates: 0.05,
		ClockSkew: 500 * time.Millisecond, LostWatches: 1, LostFor: 4 * time.Minute, ListChanged: true,
	}
	return cfg
}

// Validate reports what makes the Config unusable.
func (c *Config) Validate() error {
	switch c.Mode {
	case Kubenet, Overlay, NodeSubnet, PodSubnet:
	default:
		return fmt.Errorf("check mode %q: want one of %v", c.Mode, Modes)
	}
	switch {
	case c.Nodes < 1 || c.Nodes > 200:
		return fmt.Errorf("check nodes %d: want 1 to 200", c.Nodes)
	case c.NodesFrom < 0 || c.NodesFrom > 1000:
		return fmt.Errorf("check first node %d: want 0 to 1000", c.NodesFrom)
	case c.PodsPerNode < 1 || c.PodsPerNode > 100:
		return fmt.Errorf("check pods per node %d: want 1 to 100", c.PodsPerNode)
	case c.AddressesPerNode < 1 || c.AddressesPerNode > maxPerNode:
		return fmt.Errorf("check addresses per node %d: want 1 to %d", c.AddressesPerNode, maxPerNode)
	case c.Duration <= 0 || c.Warmup < 0 || c.MeanLifetime < time.Second:
		return fmt.Errorf("check times: want a duration above 0, a warm-up from 0, a lifetime from 1 s")
	case c.Replaced < 0 || c.Replaced >= c.Nodes && c.Replaced > 0:
		return fmt.Errorf("check replaced nodes %d: want 0 to %d", c.Replaced, c.Nodes-1)
	case c.Replaced > 0 && ms(c.Duration)/int64(c.Replaced+1) < cordoned+deletion+absence:
		return fmt.Errorf("check replaced nodes: %d in %v are too many at a time", c.Replaced, c.Duration)
	case c.Incidents < 0 || c.Incidents > maxIncidents:
		return fmt.Errorf("check incidents %d: want 0 to %d", c.Incidents, maxIncidents)
	case c.Traffic.IdleTimeout <= 0 || c.Traffic.LongMean <= 0:
		return fmt.Errorf("check traffic: want an idle timeout and a long mean above 0")
	case c.Start.Nanosecond() != 0:
		return fmt.Errorf("check start %v: want whole seconds", c.Start)
	case c.Faults.LostWatches > 0 && time.Duration(c.Faults.LostWatches)*c.Faults.LostFor*2 > c.Duration:
		return fmt.Errorf("check lost watches: %d of %v do not fit twice into %v",
			c.Faults.LostWatches, c.Faults.LostFor, c.Duration)
	}
	return nil
}

func (c *Config) startMS() int64 { return c.Start.UnixMilli() }
func (c *Config) endMS() int64   { return c.Start.Add(c.Duration).UnixMilli() }
func (c *Config) bornMS() int64  { return c.Start.Add(-c.Warmup).UnixMilli() }
func ms(d time.Duration) int64   { return d.Milliseconds() }
func (c *Config) order() Allocation {
	if c.Allocation != ByMode {
		return c.Allocation
	}
	if c.Mode == Kubenet {
		return RoundRobin
	}
	return AnyOrder
}
