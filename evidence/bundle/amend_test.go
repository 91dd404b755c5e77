package bundle

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/whichpod/whichpod/attribution"
	"github.com/whichpod/whichpod/attribution/podlog"
	"github.com/whichpod/whichpod/index"
	"github.com/whichpod/whichpod/ingest"
)

// late is a lab whose data folder gets what it knows bit by bit.
type late struct {
	*lab
	blobs    string
	path     string // of a flow log of which only the begin has come
	whole    []byte
	facts    []attribution.Fact
	schedule Schedule
}

func newLate(t *testing.T) *late {
	t.Helper()
	cfg := smallCluster()
	cfg.Traffic.FlowsPerSecond = 0.5 // so that each interface logs each minute
	l := &late{lab: newLab(t, cfg, false)}
	l.blobs = copied(t, filepath.Join(filepath.Dir(l.data), "blobs"))
	l.path, l.whole = cutShort(t, l.blobs)
	l.data = filepath.Join(t.TempDir(), "data")
	var journal bytes.Buffer
	must(t, l.world.WriteWatch(&journal))
	_, err := podlog.Read(&journal, podlog.Options{Cluster: cfg.Cluster, Format: podlog.Auto, ReadBy: cfg.Start.Add(2 * cfg.Duration).UnixMilli()}, func(facts []attribution.Fact) error {
		l.facts = append(l.facts, facts...)
		return nil
	})
	must(t, err)
	// A month later: with an end, nothing hangs on the clock.
	l.schedule = Schedule{To: Folder(l.out), Window: 5 * time.Minute, Since: l.minute(0), Until: l.minute(15), Now: func() time.Time { return time.UnixMilli(l.minute(30 * 24 * 60)) }}
	return l
}

// learn appends the facts about those pods whose UID is, or is not, among some.
func (l *late) learn(some bool) {
	l.t.Helper()
	ledger, err := attribution.OpenLedger(filepath.Join(l.data, "ledger"), attribution.Options{})
	must(l.t, err)
	for i := range l.facts {
		if uid := l.facts[i].Pod.UID; (uid != "" && uid[len(uid)-1]%3 == 0) == some {
			_, err := ledger.Append(l.facts[i])
			must(l.t, err)
		}
	}
	must(l.t, ledger.Close())
}

// run looks once for what is due, until it has seen so many rows or 0 for to the end.
func (l *late) run(stopAfter int64) (out []Summary, err error) {
	l.t.Helper()
	raw, err := ingest.OpenFolder(l.blobs)
	must(l.t, err)
	l.ingest(l.data, raw)
	store, err := index.Open(l.data, index.Options{ReadOnly: true})
	must(l.t, err)
	in := l.input()
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	seen := int64(0)
	in.Index, in.Raw, in.Progress = store, nil, func(rows int64) {
		if seen += rows; stopAfter > 0 && seen > stopAfter {
			stop()
		}
	}
	lock, err := Folder(l.out).Lock()
	must(l.t, err)
	out, err = l.schedule.Run(ctx, in, l.key)
	must(l.t, errors.Join(lock.Close(), store.Close()))
	return out, err
}

// amended runs, is stopped again and again, and wants each window amended at most once
// for this reason, and nothing left to do.
func (l *late) amended(reason string, never ...string) (names []string) {
	l.t.Helper()
	last := make(map[[2]int64]Ref) // the newest bundle about each window
	chain, err := Folder(l.out).Chain(context.Background())
	must(l.t, err)
	for i := range chain {
		last[[2]int64{chain[i].Since, chain[i].Until}] = chain[i].Ref
	}
	stopped := 0
	for after := int64(1); ; after *= 16 {
		out, err := l.run(after)
		for i := range out {
			names = append(names, out[i].Name)
			link, e := readLink(filepath.Join(l.out, out[i].Name))
			must(l.t, e)
			window := [2]int64{link.Since, link.Until}
			if link.Amends == nil || *link.Amends != last[window] || *out[i].Amends != *link.Amends {
				l.t.Fatalf("%s amends %v, want %v", link.Name, link.Amends, last[window])
			}
			delete(last, window) // a second one would amend nothing
			why := strings.Join(out[i].Reasons, "; ")
			if !strings.Contains(why, reason) {
				l.t.Errorf("%s: reasons are %q, want %q", link.Name, why, reason)
			}
			for _, n := range never {
				if strings.Contains(why, n) {
					l.t.Errorf("%s: reasons are %q, do not want %q", link.Name, why, n)
				}
			}
			if text := mustRead(l.t, files(filepath.Join(l.out, link.Name)), textFile); !bytes.Contains(text, []byte("In place of "+link.Amends.Name)) || !bytes.Contains(text, []byte(out[i].Reasons[0])) {
				l.t.Errorf("%s", text)
			}
		}
		if err == nil {
			break
		}
		if !errors.Is(err, context.Canceled) {
			l.t.Fatal(err)
		}
		stopped++
		if _, err := Folder(l.out).Chain(context.Background()); err != nil {
			l.t.Fatalf("a bundle is not whole: %v", err)
		}
	}
	l.good(l.out, nil)
	if len(names) == 0 || stopped == 0 {
		l.t.Fatalf("%q: %d amendments, %d runs were stopped", reason, len(names), stopped)
	}
	l.idle()
	return names
}

