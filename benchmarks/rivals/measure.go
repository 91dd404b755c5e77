package rivals

import (
	"bytes"
	"context"
	"errors"
	"net/netip"
	"time"

	"github.com/whichpod/whichpod/benchmarks/sim"
	"github.com/whichpod/whichpod/benchmarks/trial"
	"github.com/whichpod/whichpod/query"
)

// The names of whichpod's own lines in a [Result].
const (
	Whichpod = "whichpod"
	WithNAT  = "whichpod with NAT evidence"
)

// Score is what a rule said of the sources of one run's rows, of those that show a pod's
// own address and of those that show a node's: there every pod of the node, and the node
// itself, may have sent, and a rule that names a pod for having the address guesses.
type Score struct {
	Rule            string
	AtPods, AtNodes Tally
}

// All is both.
func (s *Score) All() Tally {
	return Tally{s.AtPods.Rows + s.AtNodes.Rows, s.AtPods.Right + s.AtNodes.Right, s.AtPods.Wrong + s.AtNodes.Wrong}
}

// Tally counts rows.
type Tally struct {
	Rows  int
	Right int
	Wrong int // another pod, or a pod where none sent
}

// Named is the share of rows for which a pod is named.
func (t Tally) Named() float64 { return float64(t.Right+t.Wrong) / float64(max(1, t.Rows)) }

// Mistaken is the share of rows for which a wrong pod is named.
func (t Tally) Mistaken() float64 { return float64(t.Wrong) / float64(max(1, t.Rows)) }

// judge counts a row for which a rule names a pod, or "".
func (s *Score) judge(r *trial.Row, atNode bool, uid string) {
	t := &s.AtPods
	if atNode {
		t = &s.AtNodes
	}
	t.Rows++
	switch {
	case uid == "":
	case r.SrcPod != nil && r.SrcPod.UID == uid:
		t.Right++
	default:
		t.Wrong++
	}
}

// Result is one run: a Score for each rule, then whichpod's two.
type Result struct {
	Mode     sim.Mode
	Lifetime time.Duration
	Seed     uint64
	Scores   []Score
}

// Measure runs one cluster. published is how long after a record's time it can be read:
// an assumption, see docs/benchmarks.md.
func Measure(ctx context.Context, cfg sim.Config, published time.Duration) (out Result, err error) {
	t, err := trial.Load(ctx, cfg)
	if err != nil {
		return Result{}, err
	}
	defer func() { err = errors.Join(err, t.Close()) }()
	var journal bytes.Buffer
	if err := t.Worlds[0].WriteWatch(&journal); err != nil {
		return Result{}, err
	}
	seen, err := Watch(&journal)
	if err != nil {
		return Result{}, err
	}
	out = Result{Mode: cfg.Mode, Lifetime: cfg.MeanLifetime, Seed: cfg.Seed, Scores: make([]Score, len(Rules)+2)}
	nodes := make(map[netip.Addr]bool)
	for _, n := range t.Worlds[0].NICs {
		if n.Node {
			nodes[n.IP], nodes[n.IP6] = true, true
		}
	}
	// each calls fn with the rows that somebody in the cluster sent.
	each := func(e *query.Engine, fn func(r *trial.Row, atNode bool)) error {
		return t.Rows(ctx, e, func(r trial.Row) {
			if r.SrcPod != nil || r.Class == sim.FromNode {
				fn(&r, nodes[r.Src])
			}
		})
	}
	rules, ours, evidence := out.Scores[:len(Rules)], &out.Scores[len(Rules)], &out.Scores[len(Rules)+1]
	ours.Rule, evidence.Rule = Whichpod, WithNAT
	for i := range rules {
		rules[i].Rule = Rules[i].Name
	}
	err = each(t.Engine(), func(r *trial.Row, atNode bool) {
		q := Question{Address: r.Src, Time: r.Time, Asked: r.RecordTime + published.Milliseconds()}
		for i := range rules {
			rules[i].judge(r, atNode, Rules[i].Pod(seen, q))
		}
		ours.judge(r, atNode, r.Exact())
	})
	if err != nil {
		return Result{}, err
	}
	return out, t.WithNAT(func(e *query.Engine) error {
		return each(e, func(r *trial.Row, atNode bool) { evidence.judge(r, atNode, r.Exact()) })
	})
}
