//go:build e2e

package nat_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/whichpod/whichpod/e2e/rig"
)

// table is a line for each cluster and way of asking.
func table(clusters []*cluster, answers ...map[*cluster][]rig.Judged) string {
	var out strings.Builder
	w := tabwriter.NewWriter(&out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "mode\tevidence\trows of pods\texact\tmasked\tof bits\tother\twrong\t")
	for _, c := range clusters {
		for i, rows := range answers {
			all := rig.Count(rows[c], func(j *rig.Judged) bool { return j.Sender != "" })
			wrong := rig.Count(rows[c], func(*rig.Judged) bool { return true })
			exact, masked := all.Verdicts["exact"], all.Verdicts["masked"]
			fmt.Fprintf(w, "%s\t%s\t%d\t%d\t%d\t%.2f\t%d\t%d\t\n", c.Name, []string{"no", "yes"}[i], all.Rows, exact, masked, all.Bits, all.Rows-exact-masked, len(wrong.Wrong))
		}
	}
	w.Flush()
	return out.String()
}

// classes is a line for each kind of destination: how many of the senders' rows are
// exact in each mode, and in how many bits the others are masked.
func classes(r *recording, answers map[*cluster][]rig.Judged) string {
	var out strings.Builder
	w := tabwriter.NewWriter(&out, 0, 0, 2, ' ', 0)
	fmt.Fprint(w, "destination")
	cells := make(map[string]map[*cluster]string)
	set := func(class string, c *cluster, text string) {
		if cells[class] == nil {
			cells[class] = make(map[*cluster]string)
		}
		cells[class][c] = text
	}
	for _, c := range r.clusters {
		fmt.Fprint(w, "\t", c.Name)
		byClass := make(map[string][]rig.Judged)
		for _, j := range answers[c] {
			if j.Sender != "" && j.Row.Direction == "O" {
				class := c.class(j.Node, j.Flow.To)
				byClass[class] = append(byClass[class], j)
			}
		}
		for class, rows := range byClass {
			all := rig.Count(rows, func(*rig.Judged) bool { return true })
			text := fmt.Sprintf("%.1f %% exact", 100*all.Share("exact"))
			if all.Verdicts["masked"] > 0 {
				text += fmt.Sprintf(", masked in %.2f bits", all.Bits)
			}
			set(class, c, text)
		}
		for _, call := range r.unseen {
			if c.local(call) {
				set("pod on the same node", c, "not logged")
			}
		}
	}
	fmt.Fprintln(w)
	for _, class := range slices.Sorted(maps.Keys(cells)) {
		fmt.Fprint(w, class)
		for _, c := range r.clusters {
			fmt.Fprint(w, "\t", cells[class][c])
		}
		fmt.Fprintln(w)
	}
	w.Flush()
	return out.String()
}
