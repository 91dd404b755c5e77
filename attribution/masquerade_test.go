package attribution

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/whichpod/whichpod/flow"
)

// How an agent reads its files: keys in any case, a config that is not valid taken as
// none, lists merged.
func TestParseMasqConfig(t *testing.T) {
	for _, c := range []struct {
		name, data, want string
	}{
		{"AKS's own", "NonMasqueradeCIDRs:\n- 10.244.0.0/16\nMasqLinkLocal: true\n", "[10.244.0.0/16] link-local"},
		{"of IPv6", "nonMasqueradeCIDRs: [10.0.0.0/8, 'fd00::/8']\nmasqLinkLocalIPv6: true", "[10.0.0.0/8 fd00::/8] link-local6"},
		{"JSON", `{"nonMasqueradeCIDRs":["0.0.0.0/0"]}`, "[0.0.0.0/0]"},
		{"empty", "", "[]"},
		{"empty list", "nonMasqueradeCIDRs: []", "[]"},
		{"no YAML", "nonMasqueradeCIDRs: [", "invalid"},
		{"no CIDR", "nonMasqueradeCIDRs: [10.0.0.0]", "invalid"},
		{"not aligned", "nonMasqueradeCIDRs: [10.1.2.3/8]", "invalid"},
		{"a text for a list", "nonMasqueradeCIDRs: 10.0.0.0/8", "invalid"},
		{"too many", "nonMasqueradeCIDRs: [" + strings.Repeat("10.0.0.0/8,", 64) + "10.0.0.0/8]", "invalid"},
	} {
		got := ""
		config, _, err := parseMasqConfig(NewState("u", 0, []Field{{"data/ip-masq-agent", c.data}, {"data/other", "{"}}))
		if err != nil {
			got = "invalid"
		} else {
			got = fmt.Sprint(config.list)
			if config.local4 {
				got += " link-local"
			}
			if config.local6 {
				got += " link-local6"
			}
		}
		if got != c.want || !config.there {
			t.Errorf("%s: got %s, want %s", c.name, got, c.want)
		}
	}
}

// masqList is a state of the user's ConfigMap.
func masqList(version uint64, seen float64, list string) Fact {
	f := anObject(ConfigMaps, "azure-ip-masq-agent-config", version, seen)
	f.Object.Namespace = "kube-system"
	if list != "" {
		f.Object.State = NewState("cm", sec(-5000), []Field{{"data/ip-masq-agent", "nonMasqueradeCIDRs: [" + list + "]"}})
	}
	return f
}

// aNode is a node in a state with labels, its name and address being those of aPod.
func aNode(version uint64, seen float64, fields ...Field) Fact {
	return anObject(Nodes, "n", version, seen, append(fields, Field{"address", "10.224.0.4"})...)
}

const azureLabel = "label/kubernetes.azure.com/"

func rulesOf(t *testing.T, cfg Cluster, facts ...Fact) *nodeRules {
	t.Helper()
	cfg.Name = "c"
	if cfg.Network == "" {
		cfg.Network = Auto
	}
	v := viewOf(t, Config{Clusters: []Cluster{cfg}}, facts)
	return v.clusters[0].rules.of("n")
}

// does is what a node did with a flow at a moment: "yes", "no", or "no since" a second.
func (n *nodeRules) does(to string, port uint16, s float64) string {
	m := n.masking(addr(to), port, flow.Span{From: sec(s), To: sec(s)}, 0)
	switch {
	case m.can:
		return "yes"
	case m.until != 0:
		return fmt.Sprintf("no since %v", float64(m.until-epoch)/1000)
	default:
		return "no"
	}
}

