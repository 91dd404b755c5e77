// Package whatif replays what was logged of real clusters under another network mode:
// how many of the answers that can be given today would be others.
//
// In: an engine over a data folder, which is only read. Out: a [Replay] for each mode:
// a matrix from what is said of each row's sender to what would be said. The same pods
// are taken to send the same; the mode decides whose address a row shows. That rests on
// [Rules], which are the documented ones; candidates behind a node's address are those
// that the ledger has there at the time.
package whatif

import (
	"cmp"
	"context"
	"net/netip"
	"slices"

	"github.com/whichpod/whichpod/attribution"
	"github.com/whichpod/whichpod/flow"
	"github.com/whichpod/whichpod/query"
)

// Modes are those that can be asked for, in the order of reports.
var Modes = []attribution.Network{attribution.Kubenet, attribution.Overlay, attribution.NodeSubnet, attribution.PodSubnet}

// Word is what is said of a row's sender: a verdict's word, or one of these.
type Word string

const (
	// ByNAT is exact today because of NAT evidence.
	ByNAT Word = "exact, by NAT evidence"
	// Unknown would be said of what cannot be replayed.
	Unknown Word = "not known"
)

// Why a row cannot be replayed.
const (
	whoUnknown  = "today they show the node's address, so that the sender is not known; this mode would show it"
	nodeUnknown = "the sender's node is not known"
	vnetUnknown = "the configuration has no vnetCIDRs, so that it is not known whether the destination is in the VNet"
)

// Replay is what would be said under one mode.
type Replay struct {
	Mode    attribution.Network
	Rows    int64
	Matrix  map[Word]map[Word]int64              // from today's word to the other
	Classes map[attribution.Class]map[Word]int64 // what would be said, by where the row went; of rows that the cluster's pods and nodes sent
	Why     map[string]int64                     // of the rows that cannot be replayed
	// Lifted are the rows that would be masked, and whose sender is known today: evidence of
	// all translations would name it.
	Lifted int64
	// Hidden are the rows that would be masked and are not today; Bits is how much would be
	// unknown of them, in all.
	Hidden     int64
	Bits       float64
	Candidates int64 // of those rows, in all
}

// Run replays all rows with a time in [since, until), Unix milliseconds; 0 is no limit.
// cfg MUST be the one of the engine's view.
func Run(ctx context.Context, e *query.Engine, cfg attribution.Config, modes []attribution.Network, since, until int64) ([]*Replay, error) {
	p := newReplayer(e.View(), cfg)
	var out []*Replay
	for _, m := range modes {
		out = append(out, &Replay{Mode: m, Matrix: make(map[Word]map[Word]int64), Classes: make(map[attribution.Class]map[Word]int64), Why: make(map[string]int64)})
	}
	err := e.All(ctx, since, until, func(a query.Attributed, rows []int32) error {
		for _, i := range rows {
			r := p.row(&a, int(i))
			for _, replay := range out {
				replay.add(r, p.under(replay.Mode, r))
			}
		}
		return nil
	})
	return out, err
}

// add counts a row.
func (r *Replay) add(row *row, o outcome) {
	r.Rows++
	count(r.Matrix, row.today, o.word)
	if row.today != Word(attribution.External.String()) {
		count(r.Classes, row.class, o.word)
	}
	if o.word == Unknown {
		r.Why[o.why]++
	}
	if o.word != Word(attribution.Masked.String()) || hides(row.said) {
		return
	}
	r.Hidden++
	r.Bits += o.said.Bits()
	r.Candidates += int64(len(o.said.Candidates))
	if row.said.Verdict == attribution.Exact {
		r.Lifted++
	}
}

func count[K comparable](in map[K]map[Word]int64, key K, word Word) {
	if in[key] == nil {
		in[key] = make(map[Word]int64)
	}
	in[key][word]++
}

// row is a row of the log with what is said of it today.
type row struct {
	today    Word
	said     *attribution.Resolution // of its source
	class    attribution.Class       // of its destination
	inVNet   bool                    // it is certain that the class is not the other of InVNet and Beyond
	question attribution.Question

	behind *attribution.Resolution // the sender's node, once it was asked for
}

// outcome is what would be said of a row's sender.
type outcome struct {
	word Word
	said *attribution.Resolution // nil where it is not known
	why  string                  // it is not
}

func says(r *attribution.Resolution) outcome {
	return outcome{word: Word(r.Verdict.String()), said: r}
}

