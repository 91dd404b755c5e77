package flow

import (
	"math/rand/v2"
	"net/netip"
	"testing"

	"github.com/apache/arrow/go/v17/arrow/memory"
)

// BenchmarkBuilder makes full batches of the rows of one blob: pods, 300 of them,
// talk to each other and, every other row, to one of 50,000 addresses outside.
func BenchmarkBuilder(b *testing.B) {
	const rows = 8 * MaxBatchRows
	list := blobRows(rows)
	builder := NewBuilder(memory.NewGoAllocator())
	defer builder.Release()
	b.ReportAllocs()
	for b.Loop() {
		n := 0
		for i := range list {
			builder.Append(&list[i])
			if builder.Len() == MaxBatchRows {
				batch := builder.NewBatch()
				n += batch.Len()
				batch.Release()
			}
		}
		if n != rows {
			b.Fatalf("got %d rows, want %d", n, rows)
		}
	}
	b.ReportMetric(float64(rows)*float64(b.N)/b.Elapsed().Seconds(), "rows/s")
}

func blobRows(n int) []Row {
	r := rand.New(rand.NewPCG(1, 1))
	list := make([]Row, n)
	for i := range list {
		pod := func() netip.Addr { return netip.AddrFrom4([4]byte{10, 244, byte(r.IntN(3)), byte(r.IntN(100))}) }
		row := Row{Time: int64(i), NIC: "000D3A1B2C3D", Direction: Outbound, State: End, Src: pod(), Dst: pod(), SrcPort: uint16(r.Uint32()),
			DstPort: 443, Protocol: 6, Encryption: "NX", Allowed: true, Rule: []string{"a", "b", "c"}[i/100%3], ACL: "acl", Blob: "blob", Offset: int64(90 * i)}
		if i%2 == 0 {
			k := r.IntN(50_000)
			row.Dst = netip.AddrFrom4([4]byte{20, byte(k >> 12), byte(k >> 4), byte(k)})
		}
		row.Counters = Counters{PacketsSent: r.Uint64N(30), BytesSent: r.Uint64N(9000), PacketsReceived: r.Uint64N(30), BytesReceived: r.Uint64N(90_000)}
		list[i] = row
	}
	return list
}
