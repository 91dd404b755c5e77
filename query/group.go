package query

import (
	"fmt"
	"math"
	"net/netip"
	"slices"
	"strings"

	"github.com/whichpod/whichpod/attribution"
	"github.com/whichpod/whichpod/flow"
)

// keepEvidence is how many rows an answer names; Flows.Rows says how many there are.
const keepEvidence = 5

// groups gathers rows by who sent (or received) them.
type groups struct {
	view  *attribution.View
	byKey map[string]*group
	order []*group
	last  map[*attribution.Resolution]*group
	// clusters are those that can own an address that the answers are about.
	clusters []string
	// unseen is when flows can have begun of which it is not known who sent them.
	unseen attribution.Range
}

// group is the rows of one owner, or of one set of candidates.
type group struct {
	verdict    attribution.Verdict
	candidates []attribution.Candidate
	named      map[candidateKey]bool // those in candidates
	notes      []string
	around     []string // of a gap: who is known before and after
	tally      tally
	evidence   []Evidence
	excluded   []attribution.Exclusion
	nat        []Evidence // what nodes translated of these rows
	minBits    float64
	maxBits    float64
	since      int64      // of an answer from the ledger: when it is true first
	unsure     netip.Addr // external as far as is known, and not certainly; invalid: none
}

type candidateKey struct{ cluster, uid, node, machine string }

func newGroups(view *attribution.View) *groups {
	return &groups{view: view, byKey: make(map[string]*group), last: make(map[*attribution.Resolution]*group)}
}

// of returns the group that a resolution belongs to.
func (g *groups) of(r *attribution.Resolution) *group {
	if gr := g.last[r]; gr != nil {
		return gr
	}
	key := groupKey(r)
	gr := g.byKey[key]
	if gr == nil {
		gr = &group{verdict: r.Verdict, minBits: r.Bits(), named: make(map[candidateKey]bool)}
		g.byKey[key] = gr
		g.order = append(g.order, gr)
	}
	gr.join(r)
	g.last[r] = gr
	return gr
}

// heldBy is of for an answer from the ledger that is true from a time on: all time of which
// nothing is known is one group.
func (g *groups) heldBy(r *attribution.Resolution, from int64) {
	unknown := func(gr *group) bool { return gr.verdict == attribution.Gap && len(gr.candidates) == 0 }
	if i := slices.IndexFunc(g.order, unknown); i >= 0 && r.Verdict == attribution.Gap && len(r.Candidates) == 0 {
		g.order[i].join(r)
		return
	}
	if gr := g.of(r); gr.since == 0 {
		gr.since = from
	}
}

// about are the clusters whose pods an answer can be about: those that can own an
// address of it, and all where it may be of one that nobody saw.
func (g *groups) about() []string {
	if slices.ContainsFunc(g.order, func(gr *group) bool { return gr.unsure.IsValid() }) {
		return g.view.Names()
	}
	return g.clusters
}

// groupKey: rows of one pod belong together, and rows masked by one node; else rows
// with the same candidates.
func groupKey(r *attribution.Resolution) string {
	var b strings.Builder
	b.WriteString(r.Verdict.String())
	switch r.Verdict {
	case attribution.External:
	case attribution.Masked, attribution.Host:
		for i := range r.Candidates {
			if c := r.Candidates[i]; c.IsNode {
				fmt.Fprintf(&b, "|%s|%s", c.Cluster, c.Node)
			}
		}
	case attribution.Gap:
		for i := range r.Candidates {
			if c := r.Candidates[i]; c.IsNode {
				fmt.Fprintf(&b, "|%s|%s", c.Cluster, c.Node)
			}
		}
		for _, c := range []*attribution.Candidate{r.Before, r.After} {
			if c != nil {
				fmt.Fprintf(&b, "|%s|%s", c.Cluster, c.UID)
			}
		}
		b.WriteString(strings.Join(r.Notes, "|"))
	default:
		for i := range r.Candidates {
			fmt.Fprintf(&b, "|%s|%s|%s", r.Candidates[i].Cluster, r.Candidates[i].UID, r.Candidates[i].Node)
		}
	}
	return b.String()
}

func (gr *group) join(r *attribution.Resolution) {
	gr.minBits, gr.maxBits = min(gr.minBits, r.Bits()), max(gr.maxBits, r.Bits())
	for i := range r.Candidates {
		c := r.Candidates[i]
		if key := (candidateKey{c.Cluster, c.UID, c.Node, c.NodeUID}); !gr.named[key] {
			gr.named[key] = true
			gr.candidates = append(gr.candidates, *c)
		} else if r.Verdict == attribution.Exact { // by NAT evidence and without
			gr.candidates[0].Sources |= c.Sources
			gr.candidates[0].Ledger |= c.Ledger
		}
	}
	gr.note(r)
	if r.Verdict == attribution.Gap {
		gr.around = appendNew(gr.around, sides(r)...)
	}
}

func (gr *group) note(r *attribution.Resolution) { gr.notes = appendNew(gr.notes, r.Notes...) }

func appendNew(list []string, more ...string) []string {
	for _, s := range more {
		if !slices.Contains(list, s) {
			list = append(list, s)
		}
	}
	return list
}

// add counts row i of a batch for who sent it.
func (g *groups) add(a Attributed, i int) {
	gr := g.ofRow(a.Joined.Src[i], a.Addresses[a.Batch.Src[i]], a.Begins[i], int64(a.Time[i]))
	gr.add(a.Batch, i)
	gr.prove(g.view.NAT(), a.Translated(i))
}

