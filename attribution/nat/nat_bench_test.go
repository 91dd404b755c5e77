package nat

import (
	"fmt"
	"net/netip"
	"testing"
)

// translations are of a node that opens 20,000 connections a second to 250 peers.
func translations(n int) []Flow {
	out := make([]Flow, n)
	for i := range out {
		at := int64(1_795_438_860_000) + int64(i)/20
		peer := netip.AddrFrom4([4]byte{203, 0, 113, byte(i % 250)})
		port := uint16(1024 + i%60_000)
		out[i] = Flow{Key: Key{Src: addr(4), Dst: peer, Protocol: 6, SrcPort: port, DstPort: 443}, Node: "n",
			Original: Tuple{Src: addr(byte(10 + i%100)), Dst: peer, SrcPort: port, DstPort: 443}, FromEarliest: at, FromLatest: at + 1, ToEarliest: at + 5000, ToLatest: at + 5001}
	}
	return out
}

// BenchmarkBatch encodes a batch: what an agent does with two seconds of them.
func BenchmarkBatch(b *testing.B) {
	flows := translations(40_000)
	work := make([]Flow, len(flows))
	bytes := 0
	for b.Loop() {
		copy(work, flows)
		data, err := (&Batch{Cluster: "c", Node: "n", Session: "s", Number: 1, Flows: work}).Encode()
		if err != nil {
			b.Fatal(err)
		}
		bytes = len(data)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*len(flows)), "ns/record")
	b.ReportMetric(float64(bytes)/float64(len(flows)), "B/record")
}

// BenchmarkSenders asks a store of a million records, in the order of rows and in none.
func BenchmarkSenders(b *testing.B) {
	s, err := Open(b.TempDir(), Options{})
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	flows := translations(1_000_000)
	w, err := s.Begin(Import{Cluster: "c"})
	if err != nil {
		b.Fatal(err)
	}
	for i := range flows {
		if err := w.Add(flows[i]); err != nil {
			b.Fatal(err)
		}
	}
	w.Cover("n", "", flows[0].FromLatest-10_000, flows[len(flows)-1].FromLatest+10_000)
	if _, err := w.Commit(""); err != nil {
		b.Fatal(err)
	}
	sorted := append([]Flow(nil), flows...)
	sortFlows(sorted)
	for name, list := range map[string][]Flow{"sorted": sorted, "unsorted": flows} {
		b.Run(fmt.Sprintf("1M/%s", name), func(b *testing.B) {
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				f := &list[i%len(list)]
				got, err := s.Senders(&Asked{Cluster: "c", Key: f.Key, From: f.FromLatest - 1000, To: f.FromLatest + 1000, Tolerance: 1000})
				if err != nil || len(got.Flows) == 0 {
					b.Fatal(got, err)
				}
				i++
			}
		})
	}
}
