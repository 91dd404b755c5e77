package attribution

import (
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/whichpod/whichpod/flow"
)

// masquerades says whether a node of which nothing is known but this may.
func (c *Cluster) masquerades(to netip.Addr, port uint16) bool {
	r := newRules(c, newObjects(), func(netip.Addr) bool { return false })
	return r.of("n").masking(to, port, flow.Span{From: epoch, To: epoch}, 0).can
}

// Where a node puts its own address in place of a pod's, by mode and destination, as
// the table of docs/verdicts.md has it.
func TestMasquerades(t *testing.T) {
	const podRange, vnet = "10.244.0.0/16", "10.224.0.0/12"
	for _, c := range []struct {
		to   string
		port uint16
		// what each mode does: "node" or "pod"
		kubenet, overlay, nodeSubnet, podSubnet string
	}{
		{"10.244.7.7", 80, "pod", "pod", "node", "pod"},          // a pod of an overlay; outside of the VNet for a flat network
		{"10.224.3.3", 443, "node", "node", "pod", "pod"},        // a machine, a private endpoint or another node in the VNet
		{"10.224.0.5", 10250, "node", "node", "pod", "pod"},      // a host-network pod on another node
		{"10.112.0.9", 443, "node", "node", "node", "pod"},       // a peered VNet
		{"203.0.113.66", 8443, "node", "node", "node", "pod"},    // the internet
		{"2001:db8::1", 443, "node", "node", "node", "pod"},      // of IPv6
		{"168.63.129.16", 53, "node", "node", "node", "node"},    // Azure's DNS
		{"168.63.129.16", 80, "node", "node", "node", "pod"},     // its other ports (azure-container-networking, SWIFT-POSTROUTING)
		{"169.254.169.254", 80, "node", "node", "node", "node"},  // instance metadata
		{"169.254.169.254", 443, "node", "node", "node", "pod"},  // not its port
		{"169.254.20.10", 53, "node", "node", "node", "pod"},     // link-local
		{"::ffff:10.244.7.7", 80, "node", "node", "node", "pod"}, // rows never bear a mapped address
	} {
		for mode, want := range map[Network]string{Kubenet: c.kubenet, Overlay: c.overlay, NodeSubnet: c.nodeSubnet, PodSubnet: c.podSubnet, Auto: "node"} {
			cl := Cluster{Network: mode, PodCIDRs: prefixes(podRange), VNetCIDRs: prefixes(vnet)}
			if got := cl.masquerades(addr(c.to), c.port); got != (want == "node") {
				t.Errorf("%s, to %s:%d: masquerades is %v, want the %s's address", mode, c.to, c.port, got, want)
			}
			cl.NonMasqueradeCIDRs = prefixes("203.0.113.0/24") // wins over every mode
			if got := cl.masquerades(addr(c.to), c.port); got == strings.HasPrefix(c.to, "203.") {
				t.Errorf("%s with a list of its own, to %s:%d: masquerades is %v", mode, c.to, c.port, got)
			}
		}
	}
}

