package ingest

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/whichpod/whichpod/flow"
)

func TestTuple(t *testing.T) {
	ip := netip.MustParseAddr
	want := func(change func(*flow.Row)) *flow.Row {
		r := &flow.Row{
			Time: 1757681933059, Src: ip("10.68.3.215"), Dst: ip("10.68.17.102"), SrcPort: 39427, DstPort: 53, Protocol: 17,
			Direction: 'O', State: 'E', Encryption: "NX", Allowed: true,
			Counters: flow.Counters{PacketsSent: 1, BytesSent: 160, PacketsReceived: 1, BytesReceived: 253},
		}
		change(r)
		return r
	}
	for _, tc := range []struct {
		text   string
		want   *flow.Row
		detail string // of the rejection, where want is nil
	}{
		{text: "1757681933059,10.68.3.215,10.68.17.102,39427,53,17,O,E,NX,1,160,1,253", want: want(func(*flow.Row) {})},
		{text: "1757681933,10.68.3.215,10.68.17.102,39427,53,17,O,E,NX,1,160,1,253", want: want(func(r *flow.Row) { r.Time = 1757681933000 })},
		{text: "1757681933059,10.68.3.215,10.68.17.102,39427,53,17,I,D,NX_NOT_ACCEPTED,0,0,0,0", want: want(func(r *flow.Row) {
			r.Direction, r.State, r.Allowed, r.Encryption, r.Counters = 'I', 'D', false, "NX_NOT_ACCEPTED", flow.Counters{}
		})},
		{text: "1757681933059,10.68.3.215,10.68.17.102,39427,53,17,O,B,,,,,", want: want(func(r *flow.Row) {
			r.State, r.Encryption, r.Counters = 'B', "", flow.Counters{Null: flow.NullAll}
		})},
		{text: "1757681933059,10.68.3.215,10.68.17.102,39427,53,17,O,C,NX,1,,1,", want: want(func(r *flow.Row) {
			r.State, r.Counters = 'C', flow.Counters{PacketsSent: 1, PacketsReceived: 1, Null: flow.NullBytesSent | flow.NullBytesReceived}
		})},
		{text: "1757681933059,2001:db8::1,::ffff:10.1.2.3,0,65535,255,O,E,X,18446744073709551615,160,1,253", want: want(func(r *flow.Row) {
			r.Src, r.Dst, r.SrcPort, r.DstPort, r.Protocol, r.Encryption = ip("2001:db8::1"), ip("10.1.2.3"), 0, 65535, 255, "X"
			r.Counters.PacketsSent = 1<<64 - 1
		})},
		{text: "", detail: "tuple has 1 fields, want 13: nothing"},
		{text: "1,2,3", detail: `tuple has 3 fields, want 13: "1,2,3"`},
		{text: "1757681933059,10.68.3.215,10.68.17.102,39427,53,17,O,E,NX,1,160,1,253,", detail: `tuple has 14 fields, want 13: "1757681933059,10.68.3.215,10.68.17.102,39427,53,"...`},
		{text: "175768193305,10.0.0.1,10.0.0.2,1,2,6,O,E,NX,1,1,1,1", detail: `field 1, time, is "175768193305", want 10 or 13 digits`},
		{text: "-757681933059,10.0.0.1,10.0.0.2,1,2,6,O,E,NX,1,1,1,1", detail: `field 1, time, is "-757681933059", want 10 or 13 digits`},
		{text: "1757681933059,10.0.0.256,10.0.0.2,1,2,6,O,E,NX,1,1,1,1", detail: `field 2, source address, is "10.0.0.256", want an IPv4 or IPv6 address without a zone`},
		{text: "1757681933059,10.0.0.01,10.0.0.2,1,2,6,O,E,NX,1,1,1,1", detail: `field 2, source address, is "10.0.0.01", want an IPv4 or IPv6 address without a zone`},
		{text: "1757681933059,10.0.0.1,fe80::1%eth0,1,2,6,O,E,NX,1,1,1,1", detail: `field 3, destination address, is "fe80::1%eth0", want an IPv4 or IPv6 address without a zone`},
		{text: "1757681933059,10.0.0.1,10.0.0.2,65536,2,6,O,E,NX,1,1,1,1", detail: `field 4, source port, is "65536", want a number up to 65535`},
		{text: "1757681933059,10.0.0.1,10.0.0.2,1,,6,O,E,NX,1,1,1,1", detail: `field 5, destination port, is nothing, want a number up to 65535`},
		{text: "1757681933059,10.0.0.1,10.0.0.2,1,2,T,O,E,NX,1,1,1,1", detail: `field 6, protocol, is "T", want a number up to 255`},
		{text: "1757681933059,10.0.0.1,10.0.0.2,1,2,256,O,E,NX,1,1,1,1", detail: `field 6, protocol, is "256", want a number up to 255`},
		{text: "1757681933059,10.0.0.1,10.0.0.2,1,2,6,o,E,NX,1,1,1,1", detail: `field 7, direction, is "o", want one of IO`},
		{text: "1757681933059,10.0.0.1,10.0.0.2,1,2,6,O,A,NX,1,1,1,1", detail: `field 8, state, is "A", want one of BCED`},
		{text: "1757681933059,10.0.0.1,10.0.0.2,1,2,6,O,,NX,1,1,1,1", detail: `field 8, state, is nothing, want one of BCED`},
		{text: "1757681933059,10.0.0.1,10.0.0.2,1,2,6,O,E,NX,+1,1,1,1", detail: `field 10, packets sent, is "+1", want nothing or a number of 64 bits`},
		{text: "1757681933059,10.0.0.1,10.0.0.2,1,2,6,O,E,NX,1,18446744073709551616,1,1", detail: `field 11, bytes sent, is "18446744073709551616", want nothing or a number of 64 bits`},
		{text: "1757681933059,10.0.0.1,10.0.0.2,1,2,6,O,E,NX,1,1,1,1 ", detail: `field 13, bytes received, is "1 ", want nothing or a number of 64 bits`},
		{text: strings.Repeat("1,", 300), detail: `tuple has 600 bytes, want at most 512: "1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,"...`},
	} {
		var p tupleParser
		var got flow.Row
		ok := p.parseText(vnetTuple, []byte(tc.text), &got)
		if ok != (tc.want != nil) {
			t.Errorf("%q: parsed is %v", tc.text, ok)
			continue
		}
		if !ok {
			if d := explainTuple(vnetTuple, []byte(tc.text)); d != tc.detail {
				t.Errorf("%q:\n got %s\nwant %s", tc.text, d, tc.detail)
			}
			continue
		}
		if diff := cmp.Diff(*tc.want, got, compareRows); diff != "" {
			t.Errorf("%q (-want +got):\n%s", tc.text, diff)
		}
	}
}

