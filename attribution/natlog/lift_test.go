package natlog

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"github.com/whichpod/whichpod/attribution"
	"github.com/whichpod/whichpod/attribution/nat"
	"github.com/whichpod/whichpod/flow"
)

// machine is a node of a random world: its clock, and who had which address on it. The
// ledger knows all but the stranger.
type machine struct {
	name    string
	address netip.Addr
	known   bool
	skew    int64 // of its clock, milliseconds
	pods    []resident
}

type resident struct {
	uid      string
	address  netip.Addr
	from, to int64 // it has the address at least then
}

const (
	clockTolerance = 1000 // milliseconds
	worldEnds      = epoch + 200_000
)

// machines are two nodes of the cluster and one that nobody knows. Pods follow each
// other at few addresses.
func machines(r *rand.Rand) []machine {
	var out []machine
	for i, name := range []string{"n", "m", "stranger"} {
		m := machine{name: name, address: netip.AddrFrom4([4]byte{10, 224, 0, byte(4 + i)}), known: i < 2, skew: r.Int64N(clockTolerance+1) - clockTolerance/2}
		for a := range 3 {
			for at := epoch - 20_000 + r.Int64N(20_000); at < worldEnds; {
				p := resident{uid: fmt.Sprintf("%s-%d-%d", name, a, len(m.pods)), address: netip.AddrFrom4([4]byte{10, 244, byte(i), byte(10 + a)}), from: at}
				p.to = at + 15_000 + r.Int64N(100_000)
				m.pods = append(m.pods, p)
				at = p.to + 3000 + r.Int64N(5000)
			}
		}
		out = append(out, m)
	}
	return out
}

// sent is a connection with who opened it; nil is the node itself.
type sent struct {
	life
	by *resident
}

// connections fill the time with connections of few ports, one user after the other.
func (m *machine) connections(r *rand.Rand) []sent {
	peer := netip.MustParseAddr("203.0.113.66")
	var out []sent
	for k := range 3 {
		key := nat.Key{Src: m.address, Dst: peer, Protocol: 6, SrcPort: uint16(1024 + k), DstPort: 443}
		for at := epoch + r.Int64N(3000); at < worldEnds; {
			s := sent{life: life{key: key, from: at, to: at + 1 + r.Int64N([]int64{20, 2000, 30_000}[r.IntN(3)])}}
			s.original = nat.Tuple{Src: m.address, SrcPort: key.SrcPort, Dst: peer, DstPort: 443}
			for _, i := range r.Perm(len(m.pods)) {
				if p := &m.pods[i]; p.from <= at && at < p.to && s.by == nil && r.IntN(3) > 0 {
					s.by, s.original.Src = p, p.address
				}
			}
			out = append(out, s)
			at = s.to + r.Int64N([]int64{2, 1500, 15_000}[r.IntN(3)])
		}
	}
	return out
}

// facts are what the API showed of the pods, by its own clock.
func (m *machine) facts(skew int64) []attribution.Fact {
	var out []attribution.Fact
	for i, p := range m.pods {
		from, to := p.from+skew, p.to+skew
		b := attribution.Bounds{NotBefore: from - 500, SeenBy: from + 1500, SeenLast: from + 1500, RunningBy: from + 500, AliveAt: to - 500,
			StoppedFirst: to + 500, StoppedLast: to + 500, FirstVersion: uint64(from - epoch + 100_000), LastVersion: uint64(to - epoch + 100_000)}
		out = append(out, attribution.Fact{Cluster: "c", Pod: attribution.PodFact{UID: p.uid, Presence: b,
			Identity: &attribution.Identity{Namespace: "web", Name: fmt.Sprint("p", i), Node: m.name, HostAddresses: []netip.Addr{m.address}, Version: b.FirstVersion},
			Holdings: []attribution.Holding{{Address: p.address, Bounds: b}}}})
	}
	return out
}

// A row under a node's address that evidence makes exact names the pod that sent it:
// whatever ports were used again, sessions restarted or overlapped, events lost and
// clocks wrong by, of two nodes and one that the ledger does not know. And it is what
// the oracle says, which has no index and reads all evidence.
func TestLiftIsNeverWrong(t *testing.T) {
	t.Parallel()
	rows, pods, exact := 0, 0, 0
	for seed := range uint64(12) {
		r := rand.New(rand.NewPCG(seed, 2))
		store, err := nat.Open(t.TempDir(), nat.Options{})
		if err != nil {
			t.Fatal(err)
		}
		ledger := attribution.NewLedger()
		facts := []attribution.Fact{{Cluster: "c", Watched: &attribution.Range{From: epoch - 100_000, To: worldEnds + 100_000}}}
		all := make(map[string][]sent)
		world, api := machines(r), r.Int64N(clockTolerance+1)-clockTolerance/2
		for i := range world {
			m := &world[i]
			if m.known {
				facts = append(facts, m.facts(api)...)
			}
			all[m.name] = m.connections(r)
			for range 1 + r.IntN(2) { // one agent, or two that overlap
				record(t, r, store, m.name, m.told(all[m.name]))
			}
		}
		if _, err := ledger.Append(facts...); err != nil {
			t.Fatal(err)
		}
		v := ledger.View(attribution.Config{ClockTolerance: attribution.Duration(clockTolerance * time.Millisecond),
			Clusters: []attribution.Cluster{{Name: "c", Network: attribution.Overlay, PodCIDRs: []netip.Prefix{netip.MustParsePrefix("10.244.0.0/16")}}}}).WithNAT(store)
		host := r.Int64N(clockTolerance+1) - clockTolerance/2 // of the host that writes the flow log
		for i := range world {
			m := &world[i]
			for n, s := range all[m.name] {
				at := s.from + host
				q := attribution.Question{Address: s.key.Src, Begin: flow.Span{From: at, To: at}, Sent: true, Destination: s.key.Dst, DestinationPort: s.key.DstPort, SourcePort: s.key.SrcPort, Protocol: s.key.Protocol}
				if r.IntN(4) == 0 { // its begin was not logged
					q.Begin.From -= r.Int64N(20_000)
					q.Begin.To += r.Int64N(max(1, s.to-s.from))
				}
				got := v.Resolve(q)
				if n%4 == 0 {
					if naive := v.Naive(q); !naive.Same(got) {
						t.Fatalf("seed %d, %+v: got %v of %d, the oracle says %v of %d", seed, q, got.Verdict, len(got.Candidates), naive.Verdict, len(naive.Candidates))
					}
				}
				rows++
				if s.by != nil && m.known {
					pods++
				}
				switch p := got.Pod(); {
				case p == nil:
				case s.by == nil || !m.known || p.UID != s.by.uid:
					t.Fatalf("seed %d, node %s, %+v was sent by %+v: got %s", seed, m.name, q, s.by, p.UID)
				default:
					exact++
				}
			}
		}
		if err := store.Close(); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("%d of %d rows of pods are exact, of %d rows", exact, pods, rows)
	if exact < 200 {
		t.Errorf("%d of %d rows of pods are exact: the test shows too little", exact, pods)
	}
}

// told are the connections by the node's clock.
func (m *machine) told(all []sent) []life {
	var out []life
	for _, s := range all {
		s.from, s.to = s.from+m.skew, s.to+m.skew
		out = append(out, s.life)
	}
	return out
}
