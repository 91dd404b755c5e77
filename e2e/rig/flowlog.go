//go:build e2e

package rig

import (
	"cmp"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/whichpod/whichpod/e2e/process"
)

// Row is a tuple of the flow log, of the interface of a node.
type Row struct {
	Flow      *Flow
	Node      *Node
	Time      int64
	Direction string // I or O, as the interface sees it
	State     string // B, C or E
	counted   sample // since the row before
}

// Rows are the tuples of the flows: on each interface that they passed one at their
// begin, one for each sample and one at their end.
func Rows(flows []*Flow, nodes []*Node) []Row {
	var rows []Row
	for _, f := range flows {
		for _, n := range nodes {
			if f.Zone != 0 && f.Zone != n.Zone {
				continue
			}
			if n.Behind(f.From.Addr()) {
				rows = append(rows, f.rows(n, "O")...)
			}
			if n.Behind(f.To.Addr()) {
				rows = append(rows, f.rows(n, "I")...)
			}
		}
	}
	slices.SortStableFunc(rows, func(a, b Row) int { return cmp.Compare(a.Time, b.Time) })
	return rows
}

func (f *Flow) rows(n *Node, direction string) []Row {
	rows := []Row{{f, n, f.Begin, direction, "B", sample{}}}
	before := sample{}
	for _, s := range f.samples {
		state := "C"
		switch s.at {
		case f.End:
			state = "E"
		case f.Begin:
			continue // in the same millisecond: no flow goes on before it began
		}
		delta := s
		for i := range 2 {
			delta.sent[i] -= before.sent[i]
			delta.received[i] -= before.received[i]
		}
		rows, before = append(rows, Row{f, n, s.at, direction, state, delta}), s
	}
	return rows
}

// tuple is the row as text: 13 fields (Microsoft's page "VNet flow logs", "Log format").
func (r Row) tuple() string {
	f := r.Flow
	return fmt.Sprintf("%d,%s,%s,%d,%d,%d,%s,%s,NX,%d,%d,%d,%d", r.Time, f.From.Addr(), f.To.Addr(), f.From.Port(), f.To.Port(), f.Protocol,
		r.Direction, r.State, r.counted.sent[0], r.counted.sent[1], r.counted.received[0], r.counted.received[1])
}

// The parts of a flow log's blob, version 4.
type (
	blob struct {
		Records []record `json:"records"`
	}
	record struct {
		Time              string      `json:"time"`
		FlowLogVersion    int         `json:"flowLogVersion"`
		FlowLogGUID       string      `json:"flowLogGUID"`
		MACAddress        string      `json:"macAddress"`
		Category          string      `json:"category"`
		FlowLogResourceID string      `json:"flowLogResourceID"`
		TargetResourceID  string      `json:"targetResourceID"`
		OperationName     string      `json:"operationName"`
		FlowRecords       flowRecords `json:"flowRecords"`
	}
	flowRecords struct {
		Flows []aclFlows `json:"flows"`
	}
	aclFlows struct {
		ACLID      string      `json:"aclID"`
		FlowGroups []flowGroup `json:"flowGroups"`
	}
	flowGroup struct {
		Rule       string   `json:"rule"`
		FlowTuples []string `json:"flowTuples"`
	}
)

// prefix is the part of a blob's name before its hour, as in real containers.
const prefix = "insights-logs-flowlogflowevent/flowLogResourceID=/00000000-0000-0000-0000-00000000ABCD_NETWORKWATCHERRG/NETWORKWATCHER_EASTUS_E2E-VNET-FLOWLOG"

// WriteFlowLog writes the rows as Azure does: a blob for each interface and hour, with
// a record for each minute.
func WriteFlowLog(t testing.TB, dir string, rows []Row) {
	t.Helper()
	process.Must(t, writeFlowLog(dir, rows, time.Minute))
}

// writeFlowLog writes a record for each span of time.
func writeFlowLog(dir string, rows []Row, span time.Duration) error {
	type minute struct {
		mac string
		end time.Time
	}
	tuples := make(map[minute]map[string][]string)
	for _, r := range rows {
		m := minute{r.Node.MAC, time.UnixMilli(r.Time).UTC().Truncate(span).Add(span)}
		if tuples[m] == nil {
			tuples[m] = make(map[string][]string)
		}
		rule := "DefaultRule_AllowInternetOutBound"
		if r.Direction == "I" {
			rule = "DefaultRule_AllowVnetInBound"
		}
		tuples[m][rule] = append(tuples[m][rule], r.tuple())
	}
	blobs := make(map[string]blob)
	for m, groups := range tuples {
		name := filepath.Join(dir, prefix, m.end.Format("y=2006/m=01/d=02/h=15/m=00"), "macAddress="+m.mac, "PT1H.json")
		b := blobs[name]
		b.Records = append(b.Records, newRecord(m.mac, m.end, groups))
		blobs[name] = b
	}
	for name, b := range blobs {
		slices.SortFunc(b.Records, func(x, y record) int { return cmp.Compare(x.Time, y.Time) })
		data, err := json.Marshal(b)
		if err == nil {
			err = os.MkdirAll(filepath.Dir(name), 0o755)
		}
		if err == nil {
			err = os.WriteFile(name, data, 0o644)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func newRecord(mac string, end time.Time, groups map[string][]string) record {
	r := record{Time: end.Format("2006-01-02T15:04:05.0000000Z"), FlowLogVersion: 4, FlowLogGUID: "66aa66aa-bb77-cc88-dd99-00ee00ee00ee", MACAddress: mac,
		Category: "FlowLogFlowEvent", OperationName: "FlowLogFlowEvent",
		FlowLogResourceID: "/SUBSCRIPTIONS/0/RESOURCEGROUPS/NETWORKWATCHERRG/PROVIDERS/MICROSOFT.NETWORK/NETWORKWATCHERS/NETWORKWATCHER_EASTUS/FLOWLOGS/E2E-VNET-FLOWLOG",
		TargetResourceID:  "/subscriptions/0/resourceGroups/mc_rg/providers/Microsoft.Network/virtualNetworks/e2e-vnet"}
	acl := aclFlows{ACLID: "00aa00aa-bb11-cc22-dd33-44ee44ee44ee"}
	for rule, list := range groups {
		acl.FlowGroups = append(acl.FlowGroups, flowGroup{rule, list})
	}
	slices.SortFunc(acl.FlowGroups, func(x, y flowGroup) int { return cmp.Compare(x.Rule, y.Rule) })
	r.FlowRecords.Flows = []aclFlows{acl}
	return r
}
