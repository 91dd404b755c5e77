// Package mtti measures how long it takes from the first packet of an incident until the
// pod that sent it is named: the mean time to identify, in stages.
//
// In: simulated clusters in which pods called places that nobody else calls. Their flow
// logs grow as Azure publishes them, and are read, indexed and asked by the ordinary
// code. Out: a [Result] a run. Reading, indexing and asking are measured on this machine;
// what Azure and people take is assumed, and stands in the [Plan].
//
// An incident whose sender cannot be named has no such time: it is counted apart. A
// wrong pod counts as wrong, however fast it was there.
package mtti

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/whichpod/whichpod/attribution"
	"github.com/whichpod/whichpod/benchmarks/rivals"
	"github.com/whichpod/whichpod/benchmarks/sim"
	"github.com/whichpod/whichpod/benchmarks/trial"
	"github.com/whichpod/whichpod/flow"
	"github.com/whichpod/whichpod/query"
)

// Assumed is what no run can measure.
type Assumed struct {
	Publishing time.Duration // from a record's time until Azure lets it be read
	Polling    time.Duration // from one look at the logs to the next
	// The steps of a person without an index: to find and download the hour's blobs, to
	// find the row in them, and to find who had the address then.
	Download, Search, Lookup time.Duration
}

// shipping is how late NAT evidence is there: the agent ships a batch every ten seconds.
const shipping = 10 * time.Second

// Way is how a sender is found.
type Way string

// The ways, in the order of reports.
const (
	Plain  Way = "whichpod"
	NAT    Way = "whichpod with NAT evidence"
	Manual Way = "by hand"
)

// Ways are all of them.
var Ways = []Way{Plain, NAT, Manual}

// Stages are how long it took from one thing to the next.
type Stages struct {
	Logging    time.Duration // first packet to record: the log's minute, as simulated
	Publishing time.Duration // assumed
	Polling    time.Duration // waiting for the next look at the logs; from what is assumed
	Person     time.Duration // assumed, by hand only
	Fetching   time.Duration // measured, as are the next two
	Indexing   time.Duration
	Asking     time.Duration
}

// Measured is the part that was measured.
func (s *Stages) Measured() time.Duration { return s.Fetching + s.Indexing + s.Asking }

// Total is from the first packet to the answer.
func (s *Stages) Total() time.Duration {
	return s.Logging + s.Publishing + s.Polling + s.Person + s.Measured()
}

// Tally is what a way gave for the incidents of a run.
type Tally struct {
	Incidents int
	Wrong     int            // another pod was named
	Unnamed   map[string]int // by verdict, or why else there was none
	Named     []Stages       // of those that were named rightly
}

// unlogged and nobody are why an incident has no verdict.
const (
	unlogged = "no row"
	nobody   = "no pod"
)

// Result is one run.
type Result struct {
	Mode    sim.Mode
	Seed    uint64
	Tallies map[Way]*Tally
	Example string // of a wrong answer of whichpod
}

// Measure runs one cluster. Incidents are asked about in the pass over the logs that
// brings their first row, by the address that was called.
func Measure(ctx context.Context, cfg sim.Config, a Assumed) (out Result, err error) {
	world := sim.Generate(cfg)
	t, err := trial.Prepare(trial.Options{Live: true}, world)
	if err != nil {
		return Result{}, err
	}
	defer func() { err = errors.Join(err, t.Close()) }()
	m := &meter{trial: t, world: world, assumed: a, Result: Result{Mode: cfg.Mode, Seed: cfg.Seed, Tallies: make(map[Way]*Tally)}}
	for _, way := range Ways {
		m.Tallies[way] = &Tally{Incidents: len(world.Incidents), Unnamed: make(map[string]int)}
	}
	if err := m.byHand(); err != nil {
		return Result{}, err
	}
	for _, p := range m.passes() {
		if err := m.pass(ctx, p); err != nil {
			return Result{}, err
		}
	}
	return m.Result, nil
}

// meter takes one cluster through time.
type meter struct {
	Result
	trial   *trial.Trial
	world   *sim.World
	assumed Assumed
	calls   []call
}

// call is an incident with the first row of it, at the sender's interface.
type call struct {
	sim.Incident
	row  sim.Truth
	seen int64 // when the pass begins that reads the row, Unix ms
}

// look is a pass over the logs in which rows of incidents come.
type look struct {
	at    int64 // Unix ms
	calls []call
}

// passes are the looks at the logs, by time; those in which no incident comes are left
// out, but for what they would read.
func (m *meter) passes() []look {
	start, every := m.world.Config.Start.UnixMilli(), m.assumed.Polling.Milliseconds()
	var out []look
	for _, c := range m.calls {
		published := c.row.RecordTime + m.assumed.Publishing.Milliseconds()
		c.seen = published
		if every > 0 {
			c.seen = start + (published-start+every-1)/every*every
		}
		i, found := slices.BinarySearchFunc(out, c.seen, func(l look, at int64) int { return int(l.at - at) })
		if !found {
			out = slices.Insert(out, i, look{at: c.seen})
		}
		out[i].calls = append(out[i].calls, c)
	}
	return out
}

