package ingest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/netip"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/whichpod/whichpod/flow"
)

// naiveRecord has the keys of all formats.
type naiveRecord struct {
	Time, Category, MacAddress, ResourceID string
	FlowRecords                            struct {
		Flows []struct {
			ACLID      string
			FlowGroups []struct {
				Rule       string
				FlowTuples []string
			}
		}
	}
	Properties struct {
		Version int
		Flows   []struct {
			Rule  string
			Flows []struct {
				Mac        string
				FlowTuples []string
			}
		}
		naiveDecision
	}
}

// naive decodes well-formed text with encoding/json. Offsets are found by searching
// for each tuple behind the one before.
func naive(t testing.TB, text []byte, blob string) []flow.Row {
	t.Helper()
	n := naiveReader{t: t, text: text, blob: blob}
	var all struct{ Records []json.RawMessage }
	if err := json.Unmarshal(text, &all); err != nil || all.Records == nil { // a record, or one a line
		for d := json.NewDecoder(bytes.NewReader(text)); ; {
			var raw json.RawMessage
			if err := d.Decode(&raw); err == io.EOF {
				break
			} else if err != nil {
				t.Fatal(err)
			}
			all.Records = append(all.Records, raw)
		}
	}
	for _, raw := range all.Records {
		n.record(raw)
	}
	return n.rows
}

type naiveReader struct {
	t    testing.TB
	text []byte
	blob string
	at   int // behind the last tuple
	rows []flow.Row
}

func (n *naiveReader) record(raw json.RawMessage) {
	n.t.Helper()
	var rec naiveRecord
	if err := json.Unmarshal(raw, &rec); err != nil {
		n.t.Fatal(err)
	}
	at, err := time.Parse(time.RFC3339, rec.Time)
	if err != nil {
		n.t.Fatal(err)
	}
	if strings.HasPrefix(rec.Category, "AZFW") || strings.HasPrefix(rec.Category, "AzureFirewall") {
		row := rec.Properties.row(n.t, rec.Category)
		row.Time, row.RecordTime, row.Blob, row.Offset = at.UnixMilli(), at.UnixMilli(), n.blob, int64(n.find(string(raw)))
		n.rows = append(n.rows, row)
		return
	}
	tuple := func(text, nic, acl, rule string, parse func(testing.TB, string) flow.Row) {
		row := parse(n.t, text)
		row.NIC, row.RecordTime, row.ACL, row.Rule = nic, at.UnixMilli(), acl, rule
		row.Blob, row.Offset = n.blob, int64(n.find(`"`+text+`"`)+1)
		n.rows = append(n.rows, row)
	}
	for _, f := range rec.FlowRecords.Flows {
		for _, g := range f.FlowGroups {
			for _, x := range g.FlowTuples {
				tuple(x, rec.MacAddress, f.ACLID, g.Rule, naiveTuple)
			}
		}
	}
	for _, f := range rec.Properties.Flows {
		for _, g := range f.Flows {
			for _, x := range g.FlowTuples {
				tuple(x, g.Mac, rec.ResourceID, f.Rule, naiveNSG)
			}
		}
	}
}

func (n *naiveReader) find(text string) int {
	n.t.Helper()
	i := bytes.Index(n.text[n.at:], []byte(text))
	if i < 0 {
		n.t.Fatalf("%q is not behind byte %d", text, n.at)
	}
	n.at += i + 1
	return n.at - 1
}

