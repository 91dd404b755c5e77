package attribution

import (
	"maps"
	"slices"
)

// What a person calls clusters and nodes, in a configuration or with an import, is held
// against what the ledger calls them: a name that was misspelt is another cluster.

// Clusters are the names of those of which the ledger knows anything, sorted.
func (l *Ledger) Clusters() []string {
	l.mu.RLock()
	defer l.mu.RUnlock()
	names := make(map[string]bool)
	for name := range l.store.clusters {
		names[name] = true
	}
	for key := range l.recent {
		names[key.cluster] = true
	}
	for name := range l.changes {
		names[name] = true
	}
	for key := range l.objects.byKey {
		names[key.cluster] = true
	}
	for key := range l.objects.watched {
		names[key.cluster] = true
	}
	return slices.Sorted(maps.Keys(names))
}

// HasPod says whether a pod with this UID is on record of a cluster.
func (l *Ledger) HasPod(cluster, uid string) bool {
	l.mu.Lock() // the store reuses what it searches with
	defer l.mu.Unlock()
	key := podKey{cluster, uid}
	if l.recent[key] != nil {
		return true
	}
	_, ok := l.store.find(key)
	return ok
}

// HasNode says whether a node of this name is on record of a cluster, or a pod on it.
func (l *Ledger) HasNode(cluster, node string) bool {
	l.mu.RLock()
	defer l.mu.RUnlock()
	if l.objects.byKey[objectKey{cluster: cluster, kind: Nodes, name: node}] != nil {
		return true
	}
	for _, p := range l.recent {
		if p.cluster == cluster && p.id.Node == node {
			return true
		}
	}
	return slices.ContainsFunc(l.store.known, func(p place) bool { return p.cluster == cluster && p.node == node })
}
