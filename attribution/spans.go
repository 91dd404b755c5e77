package attribution

import (
	"net/netip"
	"slices"
)

// Span is a time in which nobody is recorded with an address in a cluster that can
// own it.
type Span struct {
	Cluster string
	Range
	Watched bool // somebody watched, and nobody held it; else nobody watched
}

// Spans lists when an address was nobody's, and when nobody watched, in [from, to), by
// cluster and time. Somebody can be known to have held it while nobody watched.
func (v *View) Spans(a netip.Addr, from, to int64) []Span {
	var out []Span
	for _, o := range v.address(a).owners {
		c := o.cluster
		for _, r := range c.changes.holes(from, to) {
			out = append(out, Span{c.Name, r, false})
		}
		var held coverage // and not watched
		for _, s := range c.staysAt(a) {
			held = held.add(Range{s.fromEarliest, s.possibleTo(0)})
		}
		for _, s := range c.spellsOf(a) {
			held = held.add(Range{s.from, s.to})
		}
		for _, r := range c.changes.holes(from, to) {
			held = held.add(r)
		}
		for _, r := range held.holes(from, to) {
			out = append(out, Span{c.Name, r, true})
		}
	}
	slices.SortStableFunc(out, func(a, b Span) int {
		if a.Cluster != b.Cluster {
			return 0 // clusters are in order already
		}
		return int(a.From - b.From)
	})
	return out
}