// replayer replays rows.
type replayer struct {
	view  *attribution.View
	vnets map[string][]netip.Prefix // of clusters, as configured
	sole  string                    // the configured cluster, where there is just one
	nodes map[place][]netip.Addr    // addresses of nodes
}

type place struct{ cluster, node string }

func newReplayer(v *attribution.View, cfg attribution.Config) *replayer {
	p := &replayer{view: v, vnets: make(map[string][]netip.Prefix), nodes: make(map[place][]netip.Addr)}
	for i := range cfg.Clusters {
		p.vnets[cfg.Clusters[i].Name] = cfg.Clusters[i].VNetCIDRs
	}
	if len(cfg.Clusters) == 1 {
		p.sole = cfg.Clusters[0].Name
	}
	return p
}

// row takes what is said of row i today.
func (p *replayer) row(a *query.Attributed, i int) *row {
	r := &row{}
	r.said = a.Joined.Src[i]
	r.today = Word(r.said.Verdict.String())
	if a.Translated(i) != nil {
		r.today = ByNAT
	}
	nics, codes := a.NICs()
	r.question = attribution.Question{Address: a.Addresses[a.Batch.Src[i]], Begin: a.Begins[i], NIC: nics[codes[i]], Near: a.Direction[i] == flow.Outbound, Sent: true}
	r.class, r.inVNet = p.class(cmp.Or(clusterOf(r.said), p.sole), a.Addresses[a.Batch.Dst[i]], a.DstPort[i], a.Joined.Dst[i])
	return r
}

// clusterOf is that of the candidates, or "" where there are none.
func clusterOf(r *attribution.Resolution) string {
	if len(r.Candidates) == 0 {
		return ""
	}
	return r.Candidates[0].Cluster
}

// under is what would be said of a row under a mode.
func (p *replayer) under(mode attribution.Network, r *row) outcome {
	shows := Rules[mode][r.class]
	switch {
	case r.said.Verdict == attribution.External:
		return says(r.said)
	case hides(r.said) && shows == attribution.ShowsNode:
		return says(r.said) // whoever it was is hidden there too
	case hides(r.said):
		return outcome{word: Unknown, why: whoUnknown}
	case mode == attribution.NodeSubnet && !r.inVNet:
		return outcome{word: Unknown, why: vnetUnknown}
	case shows == attribution.ShowsPod:
		return says(r.said)
	}
	if r.behind == nil {
		r.behind = p.behind(r)
	}
	if r.behind == nil {
		return outcome{word: Unknown, why: nodeUnknown}
	}
	return says(r.behind)
}

// hides says whether a pod may be hidden behind the node's address that a row shows.
func hides(r *attribution.Resolution) bool {
	return ofNode(r) && slices.ContainsFunc(r.Candidates, func(c *attribution.Candidate) bool { return !c.IsNode && !c.HostNetwork })
}

// ofNode says whether a resolution is of a node's address.
func ofNode(r *attribution.Resolution) bool {
	return r.Verdict == attribution.Masked || r.Verdict == attribution.Host ||
		r.Verdict == attribution.Gap && slices.ContainsFunc(r.Candidates, func(c *attribution.Candidate) bool { return c.IsNode })
}

// behind is what is said of the address of the sender's node, where it masquerades; nil
// where the node is not known.
func (p *replayer) behind(r *row) *attribution.Resolution {
	q := r.question
	q.Near = false // the address is the node's, whichever interface has the row
	if ofNode(r.said) {
		return p.view.Resolve(q)
	}
	at := place{}
	for i := range r.said.Candidates {
		c := r.said.Candidates[i]
		if on := (place{c.Cluster, c.Node}); i == 0 {
			at = on
		} else if on != at {
			return nil
		}
	}
	if at.node == "" {
		return nil
	}
	for _, address := range p.addresses(at) {
		if address.Is4() != q.Address.Is4() {
			continue
		}
		q.Address = address
		if said := p.view.Resolve(q); ofNode(said) && onNode(said, at) {
			return said
		}
	}
	return nil
}

func onNode(r *attribution.Resolution, at place) bool {
	return !slices.ContainsFunc(r.Candidates, func(c *attribution.Candidate) bool { return c.Cluster != at.cluster || c.Node != at.node })
}

// addresses are those that a node has, or had.
func (p *replayer) addresses(at place) []netip.Addr {
	all, ok := p.nodes[at]
	if !ok {
		all = p.view.NodeAddresses(at.cluster, at.node)
		p.nodes[at] = all
	}
	return all
}
