//go:build e2e

package nat_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"text/tabwriter"

	"github.com/whichpod/whichpod/attribution"
	"github.com/whichpod/whichpod/e2e/rig"
)

// line is a line of the table: what was answered of the rows whose senders are pods
// with an address of their own.
type line struct {
	name      string
	evidence  string    // where it is from, or "none"
	hard      bool      // ports are so few that clocks can not tell their users apart, or evidence was lost
	simulated bool      // and not of a real kernel
	shown     rig.Tally // under the pod's address
	hidden    rig.Tally // under the node's
	others    rig.Tally // of senders that are no such pods
}

// add counts an answer. pod: the sender is such a pod; node: the source is a node's
// address.
func (l *line) add(j *rig.Judged, pod, node bool) {
	switch {
	case !pod:
		l.others.Add(j)
	case node:
		l.hidden.Add(j)
	default:
		l.shown.Add(j)
	}
}

// check holds the answers against the truth.
func (l *line) check(t *testing.T) {
	l.shown.Report(t, "under the pod's address")
	l.hidden.Report(t, "under the node's address")
	l.others.Report(t, "of no pod with an address")
	if l.hidden.Rows == 0 || l.shown.Rows == 0 {
		t.Error("there are no such rows: nothing is shown")
	}
	if share := l.shown.Share("exact"); share < 0.95 {
		t.Errorf("%.2f %% of the rows under the pod's address are exact, want 95 %%", 100*share)
	}
	if share := l.hidden.Share("masked"); l.evidence == "none" && share < 0.99 {
		t.Errorf("%.2f %% of the rows under the node's address are masked, want 99 %%", 100*share)
	}
	want := 0.97 // a quiet machine shows 99.6 % and more; each moment in which it stalls costs some
	if l.simulated {
		want = 0.99
	}
	if l.hard {
		want = 0.5
	}
	if share := l.hidden.Share("exact"); l.evidence != "none" && share < want {
		t.Errorf("%.2f %% of the rows under the node's address are exact, want %.0f %%", 100*share, 100*want)
	}
	if n := l.hidden.Verdicts["exact"]; l.hidden.Lifted != n {
		t.Errorf("%d rows under the node's address are exact, and %d of them name NAT evidence as their source", n, l.hidden.Lifted)
	}
}

// table shows how much each mode hides, and how much of that evidence brings back.
func table(lines []line) string {
	var out strings.Builder
	w := tabwriter.NewWriter(&out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "\tevidence\trows\texact\tmasked\tbits\tother\twrong\tmasked before\tnow exact\t")
	before := make(map[string]int)
	for i := range lines {
		l := &lines[i]
		count := func(v string) int { return l.shown.Verdicts[v] + l.hidden.Verdicts[v] }
		rows, exact, masked := l.shown.Rows+l.hidden.Rows, count("exact"), count("masked")
		fmt.Fprintf(w, "%s\t%s\t%d\t%d\t%d\t%.2f\t%d\t%d\t", l.name, l.evidence,
			rows, exact, masked, l.hidden.Bits(), rows-exact-masked, len(l.shown.Wrong)+len(l.hidden.Wrong)+len(l.others.Wrong))
		if l.evidence != "none" {
			fmt.Fprintf(w, "%d\t%.2f %%\t", before[l.name], 100*float64(l.hidden.Verdicts["exact"])/float64(max(1, before[l.name])))
		} else {
			fmt.Fprint(w, "\t\t")
		}
		fmt.Fprintln(w)
		if l.evidence == "none" {
			before[l.name] = l.hidden.Verdicts["masked"]
		}
	}
	w.Flush()
	return out.String()
}

// classes shows, for each kind of destination, how many of the senders' rows are exact
// in each mode, and in how many bits the others are masked. It is of the node with
// enough ports, and of the rows of its own interface.
func (r *recording) classes(answers map[*rig.Node][]rig.Judged) string {
	cells := make(map[attribution.Class]map[*cluster]string)
	set := func(class attribution.Class, c *cluster, text string) {
		if cells[class] == nil {
			cells[class] = make(map[*cluster]string)
		}
		cells[class][c] = text
	}
	for _, c := range r.clusters {
		tallies := make(map[attribution.Class]*rig.Tally)
		n := c.Nodes[1]
		for i := range answers[n] {
			if j := &answers[n][i]; j.Sender != "" && j.Row.Direction == "O" {
				class := c.class(n, j.Flow.To)
				if tallies[class] == nil {
					tallies[class] = &rig.Tally{}
				}
				tallies[class].Add(j)
			}
		}
		for class, tally := range tallies {
			text := fmt.Sprintf("%.1f %% exact", 100*tally.Share("exact"))
			if tally.Verdicts["masked"] > 0 {
				text += fmt.Sprintf(", masked in %.2f bits", tally.Bits())
			}
			set(class, c, text)
		}
		if slices.ContainsFunc(r.unseen, c.local) {
			set(attribution.SameNode, c, "not logged")
		}
	}
	var out strings.Builder
	w := tabwriter.NewWriter(&out, 0, 0, 2, ' ', 0)
	fmt.Fprint(w, "destination")
	for _, c := range r.clusters {
		fmt.Fprint(w, "\t", c.Name)
	}
	fmt.Fprintln(w)
	for _, class := range slices.Sorted(maps.Keys(cells)) {
		fmt.Fprint(w, string(class))
		for _, c := range r.clusters {
			fmt.Fprint(w, "\t", cells[class][c])
		}
		fmt.Fprintln(w)
	}
	w.Flush()
	return out.String()
}
