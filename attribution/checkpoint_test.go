package attribution

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/whichpod/whichpod/internal/journal/disk/disktest"
)

func mustCheckpoint(t testing.TB, l *Ledger) {
	t.Helper()
	if err := l.Checkpoint(); err != nil {
		t.Fatal(err)
	}
}

// covered is how much of the journal the checkpoint in dir stands for.
func covered(dir string) int64 { return NewLedger().restore(dir) }

// sameLedger holds a ledger that was opened with a checkpoint against the journal alone.
func sameLedger(t *testing.T, seed uint64, dir string, cfg Config, facts []Fact) {
	t.Helper()
	with := mustOpen(t, dir, Options{ReadOnly: true})
	alone := t.TempDir()
	copyFile(t, filepath.Join(dir, journalName), filepath.Join(alone, journalName))
	want := mustOpen(t, alone, Options{ReadOnly: true})
	if with.Facts() != want.Facts() || len(with.Damage()) != len(want.Damage()) {
		t.Fatalf("seed %d: %d facts, damage %v; want %d, %v", seed, with.Facts(), with.Damage(), want.Facts(), want.Damage())
	}
	sameAnswers(t, seed, "with a checkpoint", want.View(cfg), with.View(cfg))
	if diff := cmp.Diff(want.View(cfg).Stats(), with.View(cfg).Stats()); diff != "" {
		t.Fatalf("seed %d: -want +got:\n%s", seed, diff)
	}
	sameSuspects(t, seed, with.View(cfg).pods)
	states := func(l *Ledger) map[string]ObjectFact {
		out := make(map[string]ObjectFact)
		for _, kind := range Kinds() {
			l.Objects("c", kind, func(o ObjectFact) { out[kind.String()+"/"+o.Namespace+"/"+o.Name] = o })
			out[kind.String()] = ObjectFact{SeenLast: l.KindWatchedUntil("c", kind, Open)}
		}
		return out
	}
	if diff := cmp.Diff(states(want), states(with)); diff != "" {
		t.Fatalf("seed %d: objects: -want +got:\n%s", seed, diff)
	}
	if facts == nil {
		return
	}
	l := mustOpen(t, dir, Options{})
	if n := mustAppend(t, l, slices.Clone(facts)...); n != 0 {
		t.Errorf("seed %d: %d facts are new, with a checkpoint", seed, n)
	}
	mustClose(t, l)
}

// sameSuspects holds what a checkpoint and the pods that changed since tell of suspects
// against a look at all pods.
func sameSuspects(t *testing.T, seed uint64, a *archive) {
	t.Helper()
	all := *a
	all.suspicion = suspicion{}
	got, want := a.suspectIDs(), all.suspectIDs()
	slices.Sort(got)
	if slices.Sort(want); !slices.Equal(got, want) {
		t.Fatalf("seed %d: suspects are %v, with a look at all %v", seed, got, want)
	}
}

func copyFile(t testing.TB, from, to string) {
	t.Helper()
	data, err := os.ReadFile(from)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(to, data, 0o600); err != nil {
		t.Fatal(err)
	}
}

func objectFacts() []Fact {
	state := NewState("u", 1000, []Field{{"providerID", "azure:///x"}})
	return []Fact{
		{Cluster: "c", Kind: Nodes, Watched: &Range{sec(0), sec(100)}, Late: 20},
		{Cluster: "c", Kind: Nodes, Object: ObjectFact{Name: "n", Version: 4, State: state, SeenBy: sec(1), SeenLast: sec(9), Source: Watch}},
		{Cluster: "c", Kind: Nodes, Object: ObjectFact{Name: "n", Version: 9, SeenBy: sec(50), SeenLast: sec(50), Source: List}},
		{Cluster: "c", Kind: ConfigMaps, Object: ObjectFact{Namespace: "kube-system", Name: "m", Version: 7, State: state, Written: sec(3)}},
	}
}

// A checkpoint with what came after it is the journal, wherever it was written, and
// however often.
func TestCheckpointIsTheJournal(t *testing.T) {
	t.Parallel()
	for seed := range uint64(15) {
		r := rand.New(rand.NewPCG(seed, 41))
		facts, cfg := append(uuidFacts(r), objectFacts()...), randomConfig(r)
		facts = shuffled(r, facts)
		dir := filepath.Join(t.TempDir(), "ledger")
		l := mustOpen(t, dir, Options{})
		for _, f := range facts {
			mustAppend(t, l, f)
			if r.IntN(15) == 0 {
				mustCheckpoint(t, l)
			}
			if r.IntN(30) == 0 {
				mustClose(t, l)
				l = mustOpen(t, dir, Options{})
			}
		}
		mustClose(t, l)
		sameLedger(t, seed, dir, cfg, facts)
	}
}

