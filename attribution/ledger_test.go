package attribution

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/whichpod/whichpod/internal/journal"
)

// Whatever the order of the facts, and however often they come, the ledger says the same.
func TestOrderOfFactsDoesNotMatter(t *testing.T) {
	t.Parallel()
	for seed := range uint64(150) {
		r := rand.New(rand.NewPCG(seed, 1))
		facts, cfg := randomFacts(r), randomConfig(r)
		want := viewOf(t, cfg, facts)
		sameAnswers(t, seed, "shuffled", want, viewOf(t, cfg, shuffled(r, facts)))
		sameAnswers(t, seed, "doubled", want, viewOf(t, cfg, shuffled(r, append(facts, facts...))))
		one := NewLedger()
		for _, f := range shuffled(r, facts) {
			mustAppend(t, one, f)
		}
		sameAnswers(t, seed, "one at a time", want, one.View(cfg))
	}
}

func mustAppend(t testing.TB, l *Ledger, facts ...Fact) int {
	t.Helper()
	n, err := l.Append(facts...)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func mustOpen(t testing.TB, dir string, opt Options) *Ledger {
	t.Helper()
	l, err := OpenLedger(dir, opt)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l
}

func mustClose(t testing.TB, l *Ledger) {
	t.Helper()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
}

// What Append returned for is there after a reopen; the same facts tell nothing new.
func TestLedgerIsDurable(t *testing.T) {
	t.Parallel()
	for seed := range uint64(25) {
		r := rand.New(rand.NewPCG(seed, 2))
		facts, cfg := randomFacts(r), randomConfig(r)
		dir := filepath.Join(t.TempDir(), "ledger")
		l := mustOpen(t, dir, Options{})
		if n := mustAppend(t, l, facts...); n == 0 || n > len(facts) || n != l.Facts() {
			t.Fatalf("seed %d: %d of %d facts are new, the ledger counts %d", seed, n, len(facts), l.Facts())
		}
		if n := mustAppend(t, l, shuffled(r, facts)...); n != 0 {
			t.Errorf("seed %d: %d facts are new at the second time", seed, n)
		}
		before := l.View(cfg)
		mustClose(t, l)
		again := mustOpen(t, dir, Options{})
		sameAnswers(t, seed, "reopened", before, again.View(cfg))
		if again.Facts() != l.Facts() {
			t.Errorf("seed %d: %d facts after a reopen, want %d", seed, again.Facts(), l.Facts())
		}
		if n := mustAppend(t, again, facts...); n != 0 {
			t.Errorf("seed %d: %d facts are new after a reopen", seed, n)
		}
		sameAnswers(t, seed, "beside a writer", before, mustOpen(t, dir, Options{ReadOnly: true}).View(cfg))
	}
}

func TestReadOnlyLedger(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "missing")
	l := mustOpen(t, dir, Options{ReadOnly: true})
	if v := l.View(DefaultConfig()); len(v.Stats()) != 0 || v.Resolve(sent(1)).Verdict != External {
		t.Errorf("a folder that is not there: got %v", v.Stats())
	}
	if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("reading made the folder: %v", err)
	}
	if _, err := OpenLedger(dir, Options{AsKnownAt: 1}); err == nil || !strings.Contains(err.Error(), "can only be read") {
		t.Errorf("an earlier state to write to: got %v", err)
	}
}

func TestOneWriter(t *testing.T) {
	dir := t.TempDir()
	mustOpen(t, dir, Options{})
	if _, err := OpenLedger(dir, Options{}); !errors.Is(err, journal.ErrLocked) {
		t.Errorf("a second writer: got %v, want %v", err, journal.ErrLocked)
	}
}

// A state as known at a time leaves out what the ledger learnt later, whatever time
// that is about.
func TestAsKnownAt(t *testing.T) {
	dir := t.TempDir()
	now := time.UnixMilli(5000)
	l := mustOpen(t, dir, Options{Now: func() time.Time { return now }})
	mustAppend(t, l, factsOf(watched(0, 10_000), aPod("a").has(theIP).made(10).seen(12).ran(11, 11).versions(5, 5))...)
	now = time.UnixMilli(6000)
	mustAppend(t, l, factsOf(aPod("b").has(theIP).made(40).seen(51).ran(50, 50).versions(7, 7))...)
	for at, want := range map[int64]string{4999: "gap [unwatched]", 5000: "exact a", 5999: "exact a", 6000: "ambiguous a b", 0: "ambiguous a b"} {
		earlier := mustOpen(t, dir, Options{ReadOnly: true, AsKnownAt: at})
		if got := text(earlier.View(podRange()).Resolve(sent(100))); got != want {
			t.Errorf("as known at %d: got %q, want %q", at, got, want)
		}
	}
}

