package attribution

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/whichpod/whichpod/flow"
)

// Times in tests are seconds after this moment.
const epoch = int64(1_795_000_000_000)

func sec(s float64) int64 { return epoch + int64(s*1000) }

func addr(s string) netip.Addr { return netip.MustParseAddr(s) }

func prefixes(list ...string) []netip.Prefix {
	var out []netip.Prefix
	for _, s := range list {
		out = append(out, netip.MustParsePrefix(s))
	}
	return out
}

// theIP is the address most cases are about.
const theIP = "10.244.0.9"

// watched says that cluster c was watched from one second to another.
func watched(from, to float64) *told {
	return &told{Fact{Cluster: "c", Watched: &Range{sec(from), sec(to)}}}
}

// told is a fact in the making.
type told struct{ f Fact }

// aPod is a pod on node n, whose addresses are 10.224.0.4 and fd00::4.
func aPod(uid string) *told {
	return &told{Fact{Cluster: "c", Pod: PodFact{UID: uid, Identity: &Identity{
		Namespace: "web", Name: uid, Node: "n", HostAddresses: []netip.Addr{addr("10.224.0.4"), addr("fd00::4")}, Version: 1}}}}
}

// changesOnly says that of that, only changes were on record.
func (p *told) changesOnly() *told { p.f.Partial = true; return p }

func (p *told) in(cluster string) *told { p.f.Cluster = cluster; return p }

func (p *told) on(node string, addresses ...string) *told {
	p.f.Pod.Identity.Node, p.f.Pod.Identity.HostAddresses = node, nil
	for _, a := range addresses {
		p.f.Pod.Identity.HostAddresses = append(p.f.Pod.Identity.HostAddresses, addr(a))
	}
	return p
}

func (p *told) hostNetwork() *told { p.f.Pod.Identity.HostNetwork = true; return p }

// made: the kubelet took it on then.
func (p *told) made(s float64) *told { p.f.Pod.Presence.NotBefore = sec(s); return p }

func (p *told) each(fn func(b *Bounds)) *told {
	fn(&p.f.Pod.Presence)
	for i := range p.f.Pod.Holdings {
		fn(&p.f.Pod.Holdings[i].Bounds)
	}
	return p
}

// has gives it an address with the evidence so far; has is called before the rest.
func (p *told) has(addresses ...string) *told {
	for _, a := range addresses {
		p.f.Pod.Holdings = append(p.f.Pod.Holdings, Holding{Address: addr(a)})
	}
	return p
}

// seen: the watcher received an object that showed it.
func (p *told) seen(s float64) *told {
	return p.each(func(b *Bounds) { b.SeenBy, b.SeenLast = sec(s), sec(s) })
}

// seenBy: a list that bears no time of its own showed it, by then.
func (p *told) seenBy(s float64) *told { return p.each(func(b *Bounds) { b.SeenBy = sec(s) }) }

// still: a list showed it again then.
func (p *told) still(s float64) *told { return p.each(func(b *Bounds) { b.SeenLast = sec(s) }) }

// ran: it ran by then and still at the other time, in the kubelet's words.
func (p *told) ran(by, still float64) *told {
	return p.each(func(b *Bounds) { b.RunningBy, b.AliveAt = sec(by), sec(still) })
}

// stopped is the kubelet's word.
func (p *told) stopped(s float64) *told {
	return p.each(func(b *Bounds) { b.StoppedFirst, b.StoppedLast = sec(s), sec(s) })
}

// gaveBack: its sandbox went, in the kubelet's words, but not the pod.
func (p *told) gaveBack(s float64) *told {
	for i := range p.f.Pod.Holdings {
		p.f.Pod.Holdings[i].Bounds.StoppedFirst, p.f.Pod.Holdings[i].Bounds.StoppedLast = sec(s), sec(s)
	}
	return p
}

func (p *told) versions(first, last uint64) *told {
	return p.each(func(b *Bounds) { b.FirstVersion, b.LastVersion = first, last })
}

// deleted: its object went.
func (p *told) deleted(s float64, version uint64) *told {
	p.f.Pod.Deleted = Removal{At: sec(s), Version: version}
	return p
}

