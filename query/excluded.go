package query

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/whichpod/whichpod/attribution"
	"github.com/whichpod/whichpod/flow"
)

// Excluded is a pod that was around a node when a flow left under the node's address,
// and that can not have sent it.
type Excluded struct {
	Pod
	Reason string `json:"reason"`
}

// exclusions gathers, for each set of candidates behind a node's address, who is not
// among them and why.
type exclusions struct {
	view *attribution.View
	of   map[*attribution.Resolution][]attribution.Exclusion
	// against counts rows that speak against what is known of masquerading.
	against int64
}

func newExclusions(view *attribution.View) *exclusions {
	return &exclusions{view: view, of: make(map[*attribution.Resolution][]attribution.Exclusion)}
}

// batch looks at the sources of a batch's rows, and for exclusions at the first of each
// set of candidates.
func (e *exclusions) batch(a Attributed) {
	for i := range a.Len() {
		r := a.Joined.Src[i]
		if e.view.Contradicts(sourceOf(a, i), r) {
			e.against++
		}
		if _, known := e.of[r]; !known && (r.Verdict == attribution.Masked || r.Verdict == attribution.Host) {
			e.of[r] = e.view.Excluded(sourceOf(a, i))
		}
	}
}

// sourceOf asks who sent a row.
func sourceOf(a Attributed, i int) attribution.Question {
	return attribution.Question{
		Address: a.Addresses[a.Batch.Src[i]], Begin: a.Begins[i], NIC: a.NIC(i), Near: a.Direction[i] == flow.Outbound,
		Sent: true, Destination: a.Addresses[a.Batch.Dst[i]], DestinationPort: a.DstPort[i],
	}
}

// warnings are what a reader should know of rows that speak against the rules.
func (e *exclusions) warnings() []string {
	if e.against == 0 {
		return nil
	}
	return []string{fmt.Sprintf("%d of the rows from there show a pod's own address where by all that is known its node puts its own: the rows count, and what is known of masquerading misses something", e.against)}
}

// into hands them to the groups of the answers.
func (e *exclusions) into(g *groups) {
	for r, list := range e.of {
		if gr := g.last[r]; gr != nil {
			gr.excluded = append(gr.excluded, list...)
		}
	}
}

// others are the excluded that are no candidates for another row of the same group.
func (gr *group) others() []Excluded {
	out := []Excluded{}
	slices.SortFunc(gr.excluded, func(a, b attribution.Exclusion) int {
		return cmp.Or(cmp.Compare(a.Reason, b.Reason), cmp.Compare(a.FromEarliest, b.FromEarliest), cmp.Compare(a.UID, b.UID))
	})
	seen := make(map[candidateKey]bool)
	for i := range gr.excluded {
		c := &gr.excluded[i]
		key := candidateKey{c.Cluster, c.UID, c.Node, c.NodeUID}
		if !gr.named[key] && !seen[key] {
			seen[key] = true
			out = append(out, Excluded{podOf(&c.Candidate), c.Reason})
		}
	}
	return out
}
