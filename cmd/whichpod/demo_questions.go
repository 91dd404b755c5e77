package main

import (
	"errors"
	"net/netip"
	"slices"
	"time"

	"github.com/whichpod/whichpod/benchmarks/sim"
	"github.com/whichpod/whichpod/flow"
	"github.com/whichpod/whichpod/query"
)

// demoQuestion is a question of the demo, what its answer must be, and the truth.
type demoQuestion struct {
	why   string
	words []string // of the command
	code  int
	truth string
}

// calm is how far from a change the demo's moments are, in milliseconds.
const calm = 20 * 1000

// questions picks, from what the simulator knows, one of each kind.
func (d *demo) questions() ([]demoQuestion, error) {
	sent := map[netip.Addr][]sim.Truth{} // first rows of flows between pods, by source
	var masked *sim.Truth
	for tr := range d.world.Truth() {
		switch {
		case tr.State != flow.Begin || tr.Direction != flow.Outbound || tr.SrcPod == nil:
		case tr.Masked && tr.Class == sim.ToInternet && masked == nil && tr.Time > d.world.Config.Start.Add(2*time.Minute).UnixMilli():
			masked = &tr
		case !tr.Masked && !tr.SrcPod.HostNetwork:
			sent[tr.Src] = append(sent[tr.Src], tr)
		}
	}
	first, second, ok := d.reused(sent)
	if !ok || masked == nil {
		return nil, errors.New("the simulated cluster shows no such case; this is a mistake in the program")
	}
	return []demoQuestion{
		{"Which pod sent this? One pod can have: exact.", who(&first), answered, label(first.SrcPod)},
		{"The same address, a little later: it was handed to another pod.", who(&second), answered, label(second.SrcPod)},
		{"What leaves the cluster shows the node's address: any pod on it may have sent: masked.", who(masked), severalCandidates, label(masked.SrcPod)},
		{"The same address at a time when nobody watched: gap, and never a guess.", d.unwatched(first.Src), unwatched, ""},
	}, nil
}

// reused finds an address with flows of two pods, one after the other, far from all
// changes, and no third at once.
func (d *demo) reused(sent map[netip.Addr][]sim.Truth) (first, second sim.Truth, ok bool) {
	addresses := make([]netip.Addr, 0, len(sent))
	for a := range sent {
		addresses = append(addresses, a)
	}
	slices.SortFunc(addresses, netip.Addr.Compare)
	for _, a := range addresses {
		list := slices.DeleteFunc(slices.Clone(sent[a]), func(tr sim.Truth) bool { return !d.quiet(&tr) })
		slices.SortFunc(list, func(x, y sim.Truth) int { return int(x.Time - y.Time) })
		for i := range list {
			if list[i].SrcPod != list[0].SrcPod && d.unheldInHole(a) {
				return list[0], list[i], true
			}
		}
	}
	return first, second, false
}

// quiet: the sender had the address for a while, alone, and kept it for a while.
func (d *demo) quiet(tr *sim.Truth) bool {
	for _, h := range d.world.Holds {
		if h.Addr == tr.Src && h.From-calm < tr.Begin && tr.Begin < h.To+calm &&
			(h.UID != tr.SrcPod.UID || tr.Begin < h.From+calm || tr.Begin > h.To-calm) {
			return false
		}
	}
	return !d.hole().contains(tr.Begin, calm)
}

// hole is the time in which the simulator's watch was lost.
type hole struct{ from, to int64 }

func (h hole) contains(t, margin int64) bool { return h.from-margin <= t && t <= h.to+margin }

func (d *demo) hole() hole {
	from, to := d.world.LostWatch()
	return hole{from, to}
}

// unheldInHole: nobody kept the address through the middle of the lost watch.
func (d *demo) unheldInHole(a netip.Addr) bool {
	h := d.hole()
	middle := (h.from + h.to) / 2
	return !slices.ContainsFunc(d.world.Holds, func(x sim.Hold) bool { return x.Addr == a && x.From <= middle && middle < x.To })
}

func (d *demo) unwatched(a netip.Addr) []string {
	h := d.hole()
	return []string{"who", a.String(), "--at", query.Time((h.from + h.to) / 2).String()}
}

func who(tr *sim.Truth) []string {
	return []string{"who", netip.AddrPortFrom(tr.Src, tr.SrcPort).String(), "--to", netip.AddrPortFrom(tr.Dst, tr.DstPort).String(),
		"--at", query.Time(tr.Time).String()}
}

func label(p *sim.Pod) string { return p.Namespace + "/" + p.Name + " uid " + p.UID }
