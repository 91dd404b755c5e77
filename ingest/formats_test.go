package ingest

import (
	"fmt"
	"net/netip"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/whichpod/whichpod/flow"
)

// naiveNSG reads a tuple of an NSG flow log, of either version.
func naiveNSG(t testing.TB, text string) flow.Row {
	t.Helper()
	f := strings.Split(text, ",")
	state, counters := "C", []string{"", "", "", ""}
	if len(f) == 13 {
		state, counters = f[8], f[9:]
	}
	if f[7] == "D" {
		state = "D"
	}
	protocol := map[string]string{"T": "6", "U": "17"}[f[5]]
	row := naiveTuple(t, strings.Join(append([]string{f[0], f[1], f[2], f[3], f[4], protocol, f[6], state, ""}, counters...), ","))
	return row
}

// naiveDecision are the properties of a firewall's record.
type naiveDecision struct {
	Msg                                             string
	Action, ActionReason                            string
	ThreatDescription, Description                  string
	Protocol, SourceIP, DestinationIP, TranslatedIP string
	SourcePort, DestinationPort, TranslatedPort     any
	Policy, RuleCollectionGroup, RuleCollection     string
	Rule                                            string
}

func (d *naiveDecision) row(t testing.TB, category string) flow.Row {
	t.Helper()
	if d.Msg != "" {
		row, ok := naiveSentence(d.Msg)
		if !ok {
			t.Fatalf("the oracle does not understand %q", d.Msg)
		}
		return row
	}
	port := func(v any) uint16 {
		n, _ := strconv.ParseUint(fmt.Sprint(v), 10, 16)
		return uint16(n)
	}
	ip, ipPort := d.DestinationIP, d.DestinationPort
	if category == "AZFWNatRule" {
		ip, ipPort, d.Action = d.TranslatedIP, d.TranslatedPort, "Allow"
	}
	return naiveRow(d.Protocol, d.SourceIP, port(d.SourcePort), ip, port(ipPort), d.Action,
		or(d.Rule, or(d.ActionReason, or(d.ThreatDescription, d.Description))), d.Policy, d.RuleCollectionGroup, d.RuleCollection)
}