// pass makes the look before, so that what it would have read is read, and then the
// look itself; that one is measured, and each of its incidents is asked about.
func (m *meter) pass(ctx context.Context, l look) error {
	if err := m.trial.Watch(l.at); err != nil {
		return err
	}
	published := l.at - m.assumed.Publishing.Milliseconds()
	if before := published - max(1, m.assumed.Polling.Milliseconds()); before > m.world.Config.Start.UnixMilli() {
		if _, err := m.trial.Pass(ctx, before); err != nil {
			return err
		}
	}
	took, err := m.trial.Pass(ctx, published)
	if err != nil {
		return err
	}
	if took.Rows == 0 {
		return fmt.Errorf("measure the pass at %v: it brings no row, so what was timed is nothing", time.UnixMilli(l.at).UTC())
	}
	for i := range l.calls {
		if err := m.ask(ctx, m.trial.Engine(), Plain, &l.calls[i], took); err != nil {
			return err
		}
	}
	return m.trial.WithNATUntil(l.at-shipping.Milliseconds(), func(e *query.Engine) error {
		for i := range l.calls {
			if err := m.ask(ctx, e, NAT, &l.calls[i], took); err != nil {
				return err
			}
		}
		return nil
	})
}

// ask asks who called the place of an incident.
func (m *meter) ask(ctx context.Context, e *query.Engine, way Way, c *call, took trial.Took) error {
	to := c.To
	start := time.Now()
	answer, err := e.Talkers(ctx, query.Question{Of: query.Endpoint{Prefix: netip.PrefixFrom(to.Addr(), to.Addr().BitLen()), Port: to.Port(), HasPort: true}})
	if err != nil {
		return err
	}
	s := m.stages(c)
	s.Polling = millis(c.seen - c.row.RecordTime - m.assumed.Publishing.Milliseconds())
	s.Fetching, s.Indexing, s.Asking = took.Fetching, took.Indexing, time.Since(start)
	uids, verdict := said(answer)
	m.judge(way, c, uids, verdict, s)
	return nil
}

// stages are those that every way has.
func (m *meter) stages(c *call) Stages {
	return Stages{Logging: millis(c.row.RecordTime - c.At), Publishing: m.assumed.Publishing}
}

// said is the pod that an answer names, or the verdict for which it names none.
func said(a *query.Answer) (uids []string, verdict string) {
	for i := range a.Answers {
		if p := a.Answers[i].Pod; p != nil && !slices.Contains(uids, p.UID) {
			uids = append(uids, p.UID)
		}
	}
	if a.Verdict == 0 {
		return uids, unlogged
	}
	return uids, a.Verdict.String()
}

// judge counts an answer. Any pod that is named and did not send is wrong.
func (m *meter) judge(way Way, c *call, uids []string, verdict string, s Stages) {
	t := m.Tallies[way]
	switch {
	case slices.ContainsFunc(uids, func(uid string) bool { return uid != c.Pod.UID }):
		t.Wrong++
		if way != Manual {
			m.Example = fmt.Sprintf("%s, seed %d: %s to %s", m.Mode, m.Seed, c.Pod.Name, c.To)
		}
	case len(uids) == 0 || verdict != attribution.Exact.String():
		t.Unnamed[verdict]++
	default:
		t.Named = append(t.Named, s)
	}
}

// byHand finds the first row of each incident, and who a person would name who looks
// the row's source up in a table of periodic lists of pods.
func (m *meter) byHand() error {
	w := m.world
	var journal bytes.Buffer
	if err := w.WriteWatch(&journal); err != nil {
		return err
	}
	seen, err := rivals.Watch(&journal)
	if err != nil {
		return err
	}
	rows := make(map[netip.AddrPort]sim.Truth)
	for r := range w.Truth() {
		if r.Direction == flow.Outbound && r.State == flow.Begin && r.Time == r.Begin {
			rows[netip.AddrPortFrom(r.Dst, r.DstPort)] = r
		}
	}
	for _, incident := range w.Incidents {
		c := call{Incident: incident}
		var logged bool
		if c.row, logged = rows[incident.To]; !logged {
			for _, way := range Ways {
				m.Tallies[way].Unnamed[unlogged]++
			}
			continue
		}
		m.calls = append(m.calls, c)
		s := m.stages(&c)
		s.Person = m.assumed.Download + m.assumed.Search + m.assumed.Lookup
		var uids []string
		verdict := nobody
		if uid := rivals.Snapshots(seen, rivals.Question{Address: c.row.Src, Time: c.row.Time}); uid != "" {
			uids, verdict = []string{uid}, attribution.Exact.String()
		}
		m.judge(Manual, &c, uids, verdict, s)
	}
	return nil
}

func millis(n int64) time.Duration { return time.Duration(n) * time.Millisecond }
