package ingest

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"testing"

	"github.com/apache/arrow/go/v17/arrow/memory"

	"github.com/whichpod/whichpod/flow"
)

const testBlob = "flowLogResourceID=/SUB_NETWORKWATCHERRG/NETWORKWATCHER_EASTUS_VNET-FLOWLOG/y=2026/m=08/d=20/h=14/m=00/macAddress=000D3A1B2C3D/PT1H.json"

// tupleText is tuple i of the fixtures.
func tupleText(i int) string {
	return fmt.Sprintf("%d,10.224.0.%d,203.0.113.66,%d,8443,6,O,B,NX,0,0,0,0", 1787236800000+int64(i), i%250+1, 1024+i%60000)
}

// recordText is a record with n tuples, numbered from first on.
func recordText(first, n int) string {
	var b bytes.Buffer
	fmt.Fprintf(&b, `{"time":"2026-08-20T14:%02d:52.2837112Z","flowLogVersion":4,"flowLogGUID":"g","macAddress":"000D3A1B2C3D","category":"FlowLogFlowEvent",`+
		`"flowLogResourceID":"/SUB","targetResourceID":"/sub","operationName":"FlowLogFlowEvent","flowRecords":{"flows":[{"aclID":"acl-1","flowGroups":[{"rule":"DefaultRule_AllowInternetOutBound","flowTuples":[`, first%60)
	for i := range n {
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, "%q", tupleText(first+i))
	}
	b.WriteString(`]}]}]}}`)
	return b.String()
}

// result is what one or more calls of Decode gave.
type result struct {
	rows     []flow.Row
	rejected []flow.Rejection
	pos      flow.Position
	err      error
}

// decode reads blob from a position with a fresh decoder and checks that no Arrow
// memory stays behind.
func decode(t testing.TB, r io.Reader, from flow.Position) result {
	t.Helper()
	res, _ := decodeEither(t, r, from, false)
	return res
}

// decodeEither is decode in both ways, or the tolerant one only. It returns too how
// many records were read the quick way.
func decodeEither(t testing.TB, r io.Reader, from flow.Position, tolerant bool) (result, int) {
	t.Helper()
	mem := memory.NewCheckedAllocator(memory.NewGoAllocator())
	defer mem.AssertSize(t, 0)
	var res result
	d := NewDecoder(mem, func(b *flow.Batch) error {
		if b.Len() > flow.MaxBatchRows {
			t.Errorf("batch of %d rows, want at most %d", b.Len(), flow.MaxBatchRows)
		}
		for i := range b.Len() {
			res.rows = append(res.rows, b.Row(i))
		}
		return nil
	}, func(r flow.Rejection) { res.rejected = append(res.rejected, r) })
	defer d.Close()
	d.fast.off = tolerant
	res.pos, res.err = d.Decode(context.Background(), r, from)
	return res, d.fast.taken
}

func decodeText(t testing.TB, text string) result {
	t.Helper()
	return decode(t, bytes.NewReader([]byte(text)), flow.Position{Blob: testBlob})
}

// blobText is a blob as Azure writes it, about as large as asked: a busy interface's
// hour, with the mix of rules and states of the samples. Equal seeds give equal text.
func blobText(size int, seed uint64) []byte {
	rng := rand.New(rand.NewPCG(seed, 1))
	var b bytes.Buffer
	b.WriteString(`{"records":[`)
	at := int64(1787236800000)
	for rec := 0; b.Len() < size; rec++ {
		if rec > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, `{"time":"2026-08-20T14:%02d:%02d.2837112Z","flowLogVersion":4,"flowLogGUID":"66aa66aa-bb77-cc88-dd99-00ee00ee00ee","macAddress":"000D3A1B2C3D",`+
			`"category":"FlowLogFlowEvent","flowLogResourceID":"/SUBSCRIPTIONS/0/RESOURCEGROUPS/NETWORKWATCHERRG/PROVIDERS/MICROSOFT.NETWORK/NETWORKWATCHERS/NETWORKWATCHER_EASTUS/FLOWLOGS/VNET-FLOWLOG",`+
			`"targetResourceID":"/subscriptions/0/resourceGroups/rg/providers/Microsoft.Network/virtualNetworks/vnet","operationName":"FlowLogFlowEvent","flowRecords":{"flows":[`, rec/60%60, rec%60)
		for acl := range 2 {
			if acl > 0 {
				b.WriteByte(',')
			}
			fmt.Fprintf(&b, `{"aclID":"00aa00aa-bb11-cc22-dd33-44ee44ee44e%d","flowGroups":[`, acl)
			for rule := range 3 {
				if rule > 0 {
					b.WriteByte(',')
				}
				fmt.Fprintf(&b, `{"rule":"DefaultRule_Allow%d","flowTuples":[`, rule)
				for i := range 100 {
					if i > 0 {
						b.WriteByte(',')
					}
					at += int64(rng.IntN(20))
					state, counters := "B", "0,0,0,0"
					if i%2 == 1 {
						state, counters = "E", fmt.Sprintf("%d,%d,%d,%d", rng.IntN(30), rng.IntN(9000), rng.IntN(30), rng.IntN(90000))
					}
					fmt.Fprintf(&b, `"%d,10.244.%d.%d,10.224.%d.%d,%d,%d,6,O,%s,NX,%s"`, at, rng.IntN(4), rng.IntN(64), rng.IntN(4), rng.IntN(250), 1024+rng.IntN(60000), []int{443, 8443, 53, 6379}[rng.IntN(4)], state, counters)
				}
				b.WriteString(`]}`)
			}
			b.WriteString(`]}`)
		}
		b.WriteString(`]}}`)
	}
	b.WriteString(`]}`)
	return b.Bytes()
}