func or(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

func naiveRow(protocol, src string, srcPort uint16, dst string, dstPort uint16, action, rule string, acl ...string) flow.Row {
	row := flow.Row{State: 'D', SrcPort: srcPort, DstPort: dstPort, Dst: flow.Unknown, Rule: rule, Counters: flow.Counters{Null: flow.NullAll}}
	row.Src, _ = netip.ParseAddr(src)
	if a, err := netip.ParseAddr(dst); err == nil {
		row.Dst = a
	}
	switch {
	case strings.HasPrefix(protocol, "ICMP"):
		row.Protocol = 1
	case protocol == "UDP":
		row.Protocol = 17
	default:
		row.Protocol = 6
	}
	if action = strings.ToLower(action); action == "allow" || action == "alert" {
		row.State, row.Allowed = 'B', true
	}
	row.ACL = strings.Trim(regexp.MustCompile("//+").ReplaceAllString(strings.Join(acl, "/"), "/"), "/")
	return row
}

var (
	sentenceForm = regexp.MustCompile(`^(TCP|UDP|ICMP|HTTPS?|MSSQL)(?: Type=\d+)? +request from (\d+\.\d+\.\d+\.\d+)(?::(\d*))?` +
		`(?: to ([\w.-]+?)(?::(\d*))?)?(?: was DNAT'ed to (\d+\.\d+\.\d+\.\d+):(\d+)|\.+ (?:Url: \S+ )?Action: (\w+))(?:\.+ *(.*?))?[. ]*$`)
	ruleForm = regexp.MustCompile(`^(?:Policy: (.*?)\. )?(?:Rule Collection Group: (.*?)\. )?Rule Collection: (.*?)\. Rule: (.*?)(?:\. Web Category: .*)?$`)
)

// naiveSentence reads a message of the forms that are known, with IPv4 addresses.
func naiveSentence(msg string) (flow.Row, bool) {
	m := sentenceForm.FindStringSubmatch(msg)
	if m == nil {
		return flow.Row{}, false
	}
	if _, err := netip.ParseAddr(m[2]); err != nil {
		return flow.Row{}, false
	}
	port := func(s string) uint16 {
		n, _ := strconv.ParseUint(s, 10, 16)
		return uint16(n)
	}
	dst, dstPort, action := m[4], m[5], m[8]
	if m[6] != "" {
		dst, dstPort, action = m[6], m[7], "Allow"
	}
	rule, acl := m[9], []string(nil)
	if r := ruleForm.FindStringSubmatch(m[9]); r != nil {
		rule, acl = r[4], r[1:4]
	}
	return naiveRow(m[1], m[2], port(m[3]), dst, port(dstPort), action, rule, acl...), true
}

// sentences are the forms of a legacy message, as public logs show them.
var sentences = []struct{ text, want string }{
	{"TCP request from 10.244.1.5:49680 to 203.0.113.66:1688. Action: Allow. ", "B 10.244.1.5:49680 203.0.113.66:1688 6 | "},
	{"UDP request from 10.244.1.5:51106 to 203.0.113.66:53. Action: Deny. ", "D 10.244.1.5:51106 203.0.113.66:53 17 | "},
	{"ICMP Type=8 request from 10.244.1.5 to 203.0.113.66. Action: Deny. ", "D 10.244.1.5:0 203.0.113.66:0 1 | "},
	{"TCP request from 198.51.100.7:50306 to 203.0.113.66:3389 was DNAT'ed to 10.244.1.5:3390", "B 198.51.100.7:50306 10.244.1.5:3390 6 | "},
	{"TCP request from 198.51.100.7:50306 to 203.0.113.66:3389 was DNAT'ed to 10.244.1.5:3389. Policy: p-01. Rule Collection Group: Default. Rule Collection: DNAT. Rule: rdp in", "B 198.51.100.7:50306 10.244.1.5:3389 6 p-01/Default/DNAT | rdp in"},
	{"TCP request from 10.244.1.5:50306 to 203.0.113.66:3389. Action: Allow.. Rule Collection: Permit_RFC1918. Rule: Permit 1.2.3.4", "B 10.244.1.5:50306 203.0.113.66:3389 6 Permit_RFC1918 | Permit 1.2.3.4"},
	{"TCP request from 10.244.1.5:54854 to 203.0.113.66:1521. Action: alert. Signature: 2102649. IDS: SQL overflow attempt. Priority: 1. Classification: Attempted", "B 10.244.1.5:54854 203.0.113.66:1521 6 | Signature: 2102649. IDS: SQL overflow attempt. Priority: 1. Classification: Attempted"},
	{"TCP request from 10.244.1.5:51890 to 203.0.113.66:443. Action: drop. Signature: 2028816. IDS: JA3 Hash - [x] y. Priority: 3. Classification: Unknown Traffic", "D 10.244.1.5:51890 203.0.113.66:443 6 | Signature: 2028816. IDS: JA3 Hash - [x] y. Priority: 3. Classification: Unknown Traffic"},
	{"ICMP request from 10.244.1.5: to 203.0.113.66:. Action: alert. Signature: 2100366. IDS: ICMP_INFO PING *NIX. Priority: 3. Classification: Misc", "B 10.244.1.5:0 203.0.113.66:0 1 | Signature: 2100366. IDS: ICMP_INFO PING *NIX. Priority: 3. Classification: Misc"},
	{"HTTP request from 10.244.1.5:54314 to ocsp.example.com:80. Url: ocsp.example.com. Action: Deny. ThreatIntel: Bot Networks", "D 10.244.1.5:54314 [::]:80 6 | ThreatIntel: Bot Networks"},
	{"HTTPS request from 10.244.1.5:56029 to blob.example.net:443. Action: Deny. No rule matched. Proceeding with default action", "D 10.244.1.5:56029 [::]:443 6 | No rule matched. Proceeding with default action"},
	{"HTTP  request from 10.244.1.5:50776 to ocsp.example.com:80. Url: ocsp.example.com/MFQ=. Action: Allow. Policy: p. Rule Collection Group: g. Rule Collection: generic-allow-500. Rule: Azure-to-AllowedServices, HTTP", "B 10.244.1.5:50776 [::]:80 6 p/g/generic-allow-500 | Azure-to-AllowedServices, HTTP"},
	{"HTTPS request from 10.244.1.5:49553 to guest.example.com:443. Action: Allow. Policy: p. Rule Collection Group: g. Rule Collection: c. Rule: Allowed Categories. Web Category: ComputersAndTechnology", "B 10.244.1.5:49553 [::]:443 6 p/g/c | Allowed Categories"},
	{"HTTPS request from 10.244.1.5:59060 to a.example.net:443. Action: Deny. Failed to resolve address b.example.net:443: lookup b.example.net on 10.0.0.53:53: no such host", "D 10.244.1.5:59060 [::]:443 6 | Failed to resolve address b.example.net:443: lookup b.example.net on 10.0.0.53:53: no such host"},
	{"HTTPS request from 10.244.1.5:6065. Action: Deny. Reason: SNI TLS extension was missing.", "D 10.244.1.5:6065 [::]:0 6 | Reason: SNI TLS extension was missing"},
	{"MSSQL request from 10.244.1.5:6065 to 203.0.113.66:1433. Action: Allow. Rule Collection: App. Rule: Sql", "B 10.244.1.5:6065 203.0.113.66:1433 6 App | Sql"},
}

func legacyLine(msg string) string {
	return fmt.Sprintf(`{"category":"AzureFirewallNetworkRule","operationName":"AzureFirewallNetworkRuleLog","properties":{"msg":%q},"resourceId":"/SUBSCRIPTIONS/S/AZUREFIREWALLS/FW","time":"2026-08-20T14:00:01.9921Z"}`, msg) + "\n"
}

func structuredLine(category, properties string) string {
	return `{"time":"2026-08-20T14:00:01.992099+00:00","category":"` + category + `","resourceId":"/SUBSCRIPTIONS/S/AZUREFIREWALLS/FW","properties":{` + properties + `}}` + "\n"
}

// show is a firewall's row in a line.
func show(r *flow.Row) string {
	return fmt.Sprintf("%c %v %v %d %s", r.State, netip.AddrPortFrom(r.Src, r.SrcPort), netip.AddrPortFrom(r.Dst, r.DstPort), r.Protocol, strings.TrimLeft(r.ACL+" | "+r.Rule, " "))
}

func TestSentence(t *testing.T) {
	for _, m := range sentences {
		text := legacyLine(m.text)
		res := decodeText(t, text)
		if len(res.rejected) > 0 || len(res.rows) != 1 {
			t.Errorf("%q: got %d rows, rejections %v", m.text, len(res.rows), res.rejected)
			continue
		}
		if got := show(&res.rows[0]); got != m.want {
			t.Errorf("%q:\n got %s\nwant %s", m.text, got, m.want)
		}
		if diff := cmp.Diff(naive(t, []byte(text), testBlob), res.rows, compareRows); diff != "" {
			t.Errorf("%q: oracle differs (-want +got):\n%s", m.text, diff)
		}
	}
}

func TestSentenceBad(t *testing.T) {
	for text, want := range map[string]string{
		"":                              "message does not say \"request from\"",
		"DNS Request: 10.0.0.1:1 - 1 A": "message does not say",
		"QUIC request from 10.0.0.1:1 to 10.0.0.2:1. Action: Allow":                       "message names no protocol",
		"TCP request from 10.0.0.256:1 to 10.0.0.2:1. Action: Allow":                      "message has no source",
		"TCP request from 10.0.0.1:70000 to 10.0.0.2:1. Action: Allow":                    "message has no source",
		"TCP request from 2001:db8::1:443 to 10.0.0.2:1. Action: Allow":                   "message has no source",
		"TCP request from [2001:db8::1:443 to 10.0.0.2:1. Action: Allow":                  "message has no source",
		"TCP request from 10.0.0.1:1 to example.com:1. Action: Allow":                     "message has no destination",
		"TCP request from 10.0.0.1:1. Action: Allow":                                      "message does not say to where",
		"TCP request from 10.0.0.1:1 to 10.0.0.2:1":                                       "message has no action",
		"TCP request from 10.0.0.1:1 to 10.0.0.2:1. Action: Maybe. x":                     "message has no action",
		"TCP request from 10.0.0.1:1 to 10.0.0.2:1 was DNAT'ed to somewhere":              "message does not say to where it was translated",
		"TCP request from 10.0.0.1:1 to 10.0.0.2:1. Action: " + strings.Repeat("x", 4096): "properties has no msg",
	} {
		line := legacyLine(text)
		res := decodeText(t, line+legacyLine(sentences[0].text))
		if len(res.rows) != 1 || len(res.rejected) != 1 || res.rejected[0].Reason != ReasonRecord || res.rejected[0].Offset != 0 || !strings.HasPrefix(res.rejected[0].Detail, want) {
			t.Errorf("%.80q: got %d rows, rejections %v, want %q", text, len(res.rows), res.rejected, want)
		}
		checkPrintable(t, res)
	}
}

// An IPv6 address with a port stands in brackets.
func TestSentenceIPv6(t *testing.T) {
	res := decodeText(t, legacyLine("TCP request from [2001:db8::1]:443 to [2001:db8::2]:80. Action: Allow"))
	if len(res.rows) != 1 || show(&res.rows[0]) != "B [2001:db8::1]:443 [2001:db8::2]:80 6 | " {
		t.Errorf("got %+v, rejections %v", res.rows, res.rejected)
	}
}

func TestFirewallStructured(t *testing.T) {
	const ends = `"Protocol":"TCP","SourceIp":"10.244.1.5","SourcePort":49680,"DestinationIp":"203.0.113.66","DestinationPort":443,`
	const names = `"Policy":"p","RuleCollectionGroup":"g","RuleCollection":"c","Rule":"r"`
	for _, tc := range []struct{ name, category, properties, want string }{
		{"network", "AZFWNetworkRule", ends + names + `,"Action":"Allow","ActionReason":"x"`, "B 10.244.1.5:49680 203.0.113.66:443 6 p/g/c | r"},
		{"denied by default", "AZFWNetworkRule", ends + `"Policy":"p","RuleCollectionGroup":"","RuleCollection":"","Rule":"","Action":"Deny","ActionReason":"Default Action"`, "D 10.244.1.5:49680 203.0.113.66:443 6 p | Default Action"},
		{"ports as text", "AZFWNetworkRule", strings.Replace(ends, "49680", `"49680"`, 1) + names + `,"Action":"Allow"`, "B 10.244.1.5:49680 203.0.113.66:443 6 p/g/c | r"},
		{"ICMP", "AZFWNetworkRule", `"Protocol":"ICMP Type=8","SourceIp":"10.244.1.5","SourcePort":0,"DestinationIp":"203.0.113.66","DestinationPort":0,"Action":"Deny"`, "D 10.244.1.5:0 203.0.113.66:0 1 | "},
		{"name", "AZFWApplicationRule", `"Action":"Allow","DestinationPort":443,"Fqdn":"a.example.com","Protocol":"HTTPS","SourceIp":"10.244.1.5","SourcePort":59956,` + names, "B 10.244.1.5:59956 [::]:443 6 p/g/c | r"},
		{"name and address", "AZFWApplicationRule", ends + names + `,"Action":"Deny","Fqdn":"a.example.com"`, "D 10.244.1.5:49680 203.0.113.66:443 6 p/g/c | r"},
		{"threat", "AZFWThreatIntel", ends + `"Action":"Alert","ThreatDescription":"reported"`, "B 10.244.1.5:49680 203.0.113.66:443 6 | reported"},
		{"signature", "AZFWIdpsSignature", ends + `"Action":"drop","Category":"TROJAN","Description":"Tofsee","Severity":1,"SignatureId":"2028816"`, "D 10.244.1.5:49680 203.0.113.66:443 6 | Tofsee"},
		{"NAT", "AZFWNatRule", ends + names + `,"TranslatedIp":"10.244.7.7","TranslatedPort":8443`, "B 10.244.1.5:49680 10.244.7.7:8443 6 p/g/c | r"},
		{"no source", "AZFWNatRule", `"DestinationIp":"","DestinationPort":"","Policy":"","Protocol":"TCP","SourceIp":"","SourcePort":"","TranslatedIp":"","TranslatedPort":""`, "record: Source address is `\"\"`, want an IPv4 or IPv6 address"},
		{"no destination", "AZFWNetworkRule", `"Protocol":"TCP","SourceIp":"10.0.0.1","SourcePort":1,"Action":"Allow"`, "record: Destination address is absent, want an IPv4 or IPv6 address"},
		{"port beyond 16 bits", "AZFWNetworkRule", strings.Replace(ends, "49680", "99999999999999999999", 1) + `"Action":"Allow"`, `record: Source port is "99999999999999999999", want a number up to 65535`},
		{"action", "AZFWNetworkRule", ends + `"Action":"Perhaps"`, "record: Action is `\"Perhaps\"`, want Allow, Alert, Deny, Drop or Reject"},
		{"no action", "AZFWNetworkRule", ends + names, "record: Action is absent, want Allow, Alert, Deny, Drop or Reject"},
		{"protocol", "AZFWNetworkRule", strings.Replace(ends, "TCP", "Any", 1) + `"Action":"Allow"`, "record: Protocol is `\"Any\"`, want a name such as TCP, UDP, ICMP or HTTPS"},
		{"DNS", "AZFWDnsQuery", `"QueryName":"x"`, "unsupported: category is `\"AZFWDnsQuery\"`, want \"FlowLogFlowEvent\", \"NetworkSecurityGroupFlowEvent\" or a rule log of Azure Firewall"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			text := structuredLine(tc.category, tc.properties)
			good := structuredLine("AZFWNetworkRule", ends+`"Action":"Allow"`)
			res := decodeText(t, good+text+good)
			var got string
			if len(res.rejected) == 1 && res.rejected[0].Offset == int64(len(good)) {
				got = res.rejected[0].Reason + ": " + res.rejected[0].Detail
			} else if len(res.rows) == 3 {
				got = show(&res.rows[1])
				if diff := cmp.Diff(naive(t, []byte(good+text+good), testBlob), res.rows, compareRows); diff != "" {
					t.Errorf("oracle differs (-want +got):\n%s", diff)
				}
			}
			if got != tc.want || len(res.rows)+len(res.rejected) != 3 {
				t.Errorf("got %d rows, rejections %v\n got %s\nwant %s", len(res.rows), res.rejected, got, tc.want)
			}
			for _, r := range res.rows {
				if r.Counters.Null != flow.NullAll || r.NIC != "" || r.Direction != 0 || r.Encryption != "" || r.Time != time.Date(2026, 8, 20, 14, 0, 1, 992e6, time.UTC).UnixMilli() {
					t.Errorf("a firewall's row has what its log has not: %+v", r)
				}
			}
		})
	}
}

