package claim

import (
	"context"
	"fmt"
	"net/netip"

	"github.com/whichpod/whichpod/attribution"
	"github.com/whichpod/whichpod/flow"
	"github.com/whichpod/whichpod/index"
	"github.com/whichpod/whichpod/query"
)

// Outcome of a claim.
type Outcome string

// The outcomes, as they are printed and exported.
const (
	Holds    Outcome = "holds"
	Violated Outcome = "violated"
	Unproven Outcome = "cannot be proven"
)

// maxRows bounds the rows that a result lists; the counts are always exact.
const maxRows = 100

// Result is what the rows say of a claim.
type Result struct {
	Claim    Claim            `json:"claim"`
	Outcome  Outcome          `json:"outcome"`
	Rows     int64            `json:"rows"`     // to the destination, and not denied
	Proven   int64            `json:"proven"`   // of those, sent by a pod that the claim allows
	Against  int64            `json:"against"`  // sent by one that it does not
	Open     map[string]int64 `json:"open"`     // the others, by verdict
	Excluded int64            `json:"excluded"` // of those, rows of which no candidate is allowed
	Denied   int64            `json:"denied"`   // rows of attempts that were denied; they prove nothing
	Missing  []string         `json:"missing"`  // what of the logs is not there
	Needed   []string         `json:"needed"`   // what would make it provable
	// Violations are the first rows against it.
	Violations []Row `json:"violations"`
}

// Row is a row against a claim.
type Row struct {
	Time      query.Time `json:"time"`
	Source    string     `json:"source"`
	Verdict   query.Word `json:"verdict"`
	Cluster   string     `json:"cluster"`
	Namespace string     `json:"namespace"`
	Pod       string     `json:"pod"`
	PodUID    string     `json:"pod_uid"`
	Blob      string     `json:"blob"`
	Offset    int64      `json:"offset"`
}

// Judge looks at rows and decides a claim.
type Judge struct {
	view   *attribution.View
	result Result
	silent int64 // rows that are a gap since only changes are on record
}

// NewJudge returns a judge that has seen no row. view is what the rows are attributed by.
func NewJudge(c Claim, view *attribution.View) *Judge {
	return &Judge{view: view, result: Result{Claim: c, Open: make(map[string]int64)}}
}

// Write looks at rows of a batch.
func (j *Judge) Write(a query.Attributed, rows []int32) error {
	to := j.result.Claim.To
	for _, row := range rows {
		i := int(row)
		if a.DstPort[i] != to.Port() || a.Addresses[a.Batch.Dst[i]] != to.Addr() {
			continue
		}
		if a.State[i] == flow.Denied {
			j.result.Denied++
			continue
		}
		j.row(a, i)
	}
	return nil
}

func (j *Judge) row(a query.Attributed, i int) {
	j.result.Rows++
	r := a.Joined.Src[i]
	switch {
	case r.Verdict == attribution.Exact && j.allows(r.Pod()):
		j.result.Proven++
	case r.Verdict == attribution.Exact || r.Verdict == attribution.External && j.outside(a, i):
		j.result.Against++
		if len(j.result.Violations) < maxRows {
			j.result.Violations = append(j.result.Violations, violation(a, i, r))
		}
	default:
		j.result.Open[r.Verdict.String()]++
		if r.Silent() {
			j.silent++
		}
		if !j.anyAllowed(r) {
			j.result.Excluded++
		}
	}
}

// outside says whether a source that is no cluster's address, as far as is known, is
// certainly none since the flow can have begun.
func (j *Judge) outside(a query.Attributed, i int) bool {
	at := int64(a.Time[i])
	return j.view.Foreign(a.Addresses[a.Batch.Src[i]], min(at, a.Begins[i].From), at)
}

func violation(a query.Attributed, i int, r *attribution.Resolution) Row {
	row := a.Row(i)
	out := Row{Time: query.Time(row.Time), Source: fmt.Sprintf("%s port %d", row.Src, row.SrcPort), Verdict: query.Word(r.Verdict), Blob: row.Blob, Offset: row.Offset}
	if p := r.Pod(); p != nil {
		out.Cluster, out.Namespace, out.Pod, out.PodUID = p.Cluster, p.Namespace, p.Name, p.UID
	}
	return out
}

