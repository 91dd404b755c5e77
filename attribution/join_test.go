package attribution

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/apache/arrow/go/v17/arrow/memory"

	"github.com/whichpod/whichpod/flow"
)

// randomRows are rows between the addresses of randomFacts, many at equal times, some at
// times that no track has.
func randomRows(r *rand.Rand, n int) []flow.Row {
	rows := make([]flow.Row, n)
	for i := range rows {
		rows[i] = flow.Row{
			Time: sec(float64(r.IntN(randomSpan/10)) * 10), NIC: []string{"000D3A00000A", "000D3A00000B", "000D3A00000C"}[r.IntN(3)],
			Direction: "IO"[r.IntN(2)], State: "BCED"[r.IntN(4)], Src: randomAddresses[r.IntN(len(randomAddresses))], Dst: randomAddresses[r.IntN(len(randomAddresses))],
			SrcPort: uint16(r.IntN(3)), DstPort: uint16(50 + r.IntN(5)), Protocol: 6, Counters: flow.Counters{PacketsReceived: uint64(r.IntN(2))}, Offset: int64(i),
		}
		if r.IntN(4) == 0 {
			rows[i].Dst = []netip.Addr{addr("203.0.113.66"), addr("168.63.129.16")}[r.IntN(2)]
		}
		if r.IntN(30) == 0 {
			rows[i].Time = []int64{0, 1, 60_000, trackEpoch - 1, trackEpoch, trackEpoch + trackSpan - 1, trackEpoch + trackSpan, 9_999_999_999_999}[r.IntN(8)]
		}
	}
	return rows
}

// Join says for each row of a batch what Resolve says for it alone, and what the
// oracle says, which scans all there is; in flow order, shuffled and doubled, and
// however rows are cut into batches, and whether tracks are made for them; with and
// without evidence of what nodes translated.
func TestJoinEqualsResolveEqualsNaive(t *testing.T) {
	t.Parallel()
	verdicts, lifted, former := map[Verdict]int{}, 0, 0
	for seed := range uint64(400) {
		r := rand.New(rand.NewPCG(seed, 7))
		cfg, facts := randomConfig(r), randomFacts(r)
		v := viewOf(t, cfg, facts)
		if seed%5 == 0 { // caches that keep next to nothing
			v.said, v.addresses = newCache[uint32, *saidAt](1), newCache[netip.Addr, *addressView](1)
		}
		rows := randomRows(r, 1+r.IntN(150))
		if seed%20 == 0 { // more than are joined together
			rows = randomRows(r, 3*stretchRows)
		}
		switch seed % 3 {
		case 0:
			slices.SortFunc(rows, func(a, b flow.Row) int { return flow.Compare(&a, &b) })
		case 1:
			rows = append(rows, rows...)
		}
		if seed%8 > 1 {
			v.WithNAT(randomEvidence(t, r, viewOf(t, cfg, facts), rows))
		}
		size := 1 + r.IntN(len(rows))
		if seed%4 == 0 {
			size = len(rows)
		}
		joinRows(t, v, rows, size, func(i int, row *flow.Row, begin flow.Span, answered bool, src, dst *Resolution) {
			verdicts[src.Verdict]++
			q := Question{Address: row.Src, Begin: begin, NIC: row.NIC, Near: row.Direction == flow.Outbound, Sent: true, Destination: row.Dst, DestinationPort: row.DstPort, SourcePort: row.SrcPort, Protocol: row.Protocol}
			if byNAT(src) {
				lifted++
				if _, held := v.pods.addressID(row.Src); held {
					former++
				}
			}
			compareEnd(t, v, fmt.Sprintf("seed %d, source of row %d %s, begun %v", seed, i, row.Tuple(), begin), &q, src)
			q = Question{Address: row.Dst, Begin: begin, NIC: row.NIC, Near: row.Direction == flow.Inbound, Destination: row.Dst, DestinationPort: row.DstPort, Answered: answered}
			compareEnd(t, v, fmt.Sprintf("seed %d, destination of row %d %s, begun %v", seed, i, row.Tuple(), begin), &q, dst)
		})
	}
	if lifted < 100 || former < 50 {
		t.Errorf("%d rows are exact by evidence, %d of them at addresses that pods had too: it shows too little", lifted, former)
	}
	t.Logf("%d rows are exact by evidence, %d of them at addresses that pods had too", lifted, former)
	for _, want := range Verdicts() {
		if verdicts[want] == 0 {
			t.Errorf("no row is %v: the ledgers show too little (%v)", want, verdicts)
		}
	}
}

// byNAT says whether a resolution is exact by NAT evidence.
func byNAT(r *Resolution) bool { return r.Verdict == Exact && r.Candidates[0].Sources == 1<<NAT }