// What the fast parser refuses, the explanation finds fault with, and the reverse:
// two implementations of one rule, on tuples with random damage.
func TestTupleAgreesWithExplanation(t *testing.T) {
	g := generator{rand.New(rand.NewPCG(9, 9))}
	var p tupleParser
	refused := 0
	for range 200_000 {
		text := []byte(g.tuple())
		for range g.IntN(3) {
			text[g.IntN(len(text))] = "0123456789,.:IOBCED %-+x\x00"[g.IntN(25)]
		}
		var row flow.Row
		ok := p.parseText(vnetTuple, text, &row)
		why := explainTuple(vnetTuple, text)
		if ok != strings.HasPrefix(why, "tuple is not valid") {
			t.Fatalf("%q: parsed is %v, explanation %q", text, ok, why)
		}
		if ok {
			if diff := cmp.Diff(naiveTuple(t, string(text)), row, compareRows); diff != "" {
				t.Fatalf("%q (-want +got):\n%s", text, diff)
			}
		} else {
			refused++
		}
	}
	if refused < 1000 {
		t.Errorf("only %d tuples were refused", refused)
	}
}

func TestRecord(t *testing.T) {
	base := func(changes ...string) string {
		s := recordText(0, 1)
		for i := 0; i < len(changes); i += 2 {
			if !strings.Contains(s, changes[i]) {
				t.Fatalf("record has no %q", changes[i])
			}
			s = strings.Replace(s, changes[i], changes[i+1], 1)
		}
		return s
	}
	const mac = `"macAddress":"000D3A1B2C3D",`
	for _, tc := range []struct {
		name, text, blob string
		nic              string // of the row; empty where the record is rejected
		want             string
	}{
		{"as it is", base(), "x", "000D3A1B2C3D", ""},
		{"MAC with colons", base("000D3A1B2C3D", "00:0d:3a:1b:2c:3e"), "x", "000D3A1B2C3E", ""},
		{"MAC of the path", base(mac, ""), testBlob, "000D3A1B2C3D", ""},
		{"MAC in another case of path", base(mac, ""), "x/MACADDRESS=00-0d-3a-1b-2c-3f/PT1H.json", "000D3A1B2C3F", ""},
		{"no MAC", base(mac, ""), "x/PT1H.json", "", "record: macAddress is absent, and the blob's name has none"},
		{"wrong MAC", base("000D3A1B2C3D", "000D3A1B2C3G"), testBlob, "", "record: macAddress is `\"000D3A1B2C3G\"`, want 12 hexadecimal digits"},
		{"MAC is a number", base(`"000D3A1B2C3D"`, "1"), testBlob, "", `record: macAddress is "1", want 12 hexadecimal digits`},
		{"no category", base(`"category":"FlowLogFlowEvent",`, ""), "x", "000D3A1B2C3D", ""},
		{"category of an NSG log", base(`"category":"FlowLogFlowEvent"`, `"category":"NetworkSecurityGroupFlowEvent"`), "x", "", "record: properties is absent, want an object"},
		{"another category", base(`"category":"FlowLogFlowEvent"`, `"category":"kube-audit"`), "x", "", "unsupported: category is `\"kube-audit\"`, want \"FlowLogFlowEvent\", \"NetworkSecurityGroupFlowEvent\" or a rule log of Azure Firewall"},
		{"version 5", base(`Version":4`, `Version":5`), "x", "", `unsupported: flowLogVersion is "5", want 4`},
		{"no version", base(`"flowLogVersion":4,`, ""), "x", "", `unsupported: flowLogVersion is absent, want 4`},
		{"time without a zone", base(`37112Z"`, `37112"`), "x", "", "record: time is `\"2026-08-20T14:00:52.2837112\"`, want RFC 3339"},
		{"no time", base(`"time":"2026-08-20T14:00:52.2837112Z",`, ""), "x", "", "record: time is absent, want RFC 3339"},
		{"no flowRecords", base(`"flowRecords"`, `"x"`), "x", "", "record: flowRecords is absent"},
		{"flowRecords is null", base(`"flowRecords":{"flows":[`, `"flowRecords":null,"x":{"flows":[`), "x", "", `record: flowRecords is "null", want an object`},
		{"no flows", base(`"flows"`, `"x"`), "x", "", "record: flowRecords has no flows: `{\"x\":[{\"aclID\":\"acl-1\",\"flowGroups\":[{\"rule\":\"De`..."},
		{"no flowGroups", base(`"flowGroups"`, `"x"`), "x", "", "record: entry of flows has no flowGroups"},
		{"no flowTuples", base(`"flowTuples"`, `"x"`), "x", "", "record: flowTuples is absent, want an array"},
		{"flow is a number", base(`"flows":[`, `"flows":[1,`), "x", "", `record: entry of flows is "1", want an object`},
		{"rule is a number", base(`"DefaultRule_AllowInternetOutBound"`, "1"), "x", "", `record: rule is "1", want a string`},
		{"tuple is a number", base(`"flowTuples":[`, `"flowTuples":[1,`), "x", "000D3A1B2C3D", "tuple: tuple is \"1\", want a string"},
		{"long rule", base(`DefaultRule`, strings.Repeat("x", 4100)), "x", "", "record: rule has 4124 bytes, want at most 4096"},
		{"key twice", base(`"time"`, `"flowLogVersion":4,"flowLogVersion":5,"time"`), "x", "000D3A1B2C3D", ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			res := decode(t, strings.NewReader(`{"records":[`+tc.text+`,`+tc.text+`]}`), flow.Position{Blob: tc.blob})
			if len(res.rejected) > 0 && res.rejected[0].Reason+": "+res.rejected[0].Detail != tc.want || len(res.rejected) == 0 && tc.want != "" {
				t.Errorf("got rejections %v, want %q", res.rejected, tc.want)
			}
			if tc.nic == "" && len(res.rows) > 0 || tc.nic != "" && (len(res.rows) != 2 || res.rows[0].NIC != tc.nic) {
				t.Errorf("got rows %v, want NIC %q", res.rows, tc.nic)
			}
			for _, r := range res.rows {
				if want := time.Date(2026, 8, 20, 14, 0, 52, 283e6, time.UTC).UnixMilli(); r.RecordTime != want {
					t.Errorf("got record time %d, want %d", r.RecordTime, want)
				}
			}
		})
	}
}