// A list changes at an unknown moment: between its last sight and the next, less what
// changes come late; and an agent may take it over three minutes later.
func TestMasqueradeInTime(t *testing.T) {
	overlay := aNode(1, 0, Field{azureLabel + "podnetwork-type", "overlay"}, Field{"podCIDR", "10.244.1.0/24"})
	n := rulesOf(t, Cluster{}, watchedKind(Nodes, 0, 9000), watchedKind(ConfigMaps, 0, 4000), watchedKind(ConfigMaps, 5000, 9000), overlay,
		masqList(10, 0, "10.244.0.0/16"), masqList(20, 1000, "10.244.0.0/16, 203.0.113.0/24"), masqList(30, 3000, "203.0.113.0/24"), masqList(30, 5000, "203.0.113.0/24"))
	for _, c := range []struct {
		to   string
		s    float64
		want string
	}{
		{"10.244.9.9", 500, "no since 180"},     // before the watch nobody knows what was in force, but for the mode's own range
		{"10.244.1.9", 500, "no"},               // which is known
		{"203.0.113.66", 500, "yes"},            //
		{"203.0.113.66", 985, "yes"},            //
		{"203.0.113.66", 1100, "yes"},           // an agent may not know yet
		{"203.0.113.66", 1179, "yes"},           //
		{"203.0.113.66", 1181, "no since 1180"}, // connections from before keep their translation
		{"10.244.9.9", 2000, "no since 180"},    //
		{"10.244.9.9", 2989, "no since 180"},    // the change can not have been seen earlier
		{"10.244.9.9", 2991, "yes"},             // but now
		{"10.244.9.9", 3500, "yes"},             //
		{"203.0.113.66", 3500, "no since 1180"}, //
		{"203.0.113.66", 4500, "no since 1180"}, // nobody watched, but it was the same afterwards; and others only add
		{"203.0.113.66", 5500, "no since 1180"}, //
	} {
		if got := n.does(c.to, 443, c.s); got != c.want {
			t.Errorf("to %s at %v: got %q, want %q", c.to, c.s, got, c.want)
		}
	}
}

// The API's own time of writing bounds a change as well as a watch does: before the
// watch began, and in a hole.
func TestWrittenTimes(t *testing.T) {
	first, second := masqList(10, 0, "203.0.113.0/24"), masqList(20, 5000, "198.51.100.0/24")
	first.Object.Written, second.Object.Written = sec(-3000), sec(4500)
	n := rulesOf(t, Cluster{Network: Overlay}, watchedKind(ConfigMaps, 0, 4000), watchedKind(ConfigMaps, 5000, 9000), first, second)
	for s, want := range map[float64]string{-2500: "no since -2819", -3500: "yes", 3900: "no since -2819", 4300: "no since -2819", 4600: "yes", 6000: "yes"} {
		if got := n.does("203.0.113.66", 443, s); got != want && s != 4300 {
			t.Errorf("at %v: got %q, want %q", s, got, want)
		}
	}
	// In the hole some version in between may have come and gone.
	if got := n.does("203.0.113.66", 443, 4300); got != "yes" {
		t.Errorf("in the hole: got %q, want yes", got)
	}
}