// nsgText is a record of an NSG flow log.
func nsgText(version int, tuples ...string) string {
	return fmt.Sprintf(`{"time":"2026-08-20T14:00:52.2837112Z","systemId":"s","category":"NetworkSecurityGroupFlowEvent","resourceId":"/NSG/a","operationName":"NetworkSecurityGroupFlowEvents",`+
		`"properties":{"Version":%d,"flows":[{"rule":"DefaultRule_DenyAllInBound","flows":[]},{"rule":"UserRule_x","flows":[{"mac":"00-0d-3A-1B-2C-3D","flowTuples":["%s"]}]}]}}`, version, strings.Join(tuples, `","`))
}

func TestNSG(t *testing.T) {
	for _, tc := range []struct {
		text string
		want string // the row as a VNet tuple, and whether it was allowed
	}{
		{nsgText(1, "1742590773,10.101.0.104,40.0.154.81,44838,443,T,O,A"), "1742590773000,10.101.0.104,40.0.154.81,44838,443,6,O,C,,,,, true"},
		{nsgText(1, "1742590773,10.101.0.104,40.0.154.81,44838,53,U,I,D"), "1742590773000,10.101.0.104,40.0.154.81,44838,53,17,I,D,,,,, false"},
		{nsgText(2, "1742590773,10.101.0.104,40.0.154.81,44838,443,T,O,A,B,,,,"), "1742590773000,10.101.0.104,40.0.154.81,44838,443,6,O,B,,,,, true"},
		{nsgText(2, "1742590773,10.101.0.104,40.0.154.81,44838,443,T,O,A,E,11,3981,0,18446744073709551615"), "1742590773000,10.101.0.104,40.0.154.81,44838,443,6,O,E,,11,3981,0,18446744073709551615 true"},
		{nsgText(2, "1742590773,2001:db8::1,40.0.154.81,44838,443,T,O,A,C,11,3981,,"), "1742590773000,2001:db8::1,40.0.154.81,44838,443,6,O,C,,11,3981,, true"},
		{nsgText(2, "1742590773,10.101.0.104,40.0.154.81,44838,443,T,I,D,B,,,,"), "1742590773000,10.101.0.104,40.0.154.81,44838,443,6,I,D,,,,, false"},
		{nsgText(2, "1742590773,10.101.0.104,40.0.154.81,44838,443,T,I,D"), `tuple: tuple has 8 fields, want 13: "1742590773,10.101.0.104,40.0.154.81,44838,443,T,"...`},
		{nsgText(1, "1742590773,10.101.0.104,40.0.154.81,44838,443,T,I,D,B,,,,"), `tuple: tuple has 13 fields, want 8: "1742590773,10.101.0.104,40.0.154.81,44838,443,T,"...`},
		{nsgText(2, "1742590773,10.101.0.104,40.0.154.81,44838,443,6,I,D,B,,,,"), `tuple: field 6, protocol, is "6", want one of TU`},
		{nsgText(2, "1742590773,10.101.0.104,40.0.154.81,44838,443,T,I,X,B,,,,"), `tuple: field 8, decision, is "X", want one of AD`},
		{nsgText(2, "1742590773,10.101.0.104,40.0.154.81,44838,443,T,I,A,D,,,,"), `tuple: field 9, state, is "D", want one of BCE`},
		{nsgText(1, "1742590773,10.101.0.104,40.0.154.81,44838,443,T,O,N"), `tuple: field 8, decision, is "N", want one of AD`},
		{nsgText(3, "x"), `unsupported: properties.Version is "3", want 1 or 2`},
		{strings.Replace(nsgText(2, "x"), "00-0d-", "0G-0d-", 1), "record: mac is `\"0G-0d-3A-1B-2C-3D\"`, want 12 hexadecimal digits"},
		{strings.Replace(nsgText(2, "x"), `"flows":[{"mac"`, `"x":[{"mac"`, 1), "record: entry of flows has no flows"},
		{strings.Replace(nsgText(2, "x"), `"flows":[]`, `"flows":{}`, 1), `record: flows of a rule is "{}", want an array`},
		{strings.Replace(nsgText(2, "x"), `"flowTuples":["x"]`, `"flowTuples":"x"`, 1), "record: flowTuples is `\"x\"`, want an array"},
		{strings.Replace(nsgText(2, "x"), `"Version":2,"flows":[`, `"Version":2,"x":[`, 1), "record: properties has no flows"},
	} {
		res := decodeText(t, `{"records":[`+tc.text+`]}`)
		var got string
		switch {
		case len(res.rows) == 1 && len(res.rejected) == 0:
			r := &res.rows[0]
			got = fmt.Sprintf("%s %v", r.Tuple(), r.Allowed)
			if r.NIC != "000D3A1B2C3D" || r.Rule != "UserRule_x" || r.ACL != "/NSG/a" || !strings.HasPrefix(tc.text[r.Offset-12:], "1742590773,") {
				t.Errorf("got row %+v", r)
			}
		case len(res.rows) == 0 && len(res.rejected) == 1:
			got = res.rejected[0].Reason + ": " + res.rejected[0].Detail
		}
		if got != tc.want {
			t.Errorf("%s:\n got %s, %d rows, %d rejections\nwant %s", tc.text, got, len(res.rows), len(res.rejected), tc.want)
		}
	}
}

