package attribution

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/whichpod/whichpod/flow"
)

// A ledger of the size that the budgets are about: a month of a large cluster.
const (
	scaleEntries    = 1_000_000
	scaleNamespaces = 200
	scaleNodes      = 512
	scaleDays       = 28
	podsPerSet      = 25 // in its time
)

// scaled tells of pods as a watch does, each at first when it runs and then when it is
// gone: entries pods that share addresses, one after the other. Those of one replica
// set follow each other.
func scaled(entries, addresses int, yield func(facts ...Fact)) {
	r := rand.New(rand.NewPCG(1, 11))
	const span = scaleDays * 86_400.0
	turns := (entries + addresses - 1) / addresses
	turn := span / float64(turns)
	yield(watchedRange(0, span))
	for i := range entries {
		slot, at := i%addresses, float64(i/addresses)*turn
		at += turn * float64(slot) / float64(addresses) * 0.9
		p := scaledPod(r, i, slot, at)
		running, gone := p, p
		life := turn * (0.7 + 0.2*r.Float64())
		version := uint64(1_000_000 + i*40)
		running.has(scaledAddress(slot).String()).made(at).seen(at+2.3).ran(at+2, at+3).versions(version, version+9)
		yield(running.f)
		if at+life < span {
			gone.f.Pod.Holdings = nil
			gone.has(scaledAddress(slot).String()).made(at).seen(at+life+1.2).ran(at+2, at+life-1).stopped(at+life).versions(version+11, version+14).deleted(at+life+1.6, version+15)
			yield(gone.f)
		}
	}
}

func watchedRange(from, to float64) Fact { return watched(from, to).f }

func scaledAddress(slot int) netip.Addr {
	return netip.AddrFrom4([4]byte{10, byte(128 + slot>>16), byte(slot >> 8), byte(slot)})
}

func scaledHost(node int) netip.Addr {
	return netip.AddrFrom4([4]byte{10, 64, byte(node >> 8), byte(node)})
}

func scaledPod(r *rand.Rand, i, slot int, at float64) *told {
	set := i / podsPerSet
	node := slot % scaleNodes
	hash := fmt.Sprintf("%08x%c%c", uint32(set)*2654435761, 'b'+set%20, 'c'+set/20%20)
	app := fmt.Sprintf("app-%03d", set%900)
	p := aPod(fmt.Sprintf("%08x-%04x-4%03x-%04x-%012x", r.Uint32(), r.Uint32()&0xffff, r.Uint32()&0xfff, 0x8000|r.Uint32()&0x3fff, r.Uint64()&0xffffffffffff))
	*p = *p.on(fmt.Sprintf("aks-np%d-%08d-vmss%06x", node%4, 12345678, node), scaledHost(node).String())
	id := p.f.Pod.Identity
	id.Namespace = fmt.Sprintf("team-%03d", set%scaleNamespaces)
	id.Name = fmt.Sprintf("%s-%s-%05x", app, hash, r.Uint32()&0xfffff)
	id.Owner = "ReplicaSet/" + app + "-" + hash
	id.Labels = []string{"app.kubernetes.io/name=" + app, "pod-template-hash=" + hash, "tier=web", "version=v" + fmt.Sprint(set%50)}
	id.Version = uint64(1_000_000 + i*40 + 9)
	return p
}

// scaledLedger fills a ledger and returns how many facts told something new.
func scaledLedger(tb testing.TB, l *Ledger, addresses int) (facts int) {
	tb.Helper()
	var batch []Fact
	scaled(scaleEntries, addresses, func(more ...Fact) {
		if batch = append(batch, more...); len(batch) >= 1024 {
			facts += mustAppend(tb, l, batch...)
			batch = batch[:0]
		}
	})
	return facts + mustAppend(tb, l, batch...)
}

// heapInUse is what the heap holds after a collection, in bytes.
func heapInUse() int {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int(m.HeapAlloc)
}

// scaleBudget is what a million entries may take in memory, in bytes, with all that lookups
// keep of each. What is said of the addresses that were asked for last is kept beside that,
// in at most saidBytes however many entries there are.
const scaleBudget = 200_000_000

