package main

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/whichpod/whichpod/attribution"
	"github.com/whichpod/whichpod/query"
)

// fewCandidates is how many candidates text output names; -o json names all.
const fewCandidates = 8

func (a *app) json(v any) error {
	enc := json.NewEncoder(a.stdout)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}

func (a *app) printAnswer(ans *query.Answer) error {
	if a.output == "json" {
		ans.Warnings = append(ans.Warnings, a.doubts...)
		return a.json(ans)
	}
	list := ans.Answers
	if len(list) == 0 {
		list = []query.Answer{*ans}
	}
	if ans.Verdict == 0 {
		fmt.Fprintf(a.stdout, "%s: nothing found\n", asked(ans.Question))
	}
	var all []query.Pod
	for i := range list {
		all = append(all, list[i].Candidates...)
	}
	several := ofSeveral(all)
	for i := range list {
		if list[i].Verdict != 0 {
			a.printOne(&list[i], asked(ans.Question), several)
		}
	}
	for _, g := range ans.Gaps {
		fmt.Fprintf(a.stdout, "  not watched: cluster %s %s\n", g.Cluster, g.Text())
	}
	for _, w := range ans.Warnings {
		fmt.Fprintf(a.stdout, "  note: %s\n", w)
	}
	for i := range ans.Contradictions {
		fmt.Fprintf(a.stdout, "  contradiction: %s\n", ans.Contradictions[i].Text())
	}
	return nil
}

// asked is the question in short.
func asked(q *query.Question) string {
	s := q.Of.String()
	if q.To.Valid() {
		s += " to " + q.To.String()
	}
	if q.At != 0 {
		s += " at " + query.Time(q.At).String()
	}
	return s
}

// ofSeveral says whether pods are of more than one cluster: then each is named.
func ofSeveral(pods []query.Pod) bool {
	return slices.ContainsFunc(pods, func(p query.Pod) bool { return p.Cluster != pods[0].Cluster })
}

// printOne prints one answer: the verdict, who, and what proves it. several is whether the
// pods of all answers are of more than one cluster.
func (a *app) printOne(ans *query.Answer, what string, several bool) {
	w := a.stdout
	switch {
	case ans.Pod != nil:
		fmt.Fprintf(w, "%s: %s: %s\n", what, ans.Verdict, ans.Pod.Label())
	case len(ans.Candidates) > 0:
		fmt.Fprintf(w, "%s: %s: %s (%.2f bits)\n", what, ans.Verdict, oneOf(ans), ans.Bits)
	default:
		fmt.Fprintf(w, "%s: %s\n", what, ans.Verdict)
	}
	for i := range ans.Candidates {
		if i == fewCandidates {
			fmt.Fprintf(w, "  ... and %d more: -o json names all\n", len(ans.Candidates)-i)
			break
		}
		fmt.Fprintf(w, "  %s\n", describe(&ans.Candidates[i], several))
	}
	a.printExcluded(ans.Excluded)
	if f := ans.Flows; f.Rows > 0 {
		fmt.Fprintf(w, "  %s, %d bytes sent, %d received, %s to %s\n", count(f.Rows, "row"), f.BytesSent, f.BytesReceived, f.First, f.Last)
	}
	printed := ""
	for _, e := range ans.Evidence {
		switch {
		case e.Kind == printed: // one of a kind: -o json names more
		case e.Kind == "flow":
			fmt.Fprintf(w, "  row %s\n      at byte %d of %s\n", e.Row, *e.Offset, e.Blob)
		case e.Kind == "nat":
			fmt.Fprintf(w, "  nat %s left node %s as %s\n      at %s\n", e.Original, e.Node, e.Translated, placeOf(e.Translation))
		}
		printed = e.Kind
	}
}

