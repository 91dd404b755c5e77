package drill

import (
	"context"
	"fmt"
	"io"
	"math"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/whichpod/whichpod/attribution/podwatch/canary"
	"github.com/whichpod/whichpod/ingest"
	"github.com/whichpod/whichpod/internal/metrics"
	"github.com/whichpod/whichpod/query"
)

// Result is the document that "drill -o json" prints. Fields may be added, never
// renamed.
type Result struct {
	Outcome Outcome `json:"outcome"`
	Reason  string  `json:"reason"` // a sentence; empty where it was named
	To      string  `json:"to"`
	Canary  Canary  `json:"canary"`
	Stages  []Stage `json:"stages"`
	// Total is from sent to named, whatever the outcome was, in seconds; null where no
	// row was seen.
	Total    *float64      `json:"total_seconds"`
	Answer   *query.Answer `json:"answer"` // the last one, as "who" gives it; null: no row
	Warnings []string      `json:"warnings"`
}

// Canary is the pod that sent, as the API server knew it: the truth.
type Canary struct {
	Namespace     string   `json:"namespace"`
	Name          string   `json:"name"`
	UID           string   `json:"uid"`
	Node          string   `json:"node"`
	Addresses     []string `json:"addresses"`
	NodeAddresses []string `json:"node_addresses"`
	Port          uint16   `json:"port"`
	ExitCode      int      `json:"exit_code"`
}

// Stage is a moment on the way from the flow to the name.
type Stage struct {
	Name    string     `json:"stage"`
	At      query.Time `json:"at"`      // null: not reached, or not measured
	Seconds *float64   `json:"seconds"` // since the stage before it that has a time
	Clock   string     `json:"clock"`   // whose clock told it
	How     string     `json:"how"`     // what was measured, and how finely; a sentence that may change
}

// The stages, in their order.
const (
	stageSent = iota
	stagePublished
	stageFetched
	stageIndexed
	stageNamed
)

func newResult(cfg Config, sent *canary.Sent) *Result {
	r := &Result{To: cfg.To.String(), Warnings: []string{}, Stages: []Stage{
		{Name: "sent", At: query.Time(sent.Started.UnixMilli()), Clock: "the node's", How: "the kubelet's start of the canary's container, in whole seconds"},
		{Name: "published", Clock: "the storage account's", How: "not looked at: --source names the place where the flow logs are"},
		{Name: "fetched", Clock: "", How: "not told apart: ingest shows what it fetched once it is in the index"},
		{Name: "indexed", Clock: "the drill's", How: fmt.Sprintf("the first question that found the row, one every %s", cfg.Every)},
		{Name: "named", Clock: "the drill's", How: fmt.Sprintf("the answer that decided, one every %s", cfg.Every)},
	}}
	r.Canary = Canary{Namespace: sent.Namespace, Name: sent.Name, UID: sent.UID, Node: sent.Node, Addresses: []string{}, NodeAddresses: []string{}, Port: sent.Port, ExitCode: sent.ExitCode}
	for _, a := range sent.Addresses {
		r.Canary.Addresses = append(r.Canary.Addresses, a.String())
	}
	for _, a := range sent.NodeAddresses {
		r.Canary.NodeAddresses = append(r.Canary.NodeAddresses, a.String())
	}
	return r
}

// reach notes when a stage was reached: the first time, or for the name the last.
func (r *Result) reach(stage int, at time.Time) {
	if s := &r.Stages[stage]; s.At == 0 || stage == stageNamed {
		s.At = query.Time(at.UnixMilli())
	}
}

// complete fills in what the row itself tells, and what is between the stages.
func (r *Result) complete(d *drill) {
	r.Answer, r.Warnings = d.answer, d.warnings()
	if d.answer != nil {
		s := &r.Stages[stageSent]
		s.At, s.Clock, s.How = d.answer.Flows.First, "the flow log's host's", "the time of the flow's first row"
		r.published(d)
	}
	if r.Outcome != Named {
		r.Stages[stageNamed].How = "the last answer; it does not name the canary"
	}
	before := query.Time(0)
	for i := range r.Stages {
		s := &r.Stages[i]
		if s.At == 0 {
			continue
		}
		if before != 0 {
			s.Seconds = seconds(s.At - before)
		}
		before = s.At
	}
	if r.Stages[stageNamed].At != 0 {
		r.Total = seconds(r.Stages[stageNamed].At - r.Stages[stageSent].At)
	}
}

