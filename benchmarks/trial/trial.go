// Package trial takes simulated clusters through the ordinary path, and holds every
// answer against the truth: the measures of plugins, rivals and times rest on it.
//
// In: a [sim.Config]. Out: the rows of its flow logs, each with what whichpod says of
// both ends and who they were. A Trial keeps its files in a temporary folder, which
// [Trial.Close] removes; it is for one goroutine.
package trial

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"sync"

	"github.com/whichpod/whichpod/attribution"
	"github.com/whichpod/whichpod/attribution/nat"
	"github.com/whichpod/whichpod/attribution/natlog"
	"github.com/whichpod/whichpod/attribution/podlog"
	"github.com/whichpod/whichpod/benchmarks/sim"
	"github.com/whichpod/whichpod/flow"
	"github.com/whichpod/whichpod/index"
	"github.com/whichpod/whichpod/ingest"
	"github.com/whichpod/whichpod/query"
)

// Trial is a simulated cluster whose logs are indexed and whose pods are on record.
type Trial struct {
	World *sim.World

	dir    string
	rows   *index.Store
	ledger *attribution.Ledger
	config attribution.Config
}

// Load simulates a cluster and reads what it left. The caller closes the Trial.
func Load(ctx context.Context, cfg sim.Config) (*Trial, error) {
	t, err := Prepare(cfg)
	if err != nil {
		return nil, err
	}
	if err := t.World.WriteBlobs(t.Blobs()); err != nil {
		return nil, errors.Join(err, t.Close())
	}
	if err := t.Ingest(ctx); err != nil {
		return nil, errors.Join(err, t.Close())
	}
	return t, nil
}

// Prepare is Load without the flow logs: the folder [Trial.Blobs] is empty, and what the
// caller puts there is read by [Trial.Ingest].
func Prepare(cfg sim.Config) (*Trial, error) {
	dir, err := os.MkdirTemp("", "whichpod-trial-")
	if err != nil {
		return nil, fmt.Errorf("make trial: %w", err)
	}
	t := &Trial{World: sim.Generate(cfg), dir: dir, ledger: attribution.NewLedger()}
	if err := t.prepare(); err != nil {
		return nil, errors.Join(fmt.Errorf("make trial: %w", err), t.Close())
	}
	return t, nil
}

func (t *Trial) prepare() error {
	if err := os.Mkdir(t.Blobs(), 0o755); err != nil {
		return err
	}
	var config, journal bytes.Buffer
	if err := errors.Join(t.World.WriteConfig(&config), t.World.WriteWatch(&journal)); err != nil {
		return err
	}
	var err error
	if t.config, err = attribution.ParseConfig(config.Bytes()); err != nil {
		return err
	}
	cfg := &t.World.Config
	opt := podlog.Options{Cluster: cfg.Cluster, Format: podlog.Auto, ReadBy: cfg.Start.Add(2 * cfg.Duration).UnixMilli()}
	if _, err = podlog.Read(&journal, opt, func(facts []attribution.Fact) error {
		_, err := t.ledger.Append(facts...)
		return err
	}); err != nil {
		return err
	}
	t.rows, err = index.Open(filepath.Join(t.dir, "index"), index.Options{})
	return err
}

// Blobs is the folder of the flow logs.
func (t *Trial) Blobs() string { return filepath.Join(t.dir, "blobs") }

// Ingest reads what is new in the folder of the flow logs.
func (t *Trial) Ingest(ctx context.Context) error {
	src, err := ingest.OpenFolder(t.Blobs())
	if err != nil {
		return err
	}
	writer, err := t.rows.Writer()
	if err != nil {
		return err
	}
	sum, err := ingest.Run(ctx, src, writer, ingest.Options{})
	if err := errors.Join(err, writer.Close()); err != nil {
		return err
	}
	if len(sum.Skipped) > 0 {
		return fmt.Errorf("ingest trial: %d blobs could not be read", len(sum.Skipped))
	}
	return nil
}

// Engine answers from what the logs and the API server told.
func (t *Trial) Engine() *query.Engine { return query.New(t.rows, t.ledger.View(t.config)) }

