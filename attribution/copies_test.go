package attribution

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/apache/arrow/go/v17/arrow/memory"

	"github.com/whichpod/whichpod/flow"
)

// compared joins rows in batches of a size and holds copies against each other; plain
// is what Join said.
func compared(t *testing.T, v *View, rows []flow.Row, size int) (plain, after []Joined, begins []flow.Span) {
	t.Helper()
	mem := memory.NewCheckedAllocator(memory.DefaultAllocator)
	defer mem.AssertSize(t, 0)
	b := flow.NewBuilder(mem)
	defer b.Release()
	var begin flow.Begins
	var parts []*Rows
	for n := 0; n < len(rows); n += size {
		for i := n; i < min(n+size, len(rows)); i++ {
			b.Append(&rows[i])
		}
		batch := b.NewBatch()
		defer batch.Release()
		spans := begin.Of(batch, nil)
		joined, err := v.Join(batch, spans, flow.Answered(batch, nil, nil))
		if err != nil {
			t.Fatal(err)
		}
		plain = append(plain, Joined{Src: slices.Clone(joined.Src), Dst: slices.Clone(joined.Dst)})
		parts, begins = append(parts, &Rows{batch, spans, &joined}), append(begins, spans...)
	}
	for i, p := range parts {
		if i+1 < len(parts) {
			v.Compare(p, parts[i+1])
		} else {
			v.Compare(p, nil)
		}
		after = append(after, *p.Joined)
	}
	return plain, after, begins
}

// inTurn are pods on nodes n and m that have a few addresses one after the other, and
// moments at which one is just gone.
func inTurn(r *rand.Rand, tolerance float64) (facts []Fact, ends []float64) {
	facts = factsOf(watched(-1000, 10_000))
	for _, a := range []string{"10.244.0.1", "10.244.0.2"} {
		version := uint64(1)
		for at := 10 * r.Float64(); at < 900; {
			uid, end := fmt.Sprintf("%s-%d", a[9:], len(facts)), at+20+float64(r.IntN(100))
			node := r.IntN(2)
			facts = append(facts, aPod(uid).on([]string{"n", "m"}[node], []string{"10.224.0.4", "10.224.0.5"}[node]).has(a).versions(version, version+1).
				made(at).seen(at+2).ran(at+1, end-1).stopped(end).deleted(end+1, version+2).f)
			ends, version = append(ends, end), version+3
			at = end + 2*tolerance + 2*r.Float64()
		}
	}
	return facts, ends
}

// copied are rows of few flows, most of them logged by two interfaces at nearly the
// same time, in flow order.
func copied(r *rand.Rand, n int, tolerance float64, ends []float64) []flow.Row {
	var rows []flow.Row
	for len(rows) < n {
		at := 1000 * r.Float64()
		if r.IntN(2) == 0 {
			at = ends[r.IntN(len(ends))] + tolerance - r.Float64()
		}
		row := flow.Row{Time: sec(at), State: flow.Begin, Src: addr("10.244.0.1"), Dst: addr("10.244.0.2"), SrcPort: uint16(1 + r.IntN(4)), DstPort: 80, Protocol: 6}
		if r.IntN(2) == 0 {
			row.Src, row.Dst = row.Dst, row.Src
		}
		for range 1 + r.IntN(3) {
			o := row
			o.NIC, o.Direction = []string{"", "000D3A00000A", "000D3A00000B", "000D3A00000C"}[r.IntN(4)], "IO"[r.IntN(2)]
			o.Time += r.Int64N(2000)
			o.State = "BBBBBBCE"[r.IntN(8)]
			o.Offset = int64(len(rows))
			rows = append(rows, o)
		}
	}
	slices.SortFunc(rows, func(a, b flow.Row) int { return flow.Compare(&a, &b) })
	return rows
}

