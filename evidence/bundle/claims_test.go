package bundle

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/whichpod/whichpod/attribution"
	"github.com/whichpod/whichpod/attribution/nat"
	"github.com/whichpod/whichpod/benchmarks/sim"
	"github.com/whichpod/whichpod/evidence/claim"
	"github.com/whichpod/whichpod/index"
	"github.com/whichpod/whichpod/ingest"
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

// On a kubenet cluster pods of one namespace reach a protected address, and nobody else
// does. That cannot be proven, as their nodes hide them; with NAT evidence it holds. Of
// one flow that a pod of another namespace really sends, exactly the rows are found.
// What a bundle says of it, whoever has the flow logs derives again.
func TestPlantedViolation(t *testing.T) {
	t.Parallel()
	protected := netip.MustParseAddrPort("198.51.100.77:5432")
	only, err := claim.ParseSelector("namespace=data")
	must(t, err)
	for name, c := range map[string]struct {
		nat, planted bool
		want         claim.Outcome
	}{
		"hidden":            {false, false, claim.Unproven},
		"hidden, violated":  {false, true, claim.Unproven},
		"evident":           {true, false, claim.Holds},
		"evident, violated": {true, true, claim.Violated},
	} {
		cfg := smallCluster()
		for i := range 12 {
			cfg.Planted = append(cfg.Planted, sim.Planted{After: time.Duration(60+80*i) * time.Second, Namespace: "data", To: protected})
		}
		if c.planted {
			cfg.Planted = append(cfg.Planted, sim.Planted{After: 601 * time.Second, Namespace: "web", To: protected})
		}
		l := newLab(t, cfg, c.nat)
		against, rows := make(map[rowPlace]string), int64(0)
		for tr := range l.world.Truth() {
			if netip.AddrPortFrom(tr.Dst, tr.DstPort) != protected {
				continue
			}
			if rows++; tr.SrcPod.Namespace != "data" {
				against[rowPlace{tr.Blob, tr.Offset}] = tr.SrcPod.UID
			}
		}
		if rows < 20 || (len(against) > 0) != c.planted {
			t.Fatalf("%s: %d rows, %d against it", name, rows, len(against))
		}
		in := l.input()
		in.Claims = []claim.Claim{{To: protected, Only: only}}
		r := l.good(l.write(in), l.raw)[0].Claims[0]
		if r.Outcome != c.want || r.Rows != rows || len(r.Missing) > 0 {
			t.Errorf("%s: %+v, want %s of %d rows", name, r, c.want, rows)
		}
		switch c.want {
		case claim.Unproven:
			if r.Open["masked"] != rows || !strings.Contains(strings.Join(r.Needed, "; "), "NAT evidence of the nodes") {
				t.Errorf("%s: %d masked, needed is %q", name, r.Open["masked"], r.Needed)
			}
		case claim.Violated:
			for _, v := range r.Violations {
				if against[rowPlace{v.Blob, v.Offset}] != v.PodUID || v.Namespace != "web" {
					t.Errorf("%s: %+v is not against it", name, v)
				}
				delete(against, rowPlace{v.Blob, v.Offset})
			}
			if len(against) > 0 {
				t.Errorf("%s: not found: %v", name, against)
			}
		}
	}
}

// A claim that would hold cannot be proven where a log may have been lost: an hour
// between others, the rest of an interface's, or pieces of one. It says which.
func TestLostLogsProveNothing(t *testing.T) {
	t.Parallel()
	protected := netip.MustParseAddrPort("198.51.100.77:5432")
	only, err := claim.ParseSelector("namespace=data")
	must(t, err)
	cfg := smallCluster()
	cfg.Duration = 75 * time.Minute // from ten to ten
	cfg.Traffic.FlowsPerSecond, cfg.Traffic.NodeFlows = 0.02, 0.02
	cfg.Traffic.Mix = sim.Mix{Internet: 1}
	cfg.Planted = []sim.Planted{{After: 30 * time.Minute, Namespace: "data", To: protected}}
	l := newLab(t, cfg, true)
	gone := func(hours ...string) func(path string) error {
		return func(path string) error {
			for _, h := range hours {
				if strings.Contains(path, "/h="+h+"/") && strings.Contains(path, l.world.NICs[0].MAC) {
					return os.Remove(path)
				}
			}
			return nil
		}
	}
	for name, c := range map[string]struct {
		harm func(path string) error
		want string // of what is missing
	}{
		"nothing": {gone(), ""},
		"an hour": {gone("10"), "interface " + l.world.NICs[0].MAC + ": hours without a log between others: 1, the first from 2026-11-20T10:00:00Z"},
		"the end": {gone("10", "11"), "interface " + l.world.NICs[0].MAC + " logged no row after 2026-11-20T09:5"},
		"a piece": {func(path string) error {
			if !strings.Contains(path, "/h=10/") {
				return nil
			}
			data, err := os.ReadFile(path)
			must(t, err)
			return os.WriteFile(path, bytes.Replace(data, []byte(",B,"), []byte(",X,"), 1), 0o644)
		}, "pieces were left out: 1 tuple"},
	} {
		blobs := copied(t, filepath.Join(filepath.Dir(l.data), "blobs"))
		must(t, filepath.WalkDir(blobs, func(path string, e fs.DirEntry, err error) error {
			if err != nil || e.IsDir() {
				return err
			}
			return c.harm(path)
		}))
		raw, err := ingest.OpenFolder(blobs)
		must(t, err)
		data := filepath.Join(t.TempDir(), "data")
		l.ingest(data, raw)
		store, err := index.Open(data, index.Options{ReadOnly: true})
		must(t, err)
		in := l.input()
		in.Index, in.Raw, in.Until, in.Claims = store, nil, l.minute(62), []claim.Claim{{To: protected, Only: only}}
		var results []claim.Result
		must(t, json.Unmarshal(mustRead(t, files(l.write(in)), claimsFile), &results))
		must(t, store.Close())
		r := results[0]
		missing := strings.Join(r.Missing, "\n")
		switch {
		case c.want == "" && (r.Outcome != claim.Holds || missing != ""):
			t.Errorf("%s: %+v", name, r)
		case c.want != "" && (r.Outcome != claim.Unproven || !strings.Contains(missing, c.want) || !strings.Contains(strings.Join(r.Needed, "\n"), "the logs that are or may be missing")):
			t.Errorf("%s: %+v", name, r)
		}
	}
}
