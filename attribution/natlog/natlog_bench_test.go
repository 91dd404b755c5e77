package natlog

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/whichpod/whichpod/attribution/nat"
)

type counter struct{ flows int }

func (c *counter) Add(nat.Flow) error            { c.flows++; return nil }
func (c *counter) Cover(_, _ string, _, _ int64) {}

// BenchmarkConntrack reads connections of which every second one is translated: begin,
// end, and what lies between, as conntrack prints them.
func BenchmarkConntrack(b *testing.B) {
	var text bytes.Buffer
	const flows = 10_000
	for i := range flows {
		source, left := "10.244.0.11", "10.224.0.4"
		if i%2 == 0 {
			source = left
		}
		for k, kind := range []string{"    [NEW] ipv4     2 tcp      6 120 SYN_SENT", " [UPDATE] ipv4     2 tcp      6 60 SYN_RECV", "[DESTROY] ipv4     2 tcp      6"} {
			fmt.Fprintf(&text, "[%d.%06d]\t%s src=%s dst=203.0.113.%d sport=%d dport=443 src=203.0.113.%d dst=%s sport=443 dport=%d\n",
				1795438860+i/1000, k, kind, source, i%250, 1024+i, i%250, left, 1024+i)
		}
	}
	b.SetBytes(int64(text.Len()))
	b.ReportAllocs()
	for b.Loop() {
		var got counter
		sum, err := Read(bytes.NewReader(text.Bytes()), Options{Node: "n"}, &got)
		if err != nil || sum.Events != 3*flows || got.flows != flows/2 {
			b.Fatalf("%+v, %d flows, %v", sum, got.flows, err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*3*flows), "ns/event")
}
