package query

import (
	"slices"

	"github.com/whichpod/whichpod/attribution"
)

// Contradiction is two statements about one pod of which one must be wrong.
type Contradiction struct {
	Kind      string   `json:"kind"` // name, node, end, removal, address or unseen
	Cluster   string   `json:"cluster"`
	Namespace string   `json:"namespace"`
	Name      string   `json:"name"`
	UID       string   `json:"uid"`
	Addresses []string `json:"addresses"` // at issue; empty where it is the pod as a whole
	// Where no answer that rests on them is exact; null is open.
	From       Time        `json:"from"`
	To         Time        `json:"to"`
	Statements []Statement `json:"statements"` // two
}

// Statement is what one source says.
type Statement struct {
	Source string `json:"source"`
	Says   string `json:"says"`
}

func contradictionOf(d *attribution.Dispute) Contradiction {
	c := Contradiction{Kind: d.Kind.String(), Cluster: d.Cluster, Namespace: d.Namespace, Name: d.Name, UID: d.UID, Addresses: []string{}, From: Time(d.From), To: Time(d.To),
		Statements: []Statement{{d.First.Source.String(), d.First.Says}, {d.Second.Source.String(), d.Second.Says}}}
	if d.Address.IsValid() {
		c.Addresses = append(c.Addresses, d.Address.String(), d.Other.String())
	}
	return c
}

// contradictions are those of all candidates, each once.
func contradictions(candidates []attribution.Candidate) []Contradiction {
	out := []Contradiction{}
	for i := range candidates {
		for k := range candidates[i].Disputes {
			c := contradictionOf(&candidates[i].Disputes[k])
			if !slices.ContainsFunc(out, c.same) {
				out = append(out, c)
			}
		}
	}
	return out
}

func (c *Contradiction) same(o Contradiction) bool {
	return c.UID == o.UID && c.Cluster == o.Cluster && c.Kind == o.Kind && c.From == o.From && c.To == o.To &&
		slices.Equal(c.Addresses, o.Addresses) && slices.Equal(c.Statements, o.Statements)
}

// Text is the contradiction in a sentence.
func (c *Contradiction) Text() string {
	a, b := c.Statements[0], c.Statements[1]
	return c.Namespace + "/" + c.Name + " (" + c.UID + "): " + a.Source + " says " + a.Says + "; " + b.Source + " says " + b.Says
}
