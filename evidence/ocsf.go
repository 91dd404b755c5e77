package evidence

import (
	"math"
	"strconv"
	"strings"

	"github.com/whichpod/whichpod/attribution"
	"github.com/whichpod/whichpod/flow"
	"github.com/whichpod/whichpod/query"
)

// The version of OCSF whose names are used, and that of our extension to it
// (docs/format/ocsf). The extension has no registered number: 999 is for development.
const (
	ocsfVersion          = "1.4.0"
	ocsfExtension        = "whichpod"
	ocsfExtensionNumber  = "999"
	ocsfExtensionVersion = "1.0.0"
)

// ocsfEvent is a row as an event of OCSF's class Network Activity (4001). What OCSF
// has no name for stands in two objects of our extension, one for each end.
type ocsfEvent struct {
	Activity    int             `json:"activity_id"`
	Category    int             `json:"category_uid"`
	Class       int             `json:"class_uid"`
	Type        int             `json:"type_uid"`
	Severity    int             `json:"severity_id"`
	Time        int64           `json:"time"` // Unix milliseconds
	Action      int             `json:"action_id"`
	Disposition int             `json:"disposition_id"`
	Rule        *ocsfName       `json:"firewall_rule,omitempty"`
	Policy      *ocsfName       `json:"policy,omitempty"`
	Connection  ocsfConnection  `json:"connection_info"`
	Traffic     *ocsfTraffic    `json:"traffic,omitempty"`
	Src         ocsfEndpoint    `json:"src_endpoint"`
	Dst         *ocsfEndpoint   `json:"dst_endpoint,omitempty"` // absent where the log has only a name
	SrcOwner    ocsfAttributed  `json:"src_attribution"`
	DstOwner    *ocsfAttributed `json:"dst_attribution,omitempty"`
	Metadata    ocsfMetadata    `json:"metadata"`
	Unmapped    ocsfUnmapped    `json:"unmapped"`
}

type ocsfName struct {
	Name string `json:"name"`
}

type ocsfConnection struct {
	Direction int `json:"direction_id"`
	Protocol  int `json:"protocol_num"`
}

// ocsfTraffic counts since the flow's row before: in is what came back to the source.
type ocsfTraffic struct {
	Bytes      *int64 `json:"bytes,omitempty"`
	BytesIn    *int64 `json:"bytes_in,omitempty"`
	BytesOut   *int64 `json:"bytes_out,omitempty"`
	Packets    *int64 `json:"packets,omitempty"`
	PacketsIn  *int64 `json:"packets_in,omitempty"`
	PacketsOut *int64 `json:"packets_out,omitempty"`
}

type ocsfEndpoint struct {
	Address string  `json:"ip"`
	Port    int     `json:"port"`
	Name    *string `json:"name,omitempty"`          // of the pod, with exact
	UID     *string `json:"uid,omitempty"`           // of the pod, with exact
	NIC     *string `json:"interface_uid,omitempty"` // where the row was logged, at this end
}

// ocsfAttributed is the extension's object: what can be said of an end. The four times
// are of an exact verdict's pod; absent is unknown or open.
type ocsfAttributed struct {
	Verdict      string   `json:"verdict"`
	Cluster      *string  `json:"cluster,omitempty"`
	Namespace    *string  `json:"kube_namespace,omitempty"`
	Pod          *string  `json:"pod_name,omitempty"`
	PodUID       *string  `json:"pod_uid,omitempty"`
	Node         *string  `json:"node_name,omitempty"`
	Candidates   []string `json:"candidate_uids,omitempty"`
	Source       *string  `json:"ledger_source,omitempty"`
	FromEarliest *int64   `json:"held_from_earliest,omitempty"`
	FromLatest   *int64   `json:"held_from_latest,omitempty"`
	ToEarliest   *int64   `json:"held_to_earliest,omitempty"`
	ToLatest     *int64   `json:"held_to_latest,omitempty"`
}

type ocsfMetadata struct {
	Version    string             `json:"version"`
	Product    ocsfProduct        `json:"product"`
	Profiles   []string           `json:"profiles"`
	Extensions []ocsfExtensionRef `json:"extensions"`
	UID        string             `json:"uid"` // blob and offset: where the row stands
}

type ocsfProduct struct {
	Name   string `json:"name"`
	Vendor string `json:"vendor_name"`
}

type ocsfExtensionRef struct {
	Name    string `json:"name"`
	UID     string `json:"uid"`
	Version string `json:"version"`
}

// ocsfUnmapped is what flow logs say and OCSF has no place for.
type ocsfUnmapped struct {
	State      string  `json:"state"`
	Encryption *string `json:"encryption,omitempty"`
}

// Numbers of OCSF's enumerations.
const (
	ocsfNetworkCategory = 4
	ocsfNetworkActivity = 4001
	ocsfInformational   = 1

	ocsfOpen, ocsfClose, ocsfRefuse, ocsfTrafficReport = 1, 2, 5, 6

	ocsfAllowed, ocsfDenied   = 1, 2 // of action_id and, allowed and blocked, of disposition_id
	ocsfInbound, ocsfOutbound = 1, 2
)

var ocsfActivities = map[string]int{string(flow.Begin): ocsfOpen, string(flow.End): ocsfClose, string(flow.Continue): ocsfTrafficReport, string(flow.Denied): ocsfRefuse}

func ocsfLine(a query.Attributed, i int, row *Row, m ends) any { return newOCSF(a, i, row, m) }

func timelineLine(_ query.Attributed, _ int, row *Row, _ ends) any { return newTimelineEvent(row) }