// after: its object was still there then, when it went.
func (p *told) after(s float64) *told {
	p.f.Pod.Deleted.After = sec(s)
	return p
}

// missing: a list did not show it any more; it was there at the other time (0: unknown).
func (p *told) missing(at, after float64, version uint64) *told {
	p.f.Pod.Missing = Removal{At: sec(at), Version: version}
	if after != 0 {
		p.f.Pod.Missing.After = sec(after)
	}
	return p
}

func (p *told) from(s Source) *told { p.f.Pod.Source = s; return p }

func factsOf(list ...*told) []Fact {
	var out []Fact
	for _, p := range list {
		out = append(out, p.f)
	}
	return out
}

func viewOf(t testing.TB, cfg Config, facts []Fact) *View {
	t.Helper()
	l := NewLedger()
	if _, err := l.Append(append([]Fact(nil), facts...)...); err != nil {
		t.Fatal(err)
	}
	return l.View(cfg)
}

// podRange is a configuration in which cluster c has pods in 10.244.0.0/16.
func podRange() Config {
	cfg := DefaultConfig()
	cfg.Clusters = []Cluster{{Name: "c", Network: Overlay, PodCIDRs: prefixes("10.244.0.0/16")}}
	return cfg
}

// sent asks who sent from theIP in a flow that began then.
func sent(s float64) Question { return sentBy(theIP, s) }

func sentBy(a string, s float64) Question {
	return Question{Address: addr(a), Begin: flow.Span{From: sec(s), To: sec(s)}, Sent: true, Destination: addr("203.0.113.66")}
}

// received asks who got what was sent to theIP, without an answer.
func received(s float64) Question {
	return Question{Address: addr(theIP), Begin: flow.Span{From: sec(s), To: sec(s)}}
}

func answered(s float64) Question {
	q := received(s)
	q.Answered = true
	return q
}

// begun asks who sent from theIP in a flow that began at an unknown time within the span.
func begun(from, to float64) Question {
	q := sent(from)
	q.Begin.To = sec(to)
	return q
}

// text renders a resolution: the verdict and the candidates, a node as "@name"; of a
// gap those known before "<" and after ">" it; a note in brackets where it warns.
func text(r *Resolution) string {
	out := []string{r.Verdict.String()}
	for _, c := range r.Candidates {
		name := c.UID
		if c.IsNode {
			name = "@" + c.Node
		}
		if c.Cluster != "c" {
			name = c.Cluster + ":" + name
		}
		out = append(out, name)
	}
	if r.Before != nil {
		out = append(out, "<"+r.Before.UID)
	}
	if r.After != nil {
		out = append(out, ">"+r.After.UID)
	}
	for _, n := range r.Notes {
		out = append(out, "["+noteWords[n]+"]")
	}
	return strings.Join(out, " ")
}

var noteWords = map[string]string{noteUnwatched: "unwatched", noteNobody: "nobody", noteLingers: "lingers", noteEdge: "edge",
	noteVacant: "vacant", noteBegin: "begin", noteClusters: "clusters", noteElsewhere: "elsewhere", noteMode: "mode", noteDispute: "dispute",
	noteRules: "rules", noteSilent: "silent", notePerhaps: "perhaps", noteOld: "old", noteNATOdd: "translated", noteLent: "lent", noteNATClusters: "evidence"}

// say is a question and the expected text of its answer.
type say struct {
	q    Question
	want string
}

// check asks, and asks the oracle the same.
func check(t *testing.T, v *View, says []say) {
	t.Helper()
	for _, s := range says {
		what := fmt.Sprintf("%s at %+.1f..%+.1f s, sent %v", s.q.Address, float64(s.q.Begin.From-epoch)/1000, float64(s.q.Begin.To-epoch)/1000, s.q.Sent)
		got := v.Resolve(s.q)
		if text(got) != s.want {
			t.Errorf("%s: got %q, want %q", what, text(got), s.want)
		}
		if naive := v.Naive(s.q); !naive.Same(got) {
			t.Errorf("%s: got %q, the oracle says %q", what, text(got), text(naive))
		}
	}
}