// What copies leave of an answer is what every pair of rows leaves of it, looked at one
// by one.
func TestCompareEqualsNaive(t *testing.T) {
	t.Parallel()
	weakened, apart := 0, 0
	for seed := range uint64(150) {
		r := rand.New(rand.NewPCG(seed, 21))
		cfg, tolerance := podRange(), 1+float64(r.IntN(2))
		cfg.ClockTolerance = Duration(tolerance * 1e9)
		cfg.Clusters[0].NICs = map[string]string{"000D3A00000A": "n", "000D3A00000B": "m"}
		facts, ends := inTurn(r, tolerance)
		v := viewOf(t, cfg, facts)
		rows := copied(r, 1+r.IntN(300), tolerance, ends)
		longest, run := 1, 1
		for i := 1; i < len(rows); i++ {
			if run++; rows[i].Src != rows[i-1].Src || rows[i].SrcPort != rows[i-1].SrcPort {
				run = 1
			}
			longest = max(longest, run)
		}
		plain, after, begins := compared(t, v, rows, longest+r.IntN(len(rows)))
		flat := func(list []Joined) (out [][2]*Resolution) {
			for _, j := range list {
				for i := range j.Src {
					out = append(out, [2]*Resolution{j.Src[i], j.Dst[i]})
				}
			}
			return out
		}
		said, got := flat(plain), flat(after)
		for i := range rows {
			for side := range 2 {
				want := naiveCopies(v, rows, begins, said, i, side)
				if text(want) != text(got[i][side]) || !want.Same(got[i][side]) {
					t.Fatalf("seed %d, end %d of row %d %s begun %v: got %s, want %s", seed, side, i, rows[i].Tuple(), begins[i], text(got[i][side]), text(want))
				}
				if want.Verdict != said[i][side].Verdict {
					weakened++
					if len(want.Candidates) > 1 {
						apart++
					}
				}
			}
		}
	}
	t.Logf("%d answers were weakened, %d between pods", weakened, apart)
	if weakened < 300 || apart < 20 {
		t.Errorf("%d answers were weakened, %d between pods: the test shows too little", weakened, apart)
	}
}

func naiveCopies(v *View, rows []flow.Row, begins []flow.Span, said [][2]*Resolution, i, side int) *Resolution {
	r := said[i][side]
	odd := r.was != nil // its own interface speaks against it
	if odd {
		r = r.was
	}
	if r.Verdict != Exact || rows[i].NIC == "" {
		return r
	}
	candidates := []*Candidate{r.Candidates[0]}
	for j := range rows {
		a, b := &rows[i], &rows[j]
		if a.Src != b.Src || a.Dst != b.Dst || a.SrcPort != b.SrcPort || a.DstPort != b.DstPort || a.Protocol != b.Protocol || a.NIC == b.NIC || b.NIC == "" ||
			begins[i].From > begins[j].To+v.tolerance || begins[j].From > begins[i].To+v.tolerance {
			continue
		}
		if o := v.checked(r, &Question{NIC: b.NIC, Near: (b.Direction == flow.Outbound) == (side == 0), Begin: begins[j]}); o != r {
			odd = true
		}
		if o := said[j][side].named(); o != nil && !slices.ContainsFunc(candidates, func(c *Candidate) bool { return c.UID == o.UID && c.Cluster == o.Cluster }) {
			candidates = append(candidates, o)
		}
	}
	if !odd && len(candidates) == 1 {
		return r
	}
	slices.SortFunc(candidates, orderCandidates)
	return &Resolution{Verdict: Boundary, Candidates: candidates, Notes: append([]string{noteNIC}, r.Notes...)}
}

// Pod a of node n calls pod b of node m. Interface A is n's, B is m's, C is nobody's.
func TestCompare(t *testing.T) {
	t.Parallel()
	cfg := podRange()
	cfg.Clusters[0].NICs = map[string]string{"000D3A00000A": "n", "000D3A00000B": "m"}
	v := viewOf(t, cfg, factsOf(watched(0, 100_000),
		aPod("a").has(theIP).made(10).seen(12).ran(11, 500).stopped(501).deleted(502, 9),
		aPod("a2").on("m", "10.224.0.5").has(theIP).made(503.1).seen(504).ran(503.5, 900),
		aPod("b").on("m", "10.224.0.5").has("10.244.1.9").made(10).seen(12).ran(11, 900)))
	for name, c := range map[string]struct {
		rows []string // SECOND NIC DIRECTION
		want string   // of each in flow order: source, destination
	}{
		"as it should be":                    {[]string{"50 A O", "50.2 B I"}, "exact a, exact b; exact a, exact b"},
		"one copy":                           {[]string{"50 B I"}, "exact a, exact b"},
		"sent from another node":             {[]string{"50 B I", "50.1 B O"}, "exact a, exact b; boundary a [], exact b"},
		"sent from another node, two NICs":   {[]string{"50.1 B O", "50 C I"}, "boundary a [], exact b; boundary a [], exact b"},
		"received by another node":           {[]string{"50 A I", "50.1 C O"}, "exact a, boundary b []; exact a, boundary b []"},
		"a stranger's interface":             {[]string{"50 A O", "50 C O", "50.2 B I"}, "exact a, exact b; exact a, exact b; exact a, exact b"},
		"another flow, long before":          {[]string{"50 C I", "400 B O"}, "boundary a [], exact b; exact a, exact b"},
		"of who had it, and who has it then": {[]string{"501.9 A O", "502.3 C I"}, "boundary a a2 [] [edge], exact b; boundary a a2 [] [edge], exact b"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var rows []flow.Row
			for i, s := range c.rows {
				var at float64
				var nic, direction string
				if _, err := fmt.Sscan(s, &at, &nic, &direction); err != nil {
					t.Fatal(err)
				}
				rows = append(rows, flow.Row{Time: sec(at), NIC: "000D3A00000" + nic, Direction: direction[0], State: flow.Begin, Src: addr(theIP), Dst: addr("10.244.1.9"),
					SrcPort: 4000, DstPort: 80, Protocol: 6, Offset: int64(i)})
			}
			slices.SortFunc(rows, func(a, b flow.Row) int { return flow.Compare(&a, &b) })
			for size := 1; size <= len(rows); size++ {
				_, after, _ := compared(t, v, rows, size)
				var got []string
				for _, j := range after {
					for i := range j.Src {
						got = append(got, text(j.Src[i])+", "+text(j.Dst[i]))
					}
				}
				if s := strings.Join(got, "; "); s != c.want {
					t.Errorf("in batches of %d:\n got %s\nwant %s", size, s, c.want)
				}
			}
		})
	}
}