// ledgerWithCheckpoint is closed, and has a checkpoint of all but the last of its facts.
func ledgerWithCheckpoint(t testing.TB, dir string, seed uint64) []Fact {
	t.Helper()
	r := rand.New(rand.NewPCG(seed, 42))
	facts := append(uuidFacts(r), objectFacts()...)
	l := mustOpen(t, dir, Options{})
	mustAppend(t, l, slices.Clone(facts)...)
	mustCheckpoint(t, l)
	late := append(factsOf(aPod("late").has(theIP).made(10).seen(12).ran(11, 11)), watched(0, 5000).f)
	mustAppend(t, l, slices.Clone(late)...)
	mustClose(t, l)
	if covered(dir) == 0 {
		t.Fatal("there is no checkpoint that can be used")
	}
	return append(facts, late...)
}

// A checkpoint of version 1, which tells of no suspects, is read; the next one is of
// this version.
func TestCheckpointOfVersion1(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{journalName, checkpointName} {
		copyFile(t, filepath.Join("testdata", "checkpoint1", name), filepath.Join(dir, name))
	}
	if n := covered(dir); n == 0 {
		t.Fatal("the checkpoint does not count")
	}
	sameLedger(t, 1, dir, podRange(), nil)
	l := mustOpen(t, dir, Options{})
	if l.View(podRange()).pods.suspicion.known {
		t.Error("a checkpoint of version 1 told of suspects")
	}
	mustAppend(t, l, aPod("more").has("10.244.0.99").seen(1).f)
	mustCheckpoint(t, l)
	mustClose(t, l)
	if !mustOpen(t, dir, Options{ReadOnly: true}).View(podRange()).pods.suspicion.known {
		t.Error("a checkpoint tells of no suspects")
	}
	sameLedger(t, 1, dir, podRange(), nil)
}

// A checkpoint that tells of an address that is not there is not read, though it is as it
// was written.
func TestCheckpointOfStrangers(t *testing.T) {
	t.Parallel()
	for id := range uint32(4) {
		dir := t.TempDir()
		l := mustOpen(t, dir, Options{})
		mustAppend(t, l, aPod("a").has("10.244.0.1").seen(1).f)
		l.settle()
		im := &image{journal: fingerprint{Length: l.journal.Size()}, store: l.store.frozen()}
		im.store.suspicion = suspicion{known: true, suspects: []uint32{id}}
		var b bytes.Buffer
		if err := im.write(&b); err != nil {
			t.Fatal(err)
		}
		_, err := readImage(&b, dir)
		if known := int(id>>1) < len(im.store.v4.keys) && id&1 == 0; known != (err == nil) {
			t.Errorf("address %d of %d: %v", id, len(im.store.v4.keys), err)
		}
		mustClose(t, l)
	}
}

// Suspects that a checkpoint told of are right as pods change, until so many have that all
// are looked at.
func TestSuspectsSinceCheckpoint(t *testing.T) {
	t.Parallel()
	since, all := 0, 0
	for seed := range uint64(20) {
		r := rand.New(rand.NewPCG(seed, 43))
		facts := shuffled(r, uuidFacts(r))
		for i := range 60 { // addresses enough
			facts = append(facts, aPod(fmt.Sprintf("other-%d", i)).has(fmt.Sprintf("10.244.7.%d", i/2)).made(float64(i)).seen(float64(i+2)).f)
		}
		dir := filepath.Join(t.TempDir(), "ledger")
		l := mustOpen(t, dir, Options{})
		half := len(facts) / 2
		mustAppend(t, l, append(slices.Clone(facts[:half]), facts[len(facts)-60:]...)...)
		mustCheckpoint(t, l)
		mustClose(t, l)
		l = mustOpen(t, dir, Options{})
		for _, f := range facts[half:] {
			mustAppend(t, l, f)
			pods := l.View(podRange()).pods
			sameSuspects(t, seed, pods)
			if pods.suspicion.known {
				since++
			} else {
				all++
			}
		}
		mustClose(t, l)
	}
	if since < 100 || all < 100 {
		t.Errorf("of %d and %d states suspects were told of and not: the test is about less than it should", since, all)
	}
}

