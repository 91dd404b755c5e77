// Package rivals holds lookup rules that other tools are publicly described to use
// against the same traces, beside whichpod: how often each names a pod, and how often
// the wrong one.
//
// In: simulated clusters. Each rule sees the watch journal that whichpod sees, and the
// rows of the flow log when they can be read. Out: a [Score] a rule and run. The rules
// are restated from descriptions, in a few lines each; no code of any tool is here, and
// no tool is judged as a whole.
package rivals

import "net/netip"

// Question is what a rule is asked: who had an address.
type Question struct {
	Address netip.Addr
	Time    int64 // of the row, Unix ms
	Asked   int64 // when the row could be read
}

// Rule is a way to look up an address.
type Rule struct {
	Name string
	Says string // what it does
	Like string // where such a rule is described
	// Pod returns the UID of the pod that the rule names, or "".
	Pod func(s *Seen, q Question) string
}

// Rules are all rules, in the order of reports.
var Rules = []Rule{
	{
		Name: "cluster as it is now", Says: "the live pod that has the address when somebody looks, here at the end of the run",
		Like: "a person with kubectl get pods -o wide; kguardian issue 1447 (identity taken at read time)",
		Pod:  func(s *Seen, q Question) string { return s.snapshot(q.Address, s.End) },
	},
	{
		Name: "snapshots every three minutes", Says: "the running pod that the last list before the row shows",
		Like: "tables of periodic lists, as KubePodInventory of Container Insights",
		Pod:  Snapshots,
	},
	{
		Name: "last writer wins", Says: "of the pods on record when the row arrives, the one whose object was written last",
		Like: "a map from address to pod that each event overwrites; flowlogs-pipeline issue 1335 (two live owners)",
		Pod:  lastWriter,
	},
	{
		Name: "first match", Says: "of the pods on record when the row arrives, the one that came first",
		Like: "a list that is searched for the address; antrea issue 8030 (a finished pod keeps its address)",
		Pod:  firstMatch,
	},
	{
		Name: "five minutes after delete", Says: "pods stay for five minutes after their deletion; a sole candidate is taken whatever the time, of several the one that lived then",
		Like: "Antrea's store of pods by address and time, antrea issue 8043",
		Pod:  fiveMinutes,
	},
	{
		Name: "plain as-of", Says: "the pod that had shown the address last before the row's own time, and was not seen to end",
		Like: "an as-of join of rows and pod events, as one writes it in SQL",
		Pod:  asOf,
	},
}

const (
	snapshotEvery = 3 * 60_000
	keptFor       = 5 * 60_000
)

// Snapshots is the rule of the list that was made last before the row.
func Snapshots(s *Seen, q Question) string {
	if q.Time < s.Start {
		return ""
	}
	return s.snapshot(q.Address, q.Time-(q.Time-s.Start)%snapshotEvery)
}

func lastWriter(s *Seen, q Question) (uid string) {
	last := int64(-1)
	for i := range s.at(q.Address) {
		stay := &s.stays[q.Address][i]
		if w := stay.written(q.Asked); stay.kept(q.Asked, 0) && w >= last {
			uid, last = stay.UID, w
		}
	}
	return uid
}

func firstMatch(s *Seen, q Question) string {
	for _, stay := range s.at(q.Address) {
		if stay.kept(q.Asked, 0) {
			return stay.UID
		}
	}
	return ""
}

func fiveMinutes(s *Seen, q Question) string {
	var kept []Stay
	for _, stay := range s.at(q.Address) {
		if stay.kept(q.Asked, keptFor) {
			kept = append(kept, stay)
		}
	}
	if len(kept) == 1 {
		return kept[0].UID
	}
	for _, stay := range kept {
		if stay.Created <= q.Time && q.Time < stay.Gone {
			return stay.UID
		}
	}
	return ""
}

func asOf(s *Seen, q Question) string { return s.snapshot(q.Address, q.Time) }