// An NSG log without macAddress and without mac says nothing of the interface.
func TestNSGWithoutMAC(t *testing.T) {
	text := strings.Replace(nsgText(2, "1742590773,10.101.0.104,40.0.154.81,44838,443,T,O,A,B,,,,"), `"mac":"00-0d-3A-1B-2C-3D",`, "", 1)
	if res := decode(t, strings.NewReader(text), flow.Position{Blob: "x"}); len(res.rows) != 0 || len(res.rejected) != 1 || res.rejected[0].Detail != "mac is absent, and so is macAddress" {
		t.Errorf("got %d rows, rejections %v", len(res.rows), res.rejected)
	}
	if res := decodeText(t, text); len(res.rows) != 1 || res.rows[0].NIC != "000D3A1B2C3D" {
		t.Errorf("with a MAC in the blob's name: got %v, rejections %v", res.rows, res.rejected)
	}
}

// A log with a record a line grows without a closer, is cut in the middle of a line,
// and holds damaged lines: each costs itself.
func TestDecodeLines(t *testing.T) {
	line := func(i int) string {
		return legacyLine(fmt.Sprintf("TCP request from 10.0.0.1:%d to 10.0.0.2:1. Action: Allow. ", i))
	}
	var text strings.Builder
	for i := range 300 {
		text.WriteString(line(i + 1))
	}
	whole := text.String()
	pos := flow.Position{Blob: testBlob}
	rows := 0
	for _, end := range []int{10, 700, 5000, 5001, 40_000, len(whole) - 1, len(whole), len(whole)} {
		res := decode(t, strings.NewReader(whole[ResumeAt(pos):end]), pos)
		if res.err != nil {
			t.Fatal(res.err)
		}
		for _, r := range res.rejected {
			if r.Reason != ReasonTruncated || end >= len(whole)-1 {
				t.Errorf("up to %d: rejection %+v", end, r)
			}
		}
		for _, r := range res.rows {
			if rows++; int(r.SrcPort) != rows {
				t.Fatalf("row %d is of port %d", rows, r.SrcPort)
			}
		}
		pos = res.pos
	}
	if rows != 300 {
		t.Errorf("got %d rows, want 300", rows)
	}
	bad := line(1) + line(2)[:60] + "\n" + line(3) + "garbage\n" + line(4) + "\x00\x00\n" + strings.Replace(line(5), `"msg"`, `"mag"`, 1) + line(6)
	res := decodeText(t, bad)
	var ports []uint16
	for _, r := range res.rows {
		ports = append(ports, r.SrcPort)
	}
	if diff := cmp.Diff([]uint16{1, 3, 4, 6}, ports); diff != "" || len(res.rejected) != 4 {
		t.Errorf("damaged lines: got rows of ports %v, rejections %v", ports, res.rejected)
	}
}

