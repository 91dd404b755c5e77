package natwatch

import (
	"context"
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/whichpod/whichpod/attribution/nat"
	"github.com/whichpod/whichpod/attribution/natlog"
)

// script is a kernel whose events are given: each at a time since the start.
type script struct {
	start  time.Time
	listed []natlog.Event
	steps  []step
}

type step struct {
	after time.Duration
	event natlog.Event
	err   error
}

func (k *script) List(fn func(natlog.Event) error) error {
	for _, e := range k.listed {
		if err := fn(e); err != nil {
			return err
		}
	}
	return nil
}

func (k *script) Next(deadline time.Time) (natlog.Event, error) {
	if len(k.steps) == 0 || k.start.Add(k.steps[0].after).After(deadline) {
		time.Sleep(time.Until(deadline))
		return natlog.Event{}, ErrIdle
	}
	s := k.steps[0]
	k.steps = k.steps[1:]
	time.Sleep(time.Until(k.start.Add(s.after)))
	return s.event, s.err
}

func (k *script) Close() error { return nil }

var node, peer = netip.MustParseAddr("10.224.0.4"), netip.MustParseAddr("203.0.113.66")

// connection is a pod's, behind a port of the node.
func connection(kind natlog.Kind, pod string, port uint16) natlog.Event {
	return natlog.Event{Kind: kind, Protocol: 6,
		Original: nat.Tuple{Src: netip.MustParseAddr(pod), SrcPort: 40000, Dst: peer, DstPort: 443},
		Reply:    nat.Tuple{Src: peer, SrcPort: 443, Dst: node, DstPort: port}}
}

// run runs an agent for a while in a bubble's time.
func run(t *testing.T, k *script, target Target, spool string, maxSpool int64, lasts time.Duration) (Stats, []string) {
	t.Helper()
	k.start = time.Now()
	cfg := DefaultConfig()
	cfg.Cluster, cfg.Node, cfg.Spool, cfg.MaxSpool = "prod", "node/1", spool, maxSpool
	var said []string
	cfg.Report = func(s string) { said = append(said, s) }
	a, err := New(cfg, k, target)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), lasts)
	defer cancel()
	if err := a.Run(ctx); err != nil {
		t.Fatal(err)
	}
	return a.Stats(), said
}

// taken imports all batches below a folder.
func taken(t *testing.T, dir string) *nat.Store {
	t.Helper()
	s, err := nat.Open(t.TempDir(), nat.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	w, err := s.Begin(nat.Import{Cluster: "prod", Kind: "agent"})
	if err != nil {
		t.Fatal(err)
	}
	err = filepath.WalkDir(dir, func(path string, e os.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		b, err := nat.DecodeBatch(data)
		if err != nil {
			return err
		}
		_, err = w.Take(b)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Commit(""); err != nil {
		t.Fatal(err)
	}
	return s
}

func sender(t *testing.T, s *nat.Store, port uint16, start time.Time, from, to time.Duration) string {
	t.Helper()
	got, err := s.Senders(&nat.Asked{Cluster: "prod", Key: nat.Key{Src: node, SrcPort: port, Dst: peer, DstPort: 443, Protocol: 6},
		From: start.Add(from).UnixMilli(), To: start.Add(to).UnixMilli(), Tolerance: 1000})
	if err != nil {
		t.Fatal(err)
	}
	if !got.Certain || len(got.Flows) == 0 {
		return ""
	}
	return got.Flows[0].Original.Src.String()
}

// What was open before, what begins, what ends, and what is given again, in batches of
// ten seconds; and a loss, which is a gap.
func TestAgent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		out, start := t.TempDir(), time.Now()
		k := &script{
			listed: []natlog.Event{connection(natlog.Listed, "10.244.0.9", 1024), connection(natlog.Listed, "10.244.0.8", 1025)},
			steps: []step{
				{after: 20 * time.Millisecond, event: connection(natlog.Destroy, "10.244.0.8", 1025)}, // listed, and gone before it counts
				{after: 12 * time.Second, event: connection(natlog.New, "10.244.0.7", 1025)},
				{after: 33 * time.Second, event: connection(natlog.Destroy, "10.244.0.7", 1025)},
				{after: 40 * time.Second, event: connection(natlog.New, "10.244.0.6", 1025)},
				{after: 50 * time.Second, err: ErrDropped},
				{after: 60 * time.Second, event: connection(natlog.New, "10.244.0.5", 1026)},
			},
		}
		stats, said := run(t, k, Dir(out), t.TempDir(), 1<<20, 75*time.Second)
		if stats.Dropped != 1 || stats.SpooledBatches != 0 || stats.Shipped != stats.Batches || stats.Batches < 7 || len(said) < 2 {
			t.Errorf("got %+v, said %q", stats, said)
		}
		s := taken(t, out)
		for _, c := range []struct {
			port     uint16
			from, to time.Duration
			want     string
		}{
			{1024, time.Second, 2 * time.Second, "10.244.0.9"},       // listed, and open since
			{1024, 30 * time.Second, 45 * time.Second, "10.244.0.9"}, // no word that it ended
			{1024, 52 * time.Second, 53 * time.Second, ""},           // it may have been dropped
			{1025, 11 * time.Second, 13 * time.Second, "10.244.0.7"}, // begins
			{1025, 20 * time.Second, 30 * time.Second, "10.244.0.7"}, // lasts
			{1025, 32 * time.Second, 34 * time.Second, "10.244.0.7"}, // ends
			{1025, 1 * time.Second, 2 * time.Second, ""},             // nobody known is near
			{1025, 39 * time.Second, 41 * time.Second, "10.244.0.6"}, // given again
			{1025, 49 * time.Second, 51 * time.Second, ""},           // around the loss
			{1026, 59 * time.Second, 61 * time.Second, "10.244.0.5"}, // after it
			{1026, 70 * time.Second, 76 * time.Second, ""},           // past the end
		} {
			if got := sender(t, s, c.port, start, c.from, c.to); got != c.want {
				t.Errorf("port %d from %v to %v: got %q, want %q", c.port, c.from, c.to, got, c.want)
			}
		}
		names, err := filepath.Glob(filepath.Join(out, "whichpod-nat", "cluster=prod", "node=node_1", "y=*", "m=*", "d=*", "h=*", "*"+Suffix))
		if err != nil || len(names) != int(stats.Batches) {
			t.Errorf("got %d names for %d batches, %v", len(names), stats.Batches, err)
		}
	})
}

