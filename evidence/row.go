// Package evidence writes what was attributed for others to read and check:
// attributed rows, one per tuple of a flow log, as JSON lines, CSV, Parquet, events of
// OCSF or of a Timesketch timeline. It also writes rows as their log has them, for any
// other tool.
//
// In: attributed batches, or flow batches. Out: bytes to a writer. Columns bear the
// same names in every format but OCSF (docs/export.md); absent is null, in CSV an
// empty field. A row writer is used by one goroutine; nothing is complete before Close
// returned nil.
package evidence

import (
	"strconv"

	"github.com/whichpod/whichpod/attribution"
	"github.com/whichpod/whichpod/flow"
	"github.com/whichpod/whichpod/query"
)

// Row is an exported row: the tuple, where it stands, and what can be said of both
// its ends.
type Row struct {
	Time            string  `json:"time"`      // RFC 3339, milliseconds, UTC
	NIC             *string `json:"nic"`       // null where a firewall logged the row
	Direction       *string `json:"direction"` // I or O; null without an interface
	State           string  `json:"state"`     // B, C, E or D
	SrcIP           string  `json:"src_ip"`
	SrcPort         uint16  `json:"src_port"`
	DstIP           *string `json:"dst_ip"` // null where the log has only a name
	DstPort         uint16  `json:"dst_port"`
	Protocol        uint8   `json:"protocol"`
	Encryption      *string `json:"encryption"`
	Rule            *string `json:"rule"`
	ACL             *string `json:"acl"`
	PacketsSent     *uint64 `json:"packets_sent"`
	BytesSent       *uint64 `json:"bytes_sent"`
	PacketsReceived *uint64 `json:"packets_received"`
	BytesReceived   *uint64 `json:"bytes_received"`
	Blob            string  `json:"blob"`
	Offset          int64   `json:"offset"`

	SrcVerdict    string   `json:"src_verdict"`
	SrcCluster    *string  `json:"src_cluster"`
	SrcNamespace  *string  `json:"src_namespace"`
	SrcPod        *string  `json:"src_pod"`
	SrcPodUID     *string  `json:"src_pod_uid"`
	SrcNode       *string  `json:"src_node"`
	SrcCandidates []string `json:"src_candidates"` // UIDs
	SrcSource     *string  `json:"src_source"`

	DstVerdict    *string  `json:"dst_verdict"` // null with dst_ip
	DstCluster    *string  `json:"dst_cluster"`
	DstNamespace  *string  `json:"dst_namespace"`
	DstPod        *string  `json:"dst_pod"`
	DstPodUID     *string  `json:"dst_pod_uid"`
	DstNode       *string  `json:"dst_node"`
	DstCandidates []string `json:"dst_candidates"`
	DstSource     *string  `json:"dst_source"`
}

// Columns are the names of the exported row's columns, in order.
var Columns = []string{
	"time", "nic", "direction", "state", "src_ip", "src_port", "dst_ip", "dst_port", "protocol", "encryption", "rule", "acl",
	"packets_sent", "bytes_sent", "packets_received", "bytes_received", "blob", "offset",
	"src_verdict", "src_cluster", "src_namespace", "src_pod", "src_pod_uid", "src_node", "src_candidates", "src_source",
	"dst_verdict", "dst_cluster", "dst_namespace", "dst_pod", "dst_pod_uid", "dst_node", "dst_candidates", "dst_source",
}

// end is what a row says of one of its ends.
type end struct {
	verdict                                    string
	cluster, namespace, pod, uid, node, source *string // nil is null
	candidates                                 []string
	held                                       [4]*int64 // of the pod of an exact verdict: when it got the address, when it lost it
}

// ends remembers how a resolution is written. Many rows share one.
type ends map[*attribution.Resolution]*end

func (m ends) of(r *attribution.Resolution) *end {
	if e := m[r]; e != nil {
		return e
	}
	if len(m) >= 1<<12 {
		clear(m) // ranges of time make resolutions of their own without end, of dozens of candidates
	}
	e := newEnd(r)
	for _, c := range r.Candidates {
		if c.UID != "" {
			e.candidates = append(e.candidates, c.UID)
		}
	}
	m[r] = e
	return e
}

// newEnd names the pod of an exact verdict. Of several candidates it says what they
// have in common: cluster and node. It leaves out who they are.
func newEnd(r *attribution.Resolution) *end {
	e := &end{verdict: r.Verdict.String()}
	var sources attribution.Sources
	for i := range r.Candidates {
		c := r.Candidates[i]
		if i == 0 {
			e.cluster, e.node = text(c.Cluster), text(c.Node)
		} else {
			e.cluster, e.node = common(e.cluster, c.Cluster), common(e.node, c.Node)
		}
		sources |= c.Sources
	}
	e.source = text(sources.String())
	if p := r.Pod(); p != nil {
		e.namespace, e.pod, e.uid = text(p.Namespace), text(p.Name), text(p.UID)
		e.held = [4]*int64{moment(p.FromEarliest), moment(p.FromLatest), moment(p.ToEarliest), moment(p.ToLatest)}
	}
	return e
}

func text(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

func common(have *string, s string) *string {
	if have != nil && *have == s {
		return have
	}
	return nil
}

// fill makes row the exported form of row i.
func (row *Row) fill(a query.Attributed, i int, m ends) {
	r := a.Row(i)
	src, dst := m.of(a.Joined.Src[i]), m.of(a.Joined.Dst[i])
	dstVerdict := dst.verdict
	if r.Dst == flow.Unknown {
		dstVerdict = ""
	}
	*row = Row{
		Time: query.Time(r.Time).String(), NIC: text(r.NIC), Direction: letter(r.Direction), State: string(r.State),
		SrcIP: r.Src.String(), SrcPort: r.SrcPort, DstIP: destination(&r), DstPort: r.DstPort, Protocol: r.Protocol,
		Encryption: text(r.Encryption), Rule: text(r.Rule), ACL: text(r.ACL), Blob: r.Blob, Offset: r.Offset,
		PacketsSent:     counter(&r.Counters, flow.NullPacketsSent, r.Counters.PacketsSent),
		BytesSent:       counter(&r.Counters, flow.NullBytesSent, r.Counters.BytesSent),
		PacketsReceived: counter(&r.Counters, flow.NullPacketsReceived, r.Counters.PacketsReceived),
		BytesReceived:   counter(&r.Counters, flow.NullBytesReceived, r.Counters.BytesReceived),
		SrcVerdict:      src.verdict, SrcCluster: src.cluster, SrcNamespace: src.namespace, SrcPod: src.pod, SrcPodUID: src.uid,
		SrcNode: src.node, SrcCandidates: src.candidates, SrcSource: src.source,
		DstVerdict: text(dstVerdict), DstCluster: dst.cluster, DstNamespace: dst.namespace, DstPod: dst.pod, DstPodUID: dst.uid,
		DstNode: dst.node, DstCandidates: dst.candidates, DstSource: dst.source,
	}
}

func counter(c *flow.Counters, which flow.Nulls, v uint64) *uint64 {
	if c.Null&which != 0 {
		return nil
	}
	return &v
}

func number(v *uint64) string {
	if v == nil {
		return ""
	}
	return strconv.FormatUint(*v, 10)
}
