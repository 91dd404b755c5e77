package ingest

import (
	"bytes"
	"net/netip"
	"strconv"
	"strings"

	"github.com/whichpod/whichpod/flow"
)

// decision is what Azure Firewall logged of one connection: one row without an
// interface, a direction and counters. Source of the keys: the reference of the tables
// AZFWNetworkRule, AZFWApplicationRule, AZFWNatRule, AZFWThreatIntel and
// AZFWIdpsSignature on learn.microsoft.com; of the messages, public logs, as no document spells them out.
type decision struct {
	src, dst  endpoint // dst of a DNAT is where the firewall sent it
	protocol  uint8
	allowed   bool
	rule, acl []byte // what decided; where that is
}

// endpoint is an address with a port, 0 where there is none.
type endpoint struct {
	addr netip.Addr
	port uint16
}

// firewallCategory says what may be absent in the rows of a category.
type firewallCategory struct {
	legacy bool // the record holds a sentence
	named  bool // the destination may be known by its name only
	nat    bool // there is no action; the destination is the translated one
}

// firewallCategories are those that tell of a connection. Others, of DNS queries or
// sums, are rejected as unsupported.
var firewallCategories = map[string]firewallCategory{
	"AZFWNetworkRule":              {},
	"AZFWApplicationRule":          {named: true},
	"AZFWThreatIntel":              {named: true},
	"AZFWIdpsSignature":            {},
	"AZFWNatRule":                  {nat: true},
	"AzureFirewallNetworkRule":     {legacy: true},
	"AzureFirewallApplicationRule": {legacy: true},
}

// firewall reads a record of a firewall.
func (r *record) firewall(c *cursor, category string) *shapeError {
	r.kind = decisionRecord
	if err := r.head(c); err != nil {
		return err
	}
	of := firewallCategories[category]
	var p firewallProperties
	if err := c.members(r.properties, "properties", p.take); err != nil {
		return err
	}
	if of.legacy {
		if err := c.checkText(p.msg, "msg"); err != nil || p.msg.absent() {
			return wrongShape("properties has no msg, or one of more than %d bytes: %s", maxText, describe(c.at(p.msg)))
		}
		return r.decision.sentence(string(c.text(p.msg)))
	}
	return r.decision.fields(c, &p, of)
}

// firewallProperties is where the values stand.
type firewallProperties struct {
	msg, action, reason, protocol           span
	srcIP, srcPort, dstIP, dstPort          span
	natIP, natPort                          span
	policy, groupName, collectionName, rule span
}

// take notes a member of the properties. Of a key that comes twice, the first counts.
func (p *firewallProperties) take(key string, v span) {
	var into *span
	switch key {
	case "msg":
		into = &p.msg
	case "Action":
		into = &p.action
	case "ActionReason", "ThreatDescription", "Description":
		into = &p.reason
	case "Protocol":
		into = &p.protocol
	case "SourceIp":
		into = &p.srcIP
	case "SourcePort":
		into = &p.srcPort
	case "DestinationIp":
		into = &p.dstIP
	case "DestinationPort":
		into = &p.dstPort
	case "TranslatedIp":
		into = &p.natIP
	case "TranslatedPort":
		into = &p.natPort
	case "Policy":
		into = &p.policy
	case "RuleCollectionGroup":
		into = &p.groupName
	case "RuleCollection":
		into = &p.collectionName
	case "Rule":
		into = &p.rule
	}
	if into != nil && into.absent() {
		*into = v
	}
}

// fields reads the decision from a structured record.
func (d *decision) fields(c *cursor, p *firewallProperties, of firewallCategory) *shapeError {
	*d = decision{allowed: true}
	if of.nat {
		p.dstIP, p.dstPort = p.natIP, p.natPort
	} else if ok := d.act(c.unquote(p.action)); !ok {
		return wrongShape("Action is %s, want Allow, Alert, Deny, Drop or Reject", describe(c.at(p.action)))
	}
	for _, e := range []struct {
		ip, port span
		name     string
		into     *endpoint
		optional bool
	}{
		{p.srcIP, p.srcPort, "Source", &d.src, false},
		{p.dstIP, p.dstPort, "Destination", &d.dst, of.named},
	} {
		if text := c.unquote(e.ip); len(text) == 0 && e.optional {
			e.into.addr = flow.Unknown
		} else if a, err := netip.ParseAddr(string(text)); err == nil && a.Zone() == "" {
			e.into.addr = a.Unmap()
		} else {
			return wrongShape("%s address is %s, want an IPv4 or IPv6 address", e.name, describe(c.at(e.ip)))
		}
		var ok bool
		if e.into.port, ok = parsePort(string(bytes.Trim(c.at(e.port), `"`))); !ok {
			return wrongShape("%s port is %s, want a number up to 65535", e.name, describe(c.at(e.port)))
		}
	}
	var ok bool
	if d.protocol, ok = protocolNumber(string(c.unquote(p.protocol))); !ok {
		return wrongShape("Protocol is %s, want a name such as TCP, UDP, ICMP or HTTPS", describe(c.at(p.protocol)))
	}
	for _, s := range []span{p.reason, p.policy, p.groupName, p.collectionName, p.rule} {
		if err := c.checkText(s, "a name of the rule"); err != nil {
			return err
		}
	}
	if d.rule = c.unquote(p.rule); len(d.rule) == 0 {
		d.rule = c.unquote(p.reason)
	}
	d.acl = joinNames(c.unquote(p.policy), c.unquote(p.groupName), c.unquote(p.collectionName))
	return nil
}

// act takes the word for what the firewall did. An alert lets traffic pass.
func (d *decision) act(word []byte) bool {
	switch string(bytes.ToLower(word)) {
	case "allow", "alert":
		d.allowed = true
	case "deny", "drop", "reject":
		d.allowed = false
	default:
		return false
	}
	return true
}

// joinNames makes one text of the names that there are.
func joinNames(names ...[]byte) []byte {
	var out [][]byte
	for _, n := range names {
		if len(n) > 0 {
			out = append(out, n)
		}
	}
	return bytes.Join(out, []byte("/"))
}

// parsePort reads a port; nothing is 0, as for ICMP.
func parsePort(s string) (uint16, bool) {
	if s == "" || s == "null" {
		return 0, true
	}
	n, err := strconv.ParseUint(s, 10, 16)
	return uint16(n), err == nil
}

// protocolNumber is the IANA number of a protocol by its name, with what may stand
// behind it: "ICMP Type=8", "HTTP/1.1". What application rules decide on is TCP.
func protocolNumber(name string) (uint8, bool) {
	word := strings.ToUpper(name)
	if i := strings.IndexAny(word, " /"); i >= 0 {
		word = word[:i]
	}
	switch word {
	case "TCP", "HTTP", "HTTPS", "MSSQL":
		return 6, true
	case "UDP":
		return 17, true
	case "ICMP":
		return 1, true
	case "ICMPV6":
		return 58, true
	case "GRE":
		return 47, true
	case "ESP":
		return 50, true
	case "AH":
		return 51, true
	case "SCTP":
		return 132, true
	}
	n, err := strconv.ParseUint(name, 10, 8)
	return uint8(n), err == nil
}
