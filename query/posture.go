package query

import (
	"math"

	"github.com/whichpod/whichpod/attribution"
)

// Posture is the document that "posture -o json" prints: what each node pool's network
// lets a flow log show.
type Posture struct {
	At    Time   `json:"at"`
	Pools []Pool `json:"pools"` // by cluster and name
}

// Pool is a node pool at that time.
type Pool struct {
	Cluster   string   `json:"cluster"`
	Pool      string   `json:"pool"` // empty where the nodes do not tell
	Nodes     int      `json:"nodes"`
	Modes     []string `json:"modes"` // several where it is not certain; none where it is not known
	Unproven  bool     `json:"unproven"`
	Unwatched bool     `json:"unwatched"`
	Reasons   []Reason `json:"reasons"`
	Shows     []Shown  `json:"shows"`
	MeanPods  float64  `json:"mean_pods"`
	MeanBits  float64  `json:"mean_bits"`
}

// Reason is something that a pool's mode or rules were concluded from.
type Reason struct {
	Object  string `json:"object"`
	Version uint64 `json:"version"`
	Says    string `json:"says"`
}

// Shown is what the flow log shows as the source of a pod's traffic to a class of
// destinations.
type Shown struct {
	Destination string   `json:"destination"`
	Source      string   `json:"source"`
	Except      []string `json:"except"`
	Unproven    bool     `json:"unproven"`
}

// PostureOf is the posture as a view of the ledger shows it.
func PostureOf(view *attribution.View, cluster string, at int64) *Posture {
	out := &Posture{At: Time(at), Pools: []Pool{}}
	for _, p := range view.Posture(cluster, at) {
		pool := Pool{Cluster: p.Cluster, Pool: p.Name, Nodes: p.Nodes, Modes: []string{}, Unproven: p.Unproven, Unwatched: p.Unwatched, Reasons: []Reason{}, Shows: []Shown{},
			MeanPods: math.Round(p.MeanPods*10) / 10, MeanBits: roundBits(p.MeanBits)}
		for _, m := range p.Modes {
			if m != attribution.Auto {
				pool.Modes = append(pool.Modes, string(m))
			}
		}
		for _, r := range p.Reasons {
			pool.Reasons = append(pool.Reasons, Reason(r))
		}
		for _, s := range p.Shows {
			shown := Shown{Destination: string(s.Destination), Source: string(s.Source), Except: []string{}, Unproven: s.Unproven}
			for _, except := range s.Except {
				shown.Except = append(shown.Except, except.String())
			}
			pool.Shows = append(pool.Shows, shown)
		}
		out.Pools = append(out.Pools, pool)
	}
	return out
}

// String is the reason as a person reads it.
func (r Reason) String() string { return attribution.Reason(r).String() }