// oneOf says among how many it is. One is not certain where the address may have been
// nobody's, or somebody's who is not on record.
func oneOf(ans *query.Answer) string {
	text := fmt.Sprintf("one of %d", len(ans.Candidates))
	if v := attribution.Verdict(ans.Verdict); len(ans.Candidates) == 1 && (v == attribution.Boundary || v == attribution.Gap) {
		text += ", or nobody who is known"
	}
	return text
}

// printExcluded counts who is no candidate, by reason. -o json names them.
func (a *app) printExcluded(list []query.Excluded) {
	for i, n := 0, 0; i < len(list); i = n {
		for n = i; n < len(list) && list[n].Reason == list[i].Reason; n++ {
		}
		fmt.Fprintf(a.stdout, "  not %s: %s\n", count(int64(n-i), "pod"), list[i].Reason)
	}
}

// placeOf says where a translation is written.
func placeOf(t *query.Translation) string {
	if t.Agent != "" {
		return fmt.Sprintf("batch %d of agent %s", t.Batch, t.Agent)
	}
	return fmt.Sprintf("line %d of %s", t.Line, t.File)
}

// describe is a candidate on one line, a pod's cluster too where there are several.
func describe(p *query.Pod, several bool) string {
	if p.Kind == "node" {
		return fmt.Sprintf("node %s itself (cluster %s)", p.Node, p.Cluster)
	}
	s := place(p, several)
	if p.HostNetwork {
		s += " (host network)"
	}
	if p.Address != "" {
		s += ", " + p.Address
	}
	to := "open"
	if p.HeldTo.Known() {
		to = p.HeldTo.String()
	}
	return fmt.Sprintf("%s from %s to %s, by %s", s, p.HeldFrom, to, p.Source)
}

// place is a pod and where it ran.
func place(p *query.Pod, several bool) string {
	s := fmt.Sprintf("%s uid %s on %s", p.Label(), p.UID, p.Node)
	if several {
		s += " in cluster " + p.Cluster
	}
	return s
}

// bracket is a time that is known to lie between two.
func bracket(earliest, latest query.Time) string {
	switch {
	case !earliest.Known() && !latest.Known():
		return "open"
	case earliest == latest:
		return latest.String()
	case !earliest.Known():
		return "before " + latest.String()
	case !latest.Known():
		return "after " + earliest.String()
	default:
		return earliest.String() + ".." + strings.TrimPrefix(latest.String(), latest.String()[:11])
	}
}

func (a *app) printTrail(t *query.Trail) error {
	if a.output == "json" {
		return a.json(t)
	}
	if len(t.Pods) == 0 {
		fmt.Fprintln(a.stdout, "no such pod is known")
	}
	pods := make([]query.Pod, len(t.Pods))
	for i := range t.Pods {
		pods[i] = t.Pods[i].Pod
	}
	for i := range t.Pods {
		p := &t.Pods[i]
		fmt.Fprintln(a.stdout, place(&p.Pod, ofSeveral(pods)))
		for k := range p.Addresses {
			d := &p.Addresses[k]
			fmt.Fprintf(a.stdout, "  %s from %s to %s\n", d.Address, bracket(d.FromEarliest, d.FromLatest), bracket(d.ToEarliest, d.ToLatest))
		}
		tw := tabwriter.NewWriter(a.stdout, 0, 0, 2, ' ', 0)
		if len(p.Peers) > 0 {
			fmt.Fprintln(tw, "  DIRECTION\tPEER\tPORT\tPROTOCOL\tVERDICT\tROWS\tBYTES SENT\tFIRST\tLAST")
		}
		for _, peer := range p.Peers {
			verdict := peer.Verdict.String()
			if peer.Denied {
				verdict += " (denied)"
			}
			fmt.Fprintf(tw, "  %s\t%s\t%d\t%d\t%s\t%d\t%d\t%s\t%s\n", peer.Direction, peer.Address, peer.Port, peer.Protocol, verdict, peer.Flows.Rows, peer.Flows.BytesSent, peer.Flows.First, peer.Flows.Last)
		}
		if err := tw.Flush(); err != nil {
			return err
		}
	}
	return nil
}