// idle wants nothing to do, with what was noted and without.
func (l *late) idle() {
	l.t.Helper()
	for range 2 {
		if out, err := l.run(0); err != nil || len(out) > 0 {
			l.t.Errorf("a run with nothing to do: %v, %v", out, err)
		}
		must(l.t, os.Remove(Folder(l.out).Notes()))
	}
}

// Pods, NAT evidence and rows that come late make amendments, each by its name, also of
// amendments; a run that is stopped at any point leaves whole bundles, and the next goes
// on. What changes no row makes none.
func TestLateEvidenceAmends(t *testing.T) {
	t.Parallel()
	l := newLate(t)
	l.learn(false)
	out, err := l.run(0)
	must(t, err)
	if len(out) != 3 {
		t.Fatalf("%d windows", len(out))
	}
	l.idle()
	l.learn(true) // as an import of audit logs does
	until := l.schedule.Until
	l.schedule.Until, l.schedule.Deadline = 0, 10*365*24*time.Hour
	if out, err := l.run(0); err != nil || len(out) > 0 {
		t.Errorf("a run without an end looks at windows of a month ago: %v, %v", out, err)
	}
	clock := l.schedule.Now
	l.schedule.Now = func() time.Time { return time.UnixMilli(l.minute(12) + 7*24*hour) }
	out, err = l.run(0)
	must(t, err)
	if last := nameOf(4, l.minute(10), l.minute(15)); len(out) != 1 || out[0].Name != last {
		t.Errorf("seven days after minute 12, a run without an end wrote %v, want only %s", out, last)
	}
	l.schedule.Now = clock
	l.schedule.Until, l.schedule.Deadline = l.minute(5), 0
	out, err = l.run(0)
	must(t, err)
	for i := range out {
		if link, err := readLink(filepath.Join(l.out, out[i].Name)); err != nil || link.Until > l.minute(5) {
			t.Errorf("a run up to minute 5 amends %v, %v", link, err)
		}
	}
	l.schedule.Until = until
	byPods := l.amended("late pods: ", "late rows", "NAT")
	l.translations()
	byNAT := l.amended("late NAT evidence: it decides on ", "late rows")
	must(t, os.WriteFile(l.path, l.whole, 0o644))
	byRows := l.amended("late rows: ", "late NAT evidence: it decides on ")

	ledger, err := attribution.OpenLedger(filepath.Join(l.data, "ledger"), attribution.Options{})
	must(t, err)
	_, err = ledger.Append(attribution.Fact{Cluster: l.world.Config.Cluster, Pod: attribution.PodFact{UID: "elsewhere", Presence: attribution.Bounds{NotBefore: l.minute(1), SeenBy: l.minute(1)},
		Identity: &attribution.Identity{Namespace: "a", Name: "b", Node: "c"}}})
	must(t, errors.Join(err, ledger.Close()))
	l.idle()

	reports := l.good(l.out, nil)
	by := make(map[string]string)
	for i := range reports {
		by[reports[i].Name] = reports[i].AmendedBy
	}
	twice := 0
	for _, name := range byNAT {
		link, err := readLink(filepath.Join(l.out, name))
		must(t, err)
		for _, old := range byPods {
			if link.Amends.Name == old && by[old] == name {
				twice++
			}
		}
	}
	if twice == 0 {
		t.Error("no amendment was amended")
	}
	l.good(filepath.Join(l.out, byRows[0]), l.raw)
	l.brokenAmendments(byRows[0])
}

// brokenAmendments wants an amendment named that is gone, or whose place another takes,
// and no second amendment of one bundle.
func (l *late) brokenAmendments(name string) {
	t := l.t
	link, err := readLink(filepath.Join(l.out, name))
	must(t, err)
	old, err := readLink(filepath.Join(l.out, link.Amends.Name))
	must(t, err)
	lock, err := Folder(l.out).Lock()
	must(t, err)
	_, err = l.schedule.Amend(context.Background(), l.input(), l.key, old)
	var superseded SupersededError
	if !errors.As(err, &superseded) || superseded != (SupersededError{old.Name, name}) {
		t.Errorf("a second amendment: %v", err)
	}
	must(t, lock.Close())

	problems := func(dir string) string {
		var all []string
		for _, r := range l.check(dir, nil) {
			for _, p := range r.Problems {
				all = append(all, r.Name+": "+p)
			}
		}
		return strings.Join(all, "\n")
	}
	broken := copied(t, l.out)
	must(t, os.RemoveAll(filepath.Join(broken, old.Name)))
	if got := problems(broken); !strings.Contains(got, name+": it amends "+old.Name) || !strings.Contains(got, old.Name+", is missing") {
		t.Errorf("without what was amended: %s", got)
	}
	whole := l.out
	defer func() { l.out = whole }()
	for words, amends := range map[string]*Link{"it amends " + old.Name + ", and so does " + name: old, "about another time": l.other(link)} {
		l.out = copied(t, whole)
		in := l.input()
		in.Since, in.Until, in.Amends = old.Since, old.Until, &amends.Ref
		dir := l.write(in)
		if got := problems(l.out); !strings.HasPrefix(got, filepath.Base(dir)+": it amends") || !strings.Contains(got, words) {
			t.Errorf("got %q, want %q", got, words)
		}
	}
}

// other is a bundle about another time than that.
func (l *late) other(link *Link) *Link {
	chain, err := Folder(l.out).Chain(context.Background())
	must(l.t, err)
	for i := range chain {
		if chain[i].Since != link.Since {
			return &chain[i]
		}
	}
	l.t.Fatal("all bundles are about one time")
	return nil
}
