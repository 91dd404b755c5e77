package bundle

import (
	"context"
	"errors"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/whichpod/whichpod/attribution"
	"github.com/whichpod/whichpod/attribution/nat"
	"github.com/whichpod/whichpod/benchmarks/sim"
	"github.com/whichpod/whichpod/evidence/claim"
	"github.com/whichpod/whichpod/query"
)

// On a kubenet cluster, whose nodes hide their pods, no claim about a destination
// outside can be proven, and it says why. With NAT evidence the claims that are true
// hold, and of those that are not, exactly the rows are found that the truth has
// against them. Whatever is known, no false claim ever holds.
func TestClaimsAgainstTheTruth(t *testing.T) {
	t.Parallel()
	for _, withNAT := range []bool{false, true} {
		cfg := smallCluster()
		cfg.Duration = 30 * time.Minute
		cfg.Traffic.FlowsPerSecond = 0.03
		cfg.Traffic.Mix = sim.Mix{Internet: 1}
		l := newLab(t, cfg, withNAT)
		ledger, err := attribution.OpenLedger(filepath.Join(l.data, "ledger"), attribution.Options{ReadOnly: true})
		must(t, err)
		store, err := nat.Open(filepath.Join(l.data, "nat"), nat.Options{ReadOnly: true})
		must(t, err)
		engine := query.New(l.store, ledger.View(l.config).WithNAT(store))
		tally := make(map[claim.Outcome]int)
		for at, sent := range l.masked() {
			for _, c := range claimsAbout(t, at.to, sent) {
				r, err := claim.Decide(context.Background(), engine, c.Claim, l.minute(at.minute), l.minute(at.minute+1), nil)
				must(t, err)
				tally[r.Outcome]++
				c.judge(t, &r, withNAT)
			}
		}
		must(t, errors.Join(store.Close(), ledger.Close()))
		t.Logf("NAT evidence %v: %v", withNAT, tally)
		if withNAT && (tally[claim.Holds] < 5 || tally[claim.Violated] < 5) || !withNAT && (tally[claim.Unproven] < 10 || len(tally) != 1) {
			t.Errorf("NAT evidence %v: the run shows nothing: %v", withNAT, tally)
		}
	}
}

// sending is a row to a destination, and who sent it.
type sending struct {
	place rowPlace
	pod   *sim.Pod
}

// arrival is a destination in a minute of the run.
type arrival struct {
	to     netip.AddrPort
	minute int
}

// masked is what was sent, and not denied, to destinations outside in those minutes in
// which they saw nothing but pods behind nodes' addresses.
func (l *lab) masked() map[arrival][]sending {
	out := make(map[arrival][]sending)
	shown := make(map[arrival]bool)
	for tr := range l.world.Truth() {
		at := arrival{netip.AddrPortFrom(tr.Dst, tr.DstPort), int((tr.Time - l.minute(0)) / 60_000)}
		switch {
		case tr.State == 'D' || tr.Time < l.minute(0):
		case tr.Class == sim.ToInternet && tr.Masked && tr.SrcPod != nil:
			out[at] = append(out[at], sending{rowPlace{tr.Blob, tr.Offset}, tr.SrcPod})
		default:
			shown[at] = true
		}
	}
	for at := range shown {
		delete(out, at)
	}
	return out
}

// judged is a claim with the rows that are truly against it.
type judged struct {
	claim.Claim
	against map[rowPlace]bool
	rows    int64
}

// claimsAbout are two claims: that nobody but those who did reached a destination, said
// by excluding a pod that is nowhere, and that one of them did not.
func claimsAbout(t *testing.T, to netip.AddrPort, sent []sending) []judged {
	t.Helper()
	nobody, err1 := claim.ParseSelector("uid!=nobody,namespace!=nowhere")
	planted, err2 := claim.ParseSelector("uid!=" + sent[0].pod.UID)
	must(t, errors.Join(err1, err2))
	all := judged{claim.Claim{To: to, Only: nobody}, map[rowPlace]bool{}, int64(len(sent))}
	but := judged{claim.Claim{To: to, Only: planted}, map[rowPlace]bool{}, int64(len(sent))}
	for _, s := range sent {
		if s.pod == sent[0].pod {
			but.against[s.place] = true
		}
	}
	return []judged{all, but}
}

func (j *judged) judge(t *testing.T, r *claim.Result, withNAT bool) {
	t.Helper()
	if r.Rows != j.rows {
		t.Errorf("%s: %d rows, want %d", &j.Claim, r.Rows, j.rows)
	}
	found := 0
	for _, v := range r.Violations {
		if !j.against[rowPlace{v.Blob, v.Offset}] {
			t.Errorf("%s: %+v is not against it", &j.Claim, v)
		}
		found++
	}
	switch {
	case r.Outcome == claim.Holds && len(j.against) > 0:
		t.Errorf("%s holds, and is false", &j.Claim)
	case r.Outcome == claim.Unproven && (len(r.Needed) == 0 || r.Open["masked"] > 0 && !strings.Contains(r.Needed[0], "NAT evidence")):
		t.Errorf("%s: needed is %q", &j.Claim, r.Needed)
	case withNAT && r.Proven+r.Against == r.Rows && found != min(len(j.against), 100):
		t.Errorf("%s: %d rows against it, want %d", &j.Claim, found, len(j.against))
	}
}
