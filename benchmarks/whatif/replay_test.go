package whatif

import (
	"context"
	"fmt"
	"maps"
	"net/netip"
	"testing"
	"time"

	"github.com/whichpod/whichpod/attribution"
	"github.com/whichpod/whichpod/benchmarks/sim"
	"github.com/whichpod/whichpod/benchmarks/trial"
	"github.com/whichpod/whichpod/query"
)

// vnet is the simulated one.
var vnet = []netip.Prefix{netip.MustParsePrefix("10.224.0.0/12")}

func cluster(mode sim.Mode) sim.Config {
	cfg := sim.DefaultConfig()
	cfg.Mode, cfg.Duration, cfg.Warmup, cfg.AddressesPerNode, cfg.MeanLifetime = mode, 12*time.Minute, 0, 20, 4*time.Minute
	cfg.Traffic.FlowsPerSecond, cfg.Traffic.NodeFlows = 0.2, 0.1
	// Under the modes whose nodes have ranges of their own, a call of an address that nobody
	// has reaches the node that had it; there are no other rows than these that differ.
	cfg.Traffic.Mix.Stale = 0
	// What comes from outside goes to the node there, and to the pod here.
	cfg.Traffic.FromVMs, cfg.Traffic.Scans = 0, 0
	return cfg
}

// paired is a row under today's mode, what would be said of it, and what is.
type paired struct {
	row     *row
	would   outcome
	really  *attribution.Resolution
	withNAT *attribution.Resolution // really, with NAT evidence
	text    string
}

// replayed pairs the rows of one seed under two modes: they are in the same order.
func replayed(t *testing.T, today, then sim.Mode) []paired {
	t.Helper()
	ctx := context.Background()
	var out []paired
	now := load(t, cluster(today))
	p := newReplayer(now.Engine().View(), attribution.Config{Clusters: []attribution.Cluster{{Name: "prod", VNetCIDRs: vnet}}})
	index := make(map[string]int)
	for i, place := range places(now) {
		index[place] = i
	}
	out = make([]paired, len(index))
	if err := now.Rows(ctx, now.Engine(), func(r trial.Row) {
		row := p.row(r.Among, r.Index)
		out[index[placeOf(r.Truth)]] = paired{row: row, would: p.under(attribution.Network(then), row), text: r.Row.Tuple()}
	}); err != nil {
		t.Fatal(err)
	}
	later := load(t, cluster(then))
	all := places(later)
	if len(all) != len(out) {
		t.Fatalf("%d rows under %s, %d under %s", len(out), today, len(all), then)
	}
	clear(index)
	for i, place := range all {
		index[place] = i
	}
	if err := later.Rows(ctx, later.Engine(), func(r trial.Row) { out[index[placeOf(r.Truth)]].really = r.SaidSrc }); err != nil {
		t.Fatal(err)
	}
	if err := later.WithNAT(func(e *query.Engine) error {
		return later.Rows(ctx, e, func(r trial.Row) { out[index[placeOf(r.Truth)]].withNAT = r.SaidSrc })
	}); err != nil {
		t.Fatal(err)
	}
	return out
}

func load(t *testing.T, cfg sim.Config) *trial.Trial {
	t.Helper()
	tr, err := trial.Load(context.Background(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := tr.Close(); err != nil {
			t.Error(err)
		}
	})
	return tr
}

func places(t *trial.Trial) (out []string) {
	for r := range t.Worlds[0].Truth() {
		out = append(out, placeOf(&r))
	}
	return out
}

func placeOf(r *sim.Truth) string { return fmt.Sprint(r.Blob, r.Offset) }

// What would be said from pod-subnet's trace under another mode is what is said from the
// trace of that mode: row by row, down to the candidates behind a node's address. Only
// who has an address next hangs on how the mode hands them out, so that exact and
// boundary may change places where pods' own addresses are shown. Rows of which today
// not even the sender's node is certain are not replayed: at the edges of the watch, and
// where an address went from a pod of one node to one of another.
func TestFromPodSubnet(t *testing.T) {
	for _, then := range []sim.Mode{sim.Kubenet, sim.Overlay, sim.NodeSubnet} {
		t.Run(string(then), func(t *testing.T) {
			masks, shows, moved, lifted, unlifted, doubt := 0, 0, 0, 0, 0, 0
			for _, p := range replayed(t, sim.PodSubnet, then) {
				switch {
				case p.would.said == nil && p.row.said.Verdict != attribution.Exact:
					doubt++
				case p.would.said == nil:
					t.Errorf("%s is not replayed: %s", p.text, p.would.why)
				case p.would.said.Verdict == attribution.Masked:
					masks++
					if !sameCandidates(p.would.said, p.really) || p.would.said.Bits() != p.really.Bits() {
						t.Errorf("%s would be masked among %d, and is %s among %d", p.text, len(p.would.said.Candidates), p.really.Verdict, len(p.really.Candidates))
					}
					if p.row.said.Verdict == attribution.Exact {
						if p.withNAT.Verdict != attribution.Exact {
							unlifted++
						} else if lifted++; p.withNAT.Candidates[0].UID != p.row.said.Candidates[0].UID {
							t.Errorf("%s: NAT evidence names another pod", p.text)
						}
					}
				case p.would.said.Verdict == p.really.Verdict:
					shows++
				case handsOver(p.would.said.Verdict) && handsOver(p.really.Verdict):
					moved++
				default:
					t.Errorf("%s would be %s, and is %s", p.text, p.would.said.Verdict, p.really.Verdict)
				}
			}
			says := fmt.Sprintf("%d masked, %d shown, %d with another owner next, %d in doubt today, %d lifted by NAT evidence, %d not", masks, shows, moved, doubt, lifted, unlifted)
			if masks < 1000 || shows < 1000 || moved > shows/100 || doubt > masks/100 || lifted < 1000 || unlifted > lifted/100 {
				t.Error(says)
			}
			t.Log(says)
		})
	}
}