func compareEnd(t *testing.T, v *View, what string, q *Question, joined *Resolution) {
	t.Helper()
	if got := v.Resolve(*q); text(got) != text(joined) || !got.Same(joined) {
		t.Errorf("%s: the join says %q, Resolve %q", what, text(joined), text(got))
	}
	if naive := v.Naive(*q); !naive.Same(joined) || text(naive) != text(joined) {
		t.Errorf("%s: the join says %q, the oracle %q", what, text(joined), text(naive))
	}
}

func joinRows(t *testing.T, v *View, rows []flow.Row, size int, fn func(i int, row *flow.Row, begin flow.Span, answered bool, src, dst *Resolution)) {
	t.Helper()
	mem := memory.NewCheckedAllocator(memory.DefaultAllocator)
	defer mem.AssertSize(t, 0)
	b := flow.NewBuilder(mem)
	defer func() { b.Release() }()
	var begins flow.Begins
	var spare Joined
	joiner := v.Joiner()
	for n := 0; n < len(rows); n += size {
		if n/size%4 == 3 { // another dictionary
			b.Release()
			b = flow.NewBuilder(mem)
		}
		part := rows[n:min(n+size, len(rows))]
		for i := range part {
			b.Append(&part[i])
		}
		batch := b.NewBatch()
		joiner.Few = len(part) == len(rows)
		spans, answered := begins.Of(batch, nil), flow.Answered(batch, nil, nil)
		joined, err := joiner.Join(batch, spans, answered, spare)
		if err != nil {
			t.Fatal(err)
		}
		batch.Release() // nothing of it is kept
		for i := range part {
			f := joined.Translated(i)
			if (f != nil) != byNAT(joined.Src[i]) || (f != nil && (f.Src != part[i].Src || f.SrcPort != part[i].SrcPort || f.Dst != part[i].Dst || f.DstPort != part[i].DstPort)) {
				t.Errorf("row %s is %s by the translation %+v", part[i].Tuple(), text(joined.Src[i]), f)
			}
			fn(n+i, &part[i], spans[i], answered[i], joined.Src[i], joined.Dst[i])
		}
		spare = joined
	}
}

