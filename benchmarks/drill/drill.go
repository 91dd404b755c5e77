// Package drill measures on a live cluster how long it takes until a flow's pod is
// named, and whether the name is right.
//
// In: how to let a canary send its flow, how to ask what "who" asks, and, where it may
// be listed, the place where flow logs are published. Out: what became of it and the
// times in between, each with the clock that told it. What is measured is what the
// user runs: the drill fetches nothing and indexes nothing by itself.
//
// The truth is the UID that the API server gave the canary. Its flow is known again by
// the source port that the canary was given, which says nothing about the pod: so an
// answer is held against something that it can not have been derived from.
package drill

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/whichpod/whichpod/attribution"
	"github.com/whichpod/whichpod/attribution/podwatch/canary"
	"github.com/whichpod/whichpod/ingest"
	"github.com/whichpod/whichpod/query"
)

// Outcome is what became of a drill.
type Outcome string

const (
	Named   Outcome = "named"   // exact, and the canary
	Wrong   Outcome = "wrong"   // another pod was named, or the canary was ruled out
	Unknown Outcome = "unknown" // the row is there, and the answer is no exact one
	Late    Outcome = "late"    // no row of the flow within Timeout
	Failed  Outcome = "failed"  // the drill itself could not be done
)

// Outcomes are all there are.
func Outcomes() []Outcome { return []Outcome{Named, Wrong, Unknown, Late, Failed} }

// Config is how a drill is done.
type Config struct {
	To   netip.AddrPort
	Send func(context.Context) (*canary.Sent, error)
	// Ask answers a question as "who" does, from what is on disk now.
	Ask func(context.Context, query.Question) (*query.Answer, error)
	// List calls fn with each blob as it is published now; nil: that is not looked at.
	List func(ctx context.Context, hours ingest.Hours, fn func(ingest.Blob) error) error

	// Timeout bounds all of it, Settle how long a row may be there without an exact
	// answer: a watch proves a moment later that nobody else had the address, and NAT
	// evidence comes a batch at a time. Every is how often it is looked.
	Timeout, Settle, Every time.Duration
}

// DefaultConfig is for Azure: Microsoft says that flow logs are published "every few
// minutes", and agents ship once a minute.
func DefaultConfig() Config {
	return Config{Timeout: 15 * time.Minute, Settle: 2 * time.Minute, Every: 5 * time.Second}
}

// slack is how far apart the clocks of the drill and of the logs' hosts may be for a
// row to be found.
const slack = time.Minute

// Run does the drill. A canary that could not be run is an error, and so is an index or
// a ledger that could not be read until the end; then there is no result.
func Run(parent context.Context, cfg Config) (*Result, error) {
	ctx, cancel := context.WithTimeout(parent, cfg.Timeout)
	defer cancel()
	// What can not be asked now is not worth a pod.
	if _, err := cfg.Ask(ctx, query.Question{Of: endpoint(cfg.To), To: endpoint(cfg.To)}); err != nil {
		return nil, err
	}
	sent, err := cfg.Send(ctx)
	if err != nil {
		return nil, err
	}
	d := &drill{Config: cfg, sent: sent, result: newResult(cfg, sent), versions: make(versions)}
	for {
		d.look(ctx)
		if d.decided() {
			return d.finish(), nil
		}
		select {
		case <-time.After(cfg.Every):
		case <-ctx.Done():
			if parent.Err() != nil {
				return nil, fmt.Errorf("drill with canary %q: %w", sent.Namespace+"/"+sent.Name, context.Cause(parent))
			}
			if d.broken != nil {
				return nil, d.broken
			}
			d.late()
			return d.finish(), nil
		}
	}
}

// drill is one under way.
type drill struct {
	Config
	sent     *canary.Sent
	result   *Result
	versions versions
	answer   *query.Answer // the last one that rests on the row, or nil
	indexed  time.Time     // when the row was first seen, by our clock
	broken   error         // of the last look
	unlisted error
}

// look lists and asks once.
func (d *drill) look(ctx context.Context) {
	if d.List != nil {
		if err := d.versions.list(ctx, d.List, d.sent.Created.Add(-slack)); err != nil && ctx.Err() == nil {
			d.unlisted = err
		}
	}
	asked := time.Now()
	a, err := d.ask(ctx)
	if ctx.Err() != nil {
		return // what it says is that time is up
	}
	if d.broken = err; err != nil || a == nil {
		return
	}
	d.answer = a
	if d.indexed.IsZero() {
		d.indexed = asked
	}
	d.result.reach(stageIndexed, asked)
	d.result.reach(stageNamed, time.Now())
}

