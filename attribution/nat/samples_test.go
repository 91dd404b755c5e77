package nat

import (
	"net/netip"
	"testing"
)

// Packets show who may have had a key, and never that nobody else had it: not by
// themselves, not between two of them, and not where an agent that saw everything else
// had a covered time.
func TestSamples(t *testing.T) {
	key := Key{Src: addr(4), SrcPort: 1027, Dst: netip.MustParseAddr("203.0.113.66"), DstPort: 443, Protocol: 6}
	from := func(last byte, port uint16) Tuple {
		return Tuple{Src: addr(last), SrcPort: port, Dst: key.Dst, DstPort: key.DstPort}
	}
	packet := func(last byte, at int64) Flow {
		return Flow{Key: key, Node: "n", Original: from(last, 0), FromLatest: at, ToEarliest: at, ToLatest: NoEnd}
	}
	whole := Flow{Key: key, Node: "n", Original: from(11, 4000), FromEarliest: 100_000, FromLatest: 100_000, ToEarliest: 120_000, ToLatest: 120_000}
	for name, c := range map[string]struct {
		tracked, packets []Flow
		covered          Range
		from, to         int64
		senders          int
		certain          bool
	}{
		"tracked":                        {tracked: []Flow{whole}, from: 110_000, to: 112_000, senders: 1, certain: true},
		"one packet":                     {packets: []Flow{packet(11, 110_000)}, from: 110_000, to: 110_000, senders: 1},
		"between two":                    {packets: []Flow{packet(11, 110_000), packet(11, 112_000)}, from: 110_500, to: 111_500, senders: 2},
		"an agent saw nothing of it":     {packets: []Flow{packet(11, 110_000)}, covered: Range{1, 200_000}, from: 110_000, to: 112_000, senders: 1},
		"within a connection of its pod": {tracked: []Flow{whole}, packets: []Flow{packet(11, 110_000)}, from: 109_000, to: 111_000, senders: 2, certain: true},
		"within another's":               {tracked: []Flow{whole}, packets: []Flow{packet(12, 110_000)}, from: 109_000, to: 111_000, senders: 2, certain: true}, // two pods: no answer
		"past its end, all was seen":     {tracked: []Flow{whole}, covered: Range{1, 200_000}, from: 119_000, to: 121_000, senders: 1, certain: true},
		"and yet there was a packet":     {tracked: []Flow{whole}, packets: []Flow{packet(11, 119_500)}, covered: Range{1, 200_000}, from: 119_000, to: 121_000, senders: 2},
	} {
		t.Run(name, func(t *testing.T) {
			s := open(t, t.TempDir(), Options{})
			for kind, flows := range map[string][]Flow{"agent": c.tracked, Samples: c.packets} {
				w, err := s.Begin(Import{Cluster: "prod", Kind: kind})
				if err != nil {
					t.Fatal(err)
				}
				if kind == "agent" && c.covered.To > 0 {
					w.Cover("n", "session", c.covered.From, c.covered.To)
				}
				for _, f := range flows {
					if err := w.Add(f); err != nil {
						t.Fatal(err)
					}
				}
				if _, err := w.Commit(kind); err != nil {
					t.Fatal(err)
				}
			}
			got, err := s.Senders(&Asked{Cluster: "prod", Key: key, From: c.from, To: c.to, Nodes: []string{"n"}, Tolerance: 1000})
			if err != nil || len(got.Flows) != c.senders || got.Certain != c.certain || got.Contradicted {
				t.Errorf("got %+v, %v", got, err)
			}
		})
	}
}