// A node's address: a pod p and a host-network pod h on node n, q on node m.
func TestNodeAddress(t *testing.T) {
	t.Parallel()
	const node = "10.224.0.4"
	facts := factsOf(watched(0, 100), watched(200, 10_000),
		aPod("p").has(theIP).on("n", node, "fd00::4").made(10).seen(12).still(200).ran(11, 11),
		aPod("h").on("n", node, "fd00::4").hostNetwork().made(5).seen(6).still(200),
		aPod("q").has("10.244.1.9").on("m", "10.224.0.5").made(10).seen(12).still(200),
		aPod("gone").has("10.244.0.8").made(20).seen(22).ran(21, 60).stopped(61),
		aPod("waits").on("n", node).made(50).seen(51)) // bound, no address yet
	to := func(dst string, port uint16, s float64) Question {
		q := sentBy(node, s)
		q.Destination, q.DestinationPort = addr(dst), port
		return q
	}
	got := func(s float64) Question { q := received(s); q.Address = addr(node); return q }
	v6 := sentBy("fd00::4", 40)
	unknown := sentBy(node, 40)
	unknown.Destination = received(0).Destination
	span := sentBy(node, 40)
	span.Begin.To = sec(80)
	for mode, says := range map[Network][]say{
		Kubenet: {{to("10.244.1.9", 80, 40), "host @n h [rules]"}, {to("10.224.9.9", 443, 40), "masked @n h p gone"}, {to("203.0.113.66", 443, 40), "masked @n h p gone"}},
		Overlay: {
			{to("10.244.1.9", 80, 40), "host @n h [rules]"}, {to("10.224.9.9", 443, 40), "masked @n h p gone"}, {to("203.0.113.66", 443, 40), "masked @n h p gone"},
			{to("203.0.113.66", 443, 3), "masked @n"},                                         // before any pod
			{to("203.0.113.66", 443, 55), "masked @n h p gone waits"},                         // a pod counts from when the kubelet took it on
			{to("203.0.113.66", 443, 70), "masked @n h p waits"},                              // and no longer than it ran
			{to("203.0.113.66", 443, 150), "gap @n h p waits [unwatched]"},                    // one that was never seen may be the one
			{got(40), "host @n h"},                                                            // nobody sends to a pod by its node's address
			{v6, "masked @n h"},                                                               // the node's other family, of which no pod has an address
			{unknown, "masked @n h p gone"},                                                   // the destination is not known
			{span, "masked @n h p gone waits"},                                                // all who were there at some time
			{to("10.244.1.9", 80, 150), "gap @n h [unwatched] [rules]"},                       // nor what the node masqueraded then
			{sentBy("10.224.0.5", 40), "masked @m q"}, {sentBy("10.224.0.6", 40), "external"}, // another node; no node's
		},
		NodeSubnet: {{to("10.244.1.9", 80, 40), "masked @n h p gone"}, {to("10.224.9.9", 443, 40), "host @n h [rules]"}, {to("203.0.113.66", 443, 40), "masked @n h p gone"}},
		PodSubnet: {{to("10.224.9.9", 443, 40), "host @n h [rules]"}, {to("203.0.113.66", 443, 40), "host @n h [rules]"},
			{to("168.63.129.16", 53, 40), "masked @n h p gone"}, {to("169.254.169.254", 80, 40), "masked @n h p gone"}, {to("168.63.129.16", 32526, 40), "host @n h [rules]"}},
		Auto: {{to("10.244.1.9", 80, 40), "masked @n h p gone [mode]"}, {to("203.0.113.66", 443, 150), "gap @n h p waits [unwatched] [mode]"}},
	} {
		t.Run(string(mode), func(t *testing.T) {
			cfg := podRange()
			cfg.Clusters[0].Network, cfg.Clusters[0].VNetCIDRs = mode, prefixes("10.224.0.0/12")
			if mode != Kubenet && mode != Overlay {
				cfg.Clusters[0].PodCIDRs = nil
			}
			check(t, viewOf(t, cfg, facts), says)
		})
	}
}

// Where pods are deleted by force, one that was made and deleted in a hole may run
// down its grace period for a minute after it.
func TestNodeAddressAfterAHole(t *testing.T) {
	facts := factsOf(watched(0, 100), watched(200, 10_000), aPod("h").hostNetwork().made(5).seen(6).still(200))
	forced := append(facts, aPod("f").has("10.244.0.8").made(20).seen(22).deleted(60, 9).f)
	q := func(s float64) Question { return sentBy("10.224.0.4", s) }
	check(t, viewOf(t, podRange(), facts), []say{{q(210), "masked @n h"}})
	check(t, viewOf(t, podRange(), forced), []say{{q(210), "gap @n h f [unwatched]"}, {q(262), "masked @n h f"}, {q(60 + 3600 + 2), "masked @n h"}})
}

