// Package natwatch reads from a node's kernel what it translates, and ships it: the
// agent that makes NAT evidence.
//
// In: the kernel's connection tracking, over netlink. Out: batches (nat.Batch), files
// that are written once, to a [Target]: a folder or a container. A batch is on disk in
// the spool before it is shipped, and is removed from there once the target has it.
//
// An Agent is for one Run. Its memory is bounded by what is open at once (see
// natlog.Tracker) and by two batches; its disk by Config.MaxSpool. What it could not
// see, since it did not run or since the kernel dropped events, is in no batch's
// covered time: a gap in the evidence, and never a guess.
//
// It is the only importer of a netlink library: attribution and the formats are tested
// without a kernel.
package natwatch

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"path"
	"time"

	"github.com/whichpod/whichpod/attribution/nat"
	"github.com/whichpod/whichpod/attribution/natlog"
)

// Folder is where batches lie below a target's root, and Suffix how their names end.
const (
	Folder = "whichpod-nat"
	Suffix = ".wpnb"
)

// Kernel is a node's connection tracking. One goroutine uses it.
type Kernel interface {
	// List calls fn with each translated connection in the table. Events are kept
	// from before it on.
	List(fn func(natlog.Event) error) error
	// Next waits for an event until a deadline. It returns ErrIdle where there was
	// none, which proves that all that happened before the call was returned; and
	// ErrDropped where the kernel dropped events since the last call.
	Next(deadline time.Time) (natlog.Event, error)
	Close() error
}

// Errors of a Kernel that are no failure.
var (
	ErrIdle    = errors.New("no event")
	ErrDropped = errors.New("the kernel dropped events")
)

// Target takes files and never overwrites one: Put of a name that is there is no error
// and changes nothing. Names have forward slashes.
type Target interface {
	Put(ctx context.Context, name string, data []byte) error
}

// Config says what an agent does. Start from [DefaultConfig].
type Config struct {
	Cluster, Node string
	Spool         string        // folder for batches that are not shipped yet
	MaxSpool      int64         // bytes of it; the oldest batch goes where it would be more
	BatchEvery    time.Duration // how long a batch takes at most: so late is the evidence
	Report        func(string)  // is told what a person should know; MUST NOT be nil
	Now           func() time.Time
}

// DefaultConfig ships every ten seconds and spools up to 256 MiB.
func DefaultConfig() Config {
	return Config{MaxSpool: 256 << 20, BatchEvery: 10 * time.Second, Report: func(string) {}, Now: time.Now}
}

// Stats counts what an agent did.
type Stats struct {
	Events, Flows  uint64 // from the kernel; in batches
	Dropped        uint64 // how often the kernel said that it dropped events
	Batches        uint64 // written
	Shipped        uint64
	Forgotten      uint64 // batches that the spool had no room for
	Open           int    // translated connections
	SpooledBatches int
	SpooledBytes   int64
}

// Agent reads one node's kernel.
type Agent struct {
	cfg     Config
	kernel  Kernel
	tracker *natlog.Tracker
	ship    *shipper
	batch   nat.Batch
	stats   Stats
	drained int64 // Unix milliseconds: all that happened before was taken
	gapFrom int64 // drained, as it was before the loss that is going on
	gapLeft int   // how many events the socket can still have from before that loss; 0: there is none
}

// New returns an agent. The caller keeps and closes the kernel.
func New(cfg Config, kernel Kernel, target Target) (*Agent, error) {
	if cfg.Cluster == "" || cfg.Node == "" || cfg.Spool == "" {
		return nil, fmt.Errorf("make agent: cluster is %q, node %q and spool %q, want all three", cfg.Cluster, cfg.Node, cfg.Spool)
	}
	var id [4]byte
	rand.Read(id[:])
	a := &Agent{cfg: cfg, kernel: kernel}
	a.batch = nat.Batch{Cluster: cfg.Cluster, Node: cfg.Node, Session: cfg.Now().UTC().Format("20060102T150405Z") + "-" + hex.EncodeToString(id[:])}
	a.tracker = natlog.NewTracker(cfg.Node, a)
	var err error
	if a.ship, err = newShipper(&cfg, target); err != nil {
		return nil, err
	}
	return a, nil
}

// Add implements natlog.Sink.
func (a *Agent) Add(f nat.Flow) error {
	a.batch.Flows = append(a.batch.Flows, f)
	a.stats.Flows++
	return nil
}

// Cover implements natlog.Sink; the tracker is cut, not closed.
func (a *Agent) Cover(string, string, int64, int64) {}

// Run reads until ctx ends, and then writes the last batch and tries once to ship what
// is spooled. Batches that are left are shipped by the next Run.
func (a *Agent) Run(ctx context.Context) error {
	shipping := make(chan struct{})
	go func() {
		defer close(shipping)
		a.ship.run(ctx)
	}()
	err := a.read(ctx)
	err = errors.Join(err, a.cut())
	<-shipping
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	a.ship.all(last)
	a.report()
	return err
}

// poll is how long the agent waits for an event before it looks at the clock.
const poll = 50 * time.Millisecond

func (a *Agent) read(ctx context.Context) error {
	if err := a.begin(ctx); err != nil {
		return err
	}
	next, minute := a.cfg.Now().Add(a.cfg.BatchEvery), a.cfg.Now().Add(time.Minute)
	for ctx.Err() == nil {
		if err := a.take(); err != nil {
			return err
		}
		now := a.cfg.Now()
		if !now.Before(next) || len(a.batch.Flows)+a.tracker.Fresh() >= nat.MaxBatchFlows/2 {
			if err := a.cut(); err != nil {
				return err
			}
			next = now.Add(a.cfg.BatchEvery)
		}
		if !now.Before(minute) {
			a.report()
			minute = now.Add(time.Minute)
		}
	}
	return nil
}

