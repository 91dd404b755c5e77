package attribution

import (
	"fmt"
	"testing"

	"github.com/whichpod/whichpod/attribution/nat"
	"github.com/whichpod/whichpod/flow"
)

// peer is whom the rows of these tests are to.
const peer = "203.0.113.66"

// translation is a connection that a node gave port 1027 of its address to, towards
// port 443 of the peer.
func translation(node, nodeIP, pod string, from, to float64) nat.Flow {
	f := nat.Flow{Key: nat.Key{Src: addr(nodeIP), SrcPort: 1027, Dst: addr(peer), DstPort: 443, Protocol: 6}, Node: node,
		Original:     nat.Tuple{Src: addr(pod), SrcPort: 40000, Dst: addr(peer), DstPort: 443},
		FromEarliest: sec(from), FromLatest: sec(from), ToEarliest: sec(to), ToLatest: sec(to)}
	return f
}

// forwarded is one that was made to a port of the node itself.
func forwarded(f nat.Flow) nat.Flow {
	f.Original.Dst, f.Original.DstPort = f.Src, 30080
	return f
}

// unended is one whose end nobody saw.
func unended(f nat.Flow) nat.Flow {
	f.ToLatest = nat.NoEnd
	return f
}

// toldNAT is what one session of a recorder tells of a node.
type toldNAT struct {
	node, session string
	from, to      float64 // all was seen then
	flows         []nat.Flow
}

func evidenceOf(t *testing.T, sessions []toldNAT) *nat.Store {
	t.Helper()
	store, err := nat.Open(t.TempDir(), nat.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { store.Close() })
	for i, s := range sessions {
		w, err := store.Begin(nat.Import{Cluster: "c", Kind: "test", Name: fmt.Sprint(i)})
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range s.flows {
			if err := w.Add(f); err != nil {
				t.Fatal(err)
			}
		}
		w.Cover(s.node, s.session, sec(s.from), sec(s.to))
		if _, err := w.Commit(""); err != nil {
			t.Fatal(err)
		}
	}
	return store
}

// rowAt is a row of port 1027 of a node's address, begun at a second.
func rowAt(nodeIP string, at float64) Question {
	return Question{Address: addr(nodeIP), Begin: flow.Span{From: sec(at), To: sec(at)}, Sent: true, Destination: addr(peer), DestinationPort: 443, SourcePort: 1027, Protocol: 6}
}

