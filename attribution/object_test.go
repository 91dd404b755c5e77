package attribution

import (
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/whichpod/whichpod/internal/journal"
)

// anObject is an object of cluster c in a state that somebody saw then. Without fields
// it was not there.
func anObject(kind Kind, name string, version uint64, seen float64, fields ...Field) Fact {
	f := Fact{Cluster: "c", Kind: kind, Object: ObjectFact{Name: name, Version: version, SeenBy: sec(seen), SeenLast: sec(seen)}}
	if len(fields) > 0 {
		f.Object.State = NewState("uid-"+name, sec(-1000), slices.Clone(fields))
	}
	return f
}

func watchedKind(kind Kind, from, to float64) Fact {
	return Fact{Cluster: "c", Kind: kind, Watched: &Range{sec(from), sec(to)}}
}

func randomObjects(r *rand.Rand) []Fact {
	var out []Fact
	for range 1 + r.IntN(40) {
		version := uint64(1 + r.IntN(30))
		kind := Kinds()[r.IntN(len(Kinds()))]
		f := anObject(kind, []string{"a", "b"}[r.IntN(2)], version, float64(version)*10+float64(r.IntN(200)), Field{"x", fmt.Sprint(r.IntN(3))}, Field{"a", "1"})
		switch r.IntN(6) {
		case 0:
			f.Object.State = nil
		case 1:
			f.Object.State = NewState("another", sec(5), nil)
		case 2:
			f.Object.Written = sec(float64(version) * 10)
		case 3:
			f = watchedKind(kind, float64(r.IntN(100)), float64(100+r.IntN(300)))
			f.Late = r.Int64N(1000)
		}
		f.Object.Source = Source(r.IntN(int(numSources)))
		out = append(out, f)
	}
	return out
}

var compareObjects = cmp.Options{cmp.AllowUnexported(objects{}, object{}, objectKey{}, coverageKey{}, mark{}), cmpopts.EquateEmpty()}

// Whatever the order of the facts about objects, and however often they come, the
// ledger holds the same; and what it journaled says the same again.
func TestOrderOfObjectsDoesNotMatter(t *testing.T) {
	t.Parallel()
	for seed := range uint64(100) {
		r := rand.New(rand.NewPCG(seed, 5))
		facts := randomObjects(r)
		want, got := NewLedger(), NewLedger()
		mustAppend(t, want, facts...)
		for _, f := range shuffled(r, append(slices.Clone(facts), facts...)) {
			mustAppend(t, got, f)
		}
		if diff := cmp.Diff(want.objects, got.objects, compareObjects); diff != "" {
			t.Fatalf("seed %d: shuffled and doubled: -want +got:\n%s", seed, diff)
		}
		if n := mustAppend(t, got, facts...); n != 0 {
			t.Fatalf("seed %d: %d facts are new when they come again", seed, n)
		}
	}
}

func TestObjectsAreDurable(t *testing.T) {
	t.Parallel()
	for seed := range uint64(20) {
		dir := t.TempDir()
		facts := randomObjects(rand.New(rand.NewPCG(seed, 6)))
		l := mustOpen(t, dir, Options{})
		news := mustAppend(t, l, facts...)
		mustClose(t, l)
		again := mustOpen(t, dir, Options{})
		if again.Facts() != news {
			t.Fatalf("seed %d: %d facts, want %d", seed, again.Facts(), news)
		}
		// That something was seen again within two minutes is not worth a line.
		soon := cmp.FilterPath(func(p cmp.Path) bool { return p.Last().String() == ".seenLast" }, cmp.Comparer(func(a, b int64) bool { return a/MaxSilence == b/MaxSilence }))
		if diff := cmp.Diff(l.objects, again.objects, compareObjects, soon); diff != "" {
			t.Fatalf("seed %d: after a restart: -want +got:\n%s", seed, diff)
		}
		if n := mustAppend(t, again, facts...); n != 0 {
			t.Fatalf("seed %d: %d facts are new after a restart", seed, n)
		}
		mustClose(t, again)
	}
}

