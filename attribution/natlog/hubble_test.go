package natlog

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/whichpod/whichpod/attribution/nat"
)

const packetLine = `{"flow":{"time":"2026-11-23T13:00:00.118212345Z","verdict":"FORWARDED","IP":{"source":"10.244.0.11","source_xlated":"10.224.0.4","destination":"203.0.113.66","ipVersion":"IPv4"},` +
	`"l4":{"TCP":{"source_port":1027,"destination_port":8443,"flags":{"SYN":true}}},"Type":"L3_L4","node_name":"prod/n","is_reply":false,"event_type":{"type":4,"sub_type":11},"trace_observation_point":"TO_NETWORK"},"node_name":"prod/n","time":"2026-11-23T13:00:00.118212345Z"}`

func TestHubble(t *testing.T) {
	const at = 1795438800119 // the packet was there before
	packet := nat.Flow{
		Key:  nat.Key{Src: netip.MustParseAddr("10.224.0.4"), SrcPort: 1027, Dst: netip.MustParseAddr("203.0.113.66"), DstPort: 8443, Protocol: 6},
		Node: "n", Original: tupleOf("10.244.0.11:0", "203.0.113.66:8443"), FromLatest: at, ToEarliest: at, ToLatest: nat.NoEnd, Place: 1,
	}
	udp, all := packet, packet
	udp.Protocol, all.Node = 17, "other"
	changed := func(pairs ...string) string { return strings.NewReplacer(pairs...).Replace(packetLine) }
	for name, c := range map[string]struct {
		lines    string
		any      bool // of all nodes
		flows    []nat.Flow
		unused   string
		rejected bool
		losses   int
	}{
		"a packet":              {lines: packetLine, flows: []nat.Flow{packet}},
		"the flow alone":        {lines: strings.TrimSuffix(strings.TrimPrefix(packetLine, `{"flow":`), `,"node_name":"prod/n","time":"2026-11-23T13:00:00.118212345Z"}`), flows: []nat.Flow{packet}},
		"a node without prefix": {lines: changed("prod/n", "n"), flows: []nat.Flow{packet}},
		"UDP":                   {lines: changed("TCP", "UDP"), flows: []nat.Flow{udp}},
		"twice":                 {lines: packetLine + "\n" + packetLine, flows: []nat.Flow{packet}},
		"all nodes":             {lines: changed("prod/n", "prod/other"), any: true, flows: []nat.Flow{all}},
		"lost events":           {lines: `{"lost_events":{"source":"PERF_EVENT_RING_BUFFER","num_events_lost":"12"},"node_name":"n"}`, losses: 1},
		"not translated":        {lines: changed(`"source_xlated":"10.224.0.4",`, ""), unused: unusedPlain},
		"without ports":         {lines: changed("TCP", "ICMPv4"), unused: unusedPort},
		"without source port":   {lines: changed(`"source_port":1027,`, ""), unused: unusedPort},
		"inside of the node":    {lines: changed("TO_NETWORK", "TO_STACK"), unused: unusedPlace},
		"in a tunnel":           {lines: changed("TO_NETWORK", "TO_OVERLAY"), unused: unusedPlace},
		"dropped":               {lines: changed("FORWARDED", "DROPPED"), unused: unusedVerdict},
		"a reply":               {lines: changed(`"is_reply":false`, `"is_reply":true`), unused: unusedDirection},
		"perhaps a reply":       {lines: changed(`"is_reply":false,`, ""), unused: unusedDirection},
		"of another node":       {lines: changed("prod/n", "prod/other"), unused: unusedNode},
		"of no node":            {lines: changed("prod/n", ""), any: true, unused: unusedNode},
		"no flow of packets":    {lines: `{"node_status":{"state_change":"NODE_CONNECTED"}}`, unused: unusedOther},
		"cut":                   {lines: packetLine[:200], rejected: true},
		"no flow":               {lines: `{"kind":"Pod"}`, rejected: true},
		"no time":               {lines: changed("2026-11-23T", "yesterday"), rejected: true},
		"no address":            {lines: changed("203.0.113.66", "somewhere"), rejected: true},
		"two families":          {lines: changed(`"10.224.0.4"`, `"fd00::4"`), rejected: true},
		"a port too large":      {lines: changed("1027", "70000"), rejected: true},
	} {
		t.Run(name, func(t *testing.T) {
			opt := Options{Node: "n", Format: Auto}
			if c.any {
				opt.Node = ""
			}
			var got recorder
			sum, err := Read(strings.NewReader(c.lines), opt, &got)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.flows, got.flows, addresses); diff != "" {
				t.Error(diff)
			}
			var unusable []Unusable
			if c.unused != "" {
				unusable = []Unusable{{c.unused, 1}}
			}
			if diff := cmp.Diff(unusable, sum.Unusable); diff != "" {
				t.Error(diff)
			}
			if sum.Format != Hubble || (sum.Rejected == 1) != c.rejected || sum.Losses != c.losses || sum.Flows != len(c.flows) || len(got.covered) != 0 {
				t.Errorf("got %+v, covered %v", sum, got.covered)
			}
		})
	}
}

func FuzzHubble(f *testing.F) {
	f.Add([]byte(packetLine + "\n" + packetLine))
	f.Add([]byte(`{"lost_events":{}}` + "\n" + packetLine[:300]))
	f.Fuzz(func(t *testing.T, input []byte) {
		var got recorder
		sum, err := Read(strings.NewReader(string(input)), Options{Format: Hubble}, &got)
		if err != nil {
			t.Fatal(err)
		}
		if sum.Flows != len(got.flows) || sum.Rejected+sum.Events+sum.Losses > sum.Lines || len(got.covered) != 0 {
			t.Fatalf("%+v with %d flows", sum, len(got.flows))
		}
		for _, fl := range got.flows {
			if fl.SrcPort == 0 || !fl.Translated() || fl.Node == "" || fl.FromLatest <= 0 || fl.ToEarliest != fl.FromLatest || fl.ToLatest != nat.NoEnd {
				t.Fatalf("%+v is no packet", fl)
			}
		}
	})
}
