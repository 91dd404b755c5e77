package index

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"

	"github.com/whichpod/whichpod/flow"
)

// traffic makes the rows of one blob, a NIC's hour, in the order a blob has them: 30
// pods of one node talk to 1,200 pods and 3,000 outside addresses, few of them often.
// Flows begin, continue every minute and end; offsets grow by a tuple's usual length.
func traffic(blob, n int) []flow.Row {
	r := rand.New(rand.NewPCG(uint64(blob), 99))
	zipf := rand.NewZipf(r, 1.2, 4, 2999)
	hour := int64(1_795_168_800_000)
	nic := fmt.Sprintf("000D3A%06X", blob)
	path := fmt.Sprintf("flowLogResourceID=/SUB/RG_FLOWLOG/y=2026/m=11/d=20/h=10/m=00/macAddress=%s/PT1H.json", nic)
	rules := []string{"DefaultRule_AllowInternetOutBound", "DefaultRule_AllowVnetOutBound", "UserRule_web"}
	var rows []flow.Row
	for len(rows) < n {
		row := flow.Row{NIC: nic, Blob: path, Direction: flow.Outbound, Protocol: 6, Encryption: "NX", Allowed: true,
			ACL: "/subscriptions/SUB/resourceGroups/RG/providers/Microsoft.Network/networkSecurityGroups/nsg",
			Src: pod(blob, r.IntN(30)), SrcPort: uint16(32768 + r.IntN(28232)), DstPort: []uint16{443, 8080, 5432, 53}[r.IntN(4)]}
		if r.IntN(3) == 0 {
			row.Dst, row.Rule = netip.AddrFrom4([4]byte{203, byte(r.IntN(2)), byte(zipf.Uint64() >> 8), byte(zipf.Uint64())}), rules[0]
		} else {
			row.Dst, row.Rule = pod(r.IntN(40), r.IntN(30)), rules[1+r.IntN(2)]
		}
		at := hour + r.Int64N(3_600_000)
		row.Time, row.State, row.Counters.Null = at, flow.Begin, flow.NullAll
		rows = append(rows, row)
		for k := r.IntN(4); k >= 0; k-- {
			row.Time += r.Int64N(60_000)
			row.State = flow.Continue
			if k == 0 {
				row.State = flow.End
			}
			p := uint64(r.ExpFloat64()*20) + 1
			q := uint64(r.ExpFloat64()*20) + 1
			row.Counters = flow.Counters{PacketsSent: p, BytesSent: p*60 + r.Uint64N(400), PacketsReceived: q, BytesReceived: q*60 + r.Uint64N(1400)}
			rows = append(rows, row)
		}
	}
	rows = rows[:n]
	slices.SortFunc(rows, func(a, b flow.Row) int { return int(a.Time - b.Time) })
	offset := int64(300)
	for i := range rows {
		rows[i].RecordTime = rows[i].Time/60_000*60_000 + 62_117
		rows[i].Offset = offset
		offset += 70 + r.Int64N(15)
	}
	return rows
}

func pod(node, i int) netip.Addr { return netip.AddrFrom4([4]byte{10, 244, byte(node), byte(4 + i)}) }