// ask asks who sent the canary's flow: under its own address, else under its node's.
// nil is that no row shows it.
func (d *drill) ask(ctx context.Context) (*query.Answer, error) {
	since := d.sent.Created.Add(-slack).UnixMilli()
	for _, list := range [][]netip.Addr{d.sent.Addresses, d.sent.NodeAddresses} {
		for _, a := range list {
			if a.Is4() != d.To.Addr().Is4() {
				continue
			}
			ans, err := d.Ask(ctx, query.Question{Of: endpoint(netip.AddrPortFrom(a, d.sent.Port)), To: endpoint(d.To), Since: since})
			if err != nil {
				return nil, err
			}
			if ans.Flows.Rows > 0 {
				return ans, nil
			}
		}
	}
	return nil, nil
}

// decided says whether nothing more is to be waited for, and if so what it is.
func (d *drill) decided() bool {
	if d.answer == nil {
		return false
	}
	outcome, why := judge(d.answer, d.sent.UID)
	final := outcome == Named || outcome == Wrong && hasOther(d.answer, d.sent.UID) || time.Since(d.indexed) >= d.Settle
	if final {
		d.result.Outcome, d.result.Reason = outcome, why
	}
	return final
}

// late is what there is to say when time is up.
func (d *drill) late() {
	if d.answer != nil {
		d.result.Outcome, d.result.Reason = judge(d.answer, d.sent.UID)
		return
	}
	d.result.Outcome = Late
	d.result.Reason = fmt.Sprintf("no row of the canary's flow to %s was in the index after %s", d.To, d.Timeout)
	if newest := d.versions.newest(); !newest.IsZero() {
		d.result.Reason += fmt.Sprintf("; the newest blob was published at %s", newest.Format(time.RFC3339))
	} else if d.List != nil && d.unlisted == nil {
		d.result.Reason += "; no blob of that hour was published"
	}
	if d.sent.ExitCode != 0 {
		d.result.Reason += fmt.Sprintf("; the canary's command ended with exit code %d, so it may have sent nothing", d.sent.ExitCode)
	}
}

func (d *drill) finish() *Result {
	d.result.complete(d)
	return d.result
}

// judge holds an answer against the truth. Of an answer over a range each owner counts.
func judge(a *query.Answer, uid string) (Outcome, string) {
	if other := otherPod(a, uid); other != nil {
		return Wrong, fmt.Sprintf("%s (uid %s) was named with the verdict exact; it was the canary, uid %s", other.Label(), other.UID, uid)
	}
	switch v := attribution.Verdict(a.Verdict); v {
	case attribution.Exact:
		if n, all := named(a); !all {
			return Unknown, fmt.Sprintf("exact, but not for all %d owners of the flow's rows", n)
		}
		return Named, ""
	case attribution.External:
		return Wrong, "the address was called external, nobody's in any cluster; it was the canary's or its node's"
	case attribution.Gap:
		return Unknown, "gap: nobody watched the cluster's pods then, or nobody is recorded with the address"
	default:
		n, has := candidates(a, uid)
		if !has {
			return Wrong, fmt.Sprintf("%s, and the canary is not among the %d candidates", v, n)
		}
		return Unknown, fmt.Sprintf("%s: the canary is one of %d candidates; docs/verdicts.md says what lifts that", v, n)
	}
}

// parts are the answers of the owners, or the one there is.
func parts(a *query.Answer) []query.Answer {
	if len(a.Answers) > 0 {
		return a.Answers
	}
	return []query.Answer{*a}
}

// named counts the owners, and says whether each is a pod.
func named(a *query.Answer) (n int, all bool) {
	list := parts(a)
	return len(list), !slices.ContainsFunc(list, func(p query.Answer) bool { return p.Pod == nil })
}

func hasOther(a *query.Answer, uid string) bool { return otherPod(a, uid) != nil }

// otherPod is a pod that was promised to have sent the flow, and is not the canary.
func otherPod(a *query.Answer, uid string) *query.Pod {
	for _, part := range parts(a) {
		if part.Pod != nil && part.Pod.UID != uid {
			return part.Pod
		}
	}
	return nil
}

// candidates counts them, and says whether the canary is one of each answer's.
func candidates(a *query.Answer, uid string) (n int, all bool) {
	all = true
	for _, part := range parts(a) {
		has := part.Verdict == query.Word(attribution.Gap)
		for i := range part.Candidates {
			has = has || part.Candidates[i].UID == uid
		}
		n, all = max(n, len(part.Candidates)), all && has
	}
	return n, all
}

func endpoint(a netip.AddrPort) query.Endpoint {
	return query.Endpoint{Prefix: netip.PrefixFrom(a.Addr(), a.Addr().BitLen()), Port: a.Port(), HasPort: true}
}

// warnings say what went wrong without ending the drill.
func (d *drill) warnings() []string {
	out := []string{}
	if d.unlisted != nil {
		out = append(out, "not each listing succeeded, so when the row was published may be told late: "+d.unlisted.Error())
	}
	return out
}