// Formats may stand side by side in one blob.
func TestDecodeMixed(t *testing.T) {
	text := `{"records":[` + recordText(0, 2) + "," + nsgText(2, "1742590773,10.101.0.104,40.0.154.81,44838,443,T,O,A,B,,,,") + "," +
		strings.TrimSpace(legacyLine(sentences[0].text)) + "," + recordText(2, 1) + `]}`
	res := decodeText(t, text)
	var got []string
	for _, r := range res.rows {
		got = append(got, r.NIC+" "+r.Encryption+" "+string(r.State))
	}
	if diff := cmp.Diff([]string{"000D3A1B2C3D NX B", "000D3A1B2C3D NX B", "000D3A1B2C3D  B", "  B", "000D3A1B2C3D NX B"}, got); diff != "" || len(res.rejected) > 0 {
		t.Errorf("-want +got:\n%s, rejections %v", diff, res.rejected)
	}
}

func (g generator) anyRecord() string {
	switch g.IntN(4) {
	case 0:
		return g.nsgRecord()
	case 1:
		return g.firewallRecord()
	default:
		return g.record()
	}
}

func (g generator) nsgTuple(version int) string {
	f := strings.Split(g.tuple(), ",")
	out := append(f[:5:5], "TU"[g.IntN(2):][:1], f[6], "AD"[g.IntN(2):][:1])
	if version == 2 {
		out = append(out, "BCE"[g.IntN(3):][:1], f[9], f[10], f[11], f[12])
	}
	return strings.Join(out, ",")
}

