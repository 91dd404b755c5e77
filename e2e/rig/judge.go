//go:build e2e

package rig

import (
	"bytes"
	"encoding/json"
	"math"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/whichpod/whichpod/e2e/process"
)

// Answer is a row as "whichpod export" prints it (docs/cli-json.md), as far as the
// tests hold it against the truth.
type Answer struct {
	Time      time.Time  `json:"time"`
	NIC       string     `json:"nic"`
	Direction string     `json:"direction"`
	State     string     `json:"state"`
	SrcIP     netip.Addr `json:"src_ip"`
	SrcPort   uint16     `json:"src_port"`
	DstIP     netip.Addr `json:"dst_ip"`
	DstPort   uint16     `json:"dst_port"`
	Protocol  uint8      `json:"protocol"`

	SrcVerdict    string   `json:"src_verdict"`
	SrcPodUID     string   `json:"src_pod_uid"`
	SrcCandidates []string `json:"src_candidates"`
	SrcSource     string   `json:"src_source"`
	DstVerdict    string   `json:"dst_verdict"`
	DstPodUID     string   `json:"dst_pod_uid"`
	DstCandidates []string `json:"dst_candidates"`
}

// Judged is a row with its answer and its truth.
type Judged struct {
	Row
	Answer
	Ends
}

// Judge exports all rows of a data folder and puts each beside the row that was
// written and beside the truth. Rows of flows without truth are left out. It fails
// where a row is missing or was never written.
func Judge(t testing.TB, data, config string, rows []Row, truth Truth) []Judged {
	t.Helper()
	type key struct {
		nic, direction, state string
		time                  int64
		protocol              uint8
		from, to              netip.AddrPort
	}
	written := make(map[key]Row, len(rows))
	for _, r := range rows {
		written[key{r.Node.MAC, r.Direction, r.State, r.Time, r.Flow.Protocol, r.Flow.From, r.Flow.To}] = r
	}
	out := Whichpod(t, data, []string{"export", "--format", "jsonl", "--config", config})
	var judged []Judged
	n := 0
	for line := range bytes.Lines(out) {
		var a Answer
		process.Must(t, json.Unmarshal(line, &a))
		k := key{a.NIC, a.Direction, a.State, a.Time.UnixMilli(), a.Protocol, netip.AddrPortFrom(a.SrcIP, a.SrcPort), netip.AddrPortFrom(a.DstIP, a.DstPort)}
		row, ok := written[k]
		if !ok {
			t.Fatalf("this row was never logged: %s", line)
		}
		n++
		if ends, ok := truth[row.Flow]; ok {
			judged = append(judged, Judged{row, a, ends})
		}
	}
	if n != len(rows) {
		t.Fatalf("%d rows were exported, of %d that were logged", n, len(rows))
	}
	return judged
}

// Tally counts answers.
type Tally struct {
	Rows     int
	Verdicts map[string]int // of the source
	Named    int            // the sender is the pod, or among the candidates
	Lifted   int            // exact by NAT evidence
	bits     float64        // of the masked rows, all together
	Wrong    []Judged       // exact, at either end, and it was somebody else
	Lost     []Judged       // candidates without the sender
}

// Count counts the answers of those rows that are chosen.
func Count(all []Judged, chosen func(*Judged) bool) Tally {
	var tally Tally
	for i := range all {
		if chosen(&all[i]) {
			tally.Add(&all[i])
		}
	}
	return tally
}

// Add counts an answer.
func (t *Tally) Add(j *Judged) {
	if t.Verdicts == nil {
		t.Verdicts = make(map[string]int)
	}
	t.Rows++
	t.Verdicts[j.SrcVerdict]++
	if j.named() {
		t.Named++
	}
	if j.SrcSource == "nat" {
		t.Lifted++
	}
	if j.SrcVerdict == "masked" {
		t.bits += math.Log2(float64(len(j.SrcCandidates) + 1)) // the pods, or the node itself
	}
	if j.wrong() {
		t.Wrong = append(t.Wrong, *j)
	}
	if j.lost() {
		t.Lost = append(t.Lost, *j)
	}
}

// Bits is how many bits a masked row leaves open on average.
func (t *Tally) Bits() float64 { return t.bits / float64(max(t.Verdicts["masked"], 1)) }

func (j *Judged) wrong() bool {
	return (j.SrcVerdict == "exact" && j.SrcPodUID != j.Sender) || (j.DstVerdict == "exact" && j.DstPodUID != j.Receiver)
}

// lost: whoever is named, the sender is not. A gap promises nothing.
func (j *Judged) lost() bool {
	switch j.SrcVerdict {
	case "exact", "gap":
		return false
	case "external":
		return j.Sender != ""
	default:
		return !j.named()
	}
}

func (j *Judged) named() bool {
	return j.Sender == "" || j.SrcPodUID == j.Sender || slices.Contains(j.SrcCandidates, j.Sender)
}

// Share is the part of the rows that have a verdict.
func (t *Tally) Share(v string) float64 {
	return float64(t.Verdicts[v]) / float64(max(t.Rows, 1))
}

// Report logs the counts, and fails the test where an answer is wrong or the sender is
// not among those that are named.
func (t *Tally) Report(tb testing.TB, what string) {
	tb.Helper()
	tb.Logf("%s: %d rows, %v; the sender is named in %d", what, t.Rows, t.Verdicts, t.Named)
	for problem, list := range map[string][]Judged{"exact and wrong": t.Wrong, "the sender is not among the candidates": t.Lost} {
		for _, j := range list[:min(5, len(list))] {
			tb.Errorf("%s, %s: %+v; it was %+v", what, problem, j.Answer, j.Ends)
		}
		if len(list) > 5 {
			tb.Errorf("%s, %s: %d rows", what, problem, len(list))
		}
	}
}