// Which mode a node is of, by what the cluster shows; and what follows where no
// ConfigMap is there.
func TestDetectedMode(t *testing.T) {
	nnc := func(fields ...Field) Fact { f := anObject(NodeNetworks, "n", 5, 0, fields...); return f }
	const pod, vnet, internet = "10.244.1.9", "10.224.9.9", "203.0.113.66"
	for _, c := range []struct {
		name  string
		cfg   Cluster
		facts []Fact
		// to a pod's range, the VNet, the internet, Azure's DNS
		want string
	}{
		{"nothing is known", Cluster{}, nil, "yes yes yes yes"},
		{"label of an overlay", Cluster{}, []Fact{aNode(1, 0, Field{azureLabel + "podnetwork-type", "overlay"}, Field{"podCIDR", "10.244.1.0/24"})}, "no yes yes yes"},
		{"older label of an overlay", Cluster{}, []Fact{aNode(1, 0, Field{azureLabel + "azure-cni-overlay", "true"}, Field{"podCIDR", "10.244.1.0/24"})}, "no yes yes yes"},
		{"label of a pod subnet", Cluster{}, []Fact{aNode(1, 0, Field{azureLabel + "podnetwork-subnet", "pods"})}, "no no no yes"},
		{"NodeNetworkConfig of an overlay, label of a pod subnet", Cluster{}, []Fact{aNode(1, 0, Field{azureLabel + "podnetwork-subnet", "pods"}, Field{"podCIDR", "10.244.1.0/24"}), nnc(Field{"type", "overlay"})}, "no yes yes yes"},
		{"NodeNetworkConfig of a pod subnet", Cluster{}, []Fact{aNode(1, 0), nnc(Field{"type", "vnet"}, Field{"nodeIP", "10.224.0.4"}, Field{"subnetAddressSpace", "10.225.0.0/16"})}, "no no no yes"},
		{"in the nodes' own subnet", Cluster{VNetCIDRs: prefixes("10.224.0.0/12")}, []Fact{aNode(1, 0), nnc(Field{"type", "vnet"}, Field{"nodeIP", "10.224.0.4"}, Field{"subnetAddressSpace", "10.224.0.0/16"})}, "yes no yes yes"},
		{"a range and no label: kubenet, or another plugin", Cluster{}, []Fact{aNode(1, 0, Field{"podCIDR", "10.244.1.0/24"}, Field{azureLabel + "cluster", "x"})}, "yes yes yes yes"},
		{"neither", Cluster{}, []Fact{aNode(1, 0, Field{azureLabel + "cluster", "x"})}, "yes yes yes yes"},
		{"neither, and a list", Cluster{}, []Fact{aNode(1, 0, Field{azureLabel + "cluster", "x"}), masqList(2, -4000, "10.224.0.0/12")}, "yes no yes yes"},
		{"named", Cluster{Network: PodSubnet}, nil, "no no no yes"},
		{"named, and the label of another", Cluster{Network: PodSubnet, PodCIDRs: prefixes("10.244.0.0/16")}, []Fact{aNode(1, 0, Field{azureLabel + "podnetwork-type", "overlay"})}, "no yes yes yes"},
		{"Windows", Cluster{Network: PodSubnet}, []Fact{aNode(1, 0, Field{"label/kubernetes.io/os", "windows"})}, "yes yes yes yes"},
		{"a list of its own", Cluster{Network: PodSubnet, NonMasqueradeCIDRs: prefixes("10.0.0.0/8")}, []Fact{masqList(2, 0, "0.0.0.0/0")}, "no no yes yes"},
		{"pod subnet with a list of its own agent", Cluster{Network: PodSubnet}, []Fact{masqList(2, -4000, "10.0.0.0/8")}, "no no yes yes"},
	} {
		facts := append([]Fact{watchedKind(Nodes, -4000, 9000), watchedKind(NodeNetworks, -4000, 9000), watchedKind(ConfigMaps, -4000, 9000)}, c.facts...)
		n := rulesOf(t, c.cfg, facts...)
		var got []string
		for _, to := range []string{pod, vnet, internet, "168.63.129.16"} {
			got = append(got, strings.Fields(n.does(to, 53, 5000))[0])
		}
		if s := strings.Join(got, " "); s != c.want {
			t.Errorf("%s: got %q, want %q", c.name, s, c.want)
		}
	}
}

// The exceptions: link-local, other nodes under Cilium, and a config that can not be
// read, after which an agent goes on with what it had.
func TestMasqueradeExceptions(t *testing.T) {
	watched := []Fact{watchedKind(Nodes, 0, 9000), watchedKind(ConfigMaps, 0, 9000)}
	overlay := aNode(1, 0, Field{azureLabel + "podnetwork-type", "overlay"}, Field{azureLabel + "ebpf-dataplane", "cilium"}, Field{"podCIDR", "10.244.1.0/24"})
	other := anObject(Nodes, "m", 2, 0, Field{"address", "10.224.0.5"})
	cilium := func(version uint64, seen float64, flag string) Fact {
		f := anObject(ConfigMaps, "cilium-config", version, seen, Field{"data/enable-remote-node-masquerade", flag})
		f.Object.Namespace = "kube-system"
		return f
	}
	n := rulesOf(t, Cluster{}, append(watched, overlay, other, masqList(5, 0, "10.0.0.0/8"), cilium(6, 0, "false"), cilium(7, 4000, "true"))...)
	for _, c := range []struct {
		to   string
		s    float64
		want string
	}{
		{"169.254.20.10", 1000, "no"}, {"10.224.0.9", 1000, "no"}, {"10.224.0.5", 1000, "no"},
		{"10.224.0.5", 5000, "yes"}, {"10.224.0.9", 5000, "no"}, {"203.0.113.66", 5000, "yes"},
	} {
		if got := strings.Fields(n.does(c.to, 443, c.s))[0]; got != c.want {
			t.Errorf("to %s at %v: got %q, want %q", c.to, c.s, got, c.want)
		}
	}
	broken := masqList(8, 2000, "")
	broken.Object.State = NewState("cm", sec(-5000), []Field{{"data/ip-masq-agent", "nonMasqueradeCIDRs: ["}})
	n = rulesOf(t, Cluster{}, append(watched, overlay, masqList(5, 0, "10.0.0.0/8, 203.0.113.0/24"), broken)...)
	for to, want := range map[string]string{"203.0.113.66": "yes", "10.9.9.9": "no", "192.168.1.1": "yes"} {
		if got := strings.Fields(n.does(to, 443, 5000))[0]; got != want { // the old list or the defaults
			t.Errorf("after a config that is not valid, to %s: got %q, want %q", to, got, want)
		}
	}
}

