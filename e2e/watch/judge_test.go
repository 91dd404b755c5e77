//go:build e2e

package watch_test

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"os/exec"
	"slices"
	"testing"

	"github.com/whichpod/whichpod/attribution"
	"github.com/whichpod/whichpod/e2e/process"
	"github.com/whichpod/whichpod/flow"
)

// judge holds the ledger against the truth.
type judge struct {
	truth   *truth
	cluster *cluster
	watcher *watcher
	trouble *trouble
	began   int64
	atLeast int // so many pods exist

	ledger *attribution.Ledger
	view   *attribution.View
	holes  []attribution.Range // not watched, by the ledger's own word
	unseen int                 // pods that the ledger knows nothing of
}

func (j *judge) judge(t *testing.T) {
	j.ledger = j.watcher.ledger(t)
	if d := j.ledger.Damage(); len(d) > 0 {
		t.Errorf("the journal is damaged: %v", d)
	}
	cfg := attribution.DefaultConfig()
	cfg.Clusters = []attribution.Cluster{{Name: clusterName, PodCIDRs: []netip.Prefix{netip.MustParsePrefix("10.128.0.0/9")}}}
	j.view = j.ledger.View(cfg)
	j.coverage(t)
	if diff := j.existing(t); diff != "" {
		t.Error(diff)
	}
	j.pods(t)
	j.strangers(t)
	j.answers(t)
	j.command(t)
}

// coverage: nothing is missing but where history was forgotten.
func (j *judge) coverage(t *testing.T) {
	// A list that nothing was seen after is no stretch: it took a while to come.
	list := slices.DeleteFunc(watched(j.ledger), func(r attribution.Range) bool { return r.From == r.To })
	if len(list) == 0 {
		t.Fatal("the ledger says that nothing was watched")
	}
	var sum int64
	j.holes = []attribution.Range{{From: 0, To: list[0].From}}
	for i, r := range list {
		sum += r.To - r.From
		if i == 0 {
			continue
		}
		hole := attribution.Range{From: list[i-1].To, To: r.From}
		j.holes = append(j.holes, hole)
		if !slices.ContainsFunc(j.trouble.gone, func(f forgotten) bool { return f.from <= hole.To && hole.From <= f.to && hole.To <= f.to }) {
			t.Errorf("unwatched from %d to %d, and no history was forgotten then: %v", hole.From, hole.To, j.trouble.gone)
		}
	}
	j.holes = append(j.holes, attribution.Range{From: list[len(list)-1].To, To: attribution.Open})
	for _, f := range j.trouble.gone {
		if f.surely && !slices.ContainsFunc(j.holes, func(r attribution.Range) bool { return r.From <= f.from && f.from < r.To }) {
			t.Errorf("what happened from %d to %d was forgotten, and the ledger does not say so: %v", f.from, f.to, list)
		}
	}
	total := now() - j.began
	if sum < total/3 {
		t.Errorf("watched for %d of %d ms: too little to show anything", sum, total)
	}
	t.Logf("watched for %d of %d ms, with %d holes", sum, total, len(j.holes)-2)
}

// unwatched says whether a time lies within one hole.
func (j *judge) unwatched(from, to int64) bool {
	return slices.ContainsFunc(j.holes, func(r attribution.Range) bool { return r.From <= from && to <= r.To })
}

// existing compares the pods that exist, for the ledger and for the API server.
func (j *judge) existing(t *testing.T) string {
	t.Helper()
	there, err := j.cluster.podUIDs(context.Background())
	process.Must(t, err)
	if len(there) < j.atLeast {
		return "the API server has hardly any pods: nothing is shown by that"
	}
	extra, n := 0, 0
	j.watcher.ledger(t).Existing(clusterName, func(uid string, _ uint64, _ int64) {
		n++
		if !there[uid] {
			extra++
		}
	})
	if extra > 0 || n != len(there) {
		return "the ledger takes pods as existing that the API server does not have, or lacks some"
	}
	return ""
}

// pods: each pod is on record with brackets that hold the truth, or nobody watched
// while it was there.
func (j *judge) pods(t *testing.T) {
	wrong := 0
	recorded := make(map[string][]attribution.Candidate)
	for _, c := range j.view.Pods(attribution.PodRef{Cluster: clusterName}) {
		recorded[c.UID] = append(recorded[c.UID], c)
	}
	for _, p := range j.truth.pods {
		stays := recorded[p.uid]
		if len(stays) == 0 {
			j.unseen++
			if p.removed == (window{}) || !j.unwatched(p.created.to, p.removed.from) {
				t.Errorf("pod %v is not on record", p)
				wrong++
			}
			continue
		}
		if c := stays[0]; c.Namespace != p.namespace || c.Name != p.name || c.Node != p.node {
			t.Errorf("pod %v is on record as %+v", p, c)
		}
		for i := range p.holds {
			if problem := j.hold(&p.holds[i], stays); problem != "" {
				t.Errorf("%s: pod %v, on record as %+v", problem, p, stays)
				wrong++
			}
		}
		if wrong > 10 {
			t.Error("and so on")
			break
		}
	}
	if j.unseen == 0 {
		t.Error("no pod lived and died unseen: the test did not forget anything")
	}
	t.Logf("%d pods lived and died unseen", j.unseen)
}