func naiveTuple(t testing.TB, tuple string) flow.Row {
	t.Helper()
	f := strings.Split(tuple, ",")
	number := func(i int) uint64 {
		n, err := strconv.ParseUint(f[i], 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	row := flow.Row{
		Time: int64(number(0)), Src: netip.MustParseAddr(f[1]).Unmap(), Dst: netip.MustParseAddr(f[2]).Unmap(),
		SrcPort: uint16(number(3)), DstPort: uint16(number(4)), Protocol: uint8(number(5)),
		Direction: f[6][0], State: f[7][0], Encryption: f[8], Allowed: f[7] != "D",
	}
	if len(f[0]) == 10 {
		row.Time *= 1000
	}
	c := &row.Counters
	for i, into := range []*uint64{&c.PacketsSent, &c.BytesSent, &c.PacketsReceived, &c.BytesReceived} {
		if f[9+i] == "" {
			c.Null |= 1 << i
		} else {
			*into = number(9 + i)
		}
	}
	return row
}

// generator writes records that mean something to both decoders, in every shape that
// JSON allows.
type generator struct{ *rand.Rand }

func (g generator) space() string {
	return []string{"", "", "", " ", "\n", "\t ", "\r\n    "}[g.IntN(7)]
}

// object writes members in any order, with unknown ones between them.
func (g generator) object(members ...string) string {
	for range g.IntN(3) {
		members = append(members, g.text(fmt.Sprintf("extra%d", g.IntN(1000)))+":"+g.space()+g.value(3))
	}
	g.Shuffle(len(members), func(i, j int) { members[i], members[j] = members[j], members[i] })
	return "{" + g.space() + strings.Join(members, g.space()+","+g.space()) + g.space() + "}"
}

func (g generator) array(items []string) string {
	return "[" + g.space() + strings.Join(items, g.space()+","+g.space()) + g.space() + "]"
}

// value writes any JSON value.
func (g generator) value(depth int) string {
	switch n := g.IntN(9); {
	case n < 2 && depth > 0:
		var items []string
		for range g.IntN(4) {
			items = append(items, g.value(depth-1))
		}
		return g.array(items)
	case n < 4 && depth > 0:
		var members []string
		for i := range g.IntN(4) {
			members = append(members, g.text(fmt.Sprintf("k%d]}", i))+g.space()+":"+g.value(depth-1))
		}
		return "{" + g.space() + strings.Join(members, ",") + "}"
	case n == 4:
		return []string{"0", "-1.5e+10", "12345678901234567890", "1E2", "-0.0"}[g.IntN(5)]
	case n == 5:
		return []string{"true", "false", "null"}[g.IntN(3)]
	}
	return g.text([]string{"", "x", `a "quoted" \ word`, "line\nbreak", "é€𝄞", `{"time":1}`, "]}", "{[\\u"}[g.IntN(8)])
}

// text writes a string, some of its characters as escapes.
func (g generator) text(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, c := range s {
		switch {
		case c == '"' || c == '\\':
			b.WriteByte('\\')
			b.WriteRune(c)
		case c == '\n':
			b.WriteString(`\n`)
		case c == '/' && g.IntN(2) == 0:
			b.WriteString(`\/`)
		case c < 0x10000 && g.IntN(20) == 0:
			fmt.Fprintf(&b, `\u%04x`, c)
		case c >= 0x10000:
			fmt.Fprintf(&b, `\u%04X\u%04x`, 0xd800+(c-0x10000)>>10, 0xdc00+(c-0x10000)&0x3ff)
		default:
			b.WriteRune(c)
		}
	}
	b.WriteByte('"')
	return b.String()
}

func (g generator) tuple() string {
	addresses := []string{"10.0.0.1", "255.255.255.255", "0.0.0.0", "2001:db8::1", "::ffff:10.1.2.3", "fe80::a:b:c:d", "::"}
	counters := []string{"", "0", "7", "18446744073709551615", "0012", "1234567890123456789"}
	stamp := fmt.Sprint(1787236800000 + g.Int64N(1e9))
	if g.IntN(4) == 0 {
		stamp = stamp[:10]
	}
	return strings.Join([]string{
		stamp, addresses[g.IntN(len(addresses))], addresses[g.IntN(len(addresses))],
		fmt.Sprint(g.IntN(65536)), fmt.Sprint(g.IntN(65536)), fmt.Sprint(g.IntN(256)),
		"IO"[g.IntN(2):][:1], "BCED"[g.IntN(4):][:1], []string{"X", "NX", "NX_LOCAL_DST", "", "NEW VALUE"}[g.IntN(5)],
		counters[g.IntN(6)], counters[g.IntN(6)], counters[g.IntN(6)], counters[g.IntN(6)],
	}, ",")
}

func (g generator) record() string {
	var flows []string
	for range g.IntN(3) {
		var groups []string
		for range g.IntN(4) {
			var tuples []string
			for range g.IntN(5) {
				tuples = append(tuples, `"`+g.tuple()+`"`)
			}
			groups = append(groups, g.object(`"rule":`+g.text(`User"Rule_é/`+fmt.Sprint(g.IntN(3))), `"flowTuples":`+g.array(tuples)))
		}
		flows = append(flows, g.object(`"aclID"`+g.space()+`:`+g.text("/subscriptions/x/nsg"), `"flowGroups":`+g.array(groups)))
	}
	return g.object(
		`"time":"2026-08-20T14:00:52.2837112Z"`, `"flowLogVersion":`+g.space()+`4`, `"macAddress":"000D3A1B2C3D"`,
		`"category":`+g.text("FlowLogFlowEvent"), `"flowRecords":`+g.object(`"flows":`+g.array(flows)))
}

func TestDecodeEqualsEncodingJSON(t *testing.T) {
	rows := 0
	for seed := range uint64(400) {
		g := generator{rand.New(rand.NewPCG(seed, 5))}
		var records []string
		for range g.IntN(6) {
			records = append(records, g.anyRecord())
		}
		text := `{` + g.space() + `"records"` + g.space() + `:` + g.array(records) + g.space() + `}`
		if seed%3 == 0 && len(records) > 0 {
			text = strings.Join(records, "\n") + "\n"
		}
		res := decodeText(t, text)
		if res.err != nil || len(res.rejected) > 0 {
			t.Fatalf("seed %d: error %v, rejections %v in\n%s", seed, res.err, res.rejected, text)
		}
		if diff := cmp.Diff(naive(t, []byte(text), testBlob), res.rows, compareRows); diff != "" {
			t.Fatalf("seed %d (-want +got):\n%s", seed, diff)
		}
		rows += len(res.rows)
	}
	if rows < 1000 {
		t.Errorf("only %d rows were compared", rows)
	}
}