func TestName(t *testing.T) {
	for path, want := range map[string]string{
		testBlob:                           testBlob,
		"/a/b/" + testBlob:                 testBlob,
		"/a/RESOURCEID=/S/x":               "RESOURCEID=/S/x",
		"/a/PT1H.json":                     "/a/PT1H.json",
		"/notflowLogResourceID=/PT1H.json": "/notflowLogResourceID=/PT1H.json",
		"":                                 "",

		"/mirror/insights-logs-azfwnatrule/resourceId=/S/x":                 "insights-logs-azfwnatrule/resourceId=/S/x",
		"insights-logs-networksecuritygroupflowevent/resourceId=/S/x":       "resourceId=/S/x",
		"/mirror/insights-logs-flowlogflowevent/flowLogResourceID=/S/x":     "flowLogResourceID=/S/x",
		"/mirror/insights-logs-azurefirewall/resourceId=/S/AZUREFIREWALLS/": "insights-logs-azurefirewall/resourceId=/S/AZUREFIREWALLS/",
	} {
		if got := Name(path); got != want {
			t.Errorf("name of %q is %q, want %q", path, got, want)
		}
	}
}

func TestIsFlowLog(t *testing.T) {
	for path, want := range map[string]bool{
		testBlob: true, "x.JSON": true, "x.txt": false, ".json": true, "": false,
		"whichpod-nat/node/2026.json": false, "a/whichpod-nat/x.json": false, "my-whichpod-nat/x.json": true, "whichpod-nat.json": true,
	} {
		if got := IsFlowLog(path); got != want {
			t.Errorf("%q: got %v, want %v", path, got, want)
		}
	}
}