func TestJoinOfWrongLengths(t *testing.T) {
	mem := memory.NewCheckedAllocator(memory.DefaultAllocator)
	defer mem.AssertSize(t, 0)
	b := flow.NewBuilder(mem)
	defer b.Release()
	for _, row := range randomRows(rand.New(rand.NewPCG(1, 1)), 3) {
		b.Append(&row)
	}
	batch := b.NewBatch()
	defer batch.Release()
	v := NewLedger().View(DefaultConfig())
	for _, n := range [][2]int{{0, 0}, {2, 3}, {3, 2}, {4, 3}} {
		_, err := v.Join(batch, make([]flow.Span, n[0]), make([]bool, n[1]))
		if want := fmt.Sprintf("%d begins and %d answers for 3 rows", n[0], n[1]); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
}

// Rows of one holder share their resolution: whoever groups rows relies on it.
func TestJoinedRowsShare(t *testing.T) {
	v := viewOf(t, podRange(), factsOf(watched(0, 10_000), aPod("a").has(theIP).made(10).seen(12).ran(11, 11)))
	var first *Resolution
	row := flow.Row{NIC: "A", Direction: flow.Outbound, State: flow.Begin, Src: addr(theIP), Dst: addr("203.0.113.66")}
	rows := make([]flow.Row, 50)
	for i := range rows {
		rows[i] = row
		rows[i].Time = sec(float64(20 + i))
	}
	joinRows(t, v, rows, 7, func(i int, _ *flow.Row, _ flow.Span, _ bool, src, _ *Resolution) {
		if first == nil {
			first = src
		}
		if src != first {
			t.Fatalf("row %d has a resolution of its own", i)
		}
	})
}

// fleetOf makes a ledger of n pods on a hundred nodes: each address had a hundred
// pods in turn, over a day.
func fleetOf(tb testing.TB, n int) (*Ledger, []netip.Addr) {
	tb.Helper()
	r := rand.New(rand.NewPCG(1, 11))
	l := NewLedger()
	mustAppend(tb, l, watched(0, 86_400).f)
	var addresses []netip.Addr
	var batch []Fact
	for i := range n {
		slot, turn := i/100, i%100
		a := netip.AddrFrom4([4]byte{10, 244, byte(slot >> 8), byte(slot)})
		if turn == 0 {
			addresses = append(addresses, a)
		}
		start := float64(turn)*864 + r.Float64()*10
		node := fmt.Sprintf("aks-np1-%08d-vmss%06d", 12345678, slot%100)
		p := aPod(fmt.Sprintf("%08x-%04x-4000-8000-%012x", r.Uint32(), i&0xffff, i)).on(node, fmt.Sprintf("10.224.0.%d", slot%100+4)).has(a.String()).
			made(start).seen(start+2).ran(start+1, start+800).stopped(start+801).versions(uint64(i*10+1), uint64(i*10+5)).deleted(start+803, uint64(i*10+6))
		p.f.Pod.Identity.Name, p.f.Pod.Identity.Owner = fmt.Sprintf("api-%d-%05d", slot, i), "ReplicaSet/api"
		p.f.Pod.Identity.Labels = []string{"app=api", "tier=web"}
		if batch = append(batch, p.f); len(batch) == 1024 {
			mustAppend(tb, l, batch...)
			batch = batch[:0]
		}
	}
	mustAppend(tb, l, batch...)
	return l, addresses
}

func fleetRows(r *rand.Rand, addresses []netip.Addr, n int) []flow.Row {
	rows := make([]flow.Row, n)
	for i := range rows {
		rows[i] = flow.Row{Time: sec(r.Float64() * 86_400), NIC: "000D3A00000A", Direction: flow.Outbound, State: flow.Begin,
			Src: addresses[r.IntN(len(addresses))], Dst: addresses[r.IntN(len(addresses))], SrcPort: uint16(r.IntN(60_000)), DstPort: 443, Protocol: 6}
	}
	return rows
}

// Batches as a scan yields them, sorted, of an hour's rows each; 100k pods.
func BenchmarkJoin(b *testing.B) {
	l, addresses := fleetOf(b, 100_000)
	for _, shape := range []struct {
		name  string
		hours float64
	}{{"rows=16384/hours=1", 1}, {"rows=16384/hours=24", 24}} {
		b.Run(shape.name, func(b *testing.B) {
			v := l.View(podRange())
			rows := fleetRows(rand.New(rand.NewPCG(2, 2)), addresses, flow.MaxBatchRows)
			for i := range rows {
				rows[i].Time = epoch + int64(float64(rows[i].Time-epoch)/24*shape.hours)
			}
			batch := sortedBatch(b, rows)
			var begins flow.Begins
			spans, answered := begins.Of(batch, nil), flow.Answered(batch, nil, nil)
			for b.Loop() {
				if _, err := v.Join(batch, spans, answered); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(batch.Len())*float64(b.N)/b.Elapsed().Seconds(), "rows/s")
		})
	}
}

// sortedBatch holds the rows in the order in which they are joined, until the test ends.
func sortedBatch(tb testing.TB, rows []flow.Row) *flow.Batch {
	slices.SortFunc(rows, func(a, b flow.Row) int { return flow.Compare(&a, &b) })
	builder := flow.NewBuilder(memory.DefaultAllocator)
	defer builder.Release()
	for i := range rows {
		builder.Append(&rows[i])
	}
	batch := builder.NewBatch()
	tb.Cleanup(batch.Release)
	return batch
}

func BenchmarkResolve(b *testing.B) {
	l, addresses := fleetOf(b, 100_000)
	v := l.View(podRange())
	r := rand.New(rand.NewPCG(3, 3))
	questions := make([]Question, 1<<14)
	for i := range questions {
		at := sec(r.Float64() * 86_400)
		questions[i] = Question{Address: addresses[r.IntN(len(addresses))], Begin: flow.Span{From: at, To: at}, Sent: true, Destination: addr("203.0.113.66")}
	}
	exact := 0
	for i := 0; b.Loop(); i++ {
		if v.Resolve(questions[i%len(questions)]).Verdict == Exact {
			exact++
		}
	}
	if exact == 0 {
		b.Fatal("no lookup is exact")
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "lookups/s")
}

// What a ledger of 100k pods takes in memory, for each of them: facts, then a view
// that was asked about every address.
func BenchmarkMemory(b *testing.B) {
	const pods = 100_000
	heap := func() float64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return float64(m.HeapAlloc)
	}
	var ledger, view float64
	for b.Loop() {
		start := heap()
		l, addresses := fleetOf(b, pods)
		made := heap()
		v := l.View(podRange())
		for _, a := range addresses {
			v.Resolve(Question{Address: a, Begin: flow.Span{From: sec(1), To: sec(1)}, Sent: true})
		}
		asked := heap()
		ledger, view = (made-start)/pods, (asked-made)/pods
		runtime.KeepAlive(l)
		runtime.KeepAlive(v)
	}
	b.ReportMetric(ledger, "ledger-bytes/entry")
	b.ReportMetric(view, "view-bytes/entry")
}