// Damage in the middle is reported with its place; what stands before and after it
// counts. A payload that is whole but no fact is damage too.
func TestDamagedLedger(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, journalName)
	l := mustOpen(t, dir, Options{})
	var ends []int64
	for _, uid := range []string{"a", "b", "d"} {
		mustAppend(t, l, aPod(uid).has(theIP).seen(1).f)
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		ends = append(ends, info.Size())
	}
	mustClose(t, l)
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	data[ends[1]-3] ^= 0xff // in the second fact
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	uids := func(l *Ledger) (out []string) {
		for _, c := range l.View(DefaultConfig()).Pods(PodRef{}) {
			out = append(out, c.UID)
		}
		return out
	}
	read := mustOpen(t, dir, Options{ReadOnly: true})
	if d := read.Damage(); len(d) != 1 || d[0].Offset != ends[0] || d[0].Path != path {
		t.Errorf("damage is %v, want one at byte %d of %q", d, ends[0], path)
	}
	if diff := cmp.Diff([]string{"a", "d"}, uids(read)); diff != "" {
		t.Errorf("pods: -want +got:\n%s", diff)
	}
	written := mustOpen(t, dir, Options{})
	if len(written.Damage()) != 1 {
		t.Errorf("damage is %v, want one", written.Damage())
	}
	mustAppend(t, written, aPod("e").f)
	mustClose(t, written)
	if diff := cmp.Diff([]string{"a", "d", "e"}, uids(mustOpen(t, dir, Options{ReadOnly: true}))); diff != "" {
		t.Errorf("after an append: -want +got:\n%s", diff)
	}
}

func TestPayloadThatIsNoFact(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, journalName)
	j, err := journal.Open(path, journalMagic, journalVersion, func(int64, []byte) error { return nil })
	if err != nil {
		t.Fatal(err)
	}
	good := watched(1, 2).f
	if err := errors.Join(j.Append(good.encode(nil), []byte{9, 0, 0}, append(good.encode(nil), 0)), j.Close()); err != nil {
		t.Fatal(err)
	}
	l := mustOpen(t, dir, Options{ReadOnly: true})
	if d := l.Damage(); len(d) != 2 || !strings.Contains(d[0].Detail, "kind is 9") || !strings.Contains(d[1].Detail, "do not fill") || d[0].Offset >= d[1].Offset {
		t.Errorf("damage is %v, want a kind of 9 and a byte left over", d)
	}
	if l.Facts() != 1 {
		t.Errorf("%d facts, want the good one", l.Facts())
	}
}

func TestNewerLedger(t *testing.T) {
	dir := t.TempDir()
	mustClose(t, mustOpen(t, dir, Options{}))
	path := filepath.Join(dir, journalName)
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	binary.LittleEndian.PutUint16(data[4:], journalVersion+1)
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, readOnly := range []bool{false, true} {
		_, err := OpenLedger(dir, Options{ReadOnly: readOnly})
		var newer journal.NewerVersionError
		if !errors.As(err, &newer) || newer.Got != journalVersion+1 {
			t.Errorf("read-only %v: got %v, want a newer version's error", readOnly, err)
		}
	}
}

// A write that fails leaves the ledger as it was.
func TestAppendThatFails(t *testing.T) {
	l := mustOpen(t, t.TempDir(), Options{})
	a := aPod("a").has(theIP).made(10).seen(12).ran(11, 11).f
	mustAppend(t, l, watched(0, 100).f, a)
	mustClose(t, l)
	if n, err := l.Append(watched(0, 10_000).f, aPod("a").has(theIP).stopped(20).f, aPod("b").has(theIP).made(10).seen(12).ran(11, 11).f); err == nil || n != 0 {
		t.Fatalf("an append to a closed ledger: got %d, %v", n, err)
	}
	check(t, l.View(podRange()), []say{{sent(50), "exact a"}, {sent(150), "gap <a [unwatched]"}})
}

func TestExistingAndWatchedUntil(t *testing.T) {
	l := NewLedger()
	mustAppend(t, l, factsOf(watched(10, 20), watched(30, 40), aPod("a").versions(3, 8), aPod("b").versions(4, 4).deleted(15, 9), aPod("e").versions(5, 5).missing(30, 20, 7),
		aPod("f").versions(5, 9).missing(30, 20, 7), aPod("g").in("d").versions(1, 1))...)
	got := map[string]uint64{}
	l.Existing("c", func(uid string, version uint64, _ int64) { got[uid] = version })
	if diff := cmp.Diff(map[string]uint64{"a": 8, "f": 9}, got); diff != "" {
		t.Errorf("existing: -want +got:\n%s", diff)
	}
	for at, want := range map[float64]int64{5: 0, 10: sec(10), 15: sec(15), 25: sec(20), 35: sec(35), 99: sec(40)} {
		if got := l.WatchedUntil("c", sec(at)); got != want {
			t.Errorf("watched until %v: got %d, want %d", at, got, want)
		}
	}
	if got := l.WatchedUntil("nowhere", sec(15)); got != 0 {
		t.Errorf("a cluster that is not there was watched until %d", got)
	}
}

