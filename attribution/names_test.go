package attribution

import (
	"path/filepath"
	"slices"
	"testing"
)

// What the ledger knows by name, before and after pods are filed, and after a start.
func TestNames(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "ledger")
	l := mustOpen(t, dir, Options{})
	if got := l.Clusters(); len(got) != 0 {
		t.Errorf("an empty ledger knows %q", got)
	}
	node := anObject(Nodes, "m", 1, 0, Field{"address", "10.224.0.9"})
	node.Cluster = "machines"
	watchedOnly := watchedKind(ConfigMaps, 0, 10)
	watchedOnly.Cluster = "maps"
	mustAppend(t, l, aPod("a").f, aPod("b").in("d").f, watched(0, 10).in("e").f, node, watchedOnly)
	check := func(when string) {
		t.Helper()
		if got, want := l.Clusters(), []string{"c", "d", "e", "machines", "maps"}; !slices.Equal(got, want) {
			t.Errorf("%s: knows %q, want %q", when, got, want)
		}
		for _, c := range []struct {
			cluster, uid string
			want         bool
		}{{"c", "a", true}, {"d", "b", true}, {"d", "a", false}, {"e", "a", false}, {"nobody", "a", false}} {
			if got := l.HasPod(c.cluster, c.uid); got != c.want {
				t.Errorf("%s: pod %s of %s: got %v", when, c.uid, c.cluster, got)
			}
		}
		for _, c := range []struct {
			cluster, node string
			want          bool
		}{{"c", "n", true}, {"c", "m", false}, {"machines", "m", true}, {"e", "n", false}} {
			if got := l.HasNode(c.cluster, c.node); got != c.want {
				t.Errorf("%s: node %s of %s: got %v", when, c.node, c.cluster, got)
			}
		}
	}
	check("at once")
	l.View(DefaultConfig())
	check("filed")
	mustClose(t, l)
	l = mustOpen(t, dir, Options{ReadOnly: true})
	check("opened again")
}