// hold says what is wrong with a hold on record.
func (j *judge) hold(h *hold, stays []attribution.Candidate) string {
	i := slices.IndexFunc(stays, func(c attribution.Candidate) bool { return c.Address == h.address })
	if i < 0 {
		if h.shown == (window{}) || (h.hidden != (window{}) && (h.hidden.from <= h.shown.to || j.unwatched(h.shown.to, h.hidden.from))) {
			return ""
		}
		return "address " + h.address.String() + " is not on record"
	}
	c, to, until := &stays[i], h.to, h.until
	if to == 0 {
		to, until = attribution.Open, attribution.Open
	}
	if c.FromEarliest > h.from || h.from > c.FromLatest {
		return "the brackets do not hold the begin"
	}
	if c.ToEarliest > to || until > c.ToLatest {
		return "the brackets do not hold the end"
	}
	return ""
}

// strangers: nobody is on record at an address who did not have it.
func (j *judge) strangers(t *testing.T) {
	had := make(map[netip.Addr]map[string]bool)
	for _, p := range j.truth.pods {
		for _, h := range p.holds {
			if had[h.address] == nil {
				had[h.address] = make(map[string]bool)
			}
			had[h.address][p.uid] = true
		}
	}
	for a, uids := range had {
		for _, c := range j.view.Owners(a) {
			if !uids[c.UID] {
				t.Errorf("%s: %+v never had it", a, c)
			}
		}
	}
}

// answers: whatever is asked about a moment at which a pod had an address, exact is
// said of that pod only, and it is among the candidates where there are any; and exact
// is said where it can be.
func (j *judge) answers(t *testing.T) {
	r := rand.New(rand.NewPCG(seed, 1))
	a := &answers{judge: j, t: t, verdicts: make(map[attribution.Verdict]int), inside: make(map[string]int)}
	end := now()
	for _, p := range j.truth.pods {
		for _, h := range p.holds {
			if h.to == 0 {
				h.to = end
			}
			for _, at := range []int64{h.from + 1, h.to - 1, h.from + r.Int64N(max(h.to-h.from, 1)), h.from + r.Int64N(max(h.to-h.from, 1))} {
				if h.from < at && at < h.to && j.truth.asked(h.address, at) {
					a.ask(p, &h, at, r.IntN(2) == 0)
				}
			}
		}
	}
	a.report()
	for _, p := range j.truth.pods { // behind a node's address anybody can be
		if got := j.view.Resolve(attribution.Question{Address: p.nodeAddress, Begin: flow.Span{From: p.created.to, To: p.created.to}, Sent: true}); got.Verdict == attribution.Exact {
			t.Fatalf("the address %s of node %s is said to be one pod: %+v", p.nodeAddress, p.node, got.Candidates)
		}
	}
}

// answers counts what is said.
type answers struct {
	*judge
	t        *testing.T
	asked    int
	wrong    int
	verdicts map[attribution.Verdict]int
	inside   map[string]int // well within a stay and a watch, by what is said
	named    int            // of those
}

// wellWithin is how far from both ends of a stay a question is well within it, in
// milliseconds: two clocks' tolerance, and the resolution of times in objects.
const wellWithin = 3000

func (a *answers) ask(p *truePod, h *hold, at int64, sent bool) {
	got := a.view.Resolve(attribution.Question{Address: h.address, Begin: flow.Span{From: at, To: at}, Sent: sent})
	a.asked++
	a.verdicts[got.Verdict]++
	if h.from+wellWithin < at && at < h.to-wellWithin && !a.unwatched(at, at) {
		if got.Verdict == attribution.Exact {
			a.named++
		}
		a.inside[fmt.Sprintf("%-6s %v %q", p.end, got.Verdict, got.Notes)]++
	}
	said := ""
	switch pod := got.Pod(); {
	case pod != nil && pod.UID != p.uid:
		said = "exact, and another"
	case got.Verdict == attribution.External:
		said = "nobody of the cluster"
	case len(got.Candidates) > 0 && got.Verdict != attribution.Gap && !got.Has(p.uid):
		said = "not among the candidates"
	default:
		return
	}
	if a.wrong++; a.wrong <= 10 {
		a.t.Errorf("%s at %d (sent: %v) is said to be %s: %v %+v, and is %v", h.address, at, sent, said, got.Verdict, got.Candidates, p)
	}
}

func (a *answers) report() {
	if a.wrong > 0 {
		a.t.Errorf("%d of %d answers are wrong", a.wrong, a.asked)
	}
	sum := 0
	for _, why := range slices.Sorted(maps.Keys(a.inside)) {
		a.t.Logf("%7d %s", a.inside[why], why)
		sum += a.inside[why]
	}
	if a.asked < len(a.truth.pods) || a.named < sum/2 {
		a.t.Errorf("of %d questions, %d are well within a stay and a watch, and %d of those exact: too few to show anything", a.asked, sum, a.named)
	}
	a.t.Logf("%d questions: %v; of %d well within a stay and a watch %d are exact; %d stretches not asked about", a.asked, a.verdicts, sum, a.named, len(a.truth.late))
}

// command: the program says the same, of the address that most pods had.
func (j *judge) command(t *testing.T) {
	most, addresses := 0, handed(j.truth.pods)
	for _, holds := range addresses {
		most = max(most, len(holds))
	}
	for a, holds := range addresses {
		if len(holds) < most {
			continue
		}
		out, err := exec.Command(j.watcher.binary, "owners", a.String(), "-o", "json", "--data", j.watcher.data).Output()
		if err != nil {
			t.Errorf("whichpod owners %s: %v", a, err)
		}
		for _, c := range j.view.Owners(a) {
			if !bytes.Contains(out, []byte(c.UID)) {
				t.Errorf("whichpod owners %s does not name %s: %s", a, c.UID, out)
			}
		}
		return
	}
}
