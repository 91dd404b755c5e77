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
	"math"
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

// Trial is simulated clusters whose logs are indexed and whose pods are on record.
type Trial struct {
	Worlds []*sim.World

	dir     string
	watched int64 // what came before it is in the ledger, Unix ms
	rows    *index.Store
	ledger  *attribution.Ledger
	config  attribution.Config
}

// Options is what whichpod is told of the clusters. The zero value is the watch journal
// as it was written, and a configuration that names modes and interfaces.
type Options struct {
	Detect   bool                        // the mode has to be concluded from nodes and ConfigMaps, which the journal then has
	HideNICs bool                        // the configuration does not say whose the interfaces are
	Mangle   func(journal []byte) []byte // what befell the journal; nil is nothing
	Live     bool                        // the journal comes bit by bit, by [Trial.Watch]
}

// Load simulates a cluster and reads what it left. The caller closes the Trial.
func Load(ctx context.Context, cfg sim.Config) (*Trial, error) {
	return LoadWorlds(ctx, Options{}, sim.Generate(cfg))
}

// LoadWorlds reads what clusters left that share one virtual network, and one
// container of blobs. The caller closes the Trial.
func LoadWorlds(ctx context.Context, opt Options, worlds ...*sim.World) (*Trial, error) {
	t, err := Prepare(opt, worlds...)
	if err != nil {
		return nil, err
	}
	for _, w := range worlds {
		if err := w.WriteBlobs(t.Blobs()); err != nil {
			return nil, errors.Join(err, t.Close())
		}
	}
	if err := t.Ingest(ctx); err != nil {
		return nil, errors.Join(err, t.Close())
	}
	return t, nil
}

// Prepare is LoadWorlds without the flow logs: the folder [Trial.Blobs] is empty, and
// what the caller puts there is read by [Trial.Ingest].
func Prepare(opt Options, worlds ...*sim.World) (*Trial, error) {
	dir, err := os.MkdirTemp("", "whichpod-trial-")
	if err != nil {
		return nil, fmt.Errorf("make trial: %w", err)
	}
	t := &Trial{Worlds: worlds, dir: dir, ledger: attribution.NewLedger(), config: attribution.DefaultConfig()}
	err = os.Mkdir(t.Blobs(), 0o755)
	for _, w := range worlds {
		err = errors.Join(err, t.tell(w, opt))
	}
	if err == nil {
		t.rows, err = index.Open(filepath.Join(t.dir, "index"), index.Options{})
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("make trial: %w", err), t.Close())
	}
	return t, nil
}

// tell puts the pods of a world on record.
func (t *Trial) tell(w *sim.World, opt Options) error {
	var config, journal bytes.Buffer
	err := w.WriteWatch(&journal)
	if opt.Detect {
		err = errors.Join(err, w.WriteObjects(&journal), w.WriteAutoConfig(&config))
	} else {
		err = errors.Join(err, w.WriteConfig(&config))
	}
	if err != nil {
		return err
	}
	cfg, err := attribution.ParseConfig(config.Bytes())
	if err != nil {
		return err
	}
	for _, c := range cfg.Clusters {
		if opt.HideNICs {
			c.NICs = nil
		}
		t.config.Clusters = append(t.config.Clusters, c)
	}
	if opt.Live {
		return nil
	}
	lines := journal.Bytes()
	if opt.Mangle != nil {
		lines = opt.Mangle(lines)
	}
	read := podlog.Options{Cluster: w.Config.Cluster, Format: podlog.Auto, ReadBy: w.Config.Start.Add(2 * w.Config.Duration).UnixMilli()}
	_, err = podlog.Read(bytes.NewReader(lines), read, func(facts []attribution.Fact) error {
		_, err := t.ledger.Append(facts...)
		return err
	})
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
	_, err = t.ingest(ctx, src, ingest.Options{})
	return err
}