// A checkpoint that is not as it was written is passed over.
func TestDamagedCheckpoint(t *testing.T) {
	dir := t.TempDir()
	facts := ledgerWithCheckpoint(t, dir, 1)
	path := filepath.Join(dir, checkpointName)
	good, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	write := func(what string, data []byte) {
		t.Helper()
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		if n := covered(dir); n != 0 {
			t.Fatalf("%s: the checkpoint counts, for %d bytes", what, n)
		}
	}
	for at := 0; at < len(good); at += 1 + len(good)/150 {
		bad := slices.Clone(good)
		bad[at] ^= 0x10
		write(fmt.Sprintf("byte %d flipped", at), bad)
		write(fmt.Sprintf("cut to %d bytes", at), good[:at])
	}
	write("bytes left over", append(slices.Clone(good), good[8:]...)[:len(good)/2])
	sameLedger(t, 1, dir, podRange(), facts)
	if err := os.WriteFile(path, good, 0o600); err != nil {
		t.Fatal(err)
	}
	sameLedger(t, 1, dir, podRange(), facts)
}

// A checkpoint counts only for the journal that it was made from, as long as that or
// longer.
func TestCheckpointOfAnotherJournal(t *testing.T) {
	one, two := t.TempDir(), t.TempDir()
	ledgerWithCheckpoint(t, one, 1)
	ledgerWithCheckpoint(t, two, 2)
	length := covered(one)
	data, err := os.ReadFile(filepath.Join(one, journalName))
	if err != nil {
		t.Fatal(err)
	}
	other, err := os.ReadFile(filepath.Join(two, journalName))
	if err != nil {
		t.Fatal(err)
	}
	flipped := slices.Clone(data)
	flipped[length-5] ^= 1
	for what, journal := range map[string][]byte{"shorter": data[:length-1], "another": other, "empty": {}, "changed at its end": flipped} {
		if err := os.WriteFile(filepath.Join(one, journalName), journal, 0o600); err != nil {
			t.Fatal(err)
		}
		if n := covered(one); n != 0 {
			t.Errorf("%s: the checkpoint counts, for %d bytes", what, n)
		}
		sameLedger(t, 1, one, podRange(), nil)
	}
	if err := os.WriteFile(filepath.Join(one, journalName), data[:length], 0o600); err != nil {
		t.Fatal(err)
	}
	if n := covered(one); n != length {
		t.Errorf("the journal as it was then: the checkpoint counts for %d bytes, want %d", n, length)
	}
	if err := os.Remove(filepath.Join(one, journalName)); err != nil {
		t.Fatal(err)
	}
	if l := mustOpen(t, one, Options{ReadOnly: true}); len(l.View(podRange()).Stats()) != 1 || l.Facts() != 0 {
		t.Error("a checkpoint without a journal counts")
	}
}

// Damage that a checkpoint was made beside is remembered: no answer is exact. What
// happens to the part that it stands for afterwards is found by Check, and does not
// matter to the answers: what stood there is known.
func TestCheckpointRemembersDamage(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, journalName)
	l := mustOpen(t, dir, Options{})
	mustAppend(t, l, watched(0, 100).f)
	first := l.journal.Size()
	mustAppend(t, l, aPod("b").has("10.244.0.77").seen(1).f)
	second := l.journal.Size()
	mustAppend(t, l, aPod("a").has(theIP).made(10).seen(12).ran(11, 11).f)
	mustClose(t, l)
	flip := func(at int64) {
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		data[at] ^= 1
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	flip(second - 3)
	l = mustOpen(t, dir, Options{})
	mustCheckpoint(t, l)
	mustClose(t, l)
	l = mustOpen(t, dir, Options{ReadOnly: true})
	if d := l.Damage(); covered(dir) == 0 || len(d) != 1 || d[0].Offset != first || d[0].Path != path {
		t.Errorf("damage is %v, want one at byte %d", d, first)
	}
	if r := l.View(podRange()).Resolve(sent(50)); r.Verdict != Boundary || !slices.Contains(r.Notes, noteDamaged) {
		t.Errorf("got %v %q, want no exact answer from a damaged ledger", r.Verdict, r.Notes)
	}
	l = mustOpen(t, dir, Options{})
	var more []Fact // so that the middle is far from both parts of the fingerprint
	for i := range 5000 {
		more = append(more, aPod(fmt.Sprintf("more-%d", i)).has("10.244.9.9").seen(float64(i)).f)
	}
	mustAppend(t, l, more...)
	mustCheckpoint(t, l)
	mustClose(t, l)
	flip(covered(dir) / 2)
	l = mustOpen(t, dir, Options{ReadOnly: true})
	if covered(dir) == 0 || len(l.Damage()) != 1 {
		t.Errorf("damage is %v, want the one that the checkpoint knows", l.Damage())
	}
	found, err := Check(dir, l.Damage())
	if err != nil || len(found) != 2 || found[0].Offset != first || found[1].Offset <= first {
		t.Errorf("a check finds %v, %v, want both", found, err)
	}
}