func TestSelection(t *testing.T) {
	at := func(s string) time.Time {
		x, err := time.Parse(time.RFC3339, s)
		if err != nil {
			t.Fatal(err)
		}
		return x
	}
	name := func(h int, mac string) string {
		return fmt.Sprintf("x/y=2026/m=08/d=20/h=%02d/m=00/macAddress=%s/PT1H.json", h, mac)
	}
	for _, tc := range []struct {
		since, until string
		hours        []int
	}{
		{"2026-08-20T14:10:00Z", "2026-08-20T14:20:00Z", []int{14}},
		{"2026-08-20T14:10:00Z", "2026-08-20T14:58:00Z", []int{14, 15}}, // rows of 14:57 may be logged at 15:00
		{"2026-08-20T16:10:00+02:00", "2026-08-20T16:57:59+02:00", []int{14}},
		{"2026-08-20T21:00:00Z", "", []int{21, 22, 23}},
		{"", "2026-08-20T01:00:00Z", []int{0, 1}},
	} {
		var o Options
		if tc.since != "" {
			o.Since = at(tc.since)
		}
		if tc.until != "" {
			o.Until = at(tc.until)
		}
		sel, err := newSelection(o)
		if err != nil {
			t.Fatal(err)
		}
		var got []int
		for h := range 24 {
			if sel.has(name(h, "000D3A1B2C3D")) {
				got = append(got, h)
			}
		}
		if diff := cmp.Diff(tc.hours, got); diff != "" || !sel.has("any/PT1H.json") {
			t.Errorf("%+v: hours (-want +got):\n%s", tc, diff)
		}
	}
	for i := range 40 {
		n, in := name(i%24, fmt.Sprintf("000D3A1B2C%02X", i)), 0
		for k := range 3 {
			sel, err := newSelection(Options{Shard: Shard{k, 3}})
			if err != nil {
				t.Fatal(err)
			}
			if sel.has(n) {
				in++
			}
			if sel.has(n) != sel.has(strings.ToLower(n)) {
				t.Errorf("case decides about the shard of %q", n)
			}
		}
		if in != 1 {
			t.Errorf("%q is in %d shards", n, in)
		}
	}
	for _, o := range []Options{{Shard: Shard{3, 3}}, {Shard: Shard{-1, 3}}, {Shard: Shard{1, 0}}, {Since: at("2026-08-20T14:00:00Z"), Until: at("2026-08-20T14:00:00Z")}} {
		if _, err := newSelection(o); err == nil {
			t.Errorf("%+v is taken", o)
		}
	}
}