// Two clusters that share a pod range. Only the interface of the row tells them apart.
func TestTwoClusters(t *testing.T) {
	t.Parallel()
	cfg := podRange()
	cfg.Clusters[0].NICs = map[string]string{"000D3A00000A": "n"}
	cfg.Clusters = append(cfg.Clusters, Cluster{Name: "d", Network: Overlay, PodCIDRs: prefixes("10.244.0.0/16"), NICs: map[string]string{"000D3A00000B": "m"}})
	by := func(nic string, near bool, s float64) Question {
		q := sent(s)
		q.NIC, q.Near = nic, near
		return q
	}
	facts := factsOf(watched(0, 100), watched(0, 10_000).in("d"),
		aPod("a").has(theIP).made(10).seen(12).ran(11, 90).stopped(91),
		aPod("b").in("d").on("m", "10.224.0.5").has(theIP).made(20).seen(22).ran(21, 21))
	check(t, viewOf(t, cfg, facts), []say{
		{by("000D3A00000A", true, 50), "exact a"},
		{by("000D3A00000B", true, 50), "exact d:b"},
		{by("000D3A00000A", false, 50), "exact a"}, // shared addresses reach each other within one cluster only
		{by("", true, 50), "ambiguous a d:b [clusters]"},
		{by("000D3A00000C", true, 50), "ambiguous a d:b [clusters]"}, // an interface that nobody knows
		{by("", true, 15), "exact a"},                                // in the other cluster nobody had it then, and it was watched
		{by("", true, 150), "gap <a [unwatched]"},
		{by("000D3A00000B", true, 150), "exact d:b"},
		{by("000D3A00000A", true, 150), "gap <a [unwatched]"},
	})
}

func TestExternal(t *testing.T) {
	t.Parallel()
	overlay, flat, ranged := podRange(), podRange(), podRange()
	flat.Clusters[0] = Cluster{Name: "c", Network: PodSubnet, VNetCIDRs: prefixes("10.224.0.0/12")}
	ranged.Clusters[0] = Cluster{Name: "c", Network: PodSubnet, VNetCIDRs: prefixes("10.224.0.0/12"), PodCIDRs: prefixes("10.240.0.0/16")}
	facts := factsOf(watched(0, 100), aPod("a").has("10.240.0.9").made(10).seen(12).ran(11, 20).stopped(21))
	for name, c := range map[string]struct {
		cfg  Config
		says []say
	}{
		"overlay": {overlay, []say{{sentBy("203.0.113.66", 50), "external"}, {sentBy("10.224.9.9", 50), "external"}, {sentBy("10.244.3.3", 50), "gap [nobody]"}, {sentBy("2001:db8::1", 50), "external"}}},
		// an address of the VNet can be a pod's or a machine's: external only while somebody watched
		"flat": {flat, []say{{sentBy("10.224.9.9", 50), "external"}, {sentBy("10.224.9.9", 150), "gap [unwatched]"}, {sentBy("10.240.0.9", 50), "gap <a [nobody]"}, {sentBy("203.0.113.66", 150), "external"}}},
		// pods have a range of their own in the VNet
		"ranged":     {ranged, []say{{sentBy("10.224.9.9", 150), "external"}, {sentBy("10.240.0.77", 150), "gap [unwatched]"}, {sentBy("10.240.0.9", 50), "gap <a [nobody]"}}},
		"no cluster": {DefaultConfig(), []say{{sentBy("10.224.9.9", 150), "external"}, {sentBy("10.240.0.9", 15), "exact a"}}},
	} {
		t.Run(name, func(t *testing.T) { check(t, viewOf(t, c.cfg, facts), c.says) })
	}
	if r := viewOf(t, overlay, facts).Resolve(sentBy("203.0.113.66", 50)); len(r.Candidates) != 0 || r.Bits() != 0 || r.Pod() != nil {
		t.Errorf("external carries %+v", r)
	}
}