// An earlier state is read from the journal.
func TestAsKnownAtBesideCheckpoint(t *testing.T) {
	dir, now := t.TempDir(), time.UnixMilli(5000)
	l := mustOpen(t, dir, Options{Now: func() time.Time { return now }})
	mustAppend(t, l, watched(0, 10_000).f, aPod("a").has(theIP).made(10).seen(12).ran(11, 11).f)
	now = time.UnixMilli(6000)
	mustAppend(t, l, aPod("b").has(theIP).made(40).seen(51).ran(50, 50).f)
	mustCheckpoint(t, l)
	for at, want := range map[int64]string{4999: "gap [unwatched]", 5999: "exact a", 6000: "ambiguous a b"} {
		if got := text(mustOpen(t, dir, Options{ReadOnly: true, AsKnownAt: at}).View(podRange()).Resolve(sent(100))); got != want {
			t.Errorf("as known at %d: got %q, want %q", at, got, want)
		}
	}
}

// Whatever operation of a checkpoint fails, and however, nothing is lost: the ledger
// goes on, and a start finds the old checkpoint, the new one, or none.
func TestEachOperationOfACheckpointFails(t *testing.T) {
	injected := errors.New("injected")
	for _, failure := range []error{injected, disktest.ErrShort} {
		for n := 0; ; n++ {
			dir := filepath.Join(t.TempDir(), "ledger")
			armed, count, hit := false, 0, false
			var mu sync.Mutex
			fsys := &disktest.FS{Hook: func(disktest.Op) error {
				mu.Lock()
				defer mu.Unlock()
				if count++; armed && count == n+1 {
					hit = true
					return failure
				}
				return nil
			}}
			arm := func(on bool) {
				mu.Lock()
				defer mu.Unlock()
				armed, count = on, 0
			}
			facts := append(factsOf(watched(0, 1000), aPod("a").has(theIP).made(10).seen(12).ran(11, 11)), objectFacts()...)
			l, err := openLedger(fsys, dir, Options{})
			if err != nil {
				t.Fatal(err)
			}
			mustAppend(t, l, facts[:2]...)
			mustCheckpoint(t, l)
			old := covered(dir)
			mustAppend(t, l, facts[2:]...)
			arm(true)
			err = l.Checkpoint()
			arm(false)
			if hit != (err != nil) || (hit && !errors.Is(err, failure)) {
				t.Fatalf("operation %d: failed %v, got %v", n, hit, err)
			}
			late := aPod("late").has("10.244.0.10").seen(5).f
			mustAppend(t, l, late)
			if got := covered(dir); got != old && got < old {
				t.Fatalf("operation %d: a checkpoint of %d bytes, want %d or more", n, got, old)
			}
			sameLedger(t, 0, dir, podRange(), nil)
			if err := l.Close(); err != nil && !errors.Is(err, failure) {
				t.Fatal(err)
			}
			sameLedger(t, 0, dir, podRange(), append(facts, late))
			if entries, err := os.ReadDir(dir); err != nil || len(entries) != 2 {
				t.Fatalf("operation %d: the folder holds %v, %v", n, entries, err)
			}
			if !hit {
				if n < 5 {
					t.Fatalf("a checkpoint takes %d operations: the test is about nothing", n)
				}
				break
			}
		}
	}
}

// Facts are appended while a checkpoint is written; each checkpoint with the journal's
// rest is the whole ledger.
func TestCheckpointBesideAppends(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	l := mustOpen(t, dir, Options{})
	var all sync.WaitGroup
	all.Go(func() {
		for i := range 60 {
			var facts []Fact
			for k := range 50 {
				facts = append(facts, aPod(fmt.Sprintf("p%d", (i*37+k)%300)).has(fmt.Sprintf("10.244.%d.%d", i, k)).seen(float64(i)).still(float64(i*200)).f)
			}
			if _, err := l.Append(append(facts, watched(float64(i), float64(i+1)).f)...); err != nil {
				t.Error(err)
			}
		}
	})
	for last := int64(0); last < 20_000; {
		mustCheckpoint(t, l)
		n := covered(dir)
		if n < last {
			t.Errorf("the checkpoint stands for %d bytes, and stood for %d", n, last)
		}
		last = n
	}
	all.Wait()
	mustClose(t, l)
	if covered(dir) == 0 {
		t.Error("there is no checkpoint that can be used")
	}
	sameLedger(t, 0, dir, podRange(), nil)
}