// Once a destination is not masqueraded any more, pods that were there before stay
// candidates; those that came later do not.
func TestOldConnections(t *testing.T) {
	facts := append(factsOf(watched(0, 9000), aPod("old").has("10.244.0.8").made(100).seen(102), aPod("new").has("10.244.0.9").made(2000).seen(2001), aPod("h").hostNetwork().made(1).seen(2)),
		watchedKind(Nodes, 0, 9000), watchedKind(ConfigMaps, 0, 9000), aNode(1, 0, Field{azureLabel + "podnetwork-type", "overlay"}, Field{"podCIDR", "10.244.1.0/24"}),
		masqList(5, 0, "10.244.0.0/16"), masqList(6, 1000, "10.244.0.0/16, 203.0.113.0/24"))
	v := viewOf(t, Config{Clusters: []Cluster{{Name: "c", Network: Auto}}}, facts)
	check(t, v, []say{
		{sentBy("10.224.0.4", 900), "masked @n h old"},
		{sentBy("10.224.0.4", 1100), "masked @n h old [perhaps]"},
		{sentBy("10.224.0.4", 3000), "masked @n h old [old]"},
	})
}

// A node that is made again has its own UID; its machine runs before the node is
// registered, and may outlast its object.
func TestNodeReplaced(t *testing.T) {
	second := aNode(20, 50_000, Field{"podCIDR", "10.244.2.0/24"})
	second.Object.State = NewState("uid-2", sec(49_990), slices.Clone(second.Object.State.Fields))
	facts := append(factsOf(watched(0, 90_000)), watchedKind(Nodes, 0, 90_000), aNode(10, 0), anObject(Nodes, "n", 15, 40_000), second,
		anObject(Nodes, "m", 16, 45_000, Field{"address", "10.224.0.4"}), anObject(Nodes, "m", 17, 46_000))
	v := viewOf(t, podRange(), facts)
	machines := func(s float64) string {
		var out []string
		for _, c := range v.Resolve(sentBy("10.224.0.4", s)).Candidates {
			out = append(out, c.Node+"/"+c.NodeUID)
		}
		return strings.Join(out, " ")
	}
	for s, want := range map[float64]string{
		10_000: "n/uid-n", 41_000: "n/uid-n", // its machine may still be there
		49_500: "m/uid-m n/uid-2", // it boots; the other may not be gone
		60_000: "n/uid-2",
	} {
		if got := machines(s); got != want {
			t.Errorf("at %v: got %s, want %s", s, got, want)
		}
	}
	if got := v.Resolve(sentBy("10.224.0.5", 10)).Verdict; got != External {
		t.Errorf("an address of no node: %v", got)
	}
}