// A flow whose begin was not logged, over everything that can be within its span.
func TestUnseenBegin(t *testing.T) {
	t.Parallel()
	facts := factsOf(watched(0, 10_000), aPod("a").has(theIP).made(10).seen(12).ran(11, 100).stopped(101).versions(5, 5),
		aPod("b").has(theIP).made(200).seen(203).ran(202, 202).versions(9, 9), aPod("d").has(theIP).made(5_000).seen(5_002).ran(5_001, 5_001).versions(12, 12))
	check(t, viewOf(t, podRange(), facts), []say{
		{begun(20, 90), "exact a"},               // one holder in all of it
		{begun(150, 300), "exact b [edge]"},      // nobody before
		{begun(1, 150), "exact a [edge]"},        // nobody before or after
		{begun(50, 300), "boundary a b [begin]"}, // it changed hands
		{begun(110, 190), "gap <a >b [nobody]"},
		{begun(4_000, 6_000), "ambiguous b d [begin]"}, // from one into two at once
		{begun(50, 10_500), "gap <d [unwatched]"},
	})
}

// A view may be used by many goroutines.
func TestViewIsShared(t *testing.T) {
	t.Parallel()
	v := viewOf(t, podRange(), factsOf(watched(0, 10_000), aPod("a").has(theIP).made(10).seen(12).ran(11, 11)))
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for i := range 200 {
				if got := text(v.Resolve(sent(float64(20 + i)))); got != "exact a" {
					t.Errorf("got %q", got)
				}
				v.Resolve(sentBy("10.224.0.4", float64(i)))
			}
		})
	}
	all.Wait()
}

// Two nodes that reported one address: the order of the candidates does not hang on chance.
func TestAnswersAreDeterministic(t *testing.T) {
	facts := factsOf(watched(0, 1000), aPod("a").on("n", "10.224.0.4").made(10).seen(11), aPod("b").on("m", "10.224.0.4").made(10).seen(11))
	first := text(viewOf(t, podRange(), facts).Resolve(sentBy("10.224.0.4", 50)))
	for range 30 {
		if got := text(viewOf(t, podRange(), facts).Resolve(sentBy("10.224.0.4", 50))); got != first {
			t.Fatalf("first %q, then %q", first, got)
		}
	}
}

