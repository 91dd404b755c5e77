package sim

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"iter"

	"github.com/whichpod/whichpod/flow"
)

// Truth is one tuple of the log and who stood behind its two ends when its flow began.
// (Blob, Offset) of the row tells tuples apart that are otherwise equal.
type Truth struct {
	flow.Row
	// Begin is when the flow began, by the clock of the log that has the row: the time
	// of its B row, if that was logged. A denied attempt begins and ends at once.
	Begin  int64
	Masked bool // the source is the node's address in place of a pod's
	Class  Class
	// SrcPod and DstPod are nil where an end is no pod: outside, a node's own process, or an
	// address that nobody had.
	SrcPod, DstPod *Pod
}

// Len is the number of tuples.
func (w *World) Len() int { return len(w.rows) }

// Truth lists all tuples in the order of the blobs: by NIC, then as they stand.
func (w *World) Truth() iter.Seq[Truth] {
	return func(yield func(Truth) bool) {
		for i := range w.rows {
			if !yield(w.truth(&w.rows[i])) {
				return
			}
		}
	}
}

func (w *World) truth(r *row) Truth {
	f := &w.flows[r.flow]
	t := Truth{
		Row: flow.Row{
			Time: r.t, NIC: w.NICs[r.nic].at(r.record).MAC, Direction: r.direction, State: r.state,
			Src: f.src, Dst: f.dst, SrcPort: f.sport, DstPort: f.dport, Protocol: f.protocol(),
			Encryption: "NX", Allowed: r.state != flow.Denied,
			Rule: ruleTable[r.rule].name, ACL: ruleTable[r.rule].acl,
			Counters: flow.Counters{
				PacketsSent: uint64(r.counters[0]), BytesSent: uint64(r.counters[1]),
				PacketsReceived: uint64(r.counters[2]), BytesReceived: uint64(r.counters[3]),
			},
			RecordTime: r.record, Blob: w.blobs[r.blob].path, Offset: r.offset,
		},
		Begin: f.begin + w.NICs[r.nic].Skew, Masked: f.masked, Class: f.class,
	}
	if r.direction == flow.Inbound {
		t.Begin = f.begin + w.receiver(r.flow).late
	}
	if r.state == flow.Denied {
		t.Begin = r.t
	}
	if f.srcPod >= 0 {
		t.SrcPod = w.Pods[f.srcPod]
	}
	if f.dstPod >= 0 {
		t.DstPod = w.Pods[f.dstPod]
	}
	return t
}

// truthLine is a line of truth.jsonl.
type truthLine struct {
	NIC    string    `json:"nic"`
	T      int64     `json:"t"`
	Begin  int64     `json:"begin"`
	Dir    string    `json:"dir"`
	State  string    `json:"state"`
	Src    string    `json:"src"`
	Sport  uint16    `json:"sport"`
	Dst    string    `json:"dst"`
	Dport  uint16    `json:"dport"`
	Proto  uint8     `json:"proto"`
	Masked bool      `json:"masked"`
	SrcPod *truthPod `json:"src_pod"`
	DstPod *truthPod `json:"dst_pod"`
}

type truthPod struct {
	UID  string `json:"uid"`
	Pod  string `json:"pod"`
	Host bool   `json:"host"`
	Node string `json:"node"`
}

// WriteTruth writes a JSON line per tuple, in the order of [World.Truth].
func (w *World) WriteTruth(to io.Writer) error {
	out := bufio.NewWriterSize(to, 1<<20)
	enc := json.NewEncoder(out)
	for t := range w.Truth() {
		l := truthLine{
			NIC: t.NIC, T: t.Time, Begin: t.Begin, Dir: string(t.Direction), State: string(t.State),
			Src: t.Src.String(), Sport: t.SrcPort, Dst: t.Dst.String(), Dport: t.DstPort,
			Proto: t.Protocol, Masked: t.Masked, SrcPod: t.SrcPod.truth(), DstPod: t.DstPod.truth(),
		}
		if err := enc.Encode(l); err != nil {
			return fmt.Errorf("write truth: %w", err)
		}
	}
	if err := out.Flush(); err != nil {
		return fmt.Errorf("write truth: %w", err)
	}
	return nil
}

func (p *Pod) truth() *truthPod {
	if p == nil {
		return nil
	}
	return &truthPod{p.UID, p.Namespace + "/" + p.Name, p.HostNetwork, p.NodeName}
}