// What evidence leaves of a node's row: pods a and then a2 have theIP on node n, b is on
// n2. The machine of n is replaced at 500: its successor has the name and the address, or
// another address. A former pod's address is given to the node.
func TestLift(t *testing.T) {
	t.Parallel()
	const n, n2, late = "10.224.0.4", "10.224.0.6", "10.224.0.14"
	facts := factsOf(watched(0, 2000),
		aPod("a").has(theIP).made(10).seen(12).ran(11, 490).stopped(491).deleted(492, 9),
		aPod("former").has("10.244.0.30").made(10).seen(12).ran(11, 40).stopped(41).deleted(42, 8),
		aPod("nowhere").on("").has("10.244.0.40").made(10).seen(12).ran(11, 1900),
		aPod("a2").has(theIP).made(600).seen(602).ran(601, 1900),
		aPod("c").on("n", late).has("10.244.0.20").made(610).seen(612).ran(611, 1900),
		aPod("b").on("n2", n2).has("10.244.1.9").made(10).seen(12).ran(11, 1900))
	for name, c := range map[string]struct {
		told []toldNAT
		row  Question
		want string
	}{
		"one agent":                        {[]toldNAT{{"n", "1", 20, 400, []nat.Flow{translation("n", n, theIP, 100, 110)}}}, rowAt(n, 100.5), "exact a"},
		"two agents that tell the same":    {[]toldNAT{{"n", "1", 20, 400, []nat.Flow{translation("n", n, theIP, 100, 110)}}, {"n", "2", 90, 500, []nat.Flow{translation("n", n, theIP, 100, 110)}}}, rowAt(n, 100.5), "exact a"},
		"two agents, the first was killed": {[]toldNAT{{"n", "1", 20, 105, []nat.Flow{unended(translation("n", n, theIP, 100, 105))}}, {"n", "2", 104, 500, []nat.Flow{translation("n", n, theIP, 100, 110)}}}, rowAt(n, 108), "exact a"},
		"two agents, none when it began":   {[]toldNAT{{"n", "1", 20, 99, nil}, {"n", "2", 101.4, 500, []nat.Flow{translation("n", n, theIP, 101.4, 110)}}}, rowAt(n, 101), "masked @n a"},
		"two agents that contradict each other": {[]toldNAT{{"n", "1", 20, 400, []nat.Flow{translation("n", n, theIP, 100, 110)}},
			{"n", "2", 20, 400, []nat.Flow{translation("n", n, "10.244.0.20", 100, 110)}}}, rowAt(n, 105), "masked @n a [translated]"},
		"a node that nobody knows":              {[]toldNAT{{"x", "1", 20, 400, []nat.Flow{translation("x", n, theIP, 100, 110)}}}, rowAt(n, 100.5), "masked @n a [translated]"},
		"an address that nobody knows":          {[]toldNAT{{"n", "1", 20, 400, []nat.Flow{translation("n", "10.224.9.9", theIP, 100, 110)}}}, rowAt("10.224.9.9", 100.5), "exact a"},
		"an address that was a pod's":           {[]toldNAT{{"n", "1", 20, 400, []nat.Flow{translation("n", "10.244.0.30", theIP, 100, 110)}}}, rowAt("10.244.0.30", 100.5), "exact a"},
		"a pod on no node":                      {[]toldNAT{{"n", "1", 20, 400, []nat.Flow{translation("n", n, "10.244.0.40", 100, 110)}}}, rowAt(n, 100.5), "masked @n a"},
		"another node's pod":                    {[]toldNAT{{"n", "1", 20, 400, []nat.Flow{translation("n", n, "10.244.1.9", 100, 110)}}}, rowAt(n, 100.5), "masked @n a [translated]"},
		"another node's pod by a port of n":     {[]toldNAT{{"n", "1", 20, 400, []nat.Flow{forwarded(translation("n", n, "10.244.1.9", 100, 110))}}}, rowAt(n, 100.5), "masked @n a"},
		"a stranger by a port of n":             {[]toldNAT{{"n", "1", 20, 400, []nat.Flow{forwarded(translation("n", n, "198.51.100.7", 100, 110))}}}, rowAt(n, 100.5), "masked @n a"},
		"n's own pod by a port of n":            {[]toldNAT{{"n", "1", 20, 400, []nat.Flow{forwarded(translation("n", n, theIP, 100, 110))}}}, rowAt(n, 100.5), "exact a"},
		"replaced, before":                      {[]toldNAT{{"n", "1", 20, 495, []nat.Flow{unended(translation("n", n, theIP, 480, 484))}}, {"n", "2", 605, 900, []nat.Flow{translation("n", n, theIP, 650, 660)}}}, rowAt(n, 480.2), "exact a"},
		"replaced, between":                     {[]toldNAT{{"n", "1", 20, 495, []nat.Flow{unended(translation("n", n, theIP, 480, 484))}}, {"n", "2", 605, 900, []nat.Flow{translation("n", n, theIP, 650, 660)}}}, rowAt(n, 550), "masked @n"},
		"replaced, after":                       {[]toldNAT{{"n", "1", 20, 495, []nat.Flow{unended(translation("n", n, theIP, 480, 484))}}, {"n", "2", 605, 900, []nat.Flow{translation("n", n, theIP, 650, 660)}}}, rowAt(n, 650.2), "exact a2"},
		"replaced, another address":             {[]toldNAT{{"n", "1", 20, 495, []nat.Flow{unended(translation("n", n, theIP, 480, 484))}}, {"n", "2", 612, 900, []nat.Flow{translation("n", late, "10.244.0.20", 650, 660)}}}, rowAt(late, 650.2), "exact c"},
		"replaced, the old one's port is asked": {[]toldNAT{{"n", "1", 20, 495, []nat.Flow{unended(translation("n", n, theIP, 480, 484))}}}, rowAt(n, 650), "masked @n a2 c"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			v := viewOf(t, podRange(), facts).WithNAT(evidenceOf(t, c.told))
			check(t, v, []say{{c.row, c.want}})
		})
	}
}

// An address was pod old's and then node n's, of which the ledger knows nothing but what
// evidence shows: what is asked of the time between is no more old's, and what both had at once
// is nobody's for sure.
func TestAddressLent(t *testing.T) {
	t.Parallel()
	const lent = "10.224.0.30"
	cfg := DefaultConfig()
	cfg.Clusters = []Cluster{{Name: "c", Network: NodeSubnet, VNetCIDRs: prefixes("10.224.0.0/16")}}
	v := viewOf(t, cfg, factsOf(watched(0, 2000),
		aPod("old").on("n0").has(lent).made(10).seen(12).ran(11, 40).stopped(41).deleted(42, 8),
		aPod("new").on("n0").has("10.224.0.32").made(10).seen(12).ran(11, 1900),
		aPod("x").on("n").has("10.224.0.31").made(50).seen(52).ran(51, 1900))).
		WithNAT(evidenceOf(t, []toldNAT{{"n", "1", 20, 400, []nat.Flow{translation("n", lent, "10.224.0.31", 100, 110), translation("n", "10.224.0.32", "10.224.0.31", 60, 70)}}}))
	unlogged := rowAt(lent, 105)
	unlogged.Begin.From = sec(20)
	own := rowAt("10.224.0.32", 200)
	own.SourcePort++
	check(t, v, []say{
		{rowAt(lent, 105), "exact x"},
		{unlogged, "gap <old [lent]"}, // as its begin was not logged
		{rowAt(lent, 30), "exact old"},
		{rowAt(lent, 300), "gap <old [lent]"},
		{rowAt("10.224.0.32", 65), "boundary new [translated]"},
		{own, "exact new"},
	})
}