// ofRow is of for one end of a row, and takes note of what is not known of it.
func (g *groups) ofRow(r *attribution.Resolution, a netip.Addr, begin flow.Span, at int64) *group {
	gr := g.last[r]
	if gr == nil {
		gr = g.of(r)
		g.clusters = appendNew(g.clusters, g.view.Owning(a)...)
	}
	switch gr.verdict {
	case attribution.Gap:
		if g.unseen.To == 0 {
			g.unseen.From = begin.From
		}
		g.unseen = attribution.Range{From: min(g.unseen.From, begin.From), To: max(g.unseen.To, at+1)}
	case attribution.External:
		if from := min(at, begin.From); !gr.unsure.IsValid() && !g.view.Foreign(a, from, at) {
			gr.unsure = a
		}
	}
	return gr
}

// add counts row i of a batch.
func (gr *group) add(b *flow.Batch, i int) {
	gr.tally.add(b, i)
	if len(gr.evidence) < keepEvidence {
		row := b.Row(i)
		gr.cite(&row)
	}
}

// addRow counts a row.
func (gr *group) addRow(r *flow.Row) {
	gr.tally.addRow(r)
	if len(gr.evidence) < keepEvidence {
		gr.cite(r)
	}
}

func (gr *group) cite(r *flow.Row) {
	offset := r.Offset
	gr.evidence = append(gr.evidence, Evidence{Kind: "flow", Blob: r.Blob, Offset: &offset, Row: r.Tuple()})
}

// answer is the group in the contract's shape.
func (gr *group) answer() Answer {
	a := Answer{Verdict: Word(gr.verdict), Flows: gr.tally.flows(), Evidence: slices.Concat(gr.evidence, gr.nat), Warnings: slices.Clone(gr.notes), Contradictions: contradictions(gr.candidates), since: Time(gr.since)}
	for i := range gr.candidates {
		a.Candidates = append(a.Candidates, podOf(&gr.candidates[i]))
	}
	if len(a.Candidates) > 1 {
		a.Bits = roundBits(math.Log2(float64(len(a.Candidates))))
	}
	if gr.verdict == attribution.Masked && gr.minBits != gr.maxBits {
		a.Warnings = append(a.Warnings, fmt.Sprintf("pods came and went between these rows: single rows have %.2f to %.2f bits", gr.minBits, gr.maxBits))
	}
	if gr.unsure.IsValid() {
		a.Warnings = append(a.Warnings, fmt.Sprintf("external only as far as is known: pods can have addresses like %s, and not every cluster's pods are on record for that time; \"whichpod import pods\" would tell", gr.unsure))
	}
	a.Excluded = gr.others()
	if gr.verdict == attribution.Exact {
		a.Pod = &a.Candidates[0]
	}
	if gr.verdict == attribution.Gap {
		a.Warnings = append(a.Warnings, gr.around...)
	}
	for i := range gr.candidates {
		if len(a.Evidence) >= len(gr.nat)+2*keepEvidence {
			break
		}
		if c := &gr.candidates[i]; !c.IsNode {
			a.Evidence = append(a.Evidence, Evidence{Kind: "ledger", Source: c.Known().String(), Text: bracketText(c)})
		}
	}
	return a
}

// sides says who held an address before and after a gap.
func sides(r *attribution.Resolution) []string {
	var out []string
	if r.Before != nil {
		out = append(out, "known before: "+bracketText(r.Before))
	}
	if r.After != nil {
		out = append(out, "known after: "+bracketText(r.After))
	}
	return out
}

func bracketText(c *attribution.Candidate) string {
	p := podOf(c)
	what := "was on " + p.Node
	if p.Address != "" {
		what = "had " + p.Address
	}
	return fmt.Sprintf("%s (%s) %s from %s..%s to %s..%s", p.Label(), p.UID, what, p.FromEarliest, p.FromLatest, openEnd(p.ToEarliest), openEnd(p.ToLatest))
}

func openEnd(t Time) string {
	if !t.Known() {
		return "open"
	}
	return t.String()
}

// tally counts rows. Of the two copies of a flow that two interfaces logged, the
// sender's counts; the receiver's only where there is no other. Rows MUST come in
// flow order.
type tally struct {
	total    Flows
	key      tupleKey
	any      bool
	sent     [2]uint64 // of the present five-tuple: by the outbound rows, by the inbound rows
	received [2]uint64
	outbound bool
}

type tupleKey struct {
	src, dst         netip.Addr
	srcPort, dstPort uint16
	protocol         uint8
}

func (t *tally) add(b *flow.Batch, i int) {
	key := tupleKey{b.Addresses[b.Src[i]], b.Addresses[b.Dst[i]], b.SrcPort[i], b.DstPort[i], b.Protocol[i]}
	t.count(key, int64(b.Time[i]), b.Direction[i], b.Counters(i))
}

func (t *tally) addRow(r *flow.Row) {
	t.count(tupleKey{r.Src, r.Dst, r.SrcPort, r.DstPort, r.Protocol}, r.Time, r.Direction, r.Counters)
}

func (t *tally) count(key tupleKey, time int64, direction byte, c flow.Counters) {
	if !t.any || key != t.key {
		t.turn()
		t.key, t.any = key, true
	}
	at := Time(time)
	if t.total.Rows == 0 || at < t.total.First {
		t.total.First = at
	}
	t.total.Last = max(t.total.Last, at)
	t.total.Rows++
	side := 1
	if direction == flow.Outbound {
		side, t.outbound = 0, true
	}
	t.sent[side] += c.BytesSent
	t.received[side] += c.BytesReceived
}

// turn books the five-tuple that ends.
func (t *tally) turn() {
	side := 1
	if t.outbound {
		side = 0
	}
	t.total.BytesSent += t.sent[side]
	t.total.BytesReceived += t.received[side]
	t.sent, t.received, t.outbound = [2]uint64{}, [2]uint64{}, false
}

func (t *tally) flows() Flows {
	t.turn()
	return t.total
}