func seconds(ms query.Time) *float64 {
	s := math.Round(float64(ms)) / 1000
	return &s
}

// published says when the blob first had the row.
func (r *Result) published(d *drill) {
	if d.List == nil {
		return
	}
	s := &r.Stages[stagePublished]
	s.How = "not known: the row's blob was not listed"
	for _, e := range d.answer.Evidence {
		if e.Kind != "flow" || e.Offset == nil {
			continue
		}
		if at, ok := d.versions.first(e.Blob, *e.Offset); ok {
			s.At = query.Time(at.UnixMilli())
			s.How = fmt.Sprintf("when the first listed version of the blob that has the row was written, in whole seconds; listed every %s", d.Every)
		}
		return
	}
}

// versions are what was listed of each blob, in the order of listing.
type versions map[string][]version

type version struct {
	length   int64
	modified time.Time
}

// list adds the versions that are published now, of the blobs since an hour.
func (v versions) list(ctx context.Context, list func(context.Context, ingest.Hours, func(ingest.Blob) error) error, since time.Time) error {
	return list(ctx, ingest.Hours{First: since.UTC().Truncate(time.Hour)}, func(b ingest.Blob) error {
		seen := v[b.Name]
		if b.Modified.Before(since) || len(seen) > 0 && seen[len(seen)-1] == (version{b.Length, b.Modified}) {
			return nil
		}
		v[b.Name] = append(seen, version{b.Length, b.Modified})
		return nil
	})
}

// first is when the first version was written that reaches past an offset: blobs of
// flow logs only grow.
func (v versions) first(blob string, offset int64) (time.Time, bool) {
	for _, one := range v[blob] {
		if one.length > offset {
			return one.modified, true
		}
	}
	return time.Time{}, false
}

func (v versions) newest() (at time.Time) {
	for _, list := range v {
		for _, one := range list {
			if one.modified.After(at) {
				at = one.modified
			}
		}
	}
	return at
}

// WriteText writes the result for a person.
func (r *Result) WriteText(w io.Writer) error {
	c := &r.Canary
	head := map[Outcome]string{Named: "named right", Wrong: "WRONG ANSWER", Unknown: "not named", Late: "not there in time"}[r.Outcome]
	fmt.Fprintf(w, "drill: %s: canary %s/%s (uid %s) on %s, %s port %d to %s\n", head, c.Namespace, c.Name, c.UID, c.Node, strings.Join(c.Addresses, ", "), c.Port, r.To)
	if r.Reason != "" {
		fmt.Fprintf(w, "  %s\n", r.Reason)
	}
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, s := range r.Stages {
		after := "-"
		if s.Seconds != nil {
			after = fmt.Sprintf("+%.1f s", *s.Seconds)
		}
		clock := s.How
		if s.At.Known() {
			clock = s.Clock + " clock: " + s.How
		}
		fmt.Fprintf(tw, "  %s\t%s\t%s\t%s\n", s.Name, s.At, after, clock)
	}
	if err := tw.Flush(); err != nil {
		return err
	}
	if r.Total != nil {
		fmt.Fprintf(w, "  from sent to the last answer %.1f s, over clocks that may differ\n", *r.Total)
	}
	for _, s := range r.Warnings {
		fmt.Fprintf(w, "  note: %s\n", s)
	}
	return nil
}

// Families are the metrics of a drill that ended at a time; r is nil where it failed.
func Families(r *Result, now time.Time) []metrics.Family {
	family := func(name, help string) metrics.Family {
		return metrics.Family{Name: "whichpod_drill_" + name, Type: metrics.Gauge, Help: help}
	}
	last := family("last_run_timestamp_seconds", "When the last drill ended.")
	last.Add(float64(now.UnixMilli()) / 1000)
	outcome := family("outcome", "1 for what became of the last drill, 0 for what did not.")
	total := family("identify_seconds", "From the flow to the last answer about its pod, in the last drill.")
	stages := family("stage_seconds", "From the stage before to this one, in the last drill.")
	got := Failed
	if r != nil {
		got = r.Outcome
		if r.Total != nil {
			total.Add(*r.Total)
		}
		for _, s := range r.Stages {
			if s.Seconds != nil {
				stages.Add(*s.Seconds, "stage", s.Name)
			}
		}
	}
	for _, o := range Outcomes() {
		value := 0.0
		if o == got {
			value = 1
		}
		outcome.Add(value, "outcome", string(o))
	}
	return []metrics.Family{last, outcome, total, stages}
}