func (j *Judge) anyAllowed(r *attribution.Resolution) bool {
	for i := range r.Candidates {
		if c := r.Candidates[i]; !c.IsNode && j.allows(c) {
			return true
		}
	}
	return r.Verdict == attribution.Gap || r.Verdict == attribution.External // those known are perhaps not all
}

// allows says whether the claim's selector chooses a pod.
func (j *Judge) allows(c *attribution.Candidate) bool {
	for _, t := range j.result.Claim.Only {
		got, has := property(c, t.Key)
		if (has && got == t.Value) == t.Not {
			return false
		}
	}
	return true
}

// Result decides. missing says what of the logs is known not to be there: a claim about
// all traffic does not hold on a part of it.
func (j *Judge) Result(missing []string) Result {
	r := j.result
	r.Missing = append([]string{}, missing...)
	r.Needed = r.needs(j.silent)
	if r.Violations == nil {
		r.Violations = []Row{}
	}
	switch {
	case r.Against > 0:
		r.Outcome = Violated
	case r.Rows == 0 || r.Proven < r.Rows || len(r.Missing) > 0:
		r.Outcome = Unproven
	default:
		r.Outcome = Holds
	}
	return r
}

var remedies = []struct {
	verdict attribution.Verdict
	remedy  string
}{
	{attribution.Masked, "NAT evidence of the nodes for that time (\"whichpod agent\" on each), or a network mode that does not hide pods behind node addresses towards this destination"},
	{attribution.Host, "the pods in question off the host's network: processes of a node share its address"},
	{attribution.Gap, "a watch without a break, or audit logs of that time: \"whichpod import pods --format kube-audit\""},
	{attribution.External, "a watch without a break: the sources are private addresses of which no cluster's record tells, while not all was watched"},
	{attribution.Boundary, "the begin of each flow in the logs, and a watch close to when the address changed hands; audit logs narrow it"},
	{attribution.Ambiguous, "sources that agree on who had the address: \"whichpod owners ADDR\" names what contradicts"},
}

// needs says what would close what is open. silent counts those of the gap rows for which
// audit logs are there, and do not suffice.
func (r *Result) needs(silent int64) []string {
	out := []string{}
	for _, m := range remedies {
		n := r.Open[m.verdict.String()]
		if m.verdict == attribution.Gap {
			n -= silent
			if silent > 0 {
				out = append(out, fmt.Sprintf("for %d gap rows: a watch of all pods then; what is there, as audit logs, tells of changes only, and not of pods that were there before and did not change", silent))
			}
		}
		if n > 0 {
			out = append(out, fmt.Sprintf("for %d %s rows: %s", n, m.verdict, m.remedy))
		}
	}
	if r.Rows == 0 {
		out = append(out, "rows: no row shows traffic to the destination, and nothing shows that such rows would have been logged")
	}
	if len(r.Missing) > 0 {
		out = append(out, "the logs that are or may be missing, of each interface: \"whichpod ingest\" them; of an interface that is gone, a watch of its node's deletion")
	}
	return out
}

// Decide asks an engine about one claim over [since, until); 0 is open.
func Decide(ctx context.Context, e *query.Engine, c Claim, since, until int64, missing []string) (Result, error) {
	j := NewJudge(c, e.View())
	to := c.To.Addr()
	f := index.Filter{To: until, Dst: []netip.Prefix{netip.PrefixFrom(to, to.BitLen())}, DstPort: int(c.To.Port())}
	var rows []int32
	err := e.Each(ctx, f, func(a query.Attributed) error {
		rows = a.Within(since, until, rows)
		return j.Write(a, rows)
	})
	if err != nil {
		return Result{}, fmt.Errorf("decide %s: %w", &c, err)
	}
	return j.Result(missing), nil
}