// begin lists the table. From the list until all that happened meanwhile was read,
// nothing counts; what the list shows and no event has touched since is open.
func (a *Agent) begin(ctx context.Context) error {
	listed := make(map[nat.Key]natlog.Event)
	err := a.kernel.List(func(e natlog.Event) error {
		listed[e.Key()] = e
		return nil
	})
	if err != nil {
		return fmt.Errorf("list connections: %w", err)
	}
	for ctx.Err() == nil {
		before := a.now()
		e, err := a.kernel.Next(a.cfg.Now().Add(poll))
		switch {
		case errors.Is(err, ErrIdle):
			a.drained = before
			a.tracker.Start(before)
			for _, e := range listed {
				e.At, e.Since = before*1000, 0
				if err := a.tracker.Take(&e); err != nil {
					return err
				}
			}
			return nil
		case errors.Is(err, ErrDropped):
			clear(listed)
		case err != nil:
			return fmt.Errorf("read events: %w", err)
		default:
			delete(listed, e.Key())
		}
	}
	return nil
}

func (a *Agent) now() int64 { return a.cfg.Now().UnixMilli() }

// take takes the next event, if there is one.
func (a *Agent) take() error {
	before := a.now()
	e, err := a.kernel.Next(a.cfg.Now().Add(poll))
	switch {
	case errors.Is(err, ErrIdle):
		err := a.endGap(before)
		a.drained = max(a.drained, before)
		return err
	case errors.Is(err, ErrDropped):
		a.stats.Dropped++
		a.batch.Lost++
		// The kernel says so at once: before what is in the socket, which happened earlier.
		// What was dropped happened after all that was read, and before now.
		if a.gapLeft == 0 {
			a.gapFrom = a.drained
		}
		a.gapLeft = maxQueued
		return a.tracker.Lost(a.gapFrom, a.now())
	case err != nil:
		return fmt.Errorf("read events: %w", err)
	}
	a.stats.Events++
	if a.gapLeft > 0 {
		if a.gapLeft--; a.gapLeft == 0 {
			if err := a.endGap(before); err != nil {
				return err
			}
		}
	}
	if e.At == 0 { // the kernel does not say: after all that was taken, and before now
		e.At, e.Since = a.now()*1000, a.drained*1000
	} else if late := e.At/1000 - reordered; late > a.drained && a.gapLeft == 0 {
		a.drained = late
	}
	return a.tracker.Take(&e)
}

// maxQueued is more events than a socket's buffer can hold: each takes more than 700
// bytes of the receiveBuffer, which the kernel doubles.
const maxQueued = 1 << 18

// endGap ends a loss, Unix milliseconds: all that the socket had from before it was
// read. That is open now, and what became of it may have been dropped.
func (a *Agent) endGap(at int64) error {
	if a.gapFrom == 0 {
		return nil
	}
	from := a.gapFrom
	a.gapFrom, a.gapLeft = 0, 0
	return a.tracker.Lost(from, at)
}

// reordered is how far events of several processors can be out of order, in
// milliseconds: much longer than the kernel takes to put one into the socket.
const reordered = 100

// cut writes a batch, if there is anything to tell.
func (a *Agent) cut() error {
	if a.drained == 0 {
		return nil // it has not begun
	}
	var err error
	if a.batch.Covered, err = a.tracker.Cut(a.drained); err != nil {
		return err
	}
	for flows := a.batch.Flows; ; {
		n := min(len(flows), nat.MaxBatchFlows)
		a.batch.Flows, flows = flows[:n], flows[n:]
		last := len(flows) == 0
		covered := a.batch.Covered
		if !last {
			a.batch.Covered = nil // the covered time counts once all its records are there
		}
		if err := a.write(); err != nil {
			return err
		}
		a.batch.Covered, a.batch.Lost = covered, 0
		if last {
			break
		}
	}
	a.batch.Flows, a.batch.Covered = nil, nil
	return nil
}

// write puts the batch into the spool.
func (a *Agent) write() error {
	if len(a.batch.Flows) == 0 && len(a.batch.Covered) == 0 {
		return nil
	}
	a.batch.Number++
	data, err := a.batch.Encode()
	if err != nil {
		return err
	}
	if err := a.ship.spool(Name(&a.batch, a.cfg.Now()), data); err != nil {
		return err
	}
	a.stats.Batches++
	return nil
}

// Name is where a batch lies below a target's root.
func Name(b *nat.Batch, at time.Time) string {
	at = at.UTC()
	return path.Join(Folder, "cluster="+safe(b.Cluster), "node="+safe(b.Node), at.Format("y=2006/m=01/d=02/h=15"), fmt.Sprintf("%s-%08d%s", b.Session, b.Number, Suffix))
}

// safe is a name that is one element of a path.
func safe(s string) string {
	out := []byte(s)
	for i, c := range out {
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '-', c == '_', c == '.' && i > 0:
		default:
			out[i] = '_'
		}
	}
	return string(out)
}

// Stats is how it goes. It is for the goroutine that runs.
func (a *Agent) Stats() Stats {
	s := a.stats
	s.Open = a.tracker.Open()
	s.Shipped, s.Forgotten, s.SpooledBatches, s.SpooledBytes = a.ship.counts()
	return s
}

func (a *Agent) report() {
	s := a.Stats()
	a.cfg.Report(fmt.Sprintf("%d events, %d translations, %d open; the kernel dropped events %d times; %d batches written, %d shipped, %d waiting with %d bytes, %d forgotten",
		s.Events, s.Flows, s.Open, s.Dropped, s.Batches, s.Shipped, s.SpooledBatches, s.SpooledBytes, s.Forgotten))
}
