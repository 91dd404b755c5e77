//go:build e2e

package rig

import (
	"cmp"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/ti-mo/conntrack"
	"github.com/ti-mo/netfilter"

	"github.com/whichpod/whichpod/e2e/process"
)

// Flow is a connection as the VNet saw it, on the far side of the nodes' interfaces.
type Flow struct {
	Protocol uint8
	From, To netip.AddrPort
	Zone     uint16 // of the cluster whose pods' addresses are in it, where they are not unique
	Begin    int64  // Unix milliseconds
	End      int64  // 0 while it is there
	samples  []sample
}

// sample is what had been counted of a flow at a time.
type sample struct {
	at             int64
	sent, received [2]int64 // packets, bytes
}

// Recorder watches the connections that the VNet tracks.
type Recorder struct {
	events, table *conntrack.Conn
	failed        chan error // of the events
	broken        error      // of a sample

	flows   []*Flow
	open    map[uint32]*Flow // by the kernel's id of the connection
	asked   chan chan []*Flow
	stop    chan struct{}
	stopped chan struct{}
}

// StartRecorder begins. Every so often it takes the counters of all connections, as
// Azure logs long flows every five minutes.
func StartRecorder(t testing.TB, every time.Duration) *Recorder {
	t.Helper()
	VNet.Track(t)
	VNet.Set(t, "net.netfilter.nf_conntrack_timestamp", 1)
	r := &Recorder{open: make(map[uint32]*Flow), asked: make(chan chan []*Flow), stop: make(chan struct{}), stopped: make(chan struct{})}
	var err error
	r.table, err = conntrack.Dial(nil)
	process.Must(t, err)
	r.events, err = conntrack.Dial(nil)
	process.Must(t, err)
	process.Must(t, r.events.SetReadBuffer(64<<20)) // an event that is lost would be a flow without a row
	events := make(chan conntrack.Event, 1<<16)
	r.failed, err = r.events.Listen(events, 1, []netfilter.NetlinkGroup{netfilter.GroupCTNew, netfilter.GroupCTDestroy})
	process.Must(t, err)
	go r.run(events, every)
	return r
}

func (r *Recorder) run(events chan conntrack.Event, every time.Duration) {
	defer close(r.stopped)
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case e := <-events:
			r.event(e)
			continue
		case <-tick.C:
			r.sample()
			continue
		case answer := <-r.asked:
			answer <- r.sampled()
			continue
		case <-r.stop:
		}
		for len(events) > 0 {
			r.event(<-events)
		}
		r.sample()
		return
	}
}

func (r *Recorder) event(e conntrack.Event) {
	f := e.Flow
	if p := f.TupleOrig.Proto; p.Protocol != 6 && p.Protocol != 17 {
		return // flow logs have only these
	}
	if e.Type == conntrack.EventNew {
		n := &Flow{Protocol: f.TupleOrig.Proto.Protocol, Zone: f.Zone, Begin: time.Now().UnixMilli(),
			From: netip.AddrPortFrom(f.TupleOrig.IP.SourceAddress, f.TupleOrig.Proto.SourcePort),
			To:   netip.AddrPortFrom(f.TupleOrig.IP.DestinationAddress, f.TupleOrig.Proto.DestinationPort)}
		r.flows, r.open[f.ID] = append(r.flows, n), n
		return
	}
	if n := r.open[f.ID]; n != nil && e.Type == conntrack.EventDestroy {
		n.End = f.Timestamp.Stop.UnixMilli()
		n.count(f, n.End)
		delete(r.open, f.ID)
	}
}

// sample takes the counters of the connections that are there.
func (r *Recorder) sample() {
	at := time.Now().UnixMilli()
	list, err := r.table.Dump(nil)
	if err != nil {
		r.broken = err
		return
	}
	for i := range list {
		// The kernel may give the id to another connection before it is known here that the
		// first one ended.
		if n := r.open[list[i].ID]; n != nil && list[i].Timestamp.Start.UnixMilli() <= n.Begin {
			n.count(&list[i], at)
		}
	}
}

// count adds a sample. With the first, the kernel says when the flow began, which its
// first event does not.
func (f *Flow) count(c *conntrack.Flow, at int64) {
	if !c.Timestamp.Start.IsZero() {
		f.Begin = c.Timestamp.Start.UnixMilli()
	}
	counts := func(n conntrack.Counter) [2]int64 { return [2]int64{int64(n.Packets), int64(n.Bytes)} }
	f.samples = append(f.samples, sample{at, counts(c.CountersOrig), counts(c.CountersReply)})
}

// Flows are those that were sampled until now, as they are now. It MUST NOT be called
// after Stop.
func (r *Recorder) Flows() []*Flow {
	answer := make(chan []*Flow)
	r.asked <- answer
	return <-answer
}

// sampled copies the flows that have a sample.
func (r *Recorder) sampled() []*Flow {
	var out []*Flow
	for _, f := range r.flows {
		if len(f.samples) > 0 {
			one := *f
			one.samples = slices.Clone(f.samples)
			out = append(out, &one)
		}
	}
	return out
}

// Stop ends the recording and returns the flows, by their begin.
func (r *Recorder) Stop(t testing.TB) []*Flow {
	t.Helper()
	close(r.stop)
	<-r.stopped
	select {
	case err := <-r.failed:
		t.Fatalf("the recording is not whole: %v", err)
	default:
	}
	process.Must(t, r.broken)
	process.Must(t, r.events.Close())
	process.Must(t, r.table.Close())
	slices.SortStableFunc(r.flows, func(a, b *Flow) int { return cmp.Compare(a.Begin, b.Begin) })
	return r.flows
}
