package attribution

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// Dispute is a contradiction in what is recorded of a pod: two statements of which
// one must be wrong. Both are kept. Between From and To, Unix milliseconds, both
// included, no answer that rests on them is exact; To can be Open, and From 0.
type Dispute struct {
	Cluster, Namespace, Name, UID string
	Kind                          DisputeKind
	Address, Other                netip.Addr // at issue; invalid where it is the pod as a whole
	From, To                      int64
	First, Second                 Statement
}

// Statement is what one source says.
type Statement struct {
	Source Source
	Says   string
}

// DisputeKind is what two statements contradict each other about.
type DisputeKind uint8

const (
	DisputeName    DisputeKind = iota + 1 // one UID has two names
	DisputeNode                           // one pod is on two nodes
	DisputeEnd                            // a sign of life after the kubelet's word that it stopped
	DisputeRemoval                        // a sign of life after the object was removed
	DisputeAddress                        // two addresses of one family at once
	DisputeUnseen                         // a pod that those who watched all pods then never saw
)

var disputeWords = [...]string{DisputeName: "name", DisputeNode: "node", DisputeEnd: "end", DisputeRemoval: "removal", DisputeAddress: "address", DisputeUnseen: "unseen"}

func (k DisputeKind) String() string { return disputeWords[k] }

// about says whether a dispute concerns an address of the pod.
func (d *Dispute) about(a netip.Addr) bool {
	return !d.Address.IsValid() || d.Address == a || d.Other == a
}

// voice keeps what each source says of a pod that several know, beside what all of
// them say together. It says whether the source of f had something new to say. before
// is the pod without f, nil where it is new.
func (p *pod) voice(before *pod, f *Fact) bool {
	if before == nil || before.sources == 1<<f.Pod.Source {
		return false
	}
	voices := slices.Clone(before.voices)
	if len(voices) == 0 {
		voices = append(voices, before)
	}
	i := slices.IndexFunc(voices, func(p *pod) bool { return p.sources == 1<<f.Pod.Source })
	own := &pod{cluster: f.Cluster, uid: f.Pod.UID, knownAt: f.KnownAt}
	if i < 0 {
		i, voices = len(voices), append(voices, own)
	} else {
		*own = *voices[i]
		own.holdings = slices.Clone(own.holdings)
	}
	versions := own.versions()
	changed := own.merge(&f.Pod) || versions != own.versions()
	voices[i], p.voices = own, voices
	return changed
}

// said is what a source says of the pod.
func (p *pod) said(source Source) PodFact {
	for _, own := range p.voices {
		if own.sources == 1<<source {
			return own.fact(source)
		}
	}
	return p.fact(source)
}

// disputes are the contradictions in what is recorded of a pod, in a fixed order.
func (c *clusterView) disputes(p *pod) []Dispute {
	voices := []*pod{p}
	if len(p.voices) > 0 {
		voices = slices.SortedFunc(slices.Values(p.voices), func(a, b *pod) int { return cmp.Compare(a.sources, b.sources) })
	}
	j := judge{c: c, p: p}
	for i, a := range voices {
		j.alone(a)
		for _, b := range voices[:i] {
			j.identity(b, a)
			j.times(a, b)
			j.times(b, a)
			j.addresses(b, a)
		}
	}
	j.unseen()
	slices.SortStableFunc(j.found, func(a, b Dispute) int {
		return cmp.Or(cmp.Compare(a.From, b.From), cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.First.Source, b.First.Source), cmp.Compare(a.Second.Source, b.Second.Source), a.Address.Compare(b.Address), a.Other.Compare(b.Other))
	})
	return j.found
}

// disputesAt are those that concern an address.
func (c *clusterView) disputesAt(p *pod, a netip.Addr) []Dispute {
	return slices.DeleteFunc(c.disputes(p), func(d Dispute) bool { return !d.about(a) })
}

// judge collects the contradictions of one pod.
type judge struct {
	c     *clusterView
	p     *pod
	found []Dispute
}

func (p *pod) source() Source {
	for s := range numSources {
		if p.sources&(1<<s) != 0 {
			return s
		}
	}
	return Watch
}

func (j *judge) add(kind DisputeKind, from, to int64, a, b *pod, first, second string) *Dispute {
	id := &j.p.id
	j.found = append(j.found, Dispute{Cluster: j.p.cluster, Namespace: id.Namespace, Name: id.Name, UID: j.p.uid, Kind: kind, From: from, To: to,
		First: Statement{a.source(), first}, Second: Statement{b.source(), second}})
	return &j.found[len(j.found)-1]
}

// slack is how far apart two times must be that order what the kubelet says.
func (j *judge) slack() int64 { return 2 * j.c.tolerance }

// late is the same for what somebody saw.
func (j *judge) late() int64 { return j.slack() + max(reportLag, j.c.late) }

// alone finds where one source contradicts itself. It may show a pod again after its
// end, where a sandbox is made again, and events can come late: only the order of
// resource versions, and a clock that must be wrong, count.
func (j *judge) alone(p *pod) {
	j.removed(p, p, p.presence.AliveAt, "the kubelet says it lasted at ")
	for i := range p.holdings {
		for k := range p.holdings[:i] {
			a, b := &p.holdings[k], &p.holdings[i]
			versions := a.Bounds.LastVersion != 0 && b.Bounds.LastVersion != 0 && a.Bounds.FirstVersion != 0 && b.Bounds.FirstVersion != 0
			if versions && a.Address.Is4() == b.Address.Is4() && !a.Bounds.before(&b.Bounds) && !b.Bounds.before(&a.Bounds) {
				j.twoAddresses(p, p, a, b)
			}
		}
	}
}