func TestHistoryOwnersAndPods(t *testing.T) {
	t.Parallel()
	v := viewOf(t, podRange(), factsOf(watched(0, 1000), watched(1100, 2000),
		aPod("b").has(theIP, "fd00::9").made(200).seen(203).still(1200).ran(202, 202).versions(9, 9),
		aPod("a").has(theIP).made(10).seen(12).ran(11, 100).stopped(101).versions(5, 5),
		aPod("h").hostNetwork().made(1).seen(2)))
	var got []string
	for _, s := range v.History(addr(theIP), sec(0), sec(1050)) {
		got = append(got, text(s.Resolution))
		if s.From >= s.To {
			t.Errorf("stretch %+v is empty", s)
		}
	}
	if want := "gap >a [nobody], exact a [edge], exact a, exact a [edge], gap <a >b [nobody], exact b [edge], exact b"; !strings.Contains(strings.Join(got, ", ")+",", want+",") {
		t.Errorf("history:\n got %s\nwant %s", strings.Join(got, ", "), want)
	}
	names := func(list []Candidate) string {
		var out []string
		for _, c := range list {
			name := c.UID
			if c.IsNode {
				name = "@" + c.Node
			}
			if c.Address.IsValid() {
				name += "=" + c.Address.String()
			}
			out = append(out, name)
		}
		return strings.Join(out, " ")
	}
	for what, c := range map[string]struct{ got, want string }{
		"owners":          {names(v.Owners(addr(theIP))), "a=10.244.0.9 b=10.244.0.9"},
		"owners of node":  {names(v.Owners(addr("10.224.0.4"))), "@n=10.224.0.4"},
		"owners of none":  {names(v.Owners(addr("192.0.2.1"))), ""},
		"all pods":        {names(v.Pods(PodRef{})), "h=10.224.0.4 a=10.244.0.9 b=10.244.0.9 b=fd00::9"},
		"by name":         {names(v.Pods(PodRef{Cluster: "c", Namespace: "web", Name: "a"})), "a=10.244.0.9"},
		"by UID":          {names(v.Pods(PodRef{UID: "b"})), "b=10.244.0.9 b=fd00::9"},
		"other namespace": {names(v.Pods(PodRef{Namespace: "x"})), ""},
		"other cluster":   {names(v.Pods(PodRef{Cluster: "x"})), ""},
	} {
		if c.got != c.want {
			t.Errorf("%s: got %q, want %q", what, c.got, c.want)
		}
	}
	if from, to, ok := v.Extent(addr(theIP)); !ok || from != sec(0) || to != sec(2000) {
		t.Errorf("extent is %d to %d, %v", from, to, ok)
	}
	if owning := v.Owning(addr(theIP)); len(owning) != 1 || owning[0] != "c" || len(v.Owning(addr("192.0.2.1"))) != 0 {
		t.Errorf("%s can be of %q", theIP, owning)
	}
	for _, c := range []struct {
		from, to float64
		want     []Range
	}{
		{500, 3000, []Range{{sec(1000), sec(1100)}, {sec(2000), sec(3000)}}},
		{1050, 1060, []Range{{sec(1000), sec(1100)}}}, // a hole is listed as a whole
		{2500, 3000, []Range{{sec(2000), sec(3000)}}},
		{-100, 500, []Range{{sec(-100), sec(0)}}},
		{500, 1000, nil}, // both are half-open
		{1100, 2000, nil},
	} {
		if holes := v.Holes("c", sec(c.from), sec(c.to)); !slices.Equal(holes, c.want) {
			t.Errorf("from %v to %v: holes are %v, want %v", c.from, c.to, holes, c.want)
		}
	}
	if got := v.NodeAddresses("c", "n"); len(got) != 2 || got[0] != addr("10.224.0.4") {
		t.Errorf("addresses of the node are %v", got)
	}
	if s := v.Stats(); len(s) != 1 || s[0].Pods != 3 || s[0].Addresses != 2 || s[0].Nodes != 1 || len(s[0].Watched) != 2 {
		t.Errorf("stats are %+v", s)
	}
}

func TestWords(t *testing.T) {
	var words []string
	for _, v := range Verdicts() {
		text, err := v.MarshalText()
		if err != nil || string(text) != v.String() {
			t.Errorf("%v: %q, %v", v, text, err)
		}
		words = append(words, v.String())
	}
	if got := strings.Join(words, " "); got != "exact boundary ambiguous masked host external gap" || Verdict(0).String() != "none" || Verdict(99).String() != "none" {
		t.Errorf("the words are %q", got)
	}
	if got := (Sources(1<<Watch | 1<<Audit)).String(); got != "watch+audit" {
		t.Errorf("sources are %q", got)
	}
	if got := (&Resolution{Candidates: make([]*Candidate, 8)}).Bits(); got != 3 {
		t.Errorf("eight candidates are %v bits", got)
	}
	if (Question{}).Begin != (flow.Span{}) {
		t.Error("the zero question has a time")
	}
}

// Who is behind an interface is on its node. Where the ledger says otherwise, an
// exact answer is none.
func TestInterfaceContradictsLedger(t *testing.T) {
	const nic = "000D3A00000A"
	facts := factsOf(watched(0, 1000), aPod("a").has(theIP).made(10).seen(12).ran(11, 11))
	node := viewOf(t, Config{}, facts).Owners(netip.MustParseAddr(theIP))[0].Node
	for _, c := range []struct {
		name    string
		cluster Cluster
		near    bool
		want    Verdict
	}{
		{"the pod's own node", Cluster{Name: "c", NICs: map[string]string{nic: node}}, true, Exact},
		{"another node", Cluster{Name: "c", NICs: map[string]string{nic: "another-node"}}, true, Boundary},
		{"another cluster", Cluster{Name: "other", NICs: map[string]string{nic: "x"}}, true, Boundary},
		{"the far end's interface says nothing", Cluster{Name: "c", NICs: map[string]string{nic: "another-node"}}, false, Exact},
	} {
		q := sent(50)
		q.NIC, q.Near = nic, c.near
		v := viewOf(t, Config{Clusters: []Cluster{c.cluster}}, facts)
		if got := v.Resolve(q); got.Verdict != c.want || !got.Has("a") {
			t.Errorf("%s: %v %v, want %v of a", c.name, got.Verdict, got.Notes, c.want)
		}
		if want := v.Naive(q); !v.Resolve(q).Same(want) {
			t.Errorf("%s: the oracle says %v", c.name, want.Verdict)
		}
	}
}