// WithNAT is Engine with what the kernels of all nodes told of their translations. The
// evidence is read again each time; it lasts until the Trial is closed, and fn with it.
func (t *Trial) WithNAT(fn func(*query.Engine) error) (err error) {
	dir, err := os.MkdirTemp(t.dir, "nat-")
	if err != nil {
		return err
	}
	store, err := nat.Open(dir, nat.Options{})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	for node := range t.World.Config.Nodes {
		if err := t.importNode(store, node); err != nil {
			return fmt.Errorf("import NAT evidence of node %d: %w", node, err)
		}
	}
	return fn(query.New(t.rows, t.ledger.View(t.config).WithNAT(store)))
}

func (t *Trial) importNode(store *nat.Store, node int) error {
	r, to := io.Pipe()
	go func() { to.CloseWithError(t.World.WriteConntrack(to, node)) }()
	defer r.Close()
	im, err := store.Begin(nat.Import{Cluster: t.World.Config.Cluster, Kind: "conntrack", Name: fmt.Sprint(node)})
	if err != nil {
		return err
	}
	if _, err := natlog.Read(r, natlog.Options{Node: t.World.NICs[node].Name}, im); err != nil {
		return errors.Join(err, im.Discard())
	}
	_, err = im.Commit("")
	return err
}

// Row is a row of the log: who was behind its ends, and what is said of them.
type Row struct {
	*sim.Truth
	SaidSrc, SaidDst *attribution.Resolution
}

// place is where a row stands.
type place struct {
	blob   string
	offset int64
}

// Rows calls fn with each row of the log. A row that is missing from the index, or
// twice in it, is an error.
func (t *Trial) Rows(ctx context.Context, e *query.Engine, fn func(Row)) error {
	truth := make(map[place]sim.Truth, t.World.Len())
	for tr := range t.World.Truth() {
		truth[place{tr.Blob, tr.Offset}] = tr
	}
	err := e.All(ctx, 0, 0, func(a query.Attributed, _ func(int) bool) error {
		for i := range a.Len() {
			at := place{a.Blob(i), a.Offset[i]}
			tr, ok := truth[at]
			if !ok {
				return fmt.Errorf("row at %s:%d is not in the truth, or twice", at.blob, at.offset)
			}
			delete(truth, at)
			fn(Row{&tr, a.Joined.Src[i], a.Joined.Dst[i]})
		}
		return nil
	})
	if err == nil && len(truth) > 0 {
		err = fmt.Errorf("%d rows are missing from the index", len(truth))
	}
	return err
}

// WrongExact says whether an end is called exact and is not that pod; nil is no pod.
func WrongExact(said *attribution.Resolution, is *sim.Pod) bool {
	return said.Verdict == attribution.Exact && (is == nil || said.Candidates[0].UID != is.UID)
}

// Close removes all files.
func (t *Trial) Close() error {
	var err error
	if t.rows != nil {
		err = t.rows.Close()
	}
	return errors.Join(err, os.RemoveAll(t.dir))
}

// Each calls one for each input, as many at once as there are processors, and returns
// what they gave in the order of the inputs. The first error ends it.
func Each[In, Out any](ctx context.Context, inputs []In, one func(context.Context, In) (Out, error)) ([]Out, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	out := make([]Out, len(inputs))
	next := make(chan int)
	var workers sync.WaitGroup
	for range min(runtime.GOMAXPROCS(0), len(inputs)) {
		workers.Go(func() {
			for i := range next {
				var err error
				if out[i], err = one(ctx, inputs[i]); err != nil {
					cancel(err)
				}
			}
		})
	}
	for i := range inputs {
		if ctx.Err() != nil {
			break
		}
		next <- i
	}
	close(next)
	workers.Wait()
	if err := context.Cause(ctx); err != nil {
		return nil, err
	}
	return out, nil
}

// Exact is the UID of the pod that is said to be the source for certain, or "".
func (r *Row) Exact() string {
	if r.SaidSrc.Verdict != attribution.Exact {
		return ""
	}
	return r.SaidSrc.Candidates[0].UID
}

// Begins says whether a row is the first of its flow, at the sender's interface.
func (r *Row) Begins() bool {
	return r.Direction == flow.Outbound && r.State == flow.Begin && r.Time == r.Begin
}
