package query

import (
	"encoding/json"
	"math"
	"time"

	"github.com/whichpod/whichpod/attribution"
)

// Answer is the document that "who -o json" prints. Fields may be added, never
// renamed. A question over a range has one answer per owner in Answers, in the same
// shape; where there is just one, the fields above repeat it.
type Answer struct {
	Question   *Question  `json:"question,omitempty"` // nil in Answers
	Verdict    Word       `json:"verdict"`            // null where nothing was found
	Pod        *Pod       `json:"pod"`                // the one candidate of an exact verdict
	Candidates []Pod      `json:"candidates"`
	Excluded   []Excluded `json:"excluded"` // who was around a node and can not have been behind its address
	Bits       float64    `json:"bits"`     // log2 of the number of candidates, two decimals
	Flows      Flows      `json:"flows"`
	Evidence   []Evidence `json:"evidence"`
	Warnings   []string   `json:"warnings"`
	// Contradictions are in what is recorded of the candidates.
	Contradictions []Contradiction `json:"contradictions"`
	Gaps           []Gap           `json:"gaps"`
	Answers        []Answer        `json:"answers,omitempty"`
	ElapsedMS      float64         `json:"elapsed_ms"`

	since Time // of an answer from the ledger without candidates: when it is true first
}

// Word is a verdict, or none, which is written as null.
type Word attribution.Verdict

// MarshalJSON writes the verdict's word or null.
func (w Word) MarshalJSON() ([]byte, error) {
	if w == 0 {
		return []byte("null"), nil
	}
	return json.Marshal(attribution.Verdict(w).String())
}

func (w Word) String() string { return attribution.Verdict(w).String() }

// Time is written as RFC 3339 in UTC with milliseconds; 0 and attribution.Open as null.
type Time int64

const timeLayout = "2006-01-02T15:04:05.000Z"

// MarshalJSON writes the time or null.
func (t Time) MarshalJSON() ([]byte, error) {
	if !t.Known() {
		return []byte("null"), nil
	}
	return json.Marshal(t.String())
}

// Known says whether it is a moment.
func (t Time) Known() bool { return t > 0 && int64(t) != attribution.Open }

func (t Time) String() string {
	if !t.Known() {
		return "-"
	}
	return time.UnixMilli(int64(t)).UTC().Format(timeLayout)
}

// Pod is a candidate: a pod, or (kind "node") the node itself.
type Pod struct {
	Kind        string `json:"kind"` // pod or node
	Cluster     string `json:"cluster"`
	Namespace   string `json:"namespace"`
	Name        string `json:"name"`
	UID         string `json:"uid"`
	Owner       string `json:"owner,omitempty"` // kind/name of the controller
	Node        string `json:"node"`
	NodeUID     string `json:"node_uid,omitempty"`
	HostNetwork bool   `json:"host_network,omitempty"`
	Address     string `json:"address"`
	HeldFrom    Time   `json:"held_from"` // the outer brackets: null is unknown, or still open
	HeldTo      Time   `json:"held_to"`
	// The four times that bound the stay.
	FromEarliest Time   `json:"from_earliest"`
	FromLatest   Time   `json:"from_latest"`
	ToEarliest   Time   `json:"to_earliest"`
	ToLatest     Time   `json:"to_latest"`
	KnownUntil   Time   `json:"known_until"` // where the end is open: it is known to have had the address until then
	Source       string `json:"source"`
}

func podOf(c *attribution.Candidate) Pod {
	p := Pod{
		Kind: "pod", Cluster: c.Cluster, Namespace: c.Namespace, Name: c.Name, UID: c.UID, Owner: c.Owner, Node: c.Node, NodeUID: c.NodeUID, HostNetwork: c.HostNetwork,
		HeldFrom: Time(c.FromEarliest), HeldTo: Time(c.ToLatest),
		FromEarliest: Time(c.FromEarliest), FromLatest: Time(c.FromLatest), ToEarliest: Time(c.ToEarliest), ToLatest: Time(c.ToLatest),
		KnownUntil: Time(c.Recorded), Source: c.Sources.String(),
	}
	if c.IsNode {
		p.Kind = "node"
	}
	if c.Address.IsValid() {
		p.Address = c.Address.String()
	}
	return p
}

// Label is how a person calls the candidate.
func (p *Pod) Label() string {
	if p.Kind == "node" {
		return "node " + p.Node
	}
	return p.Namespace + "/" + p.Name
}

// Flows counts the rows behind an answer. Bytes are estimates (docs/flow-logs.md);
// of a flow that two interfaces logged, one copy is counted.
type Flows struct {
	Rows          int64  `json:"rows"`
	BytesSent     uint64 `json:"bytes_sent"`
	BytesReceived uint64 `json:"bytes_received"`
	First         Time   `json:"first"`
	Last          Time   `json:"last"`
}

// Evidence is what an answer rests on.
type Evidence struct {
	Kind string `json:"kind"` // "flow", "nat" or "ledger"
	// Of a flow: where the row stands, and the row as its log's tuple.
	Blob   string `json:"blob,omitempty"`
	Offset *int64 `json:"offset,omitempty"`
	Row    string `json:"row,omitempty"`
	// Of the ledger: who said so, and a sentence. Of a translation: the format that it
	// was read from.
	Source string `json:"source,omitempty"`
	Text   string `json:"text,omitempty"`
	*Translation
}

// Gap is a stretch in which nobody watched a cluster; null is open.
type Gap struct {
	Cluster string `json:"cluster"`
	From    Time   `json:"from"`
	To      Time   `json:"to"`
}

// Text is when it was, as a person reads it.
func (g *Gap) Text() string {
	switch {
	case g.From.Known() && g.To.Known():
		return "from " + g.From.String() + " to " + g.To.String()
	case g.From.Known():
		return "since " + g.From.String()
	case g.To.Known():
		return "before " + g.To.String()
	default:
		return "at any time"
	}
}

func roundBits(bits float64) float64 { return math.Round(bits*100) / 100 }

// leastSure picks the verdict that says least: the one that a range is called by.
func leastSure(answers []Answer) Word {
	order := []attribution.Verdict{attribution.Gap, attribution.Ambiguous, attribution.Boundary, attribution.Masked, attribution.Host, attribution.Exact, attribution.External}
	for _, v := range order {
		for i := range answers {
			if answers[i].Verdict == Word(v) {
				return Word(v)
			}
		}
	}
	return 0
}
