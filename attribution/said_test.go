package attribution

import (
	"math/rand/v2"
	"testing"

	"github.com/whichpod/whichpod/flow"
)

// What is kept of an address weighs what it holds, counted anew: when little was asked,
// and when so much was that the table of stretches began anew.
func TestWeightOfWhatIsSaid(t *testing.T) {
	t.Parallel()
	const addresses = 8
	for _, c := range []struct{ pods, questions int }{{4, 200}, {60, 40_000}} {
		cfg := DefaultConfig()
		cfg.Clusters = []Cluster{{Name: "c", Network: Overlay, PodCIDRs: prefixes("10.128.0.0/9")}}
		var facts []Fact
		scaled(c.pods*addresses, addresses, func(f ...Fact) { facts = append(facts, f...) })
		v, r := viewOf(t, cfg, facts), rand.New(rand.NewPCG(1, 7))
		most, renewed := 0, 0
		for range c.questions * addresses {
			track, id := v.track(scaledAddress(r.IntN(addresses)))
			s := v.saidBy(track, id)
			first := r.IntN(track.runs())
			last := min(track.runs()-1, first+r.IntN(60))
			before := s.stretches.Load()
			s.over(flow.Span{From: track.begin(first), To: track.begin(last)}, end(r.IntN(numEnds)))
			if after := s.stretches.Load(); after != nil {
				if most = max(most, after.count); before != nil && after.count < before.count {
					renewed++
				}
			}
		}
		all := int64(0)
		for _, one := range v.said.values {
			weight, held := one.bytes.Load(), one.value.held()
			if weight != held {
				t.Errorf("%d pods, an address with %d stretches and more weighs %d bytes, and holds %d", c.pods, one.value.stretches.Load().count, weight, held)
			}
			all += weight
		}
		if spent := v.said.spent.Load(); spent != all || len(v.said.values) != addresses {
			t.Errorf("%d pods: %d addresses weigh %d bytes, and %d are counted", c.pods, len(v.said.values), all, spent)
		}
		if (c.pods > 4) != (renewed > 0) {
			t.Errorf("%d pods: tables began anew %d times with up to %d keys", c.pods, renewed, most)
		}
		v.said.limit = 0
		if v.said.dropped(); len(v.said.values) != 1 || v.said.spent.Load() > all/2 {
			t.Errorf("%d pods: %d addresses are left, and %d bytes are counted", c.pods, len(v.said.values), v.said.spent.Load())
		}
	}
}

// held is what an address holds, in bytes, by the sizes that weights are made of.
func (s *saidAt) held() int64 {
	n := int64(saidAtBytes + saidGroupBytes*len(s.groups) + pointerBytes*len(s.stays))
	for i := range s.stays {
		if s.stays[i].Load() != nil {
			n += candidateBytes
		}
	}
	counted := map[*Resolution]bool{nil: true}
	for run := range s.track.runs() {
		if r := s.slot(run, sender).Load(); !counted[r] {
			n += r.bytes()
		}
		for as := range numEnds {
			counted[s.slot(run, end(as)).Load()] = true
		}
	}
	if t := s.stretches.Load(); t != nil {
		n += stretchBytes * int64(len(t.slots))
		for i := range t.slots {
			if r := t.slots[i].said.Load(); !counted[r] {
				n += r.bytes()
				counted[r] = true
			}
		}
	}
	return n
}