// Just after a hole, a pod that was made and deleted by force in it may still send:
// the early bracket of another pod is not enough for exact, where such deletions are
// on record.
func TestUnseenPodAfterHole(t *testing.T) {
	late := aPod("a").has(theIP).made(202).seen(221).ran(220, 220).versions(60, 60)
	calm := factsOf(watched(0, 100), watched(200, 1000), late)
	if got := viewOf(t, podRange(), calm).Resolve(sent(205)); got.Verdict != Exact {
		t.Errorf("without forced deletions: %v", got.Verdict)
	}
	forced := factsOf(watched(0, 100), watched(200, 1000), aPod("z").has("10.244.0.77").made(5).seen(6).deleted(20, 3), late)
	if got := viewOf(t, podRange(), forced).Resolve(sent(205)); got.Verdict != Gap {
		t.Errorf("with forced deletions: %v, want gap", got.Verdict)
	}
	if got := viewOf(t, podRange(), forced).Resolve(sent(300)); got.Verdict != Exact {
		t.Errorf("later: %v, want exact", got.Verdict)
	}
	// Who lingers since before the hole may have given the address to one nobody saw.
	lingers := factsOf(watched(0, 100), watched(200, 1000), aPod("z").has(theIP).made(5).seen(6).deleted(90, 3))
	for at, want := range map[float64]Verdict{95: Exact, 205: Gap, 300: Boundary} {
		if got := viewOf(t, podRange(), lingers).Resolve(sent(at)); got.Verdict != want {
			t.Errorf("lingering since before the hole, at %v: %v, want %v", at, got.Verdict, want)
		}
	}
}

// Intervals that say the same are one: nobody is told that the address changed hands.
func TestCombineOfTheSame(t *testing.T) {
	t.Parallel()
	said := func(verdict Verdict, note, uid string) *Resolution {
		return &Resolution{Verdict: verdict, Notes: []string{note}, Candidates: []*Candidate{{UID: uid}}}
	}
	first := said(Boundary, noteVacant, "a")
	if r := combine([]*Resolution{first, said(Boundary, noteVacant, "a")}); r != first {
		t.Errorf("of the same twice: %q", text(r))
	}
	for _, other := range []*Resolution{said(Exact, noteVacant, "a"), said(Boundary, noteLate, "a"), said(Boundary, noteVacant, "b")} {
		if r := combine([]*Resolution{first, other}); r == first || r.Verdict != Boundary || !slices.Contains(r.Notes, noteBegin) {
			t.Errorf("of something else, %q: %q", text(other), text(r))
		}
	}
}

// While nobody watches, what was known last before it is not said of all the time, however
// far clocks may be apart.
func TestRemovedBeforeAHole(t *testing.T) {
	t.Parallel()
	cfg := podRange()
	cfg.ClockTolerance = Duration(5 * time.Second)
	v := viewOf(t, cfg, factsOf(watched(0, 600), watched(1600, 3000),
		aPod("p").has(theIP).made(10).seen(12).ran(11, 2500).versions(1, 2).deleted(500, 9)))
	check(t, v, []say{{sent(599), "boundary p [lingers]"}, {sent(700), "gap <p [unwatched]"}})
}