// newOCSF is row i of a batch as an event; row is the same as [Row.fill] made it.
func newOCSF(a query.Attributed, i int, row *Row, m ends) *ocsfEvent {
	activity := ocsfActivities[row.State]
	e := &ocsfEvent{
		Activity: activity, Category: ocsfNetworkCategory, Class: ocsfNetworkActivity, Type: ocsfNetworkActivity*100 + activity,
		Severity: ocsfInformational, Time: int64(a.Time[i]), Action: ocsfAllowed, Disposition: ocsfAllowed,
		Rule: ocsfNamed(row.Rule), Policy: ocsfNamed(row.ACL),
		Connection: ocsfConnection{Protocol: int(row.Protocol)}, Traffic: newOCSFTraffic(row),
		Src:      ocsfEndpoint{Address: row.SrcIP, Port: int(row.SrcPort), Name: row.SrcPod, UID: row.SrcPodUID},
		SrcOwner: newOCSFAttributed(m.of(a.Joined.Src[i])),
		Metadata: ocsfMetadata{
			Version: ocsfVersion, Product: ocsfProduct{"whichpod", "whichpod"}, Profiles: []string{"security_control", ocsfExtension + "/attribution"},
			Extensions: []ocsfExtensionRef{{ocsfExtension, ocsfExtensionNumber, ocsfExtensionVersion}}, UID: row.Blob + "#" + strconv.FormatInt(row.Offset, 10),
		},
		Unmapped: ocsfUnmapped{row.State, row.Encryption},
	}
	if row.State == string(flow.Denied) {
		e.Action, e.Disposition = ocsfDenied, ocsfDenied
	}
	if row.DstIP != nil {
		e.Dst = &ocsfEndpoint{Address: *row.DstIP, Port: int(row.DstPort), Name: row.DstPod, UID: row.DstPodUID}
		owner := newOCSFAttributed(m.of(a.Joined.Dst[i]))
		e.DstOwner = &owner
	}
	switch a.Direction[i] {
	case flow.Outbound:
		e.Connection.Direction, e.Src.NIC = ocsfOutbound, row.NIC
	case flow.Inbound:
		e.Connection.Direction = ocsfInbound
		if e.Dst != nil {
			e.Dst.NIC = row.NIC
		}
	}
	return e
}

func ocsfNamed(name *string) *ocsfName {
	if name == nil {
		return nil
	}
	return &ocsfName{*name}
}

func newOCSFTraffic(row *Row) *ocsfTraffic {
	t := ocsfTraffic{BytesIn: long(row.BytesReceived), BytesOut: long(row.BytesSent), PacketsIn: long(row.PacketsReceived), PacketsOut: long(row.PacketsSent)}
	t.Bytes, t.Packets = sumKnown(t.BytesIn, t.BytesOut), sumKnown(t.PacketsIn, t.PacketsOut)
	if t == (ocsfTraffic{}) {
		return nil
	}
	return &t
}

// long is a counter, or nil where it is not known or more than OCSF's long can hold.
func long(v *uint64) *int64 {
	if v == nil || *v > math.MaxInt64 {
		return nil
	}
	n := int64(*v)
	return &n
}

// sumKnown is the sum of two counters, or nil where one is not known or it is too large.
func sumKnown(a, b *int64) *int64 {
	if a == nil || b == nil || *a > math.MaxInt64-*b {
		return nil
	}
	sum := *a + *b
	return &sum
}

func newOCSFAttributed(e *end) ocsfAttributed {
	return ocsfAttributed{
		Verdict: e.verdict, Cluster: e.cluster, Namespace: e.namespace, Pod: e.pod, PodUID: e.uid, Node: e.node, Candidates: e.candidates, Source: e.source,
		FromEarliest: e.held[0], FromLatest: e.held[1], ToEarliest: e.held[2], ToLatest: e.held[3],
	}
}

// moment is a time of a bracket, or nil where it is unknown or open.
func moment(ms int64) *int64 {
	if ms == 0 || ms == attribution.Open {
		return nil
	}
	return &ms
}

// timelineEvent is a row for Timesketch: message, datetime and timestamp_desc are what
// it asks for (timesketch.org, "Import from JSON or CSV"). The row's own columns follow.
type timelineEvent struct {
	Message     string `json:"message"`
	Datetime    string `json:"datetime"`
	Description string `json:"timestamp_desc"`
	*Row
}

var timelineWords = map[string]string{string(flow.Begin): "Flow began", string(flow.Continue): "Flow went on", string(flow.End): "Flow ended", string(flow.Denied): "Flow was denied"}

func newTimelineEvent(row *Row) timelineEvent {
	dst := "a destination without an address"
	if row.DstIP != nil {
		dst = label(*row.DstIP, row.DstPort, row.DstVerdict, row.DstNamespace, row.DstPod, row.DstCandidates)
	}
	message := label(row.SrcIP, row.SrcPort, &row.SrcVerdict, row.SrcNamespace, row.SrcPod, row.SrcCandidates) + " -> " + dst
	return timelineEvent{Message: message, Datetime: row.Time, Description: timelineWords[row.State], Row: row}
}

// label is an end for a person: its address and port, and who it was.
func label(ip string, port uint16, verdict, namespace, pod *string, candidates []string) string {
	if strings.Contains(ip, ":") {
		ip = "[" + ip + "]"
	}
	who := orEmpty(verdict)
	switch {
	case pod != nil:
		who = orEmpty(namespace) + "/" + *pod
	case len(candidates) > 0:
		who += ", " + strconv.Itoa(len(candidates)) + " candidates"
	}
	return ip + ":" + strconv.Itoa(int(port)) + " (" + who + ")"
}
