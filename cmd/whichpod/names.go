package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/whichpod/whichpod/attribution"
)

// doubt warns of what is likely a slip: once, and on standard error also where the answer
// is JSON. Documents that have warnings repeat it.
func (a *app) doubt(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	if slices.Contains(a.doubts, text) {
		return
	}
	a.doubts = append(a.doubts, text)
	fmt.Fprintf(a.stderr, "whichpod: warning: %s\n", text)
}

// doubtNames warns where the configuration names a cluster of which the ledger knows
// nothing, while the ledger knows one that the configuration does not name. Either alone is
// usual: a cluster that is yet to be imported, or one that needs no description.
func (a *app) doubtNames(cfg attribution.Config, known []string) {
	var unknown, unnamed []string
	for _, c := range cfg.Clusters {
		if !slices.Contains(known, c.Name) {
			unknown = append(unknown, c.Name)
		}
	}
	for _, name := range known {
		if !slices.ContainsFunc(cfg.Clusters, func(c attribution.Cluster) bool { return c.Name == name }) {
			unnamed = append(unnamed, name)
		}
	}
	if len(unknown) > 0 && len(unnamed) > 0 {
		a.doubt("the configuration describes %s, of which the ledger knows nothing, and not %s, of which it does: a name that is misspelt makes gaps of pods that are known",
			clusters(unknown), clusters(unnamed))
	}
}

// clusters are names in a sentence.
func clusters(names []string) string {
	quoted := make([]string, len(names))
	for i, name := range names {
		quoted[i] = fmt.Sprintf("%q", name)
	}
	if len(names) == 1 {
		return "cluster " + quoted[0]
	}
	return "clusters " + strings.Join(quoted, ", ")
}

// readLedger opens the ledger for a look at the names in it; there is nothing to close. One
// that can not be read is empty here: the commands that answer from it say so.
func (a *app) readLedger() *attribution.Ledger {
	ledger, err := attribution.OpenLedger(a.ledgerFolder(), attribution.Options{ReadOnly: true})
	if err != nil {
		return attribution.NewLedger()
	}
	return ledger
}

// doubtNode warns where NAT evidence is of a cluster, or of a node of it, that the ledger
// does not know, though it knows others. An empty node is not looked at.
func (a *app) doubtNode(cluster, node string) {
	ledger := a.readLedger()
	known := ledger.Clusters()
	switch {
	case len(known) == 0:
	case !slices.Contains(known, cluster):
		a.doubt("the ledger knows nothing of cluster %q, and of %s it does: under a name that is misspelt, NAT evidence lifts nothing", cluster, clusters(known))
	case node != "" && !ledger.HasNode(cluster, node):
		a.doubt("the ledger knows no node %q of cluster %q: under a name that is misspelt, NAT evidence lifts nothing and contradicts what is right", node, cluster)
	}
}

// twins looks out for pods that come in under one cluster's name and are on record under
// another's. A UID is one pod's, so the two are one cluster.
type twins struct {
	*attribution.Ledger
	app     *app
	cluster string
	others  []string
}

func (a *app) lookForTwins(ledger *attribution.Ledger, cluster string) *twins {
	others := slices.DeleteFunc(ledger.Clusters(), func(name string) bool { return name == cluster })
	return &twins{ledger, a, cluster, others}
}

// Append warns of the first twin, and appends.
func (t *twins) Append(facts ...attribution.Fact) (int, error) {
	for i := range facts {
		uid := facts[i].Pod.UID
		if uid == "" {
			continue // of no pod: others than the goroutine that tells of pods come no further
		}
		for _, other := range t.others {
			if t.HasPod(other, uid) {
				t.app.doubt("pod %s is on record of cluster %q, and comes in as one of %q: is that one cluster under two names? What both have had is ambiguous; docs/imports.md says what can be done", uid, other, t.cluster)
				t.others = nil
				break
			}
		}
	}
	return t.Ledger.Append(facts...)
}