func (t *Trial) ingest(ctx context.Context, src ingest.Source, opt ingest.Options) (rows int64, err error) {
	writer, err := t.rows.Writer()
	if err != nil {
		return 0, err
	}
	sum, err := ingest.Run(ctx, src, writer, opt)
	if err := errors.Join(err, writer.Close()); err != nil {
		return 0, err
	}
	if len(sum.Skipped) > 0 {
		return 0, fmt.Errorf("ingest trial: %d blobs could not be read", len(sum.Skipped))
	}
	return sum.Rows, nil
}

// Engine answers from what the logs and the API server told.
func (t *Trial) Engine() *query.Engine { return query.New(t.rows, t.ledger.View(t.config)) }

// WithNAT is Engine with what the kernels of all nodes told of their translations. The
// evidence is read again each time; it lasts until the Trial is closed, and fn with it.
func (t *Trial) WithNAT(fn func(*query.Engine) error) error {
	return t.WithNATUntil(math.MaxInt64, fn)
}

// WithNATUntil is WithNAT with what they had told by a time, Unix milliseconds.
func (t *Trial) WithNATUntil(until int64, fn func(*query.Engine) error) (err error) {
	dir, err := os.MkdirTemp(t.dir, "nat-")
	if err != nil {
		return err
	}
	store, err := nat.Open(dir, nat.Options{})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	for _, w := range t.Worlds {
		for node := range w.Config.Nodes {
			for life := range w.NICs[node].Lives() {
				if err := importNode(store, w, node, life, until); err != nil {
					return fmt.Errorf("import NAT evidence of node %d of %s: %w", node, w.Config.Cluster, err)
				}
			}
		}
	}
	return fn(query.New(t.rows, t.ledger.View(t.config).WithNAT(store)))
}

func importNode(store *nat.Store, w *sim.World, node, life int, until int64) error {
	r, to := io.Pipe()
	go func() { to.CloseWithError(w.WriteConntrackUntil(to, node, life, until)) }()
	defer r.Close()
	im, err := store.Begin(nat.Import{Cluster: w.Config.Cluster, Kind: "conntrack", Name: fmt.Sprintf("%d-%d", node, life)})
	if err != nil {
		return err
	}
	sum, err := natlog.Read(r, natlog.Options{Node: w.NICs[node].Lives()[life].Name}, im)
	if err == nil && sum.Rejected > 0 {
		err = fmt.Errorf("%d lines are rejected", sum.Rejected)
	}
	if err != nil {
		return errors.Join(err, im.Discard())
	}
	_, err = im.Commit("")
	return err
}

// Row is a row of the log: who was behind its ends, and what is said of them.
type Row struct {
	*sim.Truth
	World            *sim.World
	SaidSrc, SaidDst *attribution.Resolution
	Among            *query.Attributed // the rows that were answered with it; valid until fn returns
	Index            int               // which of them it is
}

// place is where a row stands.
type place struct {
	blob   string
	offset int64
}

// known is what the simulator says of a row.
type known struct {
	sim.Truth
	world *sim.World
}

// Rows calls fn with each row of the log. A row that is missing from the index, or
// twice in it, is an error.
func (t *Trial) Rows(ctx context.Context, e *query.Engine, fn func(Row)) error {
	truth := make(map[place]known)
	for _, w := range t.Worlds {
		for tr := range w.Truth() {
			truth[place{tr.Blob, tr.Offset}] = known{tr, w}
		}
	}
	err := e.All(ctx, 0, 0, func(a query.Attributed, _ []int32) error {
		for i := range a.Len() {
			at := place{a.Blob(i), a.Offset[i]}
			k, ok := truth[at]
			if !ok {
				return fmt.Errorf("row at %s:%d is not in the truth, or twice", at.blob, at.offset)
			}
			delete(truth, at)
			fn(Row{&k.Truth, k.world, a.Joined.Src[i], a.Joined.Dst[i], &a, i})
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

// Begun is when its flow began, as far as the log can tell.
func (r *Row) Begun() flow.Span { return r.Among.Begins[r.Index] }

// Begins says whether a row is the first of its flow, at the sender's interface.
func (r *Row) Begins() bool {
	return r.Direction == flow.Outbound && r.State == flow.Begin && r.Time == r.Begin
}