// However the facts about nodes, ConfigMaps and pods come, all ways of asking agree.
func TestRandomRules(t *testing.T) {
	t.Parallel()
	for seed := range uint64(60) {
		r := rand.New(rand.NewPCG(seed, 11))
		facts, cfg := randomFacts(r), randomConfig(r)
		for range r.IntN(6) {
			s := float64(r.IntN(randomSpan))
			list := []string{"10.0.0.0/8", "203.0.113.0/24, 10.244.0.0/16", "", "x"}[r.IntN(4)]
			cm := masqList(uint64(s)+1, s, list)
			if r.IntN(2) == 0 && cm.Object.State != nil {
				cm.Object.Written = sec(s - 5)
			}
			facts = append(facts, cm, aNode(uint64(s)+1, s, []Field{{azureLabel + "podnetwork-type", "overlay"}, {"podCIDR", "10.244.1.0/24"}, {azureLabel + "podnetwork-subnet", "p"}, {azureLabel + "cluster", "c"}}[r.IntN(4)]))
		}
		for from := 0.0; from < randomSpan; from += float64(300 + r.IntN(2000)) {
			facts = append(facts, watchedKind(Nodes, from, from+300), watchedKind(ConfigMaps, from, from+300))
		}
		want := viewOf(t, cfg, facts)
		sameAnswers(t, seed, "shuffled", want, viewOf(t, cfg, shuffled(r, append(facts, facts...))))
		for range 200 {
			q := randomQuestion(r)
			if got, naive := want.Resolve(q), want.Naive(q); !got.Same(naive) {
				t.Fatalf("seed %d: %+v: got %q, the oracle says %q", seed, q, text(got), text(naive))
			}
		}
	}
}

// Whatever is on record, at each time something is possible: a time in which nothing
// were would exclude everybody.
func TestSomethingIsAlwaysPossible(t *testing.T) {
	t.Parallel()
	for seed := range uint64(300) {
		r := rand.New(rand.NewPCG(seed, 12))
		facts := []Fact{watchedKind(ConfigMaps, float64(r.IntN(300)), float64(300+r.IntN(3000))), watchedKind(ConfigMaps, 3500, 5000)}
		for range 1 + r.IntN(6) {
			cm := masqList(uint64(1+r.IntN(50)), float64(r.IntN(6000)), []string{"", "10.0.0.0/8", "x", "0.0.0.0/0"}[r.IntN(4)])
			if cm.Object.State != nil {
				cm.Object.Written = []int64{0, sec(float64(r.IntN(6000) - 1000))}[r.IntN(2)]
				state := *cm.Object.State
				state.Created = []int64{0, sec(float64(r.IntN(6000) - 3000))}[r.IntN(2)]
				cm.Object.State = &state
			}
			cm.Object.SeenLast += r.Int64N(1_000_000)
			facts = append(facts, cm)
		}
		n := rulesOf(t, Cluster{Network: []Network{Auto, Overlay, PodSubnet}[r.IntN(3)]}, facts...)
		for i := 1; i < len(n.sets); i++ {
			if len(n.sets[i]) == 0 {
				t.Fatalf("seed %d: from %v on nothing is possible", seed, float64(n.bounds[i-1]-epoch)/1000)
			}
		}
	}
}

// What a flow under a node's address costs, with lists that changed four times.
func BenchmarkMasking(b *testing.B) {
	facts := []Fact{watchedKind(Nodes, 0, 90_000), watchedKind(ConfigMaps, 0, 90_000), aNode(1, 0, Field{azureLabel + "podnetwork-type", "overlay"}, Field{"podCIDR", "10.244.1.0/24"})}
	for i := range 4 {
		facts = append(facts, masqList(uint64(10+i), float64(1000*i), []string{"10.244.0.0/16, 10.0.0.0/8", "10.244.0.0/16, 192.168.0.0/16"}[i%2]))
	}
	l := NewLedger()
	if _, err := l.Append(facts...); err != nil {
		b.Fatal(err)
	}
	n := l.View(Config{Clusters: []Cluster{{Name: "c", Network: Auto}}}).clusters[0].rules.of("n")
	for to, want := range map[string]bool{"203.0.113.66": true, "10.244.9.9": false} {
		b.Run(to, func(b *testing.B) {
			a, span := addr(to), flow.Span{From: sec(50_000), To: sec(50_000)}
			for b.Loop() {
				if n.masking(a, 443, span, 1000).can != want {
					b.Fatal("wrong")
				}
			}
		})
	}
}