// When a fact can not be written, nothing of it counts.
func TestObjectsOfAFailedAppend(t *testing.T) {
	l := mustOpen(t, t.TempDir(), Options{})
	mustAppend(t, l, anObject(Nodes, "n", 1, 1, Field{"address", "10.224.0.4"}))
	want := l.objects.clone()
	mustClose(t, l)
	if _, err := l.Append(anObject(Nodes, "n", 2, 2, Field{"address", "10.224.0.5"}), anObject(Nodes, "m", 3, 3), watchedKind(Nodes, 1, 9)); err == nil {
		t.Fatal("a closed journal took facts")
	}
	if diff := cmp.Diff(want, l.objects, compareObjects); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestObjectRoundTrip(t *testing.T) {
	t.Parallel()
	for seed := range uint64(50) {
		for _, f := range randomObjects(rand.New(rand.NewPCG(seed, 7))) {
			if f.Watched != nil {
				f.Object = ObjectFact{}
			}
			payload := f.encode(nil)
			got, err := decodeFact(payload, map[string]string{})
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(f, got, cmpopts.EquateEmpty(), cmpopts.EquateComparable()); diff != "" {
				t.Fatalf("seed %d: -want +got:\n%s", seed, diff)
			}
			for n := range payload {
				if _, err := decodeFact(payload[:n], nil); err == nil {
					t.Fatalf("seed %d: %d of %d bytes make a fact", seed, n, len(payload))
				}
			}
		}
	}
}

// The recording of the format: docs/format/ledger.md shows its first payload.
func TestObjectFixture(t *testing.T) {
	facts := []Fact{
		{KnownAt: 3000, Cluster: "c", Kind: Nodes, Object: ObjectFact{Name: "n", Version: 7, State: NewState("u", 1000, []Field{{"podCIDR", "10.244.0.0/24"}}), Written: 1000, SeenBy: 2000, SeenLast: 2500}},
		{KnownAt: 3000, Cluster: "c", Kind: ConfigMaps, Object: ObjectFact{Namespace: "kube-system", Name: "cilium-config", Version: 9, SeenBy: 2600, SeenLast: 2600, Source: List}},
		{KnownAt: 3000, Cluster: "c", Kind: ConfigMaps, Watched: &Range{2000, 3000}, Late: 5},
	}
	const example = "10 f0 2e 01 63 01 00 01 6e 00 07 d0 0f a0 1f 88 27 01 01 75 d0 0f 01 07 70 6f 64 43 49 44 52 0d 31 30 2e 32 34 34 2e 30 2e 30 2f 32 34"
	if got := fmt.Sprintf("% x", facts[0].encode(nil)); got != example {
		t.Errorf("the example of docs/format/ledger.md: got %s, want %s", got, example)
	}
	var got []Fact
	damage, err := journal.Read(filepath.Join("testdata", "objects.journal"), journalMagic, journalVersion, func(_ int64, payload []byte) error {
		f, err := decodeFact(payload, nil)
		got = append(got, f)
		return err
	})
	if err != nil || len(damage) > 0 {
		t.Fatal(err, damage)
	}
	if diff := cmp.Diff(facts, got, cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	dir := t.TempDir()
	l := mustOpen(t, dir, Options{})
	mustAppend(t, l, facts...)
	mustClose(t, l)
	written, err := os.ReadFile(filepath.Join(dir, journalName))
	if err != nil {
		t.Fatal(err)
	}
	recorded, err := os.ReadFile(filepath.Join("testdata", "objects.journal"))
	if err != nil {
		t.Fatal(err)
	}
	if string(written) != string(recorded) {
		t.Errorf("the format has changed: got\n%s", hex.Dump(written))
	}
}

func TestKindWatchedUntil(t *testing.T) {
	l := NewLedger()
	mustAppend(t, l, watchedKind(Nodes, 10, 20), watchedKind(Nodes, 30, 40), watched(1, 2).f)
	for _, c := range []struct {
		kind         Kind
		before, want float64
	}{{Nodes, 50, 40}, {Nodes, 35, 35}, {Nodes, 25, 20}, {Nodes, 15, 15}, {ConfigMaps, 50, 0}, {Pods, 50, 2}} {
		want := int64(0)
		if c.want != 0 {
			want = sec(c.want)
		}
		if got := l.KindWatchedUntil("c", c.kind, sec(c.before)); got != want {
			t.Errorf("%v before %v: got %d, want %d", c.kind, c.before, got, want)
		}
	}
	mustAppend(t, l, anObject(Nodes, "n", 5, 31), anObject(Nodes, "n", 4, 12, Field{"a", "b"}), anObject(Nodes, "m", 4, 12, Field{"a", "b"}))
	there := map[string]bool{}
	l.Objects("c", Nodes, func(f ObjectFact) { there[f.Name] = f.State != nil })
	if diff := cmp.Diff(map[string]bool{"n": false, "m": true}, there); diff != "" {
		t.Errorf("last states: -want +got:\n%s", diff)
	}
}
