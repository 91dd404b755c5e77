package attribution

import (
	"strings"
	"testing"
)

// The table of docs/verdicts.md, by mode: "*" marks what no public row shows.
func TestPosture(t *testing.T) {
	for mode, want := range map[Network]string{
		Kubenet:    "none pod* node* node node node node*",
		Overlay:    "none pod* node node node node node*",
		NodeSubnet: "none pod pod pod node node node*",
		PodSubnet:  "none pod pod pod pod pod node*",
		Auto:       "none unknown unknown unknown unknown unknown unknown*",
	} {
		cfg := podRange()
		cfg.Clusters[0].Network, cfg.Clusters[0].VNetCIDRs = mode, prefixes("10.224.0.0/12")
		if mode != Kubenet && mode != Overlay {
			cfg.Clusters[0].PodCIDRs = nil
		}
		facts := factsOf(watched(0, 1000), aPod("p").has(theIP).on("aks-np1-1-vmss000000", "10.224.0.4").made(10).seen(12), aPod("h").on("aks-np1-1-vmss000000", "10.224.0.4").hostNetwork().made(5).seen(6),
			aPod("gone").has("10.244.0.8").on("m", "10.224.0.5").made(10).seen(12).ran(11, 20).stopped(21))
		pools := viewOf(t, cfg, facts).Posture("c", sec(500))
		if len(pools) != 1 || pools[0].Name != "np1" || pools[0].Nodes != 1 || pools[0].MeanPods != 2 || !pools[0].Unwatched {
			t.Fatalf("%s: %+v", mode, pools)
		}
		var got []string
		for _, s := range pools[0].Shows {
			word := string(s.Source)
			if s.Unproven {
				word += "*"
			}
			got = append(got, word)
		}
		if s := strings.Join(got, " "); s != want {
			t.Errorf("%s: got %q, want %q", mode, s, want)
		}
	}
}