// BenchmarkMillion measures a ledger of a million entries, when each address had 16
// pods in turn and when each had one of its own: the join of rows of random addresses at
// random times, what is said of one alone, and, last, the memory with everything that those made the view keep.
func BenchmarkMillion(b *testing.B) {
	for _, addresses := range []int{60_000, scaleEntries} {
		b.Run(fmt.Sprintf("addresses=%d", addresses), func(b *testing.B) {
			start := heapInUse()
			l := NewLedger()
			began := time.Now()
			facts := scaledLedger(b, l, addresses)
			perFact := time.Since(began) / time.Duration(facts)
			v := l.View(podRange())
			idle := heapInUse() - start
			began = time.Now()
			for slot := range addresses {
				v.Resolve(Question{Address: scaledAddress(slot), Begin: flow.Span{From: sec(1), To: sec(1)}, Sent: true})
			}
			first := time.Since(began) / time.Duration(addresses)
			b.Run("join", func(b *testing.B) { joinScaled(b, v, addresses) })
			b.Run("resolve", func(b *testing.B) {
				b.ReportMetric(float64(first.Nanoseconds()), "ns/first-answer")
				askScaled(b, v, addresses)
			})
			b.Run("memory", func(b *testing.B) {
				for node := range scaleNodes {
					v.Resolve(Question{Address: scaledHost(node), Begin: flow.Span{From: sec(scaleDays * 43_200), To: sec(scaleDays * 43_200)}, Sent: true})
				}
				for b.Loop() {
					b.ReportMetric(float64(heapInUse()-start)/scaleEntries, "B/entry")
				}
				b.ReportMetric(float64(idle)/scaleEntries, "B/entry-unasked")
				b.ReportMetric(float64(perFact.Nanoseconds()), "ns/appended-fact")
				if used := heapInUse() - start; used > scaleBudget+saidBytes {
					b.Fatalf("%d entries take %d bytes, at most %d and %d are allowed", scaleEntries, used, scaleBudget, saidBytes)
				}
			})
			runtime.KeepAlive(l)
			runtime.KeepAlive(v)
		})
	}
}

// BenchmarkRestart opens the ledger of a million entries and answers a first question,
// as a command does: with its checkpoint, and from the journal alone.
func BenchmarkRestart(b *testing.B) {
	dir := b.TempDir()
	l := mustOpen(b, dir, Options{})
	began := time.Now()
	facts := scaledLedger(b, l, 60_000)
	appended := float64(facts) / time.Since(began).Seconds()
	mustClose(b, l)
	first := func(b *testing.B) {
		l := mustOpen(b, dir, Options{ReadOnly: true})
		if r := l.View(podRange()).Resolve(Question{Address: scaledAddress(7), Begin: flow.Span{From: sec(86_400), To: sec(86_400)}, Sent: true}); r.Verdict != Exact {
			b.Fatalf("got %v", r.Verdict)
		}
	}
	b.Run("checkpoint", func(b *testing.B) {
		for b.Loop() {
			first(b)
		}
		b.ReportMetric(appended, "facts/s-appended")
		b.ReportMetric(float64(fileSize(b, dir, checkpointName))/scaleEntries, "checkpoint-B/entry")
		b.ReportMetric(float64(fileSize(b, dir, journalName))/float64(facts), "journal-B/fact")
	})
	if err := os.Remove(filepath.Join(dir, checkpointName)); err != nil {
		b.Fatal(err)
	}
	b.Run("journal", func(b *testing.B) {
		for b.Loop() {
			first(b)
		}
	})
}

func fileSize(b *testing.B, dir, name string) int64 {
	info, err := os.Stat(filepath.Join(dir, name))
	if err != nil {
		b.Fatal(err)
	}
	return info.Size()
}

// askScaled asks about random addresses at random times, and reports the rate.
func askScaled(b *testing.B, v *View, addresses int) {
	q := Question{Sent: true, Destination: addr("203.0.113.66")}
	seed, found, total := uint64(1), 0, 0
	for ; b.Loop(); total++ {
		q.Address, q.Begin = scaledMoment(&seed, addresses)
		if v.Resolve(q).Verdict == Exact {
			found++
		}
	}
	if total > 1000 && found == 0 {
		b.Fatal("no answer is exact")
	}
	b.ReportMetric(float64(total)/b.Elapsed().Seconds(), "answers/s")
	b.ReportMetric(float64(found)/float64(total), "exact/answer")
}

// scaledMoment is a random address and time.
func scaledMoment(seed *uint64, addresses int) (netip.Addr, flow.Span) {
	*seed = *seed*6364136223846793005 + 1442695040888963407 // Knuth's MMIX
	at := epoch + int64(*seed>>20%(scaleDays*86_400_000))
	return scaledAddress(int(*seed >> 33 % uint64(addresses))), flow.Span{From: at, To: at}
}

// joinScaled joins rows from random addresses to one outside, at random times: a batch
// in which nearly every row has an address of its own, as bad as one can be. A batch of
// a scan has few sources.
func joinScaled(b *testing.B, v *View, addresses int) {
	rows := make([]flow.Row, flow.MaxBatchRows)
	seed := uint64(1)
	for i := range rows {
		a, at := scaledMoment(&seed, addresses)
		rows[i] = flow.Row{Time: at.From, NIC: "000D3A00000A", Direction: flow.Outbound, State: flow.Begin, Src: a, Dst: addr("203.0.113.66"), SrcPort: uint16(i), DstPort: 443, Protocol: 6}
	}
	batch := sortedBatch(b, rows)
	var begins flow.Begins
	spans, answered := begins.Of(batch, nil), flow.Answered(batch, nil, nil)
	exact := 0
	for b.Loop() {
		j, err := v.Join(batch, spans, answered)
		if err != nil {
			b.Fatal(err)
		}
		for _, r := range j.Src {
			if r.Verdict == Exact {
				exact++
			}
		}
	}
	if exact == 0 {
		b.Fatal("no answer is exact")
	}
	b.ReportMetric(float64(batch.Len())*float64(b.N)/b.Elapsed().Seconds(), "rows/s")
}