// removed finds a sign of life by b that came after a saw the object go.
func (j *judge) removed(a, b *pod, alive int64, sign string) {
	if at := a.deleted.At; at != 0 && alive > at+j.slack() {
		j.add(DisputeRemoval, at, alive, a, b, "its object was removed by "+clockTime(at), sign+clockTime(alive))
	}
}

func (j *judge) identity(a, b *pod) {
	if n, m := a.id.Namespace+"/"+a.id.Name, b.id.Namespace+"/"+b.id.Name; a.id.Name != "" && b.id.Name != "" && n != m {
		j.add(DisputeName, 0, Open, a, b, "it is called "+n, "it is called "+m)
	}
	if a.id.Node != "" && b.id.Node != "" && !strings.EqualFold(a.id.Node, b.id.Node) {
		j.add(DisputeNode, 0, Open, a, b, "it is on node "+a.id.Node, "it is on node "+b.id.Node)
	}
}

// times finds where b saw a pod live that had ended by the word of a.
func (j *judge) times(a, b *pod) {
	if end, alive := a.presence.stopped(), b.presence.AliveAt; end != 0 && alive > end+j.slack() {
		j.add(DisputeEnd, end, alive, a, b, "it had stopped by "+clockTime(end), "the kubelet says it lasted at "+clockTime(alive))
	}
	j.removed(a, b, b.presence.AliveAt, "the kubelet says it lasted at ")
	at, seen := a.deleted.At, b.seenLast()
	ordered := a.deleted.Version != 0 && b.presence.LastVersion != 0 && b.presence.LastVersion <= a.deleted.Version
	if at != 0 && b.deleted.At == 0 && seen > at+j.late() && !ordered {
		j.add(DisputeRemoval, at, seen, a, b, "its object was removed by "+clockTime(at), "it was seen at "+clockTime(seen))
	}
}

// seenLast is when the pod was seen last, no later than that: as exactly as a journal
// keeps it.
func (p *pod) seenLast() int64 { return p.presence.SeenLast / MaxSilence * MaxSilence }

// addresses finds two addresses of one family that a pod had at once.
func (j *judge) addresses(a, b *pod) {
	for i := range a.holdings {
		for k := range b.holdings {
			x, y := &a.holdings[i], &b.holdings[k]
			apart := x.Address == y.Address || x.Address.Is4() != y.Address.Is4() || x.Bounds.before(&y.Bounds) || y.Bounds.before(&x.Bounds)
			if from, to := atOnce(&x.Bounds, &y.Bounds); !apart && to-from > j.late() {
				j.twoAddresses(a, b, x, y)
			}
		}
	}
}

// atOnce is when both were seen, by whoever saw them.
func atOnce(a, b *Bounds) (from, to int64) {
	if a.SeenBy == 0 || b.SeenBy == 0 {
		return 0, 0
	}
	return max(a.SeenBy, b.SeenBy), min(a.SeenLast/MaxSilence, b.SeenLast/MaxSilence) * MaxSilence
}

func (j *judge) twoAddresses(a, b *pod, x, y *Holding) {
	from, to := atOnce(&x.Bounds, &y.Bounds)
	if to <= from {
		from, to = 0, Open
	}
	if a == b && y.Address.Less(x.Address) {
		x, y = y, x
	}
	d := j.add(DisputeAddress, from, to, a, b, "it had "+x.Address.String(), "it had "+y.Address.String())
	d.Address, d.Other = x.Address, y.Address
}

// unseen finds a pod that nobody saw who watched all pods.
func (j *judge) unseen() {
	p := j.p
	if p.sources&(1<<Watch|1<<List) != 0 || p.presence.SeenLast == 0 {
		return
	}
	at := p.seenLast()
	if j.c.watched.has(at-MaxSilence, p.presence.SeenLast/MaxSilence*MaxSilence+2*MaxSilence) {
		j.add(DisputeUnseen, 0, Open, &pod{sources: 1 << Watch}, p, "all pods were on record at "+clockTime(at)+", and it was not among them", "it was seen at "+clockTime(at))
	}
}

func clockTime(at int64) string {
	return time.UnixMilli(at).UTC().Format("2006-01-02T15:04:05.000Z")
}

// Disputes lists the contradictions in what is recorded of a cluster's pods.
func (v *View) Disputes(cluster string) []Dispute {
	var out []Dispute
	for _, c := range v.clusters {
		if c.Name != cluster {
			continue
		}
		for _, p := range c.podsOf("") {
			out = append(out, c.disputes(p)...)
		}
	}
	return out
}

// disputed says whether something that the stay rests on is contradicted at t.
func (s *stay) disputed(t, tolerance int64) bool {
	return slices.ContainsFunc(s.disputes, func(d Dispute) bool { return d.From-tolerance <= t && t-tolerance <= d.To })
}

// disputedBounds are the times at which disputed changes its answer.
func (s *stay) disputedBounds(tolerance int64) []int64 {
	var out []int64
	for i := range s.disputes {
		out = append(out, s.disputes[i].From-tolerance)
		if s.disputes[i].To != Open {
			out = append(out, s.disputes[i].To+tolerance+1)
		}
	}
	return out
}