// The kernel gives a pod's connection another port where two clash, under the pod's own address:
// that makes it no node's.
func TestPortTranslated(t *testing.T) {
	t.Parallel()
	remapped := translation("n", "10.224.0.30", "10.224.0.30", 100, 110)
	plain := translation("n", "10.224.0.30", "10.224.0.30", 112, 113)
	plain.Original = nat.Tuple{}
	cfg := DefaultConfig()
	cfg.Clusters = []Cluster{{Name: "c", Network: NodeSubnet, VNetCIDRs: prefixes("10.224.0.0/16")}}
	for name, more := range map[string][]nat.Flow{"alone": nil, "at an address that was a node's too": {translation("m", "10.224.0.30", "10.224.0.77", 5, 6)}} {
		v := viewOf(t, cfg, factsOf(watched(0, 2000), aPod("p").on("n").has("10.224.0.30").made(10).seen(12).ran(11, 300).stopped(301).deleted(302, 8))).
			WithNAT(evidenceOf(t, []toldNAT{{"n", "1", 20, 400, append([]nat.Flow{remapped, plain}, more...)}}))
		unlogged := rowAt("10.224.0.30", 500)
		unlogged.Begin.From = sec(200)
		after := "exact p"
		if more != nil {
			after = "gap <p [lent]"
		}
		t.Run(name, func(t *testing.T) {
			check(t, v, []say{{rowAt("10.224.0.30", 105), "exact p"}, {rowAt("10.224.0.30", 112), "exact p"}, {unlogged, after}})
		})
	}
}

// Two clusters' nodes had one port of one address at once, as far as their evidence says, of
// which one's ledger knows the address: the row can be of either.
func TestLiftInTwoClusters(t *testing.T) {
	t.Parallel()
	const a = "10.224.0.30"
	cfg := DefaultConfig()
	cfg.Clusters = []Cluster{{Name: "c", Network: NodeSubnet, VNetCIDRs: prefixes("10.224.0.0/16"), NICs: map[string]string{"000D3A00000C": "nc"}},
		{Name: "d", NICs: map[string]string{"000D3A00000D": "nd"}}}
	store := evidenceOf(t, []toldNAT{{"nc", "1", 60, 400, []nat.Flow{translation("nc", a, "10.224.0.31", 95, 115)}}})
	w, err := store.Begin(nat.Import{Cluster: "d", Kind: "test"})
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Add(translation("nd", a, "10.224.0.41", 100, 110)); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Commit(""); err != nil {
		t.Fatal(err)
	}
	v := viewOf(t, cfg, factsOf(watched(0, 2000), watched(0, 2000).in("d"),
		aPod("old").on("nc").has(a).made(10).seen(12).ran(11, 40).stopped(41).deleted(42, 8),
		aPod("x").on("nc").has("10.224.0.31").made(50).seen(52).ran(51, 1900),
		aPod("y").in("d").on("nd").has("10.224.0.41").made(50).seen(52).ran(51, 1900))).WithNAT(store)
	ofC, ofD := rowAt(a, 105), rowAt(a, 105)
	ofC.NIC, ofC.Near, ofD.NIC, ofD.Near = "000D3A00000C", true, "000D3A00000D", true
	check(t, v, []say{{rowAt(a, 105), "gap <old [lent] [evidence]"}, {ofC, "exact x"}, {ofD, "gap <old [lent] [evidence]"}})
}

// Nothing that a node forwards for others is held against the ledger as its own pods'.
func TestForwardedIsNoContradiction(t *testing.T) {
	t.Parallel()
	v := viewOf(t, podRange(), factsOf(watched(0, 2000), aPod("b").on("n2", "10.224.0.6").has("10.244.1.9").made(10).seen(12).ran(11, 1900)))
	for want, f := range []nat.Flow{forwarded(translation("n", "10.224.0.4", "10.244.1.9", 100, 110)), translation("n", "10.224.0.4", "10.244.1.9", 100, 110)} {
		store := evidenceOf(t, []toldNAT{{"n", "1", 20, 400, []nat.Flow{f}}})
		if odd := v.Contradicted(store.Stats()[0].Sources); len(odd) != want {
			t.Errorf("%+v: contradictions: %+v, want %d", f, odd, want)
		}
	}
}
