package attribution

import (
	"math"
	"net/netip"
	"sync/atomic"
)

// Verdict says how sure an attribution is. The words are part of the command line's
// contract. The zero value is no verdict.
type Verdict uint8

const (
	// Exact promises one pod: under what the ledger knows, no other pod can have sent it.
	Exact Verdict = iota + 1
	// Boundary: the address changed hands around then; the candidates are those on each side.
	Boundary
	// Ambiguous: several pods are recorded as holding the address at once.
	Ambiguous
	// Masked: a node's address where that node masquerades; any pod on it, or the node itself.
	Masked
	// Host: a node's address otherwise; its host-network pods, or the node itself.
	Host
	// External: no cluster's address.
	External
	// Gap: a cluster's address at a time when nobody watched, or when nobody is
	// recorded with it.
	Gap
)

var verdictWords = [...]string{Exact: "exact", Boundary: "boundary", Ambiguous: "ambiguous", Masked: "masked", Host: "host", External: "external", Gap: "gap"}

// Verdicts lists all of them, in the order of their definition.
func Verdicts() []Verdict {
	return []Verdict{Exact, Boundary, Ambiguous, Masked, Host, External, Gap}
}

func (v Verdict) String() string {
	if int(v) < len(verdictWords) && v != 0 {
		return verdictWords[v]
	}
	return "none"
}

// MarshalText writes the contract's word.
func (v Verdict) MarshalText() ([]byte, error) { return []byte(v.String()), nil }

// Open is the end of an interval that has not ended as far as the ledger knows.
const Open = int64(math.MaxInt64)

// Candidate is somebody who may have held an address: a pod, or (Node true) the
// node itself with its own processes.
type Candidate struct {
	Cluster     string
	Namespace   string
	Name        string
	UID         string // empty for the node itself
	Owner       string // kind/name of the controller; empty where there is none
	Labels      []string
	Node        string
	NodeUID     string     // of the node itself, where its object is on record
	Address     netip.Addr // the pod's own address, which need not be the one asked about
	IsNode      bool
	HostNetwork bool

	// The brackets, Unix milliseconds, not widened. FromEarliest 0 is unknown.
	FromEarliest, FromLatest, ToEarliest, ToLatest int64
	// Lingers: the pod's object went without the kubelet's word that it stopped (it
	// was deleted by force, or vanished while nobody watched). It may go on sending.
	Lingers bool
	Sources Sources
	// Recorded is, where the end is open, until when the pod is known to have had the
	// address; 0 is unknown.
	Recorded int64
	// Disputes are the contradictions in what is recorded of the pod that concern the
	// address. Shared: MUST NOT be changed.
	Disputes []Dispute
	// Ledger is, where Sources is NAT, where what the ledger knows of the pod comes from.
	Ledger Sources
}

// Known is where what the ledger knows of it comes from.
func (c *Candidate) Known() Sources {
	if c.Ledger != 0 {
		return c.Ledger | c.Sources&^(1<<NAT)
	}
	return c.Sources
}

// Resolution is what can be said about one end of a flow. It and its candidates are
// shared, with other resolutions too, and MUST NOT be changed.
type Resolution struct {
	Verdict Verdict
	hint    atomic.Uint32 // see Hint
	// received is the resolution where the address only received, if another: who
	// sends has an address, but traffic to one that is nobody's is logged too. answered
	// is the one where it sent something back.
	received, answered *Resolution

	Candidates []*Candidate // for Exact that one; for External none; for a Gap those known, perhaps not all; in order of FromEarliest, then UID
	// Before and After are, for a Gap, who is known to have held the address last
	// before and first after it.
	Before, After *Candidate
	Notes         []string // what an answer should warn of

	// contradicted is the resolution where a row's interface speaks against it, made
	// when first needed.
	contradicted atomic.Pointer[Resolution]
	was          *Resolution // what it was before an interface spoke against it; nil where none did
	// translated is the resolution where NAT evidence names its pod, or speaks against
	// it, made when first needed.
	translated atomic.Pointer[Resolution]
}

// Hint is what was last remarked with SetHint, or 0: a note that whoever lists resolutions
// makes of where in the list this one is, and finds faster than in a map. Others may list
// it, too, so it is nothing to rely on.
func (r *Resolution) Hint() uint32 { return r.hint.Load() }

// SetHint makes the note.
func (r *Resolution) SetHint(place uint32) { r.hint.Store(place) }

// contradict weakens an exact resolution.
func (r *Resolution) contradict() *Resolution {
	if c := r.contradicted.Load(); c != nil {
		return c
	}
	c := &Resolution{Verdict: Boundary, Candidates: r.Candidates, Notes: append([]string{noteNIC}, r.Notes...), was: r}
	r.contradicted.CompareAndSwap(nil, c)
	return r.contradicted.Load()
}

// at is the resolution for an end.
func (r *Resolution) at(as end) *Resolution {
	switch {
	case as == called && r.received != nil:
		return r.received
	case as == answerer && r.answered != nil:
		return r.answered
	default:
		return r
	}
}

// Pod is the one pod of an Exact resolution, else nil.
func (r *Resolution) Pod() *Candidate {
	if r.Verdict != Exact {
		return nil
	}
	return r.Candidates[0]
}

// Bits is how much is unknown: log2 of the number of candidates; 0 where there are none.
func (r *Resolution) Bits() float64 {
	if len(r.Candidates) == 0 {
		return 0
	}
	return math.Log2(float64(len(r.Candidates)))
}

// Has says whether the pod is among the candidates.
func (r *Resolution) Has(uid string) bool {
	for i := range r.Candidates {
		if r.Candidates[i].UID == uid {
			return true
		}
	}
	return false
}

// Source is where a fact about a pod comes from.
type Source uint8

// Sources is a set of them.
type Sources uint8

const (
	Watch Source = iota
	List
	Audit
	Inventory
	numSources // of facts

	NAT = numSources // what a node's kernel translated: it stands in no fact
)

var sourceWords = [...]string{"watch", "list", "audit", "inventory", "nat"}

func (s Source) String() string { return sourceWords[s] }

// String joins the names with a plus sign: "watch+audit".
func (s Sources) String() string {
	out := ""
	for i := Source(0); i <= NAT; i++ {
		if s&(1<<i) == 0 {
			continue
		}
		if out != "" {
			out += "+"
		}
		out += i.String()
	}
	return out
}