func TestFactRoundTrip(t *testing.T) {
	t.Parallel()
	for seed := range uint64(50) {
		for _, f := range randomFacts(rand.New(rand.NewPCG(seed, 3))) {
			f.KnownAt = int64(seed) - 20
			if f.Watched == nil && seed%3 == 0 {
				f.Pod.Identity.Labels = []string{"app=web", "tier="}
			}
			if f.Watched == nil && seed%5 == 0 {
				f.Pod.Identity = nil
			}
			payload := f.encode(nil)
			got, err := decodeFact(payload, map[string]string{})
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(f, got, cmpopts.EquateComparable(netip.Addr{}), cmpopts.EquateEmpty()); diff != "" {
				t.Fatalf("seed %d: -want +got:\n%s", seed, diff)
			}
			for n := range payload { // no prefix of a payload is a payload
				if _, err := decodeFact(payload[:n], nil); err == nil {
					t.Fatalf("seed %d: %d of %d bytes make a fact", seed, n, len(payload))
				}
			}
		}
	}
}

// The example of docs/format/ledger.md.
func TestFormatExample(t *testing.T) {
	f := Fact{Cluster: "c", KnownAt: 3000, Watched: &Range{1000, 2000}}
	if got, want := fmt.Sprintf("% x", f.encode(nil)), "02 f0 2e 01 63 d0 0f a0 1f 00"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

// payloadSeeds are payloads good and bad: the fuzzer starts from them.
func payloadSeeds() [][]byte {
	pod, watch := aPod("a").has(theIP, "fd00::9").made(1).seen(2).ran(3, 4).stopped(5).versions(6, 7).deleted(8, 9).missing(10, 11, 12).f, watched(1, 2).f
	good := pod.encode(nil)
	return [][]byte{
		good, watch.encode(nil), {}, {payloadPod}, {payloadWatched}, {3},
		append(append([]byte(nil), good...), 0),
		append([]byte{payloadPod, 0, 0, 0, 0, 0}, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f),     // a number past 64 bits
		append([]byte{payloadPod, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01}, good...),        // a text longer than memory
		append([]byte{payloadPod, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0x7f}, make([]byte, 300)...), // more labels than bytes
	}
}

func checkPayload(t *testing.T, payload []byte) {
	f, err := decodeFact(payload, map[string]string{})
	if err != nil {
		return
	}
	again, err := decodeFact(f.encode(nil), nil)
	if err != nil {
		t.Fatalf("what was decoded can not be encoded: %v", err)
	}
	if diff := cmp.Diff(f, again, cmpopts.EquateComparable(netip.Addr{})); diff != "" {
		t.Errorf("decoded, encoded, decoded: -want +got:\n%s", diff)
	}
	l := NewLedger()
	mustAppend(t, l, f)
	v := l.View(podRange())
	for _, s := range []float64{0, 5, 100} {
		q := sent(s)
		if r := v.Resolve(q); !v.Naive(q).Same(r) {
			t.Errorf("at %v: got %s, the oracle says %s", s, text(r), text(v.Naive(q)))
		}
	}
}

func TestDecodePayloads(t *testing.T) {
	for _, p := range payloadSeeds() {
		checkPayload(t, p)
	}
}

func FuzzDecodeFact(f *testing.F) {
	for _, p := range payloadSeeds() {
		f.Add(p)
	}
	f.Fuzz(checkPayload)
}

// A count that the payload can not hold makes no memory: decoding stops at the first
// thing that does not fit.
func TestDecodeIsBounded(t *testing.T) {
	const size = 1 << 20
	f := aPod("a").f
	payload := f.encode(nil)
	payload = append(binary.AppendUvarint(payload[:len(payload)-1], size), make([]byte, size)...) // holdings without an address
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	if _, err := decodeFact(payload, nil); err == nil {
		t.Error("holdings without an address make a fact")
	}
	runtime.ReadMemStats(&after)
	if got := after.TotalAlloc - before.TotalAlloc; got > size {
		t.Errorf("decoding %d bytes allocates %d", len(payload), got)
	}
}
