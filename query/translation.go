package query

import (
	"net/netip"
	"slices"

	"github.com/whichpod/whichpod/attribution/nat"
)

// Translation is what a node did to a connection: evidence of kind "nat".
type Translation struct {
	Node string `json:"node"`
	// Where it is written: a line of a file, or a batch of an agent's session.
	File       string `json:"file,omitempty"`
	Line       uint64 `json:"line,omitempty"`
	Agent      string `json:"agent,omitempty"`
	Batch      uint64 `json:"batch,omitempty"`
	Original   string `json:"original"`   // as the pod made it: "10.244.0.9:40312 -> 203.0.113.66:8443"
	Translated string `json:"translated"` // as it left the node
	From       Time   `json:"from"`       // when it had begun, by the node's clock
	To         Time   `json:"to"`         // when it had ended; null is not known
}

// prove names what a node translated, if anything.
func (gr *group) prove(store *nat.Store, f *nat.Flow) {
	if f == nil || len(gr.nat) >= keepEvidence {
		return
	}
	t := translationOf(store, f)
	if !slices.ContainsFunc(gr.nat, func(e Evidence) bool { return *e.Translation == t }) {
		gr.nat = append(gr.nat, Evidence{Kind: "nat", Source: store.Import(f.Import).Kind, Translation: &t})
	}
}

func translationOf(store *nat.Store, f *nat.Flow) Translation {
	t := Translation{Node: f.Node, From: Time(f.FromLatest), To: Time(f.ToLatest),
		Original: way(f.Original.Src, f.Original.SrcPort, f.Original.Dst, f.Original.DstPort), Translated: way(f.Src, f.SrcPort, f.Dst, f.DstPort)}
	im := store.Import(f.Import)
	if len(im.Batches) > 0 {
		t.Agent, t.Batch = im.BatchAt(f.Place)
	} else {
		t.File, t.Line = im.Name, f.Place
	}
	return t
}

func way(src netip.Addr, srcPort uint16, dst netip.Addr, dstPort uint16) string {
	return netip.AddrPortFrom(src, srcPort).String() + " -> " + netip.AddrPortFrom(dst, dstPort).String()
}
