package query

import (
	"context"
	"fmt"
	"net/netip"
	"time"

	"github.com/whichpod/whichpod/attribution"
	"github.com/whichpod/whichpod/index"
)

// Talkers answers which pods exchanged traffic with an address or a range. Its
// answers are about the other end of each row.
func (e *Engine) Talkers(ctx context.Context, q Question) (*Answer, error) {
	start := time.Now()
	g := newGroups(e.view)
	f := index.Filter{To: q.Until, Addresses: []netip.Prefix{q.Of.Prefix}}
	err := e.Each(ctx, f, func(a Attributed) error {
		for i := range a.Len() {
			if !q.in(int64(a.Time[i])) {
				continue
			}
			if q.Of.matches(a.Addresses[a.Batch.Dst[i]], a.DstPort[i]) {
				g.add(a, i)
			}
			if q.Of.matches(a.Addresses[a.Batch.Src[i]], a.SrcPort[i]) {
				g.ofRow(a.Joined.Dst[i], a.Addresses[a.Batch.Dst[i]], a.Begins[i], int64(a.Time[i])).add(a.Batch, i)
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("ask talkers of %s: %w", q.Of, err)
	}
	out := g.answers(true)
	if out.Verdict == 0 {
		out.Warnings = append(append(out.Warnings, "no row shows this address then"), e.noRows(&q)...)
	} else {
		out.Gaps = e.gaps(g, e.period(&q, out.Flows.times(), g.about()))
	}
	out.Question = &q
	out.complete()
	out.ElapsedMS = float64(time.Since(start).Microseconds()) / 1000
	return out, nil
}

func (e Endpoint) matches(a netip.Addr, port uint16) bool {
	return e.Prefix.Contains(a) && (!e.HasPort || e.Port == port)
}

// Trail is the document that "trail -o json" prints.
type Trail struct {
	Question TrailQuestion `json:"question"`
	Pods     []PodTrail    `json:"pods"` // one for each UID that the name had
}

// TrailQuestion names a pod.
type TrailQuestion struct {
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	UID       string `json:"uid"`
	Since     Time   `json:"since"`
	Until     Time   `json:"until"`
}

// PodTrail is where one pod went.
type PodTrail struct {
	Pod       Pod    `json:"pod"`
	Addresses []Pod  `json:"addresses"` // the pod once for each address that it had
	Peers     []Peer `json:"peers"`
}

// Peer is somebody with whom the pod exchanged traffic.
type Peer struct {
	Address   string `json:"address"`
	Port      uint16 `json:"port"`      // of the called side
	Protocol  uint8  `json:"protocol"`  // IANA number
	Direction string `json:"direction"` // "sent": the pod called; "received": it was called
	Verdict   Word   `json:"verdict"`   // how sure it is that this pod was the one
	Denied    bool   `json:"denied,omitempty"`
	Flows     Flows  `json:"flows"`
}

// Trail answers where the pods went that a name or a UID means.
func (e *Engine) Trail(ctx context.Context, ref attribution.PodRef, since, until int64) (*Trail, error) {
	out := &Trail{Question: TrailQuestion{ref.Namespace, ref.Name, ref.UID, Time(since), Time(until)}, Pods: []PodTrail{}}
	found := e.view.Pods(ref)
	index := make(map[[2]string]int)
	for i := range found {
		c := &found[i]
		key := [2]string{c.Cluster, c.UID}
		at, ok := index[key]
		if !ok {
			at = len(out.Pods)
			index[key] = at
			out.Pods = append(out.Pods, PodTrail{Pod: podOf(c), Addresses: []Pod{}, Peers: []Peer{}})
		}
		if c.Address.IsValid() {
			out.Pods[at].Addresses = append(out.Pods[at].Addresses, podOf(c))
		}
	}
	for i := range out.Pods {
		if err := e.peers(ctx, &out.Pods[i], since, until); err != nil {
			return nil, fmt.Errorf("ask trail of %s: %w", out.Pods[i].Pod.Label(), err)
		}
	}
	return out, nil
}

// peers reads the rows of all addresses that the pod can have appeared under: its
// own and its node's.
func (e *Engine) peers(ctx context.Context, p *PodTrail, since, until int64) error {
	var prefixes []netip.Prefix
	add := func(a netip.Addr) { prefixes = append(prefixes, netip.PrefixFrom(a, a.BitLen())) }
	for i := range p.Addresses {
		if a, err := netip.ParseAddr(p.Addresses[i].Address); err == nil {
			add(a)
		}
	}
	for _, a := range e.view.NodeAddresses(p.Pod.Cluster, p.Pod.Node) {
		add(a)
	}
	if len(prefixes) == 0 {
		return nil
	}
	q := Question{Since: since, Until: until}
	seen := newPeers()
	err := e.Each(ctx, index.Filter{To: until, Addresses: prefixes}, func(a Attributed) error {
		for i := range a.Len() {
			if !q.in(int64(a.Time[i])) {
				continue
			}
			if r := a.Joined.Src[i]; r.Has(p.Pod.UID) {
				seen.add(a, i, a.Addresses[a.Batch.Dst[i]], "sent", r.Verdict)
			}
			if r := a.Joined.Dst[i]; r.Has(p.Pod.UID) {
				seen.add(a, i, a.Addresses[a.Batch.Src[i]], "received", r.Verdict)
			}
		}
		return nil
	})
	p.Peers = seen.list()
	return err
}