// Two clusters with one pod range, and pods of both that have the same addresses, ports
// and moments: two flows, each of its own cluster.
func TestCompareOfTwoClusters(t *testing.T) {
	t.Parallel()
	cfg := podRange()
	cfg.Clusters[0].NICs = map[string]string{"000D3A00000A": "n", "000D3A00000B": "m"}
	cfg.Clusters = append(cfg.Clusters, Cluster{Name: "d", Network: Overlay, PodCIDRs: prefixes("10.244.0.0/16"), NICs: map[string]string{"000D3A00000D": "n", "000D3A00000E": "m"}})
	facts := []*told{watched(0, 1000), watched(0, 1000).in("d")}
	for i, cluster := range []string{"c", "d"} {
		facts = append(facts, aPod("a").in(cluster).on("n", fmt.Sprintf("10.224.0.%d", 4+2*i)).has(theIP).made(10).seen(12).ran(11, 900),
			aPod("b").in(cluster).on("m", fmt.Sprintf("10.224.0.%d", 5+2*i)).has("10.244.1.9").made(10).seen(12).ran(11, 900))
	}
	v := viewOf(t, cfg, factsOf(facts...))
	var rows []flow.Row
	for i, nic := range []string{"A", "B", "D", "E"} {
		rows = append(rows, flow.Row{Time: sec(50) + int64(i), NIC: "000D3A00000" + nic, Direction: "OI"[i%2], State: flow.Begin, Src: addr(theIP), Dst: addr("10.244.1.9"),
			SrcPort: 40003, DstPort: 80, Protocol: 6, Offset: int64(i)})
	}
	_, after, _ := compared(t, v, rows, len(rows))
	for i, want := range []string{"exact a, exact b", "exact a, exact b", "exact d:a, exact d:b", "exact d:a, exact d:b"} {
		if got := text(after[0].Src[i]) + ", " + text(after[0].Dst[i]); got != want {
			t.Errorf("row %d: got %s, want %s", i, got, want)
		}
	}
}

// A batch in which two interfaces logged every flow, its begin and its end; 100k pods.
func BenchmarkCompare(b *testing.B) {
	l, addresses := fleetOf(b, 100_000)
	cfg := podRange()
	cfg.Clusters[0].NICs = map[string]string{"000D3A00000A": "aks-np1-12345678-vmss000000", "000D3A00000B": "aks-np1-12345678-vmss000001"}
	v := l.View(cfg)
	var rows []flow.Row
	for _, row := range fleetRows(rand.New(rand.NewPCG(2, 2)), addresses, flow.MaxBatchRows/4) {
		for _, end := range []struct {
			nic       string
			direction byte
		}{{"000D3A00000A", 'O'}, {"000D3A00000C", 'I'}} {
			begin := row
			begin.NIC, begin.Direction = end.nic, end.direction
			after := begin
			after.Time, after.State = begin.Time+5000, flow.End
			rows = append(rows, begin, after)
		}
	}
	batch := sortedBatch(b, rows)
	var begins flow.Begins
	spans := begins.Of(batch, nil)
	joined, err := v.Join(batch, spans, flow.Answered(batch, nil, nil))
	if err != nil {
		b.Fatal(err)
	}
	src, dst := slices.Clone(joined.Src), slices.Clone(joined.Dst)
	for b.Loop() {
		copy(joined.Src, src)
		copy(joined.Dst, dst)
		v.Compare(&Rows{batch, spans, &joined}, nil)
	}
	b.ReportMetric(float64(batch.Len())*float64(b.N)/b.Elapsed().Seconds(), "rows/s")
}