// The kernel tells of a loss before it hands out what it had kept until then. What began
// last before the loss need not be what ends after it: between them, all may have been
// dropped.
func TestLossComesAfterWhatWasKept(t *testing.T) {
	for name, drained := range map[string]time.Duration{"idle once": 200 * time.Millisecond, "never idle": 0} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				out, start := t.TempDir(), time.Now()
				k := &script{steps: []step{
					{after: 20 * time.Second, err: ErrDropped},
					{after: 20 * time.Second, event: connection(natlog.New, "10.244.0.7", 1025)}, // it was kept; dropped: its end, and another's whole life
				}}
				if drained == 0 {
					for range maxQueued {
						k.steps = append(k.steps, step{after: 20 * time.Second, event: connection(natlog.Update, "10.244.0.6", 1026)})
					}
				}
				k.steps = append(k.steps,
					step{after: 20*time.Second + drained, event: connection(natlog.New, "10.244.0.8", 1027)},
					step{after: 40 * time.Second, event: connection(natlog.Destroy, "10.244.0.7", 1025)},
					step{after: 41 * time.Second, event: connection(natlog.Destroy, "10.244.0.8", 1027)})
				if stats, _ := run(t, k, Dir(out), t.TempDir(), 1<<20, 75*time.Second); stats.Dropped != 1 {
					t.Errorf("got %+v", stats)
				}
				s := taken(t, out)
				if got := sender(t, s, 1025, start, 29*time.Second, 31*time.Second); got != "" {
					t.Errorf("between what was kept and what came after the loss it is %s for certain", got)
				}
				if got := sender(t, s, 1027, start, 29*time.Second, 31*time.Second); got != "10.244.0.8" {
					t.Errorf("after the loss it is %q", got)
				}
			})
		})
	}
}

// away is a target that fails, or not.
type away struct {
	Dir
	fails bool
	puts  int
}

func (a *away) Put(ctx context.Context, name string, data []byte) error {
	a.puts++
	if a.fails {
		return errors.New("the target is away")
	}
	return a.Dir.Put(ctx, name, data)
}

// While the target is away, batches wait in the spool; the next run ships them. A spool
// that is full forgets the oldest.
func TestSpool(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		spool, out := t.TempDir(), &away{Dir: Dir(t.TempDir()), fails: true}
		stats, said := run(t, &script{}, out, spool, 1<<20, 5*time.Minute)
		if stats.Shipped != 0 || stats.SpooledBatches != int(stats.Batches) || stats.Batches < 29 || !strings.Contains(strings.Join(said, "\n"), "trying again in 2s") {
			t.Errorf("got %+v, said %q", stats, said)
		}
		if out.puts > 15 {
			t.Errorf("it tried %d times in five minutes", out.puts)
		}
		waiting := stats.SpooledBatches
		out.fails = false
		stats, _ = run(t, &script{}, out, spool, 1<<20, 25*time.Second)
		if int(stats.Shipped) != waiting+int(stats.Batches) || stats.SpooledBatches != 0 {
			t.Errorf("got %+v after %d waited", stats, waiting)
		}
		out.fails = true
		stats, _ = run(t, &script{}, out, spool, 1000, 5*time.Minute)
		if stats.SpooledBytes > 1000 || stats.Forgotten == 0 || stats.SpooledBatches+int(stats.Forgotten) != int(stats.Batches) {
			t.Errorf("got %+v with a spool of 1000 bytes", stats)
		}
	})
}

// A file that is there is never overwritten.
func TestDirKeepsWhatIsThere(t *testing.T) {
	d := Dir(t.TempDir())
	for _, data := range []string{"first", "second"} {
		if err := d.Put(context.Background(), "a/b.wpnb", []byte(data)); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(filepath.Join(string(d), "a", "b.wpnb"))
	if diff := cmp.Diff("first", string(got)); err != nil || diff != "" {
		t.Errorf("%v\n%s", err, diff)
	}
}