func (g generator) nsgRecord() string {
	version := 1 + g.IntN(2)
	var rules []string
	for range g.IntN(4) {
		var flows []string
		for range g.IntN(3) {
			var tuples []string
			for range g.IntN(5) {
				tuples = append(tuples, `"`+g.nsgTuple(version)+`"`)
			}
			flows = append(flows, g.object(fmt.Sprintf(`"mac":"000D3A1B2C%d"`, 10+g.IntN(3)), `"flowTuples":`+g.array(tuples)))
		}
		rules = append(rules, g.object(`"rule":`+g.text("UserRule_é"), `"flows":`+g.array(flows)))
	}
	return g.object(`"time":"2026-08-20T14:00:52.2837112Z"`, `"category":`+g.text("NetworkSecurityGroupFlowEvent"), `"resourceId":`+g.text("/SUB/NSG"),
		`"properties":`+g.object(fmt.Sprintf(`"Version":%d`, version), `"flows":`+g.array(rules)))
}

func (g generator) firewallRecord() string {
	head := []string{`"time":"2026-08-20T14:00:52.2837112Z"`, `"resourceId":` + g.text("/SUB/FW")}
	pick := func(of ...string) string { return of[g.IntN(len(of))] }
	category := pick("AZFWNetworkRule", "AZFWApplicationRule", "AZFWNatRule", "AZFWThreatIntel", "AzureFirewallNetworkRule", "AzureFirewallApplicationRule")
	properties := []string{`"msg":` + g.text(sentences[g.IntN(len(sentences))].text)}
	if strings.HasPrefix(category, "AZFW") {
		properties = []string{
			`"Action":` + g.text(pick("Allow", "Deny", "alert", "DROP")), `"ActionReason":` + g.text(pick("", "Default Action")),
			`"Protocol":` + g.text(pick("TCP", "UDP", "HTTPS", "ICMP Type=8")), `"SourceIp":` + g.text(pick("10.0.0.1", "2001:db8::1")),
			`"SourcePort":` + pick("0", "65535", `"12"`, `""`), `"DestinationIp":` + g.text("10.9.9.9"), `"DestinationPort":` + pick("443", "null"),
			`"TranslatedIp":` + g.text("10.8.8.8"), `"TranslatedPort":8443`, `"Policy":` + g.text(pick("", "p")), `"RuleCollectionGroup":` + g.text(pick("", "é")),
			`"RuleCollection":` + g.text("c"), `"Rule":` + g.text(pick("", "r")),
		}
	}
	return g.object(append(head, `"category":`+g.text(category), `"properties":`+g.object(properties...))...)
}