// handsOver is true of verdicts that hang on who had a pod's address before and after.
func handsOver(v attribution.Verdict) bool {
	return v == attribution.Exact || v == attribution.Boundary
}

func sameCandidates(a, b *attribution.Resolution) bool {
	return a.Verdict == b.Verdict && maps.Equal(uids(a), uids(b))
}

func uids(r *attribution.Resolution) map[string]int {
	out := make(map[string]int)
	for _, c := range r.Candidates {
		out[c.Node+c.UID]++
	}
	return out
}

// Whom today's mode hides is not guessed: it stays masked where the other mode would
// hide it too, and is counted as what can not be replayed where not.
func TestFromKubenet(t *testing.T) {
	unknown, stays, same := 0, 0, 0
	for _, p := range replayed(t, sim.Kubenet, sim.PodSubnet) {
		switch hidden := hides(p.row.said); {
		case hidden && p.would.word == Unknown:
			unknown++
			if p.would.why != whoUnknown || p.really.Verdict == attribution.Masked {
				t.Errorf("%s is not replayed: %q; it is %s", p.text, p.would.why, p.really.Verdict)
			}
		case hidden:
			stays++
			if !sameCandidates(p.would.said, p.really) {
				t.Errorf("%s would be %s, and is %s", p.text, p.would.word, p.really.Verdict)
			}
		case p.would.said != nil && (p.would.said.Verdict == p.really.Verdict || handsOver(p.would.said.Verdict) && handsOver(p.really.Verdict)):
			same++
		default:
			t.Errorf("%s would be %s, and is %s", p.text, p.would.word, p.really.Verdict)
		}
	}
	if unknown < 1000 || stays < 100 || same < 1000 {
		t.Errorf("%d not replayed, %d masked still, %d as they are", unknown, stays, same)
	}
}

// All rows are counted once, whatever they are; the same mode changes nothing.
func TestRun(t *testing.T) {
	cfg := cluster(sim.NodeSubnet)
	cfg.Traffic.Mix.Stale, cfg.Traffic.FromVMs, cfg.Traffic.Scans = 2, 0.1, 0.1
	tr := load(t, cfg)
	described := attribution.Config{Clusters: []attribution.Cluster{{Name: "prod", VNetCIDRs: vnet}}}
	all, err := Run(context.Background(), tr.Engine(), described, Modes, 0, 0)
	if err != nil {
		t.Fatal(err)
	}
	for i, r := range all {
		rows, hidden := int64(0), int64(0)
		for from, to := range r.Matrix {
			for word, n := range to {
				rows += n
				if word == Word(attribution.Masked.String()) && from != word {
					hidden += n
				}
				if r.Mode == attribution.NodeSubnet && from != word {
					t.Errorf("%d rows would change from %s to %s under their own mode", n, from, word)
				}
			}
		}
		if r.Mode != Modes[i] || rows != int64(tr.Worlds[0].Len()) || r.Rows != rows || hidden != r.Hidden || r.Lifted > r.Hidden || (r.Hidden > 0) != (r.Bits > 0) {
			t.Errorf("%s: %d rows of %d, %d hidden: %+v", r.Mode, rows, tr.Worlds[0].Len(), hidden, r)
		}
	}
	some, err := Run(context.Background(), tr.Engine(), attribution.Config{}, Modes[2:3], cfg.Start.Add(time.Minute).UnixMilli(), cfg.Start.Add(2*time.Minute).UnixMilli())
	if err != nil || some[0].Rows == 0 || some[0].Rows > all[0].Rows/4 || some[0].Why[vnetUnknown] == 0 {
		t.Errorf("a minute, of a VNet that is not known: %+v, %v", some[0], err)
	}
}
