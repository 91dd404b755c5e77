package plugins

import (
	"context"
	"errors"
	"fmt"
	"net/netip"

	"github.com/whichpod/whichpod/attribution"
	"github.com/whichpod/whichpod/benchmarks/sim"
	"github.com/whichpod/whichpod/benchmarks/trial"
	"github.com/whichpod/whichpod/query"
)

// Tally counts the flows of pods to one kind of destination, by what is said of their
// sender when asked about the first row at the sender's interface.
type Tally struct {
	Logged, Unlogged  int // flows, denied ones and those of host-network pods too
	Flows             int // those whose first row is judged: of pods with an address of their own
	ShowPod, ShowNode int // by whose address that row has
	Plain, NAT        Said
}

// Said counts verdicts, without or with NAT evidence.
type Said struct {
	Exact, Masked, Boundary, Other int // Other: ambiguous or gap
	Bits                           float64
}

func (s *Said) add(r *attribution.Resolution) {
	switch r.Verdict {
	case attribution.Exact:
		s.Exact++
	case attribution.Masked:
		s.Masked++
		s.Bits += r.Bits()
	case attribution.Boundary:
		s.Boundary++
	default:
		s.Other++
	}
}

// Result is one run.
type Result struct {
	Mode    sim.Mode
	Seed    uint64
	Flows   int // all that begin in the log, of anybody
	Rows    int
	Wrong   int // ends of rows that are exact and not that pod, without and with NAT evidence
	Example string
	Tallies map[attribution.Class]*Tally
}

// Measure runs one cluster.
func Measure(ctx context.Context, cfg sim.Config) (out Result, err error) {
	t, err := trial.Load(ctx, cfg)
	if err != nil {
		return Result{}, err
	}
	defer func() { err = errors.Join(err, t.Close()) }()
	m := &meter{nodes: make(map[netip.Addr]bool), Result: Result{Mode: cfg.Mode, Seed: cfg.Seed, Tallies: make(map[attribution.Class]*Tally)}}
	for _, n := range t.Worlds[0].NICs {
		if n.Node {
			m.nodes[n.IP], m.nodes[n.IP6] = true, true
		}
	}
	for class := range sim.ToStale {
		if c, ok := classOf(class); ok {
			m.tally(c).Logged += t.Worlds[0].Flows[class]
			m.tally(c).Unlogged += t.Worlds[0].Unlogged[class]
		}
	}
	if err := t.Rows(ctx, t.Engine(), func(r trial.Row) { m.row(&r, false) }); err != nil {
		return Result{}, err
	}
	err = t.WithNAT(func(e *query.Engine) error {
		return t.Rows(ctx, e, func(r trial.Row) { m.row(&r, true) })
	})
	return m.Result, err
}

// meter counts the rows of a run.
type meter struct {
	Result
	nodes map[netip.Addr]bool // addresses of nodes
}

func (m *meter) tally(c attribution.Class) *Tally {
	if m.Tallies[c] == nil {
		m.Tallies[c] = &Tally{}
	}
	return m.Tallies[c]
}

func (m *meter) row(r *trial.Row, evidence bool) {
	if trial.WrongExact(r.SaidSrc, r.SrcPod) || trial.WrongExact(r.SaidDst, r.DstPod) {
		m.Wrong++
		m.Example = fmt.Sprintf("%s, seed %d: %s", m.Mode, m.Seed, r.Row.Tuple())
	}
	first := r.Begins()
	if !evidence {
		m.Rows++
		if first {
			m.Flows++
		}
	}
	class, ok := classOf(r.Class)
	if !first || !ok || r.SrcPod == nil || r.SrcPod.HostNetwork {
		return
	}
	t := m.tally(class)
	if evidence {
		t.NAT.add(r.SaidSrc)
		return
	}
	t.Plain.add(r.SaidSrc)
	t.Flows++
	if m.nodes[r.Src] {
		t.ShowNode++
	} else {
		t.ShowPod++
	}
}

// Shows is whose address the rows of a kind of destination have; unknown where that
// differs between rows.
func (t *Tally) Shows() attribution.Appears {
	switch {
	case t.Flows == 0 && t.Logged == 0:
		return attribution.ShowsNothing
	case t.ShowNode == 0 && t.ShowPod > 0:
		return attribution.ShowsPod
	case t.ShowPod == 0 && t.ShowNode > 0:
		return attribution.ShowsNode
	}
	return attribution.ShowsUnknown
}
